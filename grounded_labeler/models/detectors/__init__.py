"""Detectors: images and phrases in, scored boxes out. Nothing here imports torch until needed."""

from pathlib import Path
from typing import TYPE_CHECKING

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.detectors.detector import GPU_BATCH, Detector, Options

if TYPE_CHECKING:
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
    from grounded_labeler.models.detectors.parts import Parts
    from grounded_labeler.models.sam3.detector import Sam3Detector

__all__ = ["GPU_BATCH", "Detector", "Options", "export_detector", "load_detector"]


def load_detector(
    engine: str, folder: Path, options: Options, tokenizer_folder: Path | None = None
) -> "GroundingDetector | Sam3Detector":
    """Load the detector whose weights are in `folder`; nothing is downloaded.

    `engine` is "transformers" or "sam3", with all its files in `folder`, or
    "groundingdino", with a checkpoint in `folder` and `vocab.txt` in `tokenizer_folder`
    (None: the same folder). Raises SettingsError for another engine and WeightsError when
    the files are missing, damaged or not of that engine.
    """
    if engine == "sam3":
        from grounded_labeler.models.sam3 import model as sam3  # noqa: PLC0415

        return sam3.load_detector(folder, options)
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector  # noqa: PLC0415

    parts = _load_parts(engine, folder, tokenizer_folder, options.short_side)
    return GroundingDetector(parts, options)


def export_detector(
    engine: str, folder: Path, into: Path, tokenizer_folder: Path | None = None
) -> None:
    """Write the detector's graphs for OpenVINO into the folder `into`: a minute or two.

    Raises as `load_detector` does.
    """
    if engine == "sam3":
        from grounded_labeler.models.sam3 import export_sam3  # noqa: PLC0415

        export_sam3(folder, into)
        return
    from grounded_labeler.models.runtime.openvino import export  # noqa: PLC0415

    export(_load_parts(engine, folder, tokenizer_folder, None).graphs, into)


def _load_parts(
    engine: str, folder: Path, tokenizer_folder: Path | None, short_side: int | None
) -> "Parts":
    if engine == "transformers":
        from grounded_labeler.models.detectors import huggingface_build as hf  # noqa: PLC0415

        return hf.load(folder, short_side)
    if engine == "groundingdino":
        from grounded_labeler.models.detectors import official as groundingdino  # noqa: PLC0415

        return groundingdino.load(folder, tokenizer_folder or folder, short_side)
    raise SettingsError(
        f"The detector engine must be transformers, groundingdino or sam3, got {engine!r}."
    )
