"""Models of somebody's own: a folder that transformers reads, or a checkpoint."""

import json
from pathlib import Path
from typing import Literal

from grounded_labeler._text import shorten
from grounded_labeler.errors import WeightsError, sentence_of
from grounded_labeler.weights.catalog import BERT_TOKENIZER, HUB
from grounded_labeler.weights.model import Engine, HubRepository, Model

Kind = Literal["detector", "segmenter"]

# The model types of config.json, and the code that runs them.
_ENGINES: dict[Kind, dict[str, Engine]] = {
    "detector": {
        "grounding-dino": "transformers",
        "mm-grounding-dino": "transformers",  # LLMDet's, too
        "sam3": "sam3",
        "sam3_video": "sam3",
    },
    "segmenter": {
        "sam2": "sam2",
        "sam2_video": "sam2",
        "edgetam": "sam2",
        "edgetam_video": "sam2",
        "sam3_video": "sam3",
        "sam3_tracker": "sam3",
    },
}
_CHECKPOINTS = (".pth", ".pt", ".ckpt")
_OWN = "your own"


def engine_of(folder: Path, source: str, kind: Kind | None = None) -> Engine:
    """Return the engine for the model whose config.json is in `folder`.

    Raises WeightsError, which calls the model `source`, when there is none or when it is of no
    kind that is served, or not of `kind`.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: it is no JSON.") from error
    named = values.get("model_type") if isinstance(values, dict) else None
    if not isinstance(named, str):
        named = None
    kinds: tuple[Kind, ...] = ("detector", "segmenter") if kind is None else (kind,)
    for one in kinds:
        if named in _ENGINES[one]:
            return _ENGINES[one][named]
    # Those of other sizes, as the bundled one, name theirs: models/segmenters/sam_build.py.
    if "segmenter" in kinds and isinstance(values, dict) and "global_blocks" in values:
        return "sam"
    expected = sorted({name for one in kinds for name in _ENGINES[one]})
    raise WeightsError(
        f"{source} holds a model of type {shorten(named or 'unknown')}, which cannot be the "
        f"{' or the '.join(kinds)}: expected {', '.join(expected)}."
    )


def own_name(path: Path) -> str:
    """Return what the model in the folder or checkpoint `path` is called."""
    if path.name in ("", ".."):  # a folder by where it is from here
        path = path.resolve()
    return path.stem if path.suffix in _CHECKPOINTS else path.name


def hub_name(repository: HubRepository) -> str:
    """Return what the model of a repository is called, and its folder under MODEL_DIR."""
    name = repository.name.replace("/", "--")
    revision = repository.revision.replace("/", "--")
    return name if revision == "main" else f"{name}@{revision}"


def own_model(kind: Kind, path: Path, config: str | None) -> Model:
    """Return the model in the folder or checkpoint `path`.

    `config` is the architecture of a detector's checkpoint. Raises WeightsError when there is
    nothing, or nothing that can be a `kind`.
    """
    try:
        is_dir, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a folder on the way may not be looked into, or the name is too long
        raise WeightsError(f"{kind.upper()}: {sentence_of(error)}") from error
    if is_dir:
        engine = engine_of(path, str(path), kind)
        return Model(own_name(path), engine, str(path), _OWN, own=path)
    if not is_file:
        raise WeightsError(f"{kind.upper()}={path}: there is no such folder or file.")
    if path.suffix not in _CHECKPOINTS:
        raise WeightsError(
            f"{path} is no folder and no {' or '.join(_CHECKPOINTS)} file: a {kind} is a folder "
            "of transformers, with config.json and safetensors, or a checkpoint."
        )
    if kind == "segmenter":
        return Model(own_name(path), "sam", str(path), _OWN, own=path)
    if config is None:
        raise WeightsError(
            f"{path} does not say what it is a checkpoint of: set DETECTOR_CONFIG to "
            "GroundingDINO_SwinT_OGC, GroundingDINO_SwinB_cfg, or the config file it was "
            "trained with."
        )
    # The checkpoint holds BERT's weights, but not its word list.
    return Model(
        own_name(path), "groundingdino", str(path), _OWN, shared=(BERT_TOKENIZER,), own=path,
        config=config,
    )  # fmt: skip


def hub_model(kind: Kind, repository: HubRepository, model_dir: Path) -> Model:
    """Return the model of a repository, whose engine is known once its config is here.

    Raises WeightsError when it is here and cannot be a `kind`.
    """
    name = hub_name(repository)
    source = f"{HUB}{repository.name}"
    folder = model_dir / name
    is_here = (folder / "config.json").is_file()
    engine: Engine = engine_of(folder, source, kind) if is_here else "unknown"
    return Model(name, engine, source, "see there", hub=repository)
