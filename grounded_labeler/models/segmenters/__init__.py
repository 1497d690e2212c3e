"""Boxes and clicks to masks. Nothing here imports torch until a segmenter is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from grounded_labeler.cache import Cache
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import SettingsError
from grounded_labeler.models.observer import NO_OBSERVER, Observer
from grounded_labeler.models.runtime.device import Compute

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from grounded_labeler.models.segmenters.sam import SamSegmenter


class Segmenter(Protocol):
    """Finds the mask of what a box holds or clicks point at. Threads may share one."""

    device: str

    def segment(self, image: DecodedImage, prompts: VisualPrompts) -> list[Segment]:
        """One mask of the whole image per prompt, in the prompts' order, with its score.

        One point alone may mean several things: the mask is then the one that the model
        itself holds for the best of three. The prompts of a single object are refined by
        what those before its last click gave, if that is kept. Raises OutOfMemory when the
        image, or a single prompt of it, is too much for the device.
        """
        ...

    def encode(self, image: DecodedImage) -> None:
        """Compute what all prompts of an image share, and keep it for them."""
        ...

    def release(self) -> None:
        """Give back memory that is needed only while the segmenter runs; the next run is slower."""
        ...


def load_segmenter(
    engine: str,
    folder: Path,
    compute: Compute,
    *,
    exported: Path | None = None,
    cache: Cache | None = None,
    observer: Observer = NO_OBSERVER,
) -> "SamSegmenter":
    """Load the segmenter whose weights are in `folder`.

    `engine` is "sam" or "mobile-sam"; `exported` is where `export_segmenter` wrote, if it
    did. Image embeddings, and the logits of clicks, go into `cache`. Raises SettingsError for
    another engine and WeightsError when the files are missing, damaged or not of that
    engine.
    """
    model = _load_model(engine, folder)
    from grounded_labeler.models.segmenters.sam import SamSegmenter  # noqa: PLC0415

    return SamSegmenter(model, compute, exported=exported, cache=cache, observer=observer)


def export_segmenter(engine: str, folder: Path, into: Path) -> None:
    """Write the segmenter's graphs for OpenVINO into the folder `into`: half a minute.

    Raises as `load_segmenter` does.
    """
    from grounded_labeler.models.runtime.openvino import export  # noqa: PLC0415
    from grounded_labeler.models.segmenters.sam import split  # noqa: PLC0415

    export(split(_load_model(engine, folder).eval()), into)


def _load_model(engine: str, folder: Path) -> "Sam":
    if engine == "sam":
        from grounded_labeler.models.segmenters import sam_build as sam_model  # noqa: PLC0415

        return sam_model.load_model(folder)
    if engine == "mobile-sam":
        from grounded_labeler.models.segmenters import mobile_sam_build as mobile_sam  # noqa: PLC0415

        return mobile_sam.load_model(folder)
    raise SettingsError(f"The segmenter engine must be one of sam, mobile-sam, got {engine!r}.")
