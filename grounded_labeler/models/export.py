"""Models as OpenVINO graphs beside their weights: made once, found again by what they are of.

A graph belongs to the weights it was made from, and to the OpenVINO that made it. Both
are in the name of its folder, so an older one is never taken for it.
"""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from grounded_labeler.models.detectors import export_detector
from grounded_labeler.models.runtime.choice import require_torch
from grounded_labeler.models.runtime.facts import is_whole
from grounded_labeler.models.segmenters import export_segmenter
from grounded_labeler.weights.checksums import sums_of
from grounded_labeler.weights.model import Engine, Model

# To be raised when the graphs are made in another way.
EDITION = "6"
_DIGITS = 12
_OWN_DIGITS = 6  # of where somebody's own model lies
_SEGMENTERS: tuple[Engine, ...] = ("sam", "mobile-sam", "sam2")  # the others detect


def export_dir(model: Model, model_dir: Path) -> Path:
    """Where the graphs of `model` lie, if they were made."""
    digest = hashlib.sha256(f"{EDITION} {version('openvino')}".encode())
    for sum_of_file in _sums(model, model_dir):
        digest.update(sum_of_file.encode())
    return model_dir / "openvino" / f"{_name(model)}-{digest.hexdigest()[:_DIGITS]}"


def export(model: Model, model_dir: Path) -> bool:
    """Make the graphs of `model`, whose files are here, unless they are here whole; whether it did.

    Those of other weights or of another OpenVINO are removed. Of several processes that do this
    at once, one makes the graphs. Raises WeightsError as loading the model does and where PyTorch
    is not installed, OSError when they cannot be written.
    """
    folder = export_dir(model, model_dir)
    if is_whole(folder):
        return False
    require_torch(folder)
    # A service looks for graphs and never makes them.
    from grounded_labeler.weights.lock import locked  # noqa: PLC0415

    with locked(model_dir, "another process to make graphs"):
        if is_whole(folder):
            return False
        _make(model, model_dir, folder)
    return True


def _make(model: Model, model_dir: Path, folder: Path) -> None:
    source = model.folder(model_dir)
    if model.engine in _SEGMENTERS:
        export_segmenter(model.engine, source, folder)
    else:
        tokenizer = model.tokenizer_folder(model_dir)
        export_detector(model.engine, source, folder, tokenizer, config=model.config)
    for old in folder.parent.glob(f"{_name(model)}-{'?' * _DIGITS}"):
        if old != folder:
            shutil.rmtree(old)


def _name(model: Model) -> str:
    # Models of somebody's own may share a name.
    place = "" if model.own is None else f"-{_digest(str(model.own.absolute()))[:_OWN_DIGITS]}"
    # The demo's detector and segmenter do.
    return f"{model.name}{place}-{model.engine}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sums(model: Model, model_dir: Path) -> Iterable[str]:
    return sums_of(replace(model, shared=()), model_dir).values()
