"""Detectors: images and phrases in, scored boxes out. Only the engines import torch."""

from pathlib import Path

from grounded_labeler.detectors.base import Detector
from grounded_labeler.errors import SettingsError

__all__ = ["Detector", "load_detector", "pick_device"]


def pick_device() -> str:
    """Where models should run: "cuda" if a GPU can be used now, else "cpu", driver or not."""
    import torch  # noqa: PLC0415 - seconds to import

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_detector(
    engine: str,
    folder: Path,
    device: str,
    *,
    tokenizer_folder: Path | None = None,
    batch_size: int | None = None,
) -> Detector:
    """The detector whose weights lie in `folder`, ready on `device` ("cpu", "cuda").

    `engine` is "transformers", with all its files in `folder`, or "groundingdino",
    with a checkpoint in `folder` and `vocab.txt` in `tokenizer_folder` (None: the
    same folder). `batch_size` None means 1 on a CPU and 8 on a GPU. Nothing is
    downloaded.

    Raises SettingsError for another engine and WeightsError when the files are
    missing, damaged or not of that engine.
    """
    if engine == "transformers":
        from grounded_labeler.detectors.hf import load_transformers  # noqa: PLC0415

        return load_transformers(folder, device, batch_size=batch_size)
    if engine == "groundingdino":
        from grounded_labeler.detectors.groundingdino import load_groundingdino  # noqa: PLC0415

        return load_groundingdino(folder, tokenizer_folder or folder, device, batch_size=batch_size)
    raise SettingsError(
        f"The detector engine must be transformers or groundingdino, got {engine!r}."
    )
