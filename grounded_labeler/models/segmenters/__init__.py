"""Boxes and clicks to masks. Nothing here imports torch until a segmenter is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from grounded_labeler.cache import ByteCache, Cache
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.core.visual_prompts import Segment, VisualPrompts
from grounded_labeler.errors import SettingsError
from grounded_labeler.models.observer import NO_OBSERVER, Observer
from grounded_labeler.models.runtime.device import Compute

if TYPE_CHECKING:
    from grounded_labeler.models.segmenters.architecture import Architecture
    from grounded_labeler.models.segmenters.segmenter import PromptSegmenter

ENGINES = ("sam", "mobile-sam", "sam2", "sam3")


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
    weights: Path,
    compute: Compute,
    *,
    exported: Path | None = None,
    cache: Cache | None = None,
    observer: Observer = NO_OBSERVER,
) -> "PromptSegmenter":
    """Load a segmenter.

    Args:
        engine: one of `ENGINES`.
        weights: the folder of its files. For "sam" and "mobile-sam" also one file of any name
            with a ViT-B, ViT-L, ViT-H or MobileSAM in segment-anything's layout, as
            fine-tuning scripts save it: its tensors say which it is.
        compute: the device, the precision and the threads.
        exported: where `export_segmenter` wrote, if it did.
        cache: takes the features of images and the logits of clicks. It is one model's: give
            each of several models its own `ByteCache.for_model`.
        observer: watches the stages.

    Raises SettingsError for another engine, WeightsError when the files are missing, damaged
    or not of that engine.
    """
    if engine == "sam3":
        from grounded_labeler.models.detectors.detector import Options  # noqa: PLC0415
        from grounded_labeler.models.sam3 import model as sam3  # noqa: PLC0415

        options = Options(
            compute,
            exported=exported,
            cache=ByteCache(0) if cache is None else cache,
            observer=observer,
        )
        return sam3.load_segmenter(weights, options)
    architecture = _load(engine, weights)
    from grounded_labeler.models.segmenters.segmenter import PromptSegmenter  # noqa: PLC0415

    return PromptSegmenter(architecture, compute, exported=exported, cache=cache, observer=observer)


def export_segmenter(engine: str, weights: Path, into: Path) -> None:
    """Write the segmenter's graphs for OpenVINO into the folder `into`: half a minute.

    Raises as `load_segmenter` does.
    """
    if engine == "sam3":
        from grounded_labeler.models.sam3 import export_sam3  # noqa: PLC0415

        export_sam3(weights, into)
        return
    from grounded_labeler.models.runtime.openvino import export  # noqa: PLC0415

    export(_load(engine, weights).parts, into)


def _load(engine: str, weights: Path) -> "Architecture":
    if engine == "sam2":
        from grounded_labeler.models.segmenters import sam2_build  # noqa: PLC0415

        return sam2_build.load(weights)
    if engine not in ENGINES:
        raise SettingsError(
            f"The segmenter engine must be one of {', '.join(ENGINES)}, got {engine!r}."
        )
    from grounded_labeler.models.segmenters import (  # noqa: PLC0415
        mobile_sam_build,
        sam,
        sam_build,
        sam_checkpoint,
    )

    if not weights.is_dir():
        return sam.architecture(sam_checkpoint.load_model(weights))
    build = mobile_sam_build if engine == "mobile-sam" else sam_build
    return sam.architecture(build.load_model(weights))
