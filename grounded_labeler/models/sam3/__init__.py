"""SAM 3: phrases to boxes, and boxes and clicks to masks. torch is imported when it is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from grounded_labeler.models.detectors.detector import Options

if TYPE_CHECKING:
    from grounded_labeler.models.sam3.detector import Sam3Detector


def load_sam3_detector(folder: Path, options: Options) -> "Sam3Detector":
    """Load the model in `folder` as a detector alone; raises as `load_sam3` does."""
    from grounded_labeler.models.sam3.model import load_detector  # noqa: PLC0415

    return load_detector(folder, options)


def export_sam3(folder: Path, into: Path) -> None:
    """Write all graphs of the model in `folder` for OpenVINO into the folder `into`: minutes.

    They are the same whether it will detect, segment or both. Raises as `load_sam3` does.
    """
    from grounded_labeler.models.runtime.openvino import export  # noqa: PLC0415
    from grounded_labeler.models.sam3.build import load  # noqa: PLC0415

    export(load(folder).graphs, into)
