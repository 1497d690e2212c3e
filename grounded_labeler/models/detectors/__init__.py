"""Detectors: images and phrases in, scored boxes out. Nothing here imports torch until needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.errors import SettingsError
from grounded_labeler.models.observer import NO_OBSERVER, Observer
from grounded_labeler.models.runtime.device import Compute

if TYPE_CHECKING:
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
    from grounded_labeler.models.detectors.parts import Parts

GPU_BATCH = 8  # images in a batch on a GPU; on a CPU, one


class Detector(Protocol):
    """Finds the objects that phrases name.

    `device` is "cpu" or "cuda"; `batch_size` is how many images it encodes at once.
    """

    device: str
    batch_size: int

    def detect(
        self, images: Sequence[DecodedImage], phrases: Sequence[Sequence[str]]
    ) -> list[Candidates]:
        """Return all boxes and scores of each image, in order, before any threshold.

        Images may be of any sizes; `phrases[i]`, none of them empty, are the
        prompt for image i. Boxes are in pixels of the image given. No phrases, or none with a
        token, means no boxes. Raises BadRequest when a phrase is longer than the model
        can read, OutOfMemory when an image does not fit however far the
        detector downscales it.
        """
        ...

    def release(self) -> None:
        """Give back memory that is needed only while the detector runs; the next run is slower."""
        ...


@dataclass(frozen=True)
class Options:
    """How a detector runs.

    `batch_size` None means 1 on a CPU, where more is no faster, and 8 elsewhere.
    `short_side` is what images are resized to, in pixels, None for the model's own.
    `exported` is where `export_detector` wrote, if it did. Encoder outputs go
    into `cache`; `observer` sees the stages.
    """

    compute: Compute = field(default_factory=Compute)
    batch_size: int | None = None
    short_side: int | None = None
    exported: Path | None = None
    cache: ByteCache = field(default_factory=lambda: ByteCache(0))
    observer: Observer = NO_OBSERVER


def load_detector(
    engine: str, folder: Path, options: Options, tokenizer_folder: Path | None = None
) -> "GroundingDetector":
    """Load the detector whose weights are in `folder`; nothing is downloaded.

    `engine` is "transformers", with all its files in `folder`, or "groundingdino",
    with a checkpoint in `folder` and `vocab.txt` in `tokenizer_folder` (None: the
    same folder). Raises SettingsError for another engine and WeightsError when the
    files are missing, damaged or not of that engine.
    """
    from grounded_labeler.models.detectors.grounding_dino import GroundingDetector  # noqa: PLC0415

    parts = _load_parts(engine, folder, tokenizer_folder, options.short_side)
    return GroundingDetector(parts, options)


def export_detector(
    engine: str, folder: Path, into: Path, tokenizer_folder: Path | None = None
) -> None:
    """Write the detector's graphs for OpenVINO into the folder `into`: a minute or two.

    Raises as `load_detector` does.
    """
    from grounded_labeler.models.runtime.openvino import export  # noqa: PLC0415

    export(_load_parts(engine, folder, tokenizer_folder, None).graphs, into)


def _load_parts(
    engine: str, folder: Path, tokenizer_folder: Path | None, short_side: int | None
) -> "Parts":
    if engine == "transformers":
        from grounded_labeler.models.detectors import huggingface_build as hf  # noqa: PLC0415

        return hf.load(folder, short_side)
    if engine == "groundingdino":
        from grounded_labeler.models.detectors import official as groundingdino  # noqa: PLC0415

        return groundingdino.load(folder, tokenizer_folder or folder, short_side)
    raise SettingsError(
        f"The detector engine must be transformers or groundingdino, got {engine!r}."
    )
