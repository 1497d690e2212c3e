"""Both sides of the comparison, loaded on one device when a part first asks for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import torch

from benchmarks.agreement import demo_folder
from benchmarks.asking import Album, prompts
from benchmarks.images import serving
from grounded_labeler.cache import ByteCache
from grounded_labeler.models.runtime.device import Compute, Precision, usable_cores

if TYPE_CHECKING:
    from benchmarks.full_size import Folders
    from benchmarks.ours import Ours
    from benchmarks.reference import Reference
    from grounded_labeler.models.detectors import Detector

Models = Literal["full", "demo"]
# What a service on a GPU computes in by default comes first.
PRECISIONS: tuple[Precision, ...] = ("fp16", "bf16", "fp32")
NO_REFERENCE = "the examples' calls are those of the full-size models"
_CACHE_BYTES = 2**28


def gpu_is_missing() -> str | None:
    """Return why PyTorch cannot compute on a GPU; None if it can."""
    if torch.cuda.is_available():
        return None
    built = "" if torch.version.cuda else ": this PyTorch was built without CUDA"
    return f"PyTorch {torch.__version__} finds no GPU{built}"


class Sides:
    """Ours in several precisions, and the reference, which is in float32.

    Of the full-size models, or of the bundled ones, which are no reference's.
    """

    def __init__(self, models: Models, device: str, album: Album, address: str) -> None:
        """`address` is where the images of `album` are served."""
        self.models, self.device, self.album, self.address = models, device, album, address
        self.threads = int(os.environ.get("OMP_NUM_THREADS") or usable_cores())
        self._ours: dict[Precision, Ours] = {}
        self._prompts = prompts()

    @classmethod
    @contextmanager
    def of(cls, models: Models, device: str) -> Iterator[Self]:
        """Serve images as long as the context is open."""
        album = Album()
        with serving(album) as address:
            yield cls(models, device, album, address)

    @property
    def is_small(self) -> bool:
        """Whether the models are the bundled ones, to try the measurements with."""
        return self.models == "demo"

    def rounds(self, count: int) -> int:
        """How often something is measured: once where it is only tried."""
        return 1 if self.is_small else count

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that are measured; the one a service takes by default comes first."""
        return PRECISIONS if self.device == "cuda" else ("fp32", "bf16")

    @cached_property
    def folders(self) -> "Folders":
        """The files of the full-size models, drawn when they are first needed."""
        from benchmarks.full_size import make_models  # noqa: PLC0415

        return make_models()

    @cached_property
    def reference(self) -> "Reference | None":
        """The examples' calls; None beside the bundled models."""
        if self.is_small:
            return None
        from benchmarks.reference import Reference  # noqa: PLC0415

        return Reference.load(self.folders, self.device)

    def compute(self, precision: Precision) -> Compute:
        return Compute(self.device, precision, self.threads)

    def ours(self, precision: Precision) -> "Ours":
        """The whole application, computed by PyTorch in `precision`; it stays loaded."""
        from benchmarks.ours import ModelStages, Ours  # noqa: PLC0415
        from grounded_labeler.models.detectors import Options, load_detector  # noqa: PLC0415
        from grounded_labeler.models.segmenters import load_segmenter  # noqa: PLC0415

        if precision not in self._ours:
            compute = self.compute(precision)
            if self.is_small:
                cache, observer = ByteCache(_CACHE_BYTES), ModelStages()
                options = Options(compute, cache=cache, observer=observer)
                self._ours[precision] = Ours(
                    load_detector("transformers", demo_folder("detector"), options),
                    load_segmenter(
                        "sam", demo_folder("segmenter"), compute, cache=cache, observer=observer
                    ),
                    cache,
                    observer,
                )
            else:
                self._ours[precision] = Ours.load(self.folders, compute, exported=False)
        return self._ours[precision]

    def detector(self, precision: Precision, batch_size: int) -> "Detector":
        """A detector that keeps nothing of the images it has seen."""
        from grounded_labeler.models.detectors import Options, load_detector  # noqa: PLC0415

        options = Options(self.compute(precision), batch_size=batch_size)
        if self.is_small:
            return load_detector("transformers", demo_folder("detector"), options)
        return load_detector(
            "groundingdino", self.folders.detector, options, self.folders.tokenizer
        )

    def new_image(self, size_wh: tuple[int, int]) -> str:
        """The address of an image that nobody has seen."""
        return f"{self.address}/{self.album.new(size_wh)}"

    def new_prompt(self) -> str:
        """A prompt that nobody has typed, of as many tokens as all others."""
        return next(self._prompts)
