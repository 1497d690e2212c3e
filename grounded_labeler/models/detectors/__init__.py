"""Detectors: images and phrases in, scored boxes out. Nothing here imports torch until needed."""

from pathlib import Path
from typing import TYPE_CHECKING

from grounded_labeler.errors import SettingsError
from grounded_labeler.models.detectors.detector import GPU_BATCH, Detector, Options

if TYPE_CHECKING:
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
    from grounded_labeler.models.detectors.parts import Parts
    from grounded_labeler.models.sam3.detector import Sam3Detector

__all__ = [
    "GPU_BATCH",
    "Detector",
    "Options",
    "export_detector",
    "from_folder",
    "from_parts",
    "load_detector",
]


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
        WeightsError: when the files are missing, damaged or not of that engine. On a CPU where
            `options.exported` holds the model's graphs, nothing else is read.
    """
    if engine == "sam3":
        from grounded_labeler.models.sam3 import model as sam3  # noqa: PLC0415

        return sam3.load_detector(path, options)
    _check_engine(engine, config)
    from grounded_labeler.models.detectors.facts import GRAPHS  # noqa: PLC0415
    from grounded_labeler.models.runtime.choice import find_exported  # noqa: PLC0415

    folder = find_exported(GRAPHS, options.compute, options.exported)
    if folder is not None:
        return from_folder(folder, options)
    return from_parts(_load_parts(engine, path, tokenizer_folder, config), options)


def from_folder(folder: Path, options: Options) -> "GroundingDetector":
    """Make a detector of the graphs that `export_detector` wrote into `folder`.

    Raises WeightsError when a file of it is missing or damaged.
    """
    from grounded_labeler.models.detectors.facts import GRAPHS, DetectorFacts  # noqa: PLC0415
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector  # noqa: PLC0415
    from grounded_labeler.models.runtime.choice import exported_graphs  # noqa: PLC0415
    from grounded_labeler.models.runtime.facts import read_facts, read_tokenizer  # noqa: PLC0415

    facts, tokenizer = read_facts(folder, DetectorFacts), read_tokenizer(folder)
    graphs = exported_graphs(GRAPHS, options.compute, folder)
    return GroundingDetector(facts, tokenizer, graphs, options)


def from_parts(parts: "Parts", options: Options) -> "GroundingDetector":
    """Make a detector of a model's modules, which PyTorch computes."""
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector  # noqa: PLC0415
    from grounded_labeler.models.runtime.choice import pytorch_graphs  # noqa: PLC0415

    graphs = pytorch_graphs(parts.graphs, options.compute, options.exported)
    return GroundingDetector(parts.facts, parts.tokenizer, graphs, options)


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
    _check_engine(engine, config)
    from grounded_labeler.models.runtime.openvino_export import export  # noqa: PLC0415

    parts = _load_parts(engine, path, tokenizer_folder, config)
    export(parts.graphs, into, parts.facts, parts.tokenizer)


def _check_engine(engine: str, config: str | None) -> None:
    """Raise SettingsError for an engine that is none, or that has no config to name."""
    if engine not in ("transformers", "groundingdino"):
        raise SettingsError(
            f"The detector engine must be transformers, groundingdino or sam3, got {engine!r}."
        )
    if engine == "transformers" and config is not None:
        raise SettingsError(
            f"A detector of transformers has its config in its folder, got {config!r}."
        )


def _load_parts(
    engine: str, path: Path, tokenizer_folder: Path | None, config: str | None
) -> "Parts":
    if engine == "transformers":
        from grounded_labeler.models.detectors import huggingface_build as hf  # noqa: PLC0415

        return hf.load(path)
    from grounded_labeler.models.detectors import official as groundingdino  # noqa: PLC0415

    beside = path.parent if path.is_file() else path
    return groundingdino.load(path, tokenizer_folder or beside, config)
