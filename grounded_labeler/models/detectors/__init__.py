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
    engine: str,
    path: Path,
    options: Options,
    tokenizer_folder: Path | None = None,
    *,
    config: str | None = None,
) -> "GroundingDetector | Sam3Detector":
    """Load the detector whose weights are at `path`; nothing is downloaded, no code of it runs.

    Args:
        engine: "transformers", "groundingdino" or "sam3".
        path: for "transformers" a folder as `save_pretrained` or a Trainer writes it; for
            "sam3" one as the hub has it; for
            "groundingdino" a folder with one of the published checkpoints, or a checkpoint
            of any name.
        options: how the detector runs.
        tokenizer_folder: where BERT's `vocab.txt` is, for "groundingdino"; None means beside
            the checkpoint.
        config: the config of a "groundingdino" checkpoint: `GroundingDINO_SwinT_OGC`,
            `GroundingDINO_SwinB_cfg`, or the path of a `.py` file of assignments, which is
            read and not run; None means that of the published checkpoint of this name.

    Raises:
        SettingsError: for another engine, and for a config that is missing or of no use.
        WeightsError: when the files are missing, damaged or not of that engine.
    """
    if engine == "sam3":
        from grounded_labeler.models.sam3 import model as sam3  # noqa: PLC0415

        return sam3.load_detector(path, options)
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector  # noqa: PLC0415

    parts = _load_parts(engine, path, tokenizer_folder, options.short_side, config)
    return GroundingDetector(parts, options)


def export_detector(
    engine: str,
    path: Path,
    into: Path,
    tokenizer_folder: Path | None = None,
    *,
    config: str | None = None,
) -> None:
    """Write the detector's graphs for OpenVINO into the folder `into`: a minute or two.

    The other arguments are those of `load_detector`, and it raises as that does.
    """
    if engine == "sam3":
        from grounded_labeler.models.sam3 import export_sam3  # noqa: PLC0415

        export_sam3(path, into)
        return
    from grounded_labeler.models.runtime.openvino import export  # noqa: PLC0415

    export(_load_parts(engine, path, tokenizer_folder, None, config).graphs, into)


def _load_parts(
    engine: str,
    path: Path,
    tokenizer_folder: Path | None,
    short_side: int | None,
    config: str | None,
) -> "Parts":
    if engine == "transformers":
        if config is not None:
            raise SettingsError(
                f"A detector of transformers has its config in its folder, got {config!r}."
            )
        from grounded_labeler.models.detectors import huggingface_build as hf  # noqa: PLC0415

        return hf.load(path, short_side)
    if engine == "groundingdino":
        from grounded_labeler.models.detectors import official as groundingdino  # noqa: PLC0415

        beside = path.parent if path.is_file() else path
        return groundingdino.load(path, tokenizer_folder or beside, short_side, config)
    raise SettingsError(
        f"The detector engine must be transformers, groundingdino or sam3, got {engine!r}."
    )
