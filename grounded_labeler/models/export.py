"""Models as OpenVINO graphs beside their weights: made once, found again by what they are of.

A graph belongs to the weights it was made from, and to the OpenVINO that made it. Both
are in the name of its folder, so an older one is never taken for it.
"""

import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path

from grounded_labeler.models.detectors import export_detector
from grounded_labeler.models.segmenters import export_segmenter
from grounded_labeler.weights.catalog import SEGMENTERS, Model
from grounded_labeler.weights.checksums import sha256_of

# To be raised when the graphs are made in another way.
EDITION = "4"
_DIGITS = 12


def export_dir(model: Model, model_dir: Path) -> Path:
    """Where the graphs of `model` lie, if they were made."""
    digest = hashlib.sha256(f"{EDITION} {version('openvino')}".encode())
    for sum_of_file in _sums(model):
        digest.update(sum_of_file.encode())
    return model_dir / "openvino" / f"{_name(model)}-{digest.hexdigest()[:_DIGITS]}"


def export(model: Model, model_dir: Path) -> bool:
    """Make the graphs of `model`, whose files are here, unless they are made; whether it did.

    Those of other weights or of another OpenVINO are removed. Raises WeightsError as
    loading the model does, OSError when they cannot be written.
    """
    folder = export_dir(model, model_dir)
    if folder.is_dir():
        return False
    source = model.folder(model_dir)
    if model in SEGMENTERS.values():
        export_segmenter(model.engine, source, folder)
    else:
        tokenizers = [shared.folder(model_dir) for shared in model.shared]
        export_detector(model.engine, source, folder, tokenizers[0] if tokenizers else None)
    for old in folder.parent.glob(f"{_name(model)}-{'?' * _DIGITS}"):
        if old != folder:
            shutil.rmtree(old)
    return True


def _name(model: Model) -> str:
    # The demo's detector and segmenter have one name.
    return f"{model.name}-{model.engine}"


def _sums(model: Model) -> list[str]:
    if model.bundled is None:
        return [file.sha256 for file in model.files]
    files = sorted(path for path in model.folder(Path()).iterdir() if path.is_file())
    return [sha256_of(path) for path in files]
