"""SAM 3: phrases to boxes, and boxes and clicks to masks. torch is imported when it is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from grounded_labeler.models.detectors.detector import Options

if TYPE_CHECKING:
    from grounded_labeler.models.sam3.model import Sam3


def load_sam3(folder: Path, options: Options) -> "Sam3":
    """Load the model in `folder` as one object that is a Detector and a Segmenter.

    It encodes an image once for both. `folder` is in the hub's layout; nothing is downloaded, and
    on a CPU where `options.exported` holds the model's graphs, nothing of it is read.
    Raises WeightsError when its files are missing, damaged or not of this model, or hold no
    tracker, and SettingsError for a size to resize images to: SAM 3 has one of its own.
    """
    from grounded_labeler.models.sam3.model import load_both  # noqa: PLC0415

    return load_both(folder, options)


def export_sam3(folder: Path, into: Path) -> None:
    """Write all graphs of the model in `folder` for OpenVINO into the folder `into`: minutes.

    They are the same whether the model will detect, segment or both. Raises WeightsError as
    `load_sam3` does.
    """
    from grounded_labeler.models.runtime.openvino_export import export  # noqa: PLC0415
    from grounded_labeler.models.sam3.build import load  # noqa: PLC0415

    parts = load(folder)
    export(parts.graphs, into, parts.facts, parts.tokenizer)
