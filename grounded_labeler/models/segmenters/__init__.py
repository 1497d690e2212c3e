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
    or not of that engine. On a CPU where `exported` holds the model's graphs, nothing else is
    read.
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
    _check_engine(engine)
    from grounded_labeler.models.runtime.choice import find_exported  # noqa: PLC0415
    from grounded_labeler.models.segmenters.facts import GRAPHS  # noqa: PLC0415

    folder = find_exported(GRAPHS, compute, exported)
    if folder is not None:
        return from_folder(folder, compute, cache=cache, observer=observer)
    architecture = _load(engine, weights)
    return from_architecture(
        architecture, compute, exported=exported, cache=cache, observer=observer
    )


def from_folder(
    folder: Path, compute: Compute, *, cache: Cache | None = None, observer: Observer = NO_OBSERVER
) -> "PromptSegmenter":
    """Make a segmenter of the graphs that `export_segmenter` wrote into `folder`.

    The other arguments are those of `load_segmenter`. Raises WeightsError when a file of the
    folder is missing or damaged.
    """
    from grounded_labeler.models.runtime.choice import exported_graphs  # noqa: PLC0415
    from grounded_labeler.models.runtime.facts import read_facts  # noqa: PLC0415
    from grounded_labeler.models.segmenters.facts import GRAPHS, SegmenterFacts  # noqa: PLC0415
    from grounded_labeler.models.segmenters.segmenter import PromptSegmenter  # noqa: PLC0415

    facts, graphs = read_facts(folder, SegmenterFacts), exported_graphs(GRAPHS, compute, folder)
    return PromptSegmenter(facts, graphs, compute.device, cache=cache, observer=observer)


def from_architecture(
    architecture: "Architecture",
    compute: Compute,
    *,
    exported: Path | None = None,
    cache: Cache | None = None,
    observer: Observer = NO_OBSERVER,
    boxes_per_decode: int | None = None,
) -> "PromptSegmenter":
    """Make a segmenter of a model's modules, which PyTorch computes.

    The other arguments are those of `load_segmenter` and of `PromptSegmenter`.
    """
    from grounded_labeler.models.runtime.choice import pytorch_graphs  # noqa: PLC0415
    from grounded_labeler.models.segmenters.segmenter import PromptSegmenter  # noqa: PLC0415

    return PromptSegmenter(
        architecture.facts,
        pytorch_graphs(architecture.parts, compute, exported),
        compute.device,
        cache=cache,
        boxes_per_decode=boxes_per_decode,
        observer=observer,
    )


def export_segmenter(engine: str, weights: Path, into: Path) -> None:
    """Write the segmenter's graphs for OpenVINO into the folder `into`: half a minute.

    Raises as `load_segmenter` does.
    """
    if engine == "sam3":
        from grounded_labeler.models.sam3 import export_sam3  # noqa: PLC0415

        export_sam3(weights, into)
        return
    _check_engine(engine)
    from grounded_labeler.models.runtime.openvino_export import export  # noqa: PLC0415

    architecture = _load(engine, weights)
    export(architecture.parts, into, architecture.facts)


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise SettingsError(
            f"The segmenter engine must be one of {', '.join(ENGINES)}, got {engine!r}."
        )


def _load(engine: str, weights: Path) -> "Architecture":
    if engine == "sam2":
        from grounded_labeler.models.segmenters import sam2_build  # noqa: PLC0415

        return sam2_build.load(weights)
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
