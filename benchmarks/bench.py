"""What the parts of the benchmark share: images and prompts, both sides, how often to measure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console

from benchmarks.asking import Album, prompts
from benchmarks.full_size import Folders
from benchmarks.ours import Ours
from benchmarks.reference import Reference
from grounded_labeler.models.runtime.device import Compute

# Of one of this project's own images, 800 x 1066 when the detector sees it; counted by
# torch, and nearly all of it grows with the pixels.
_DETECT_GFLOP, _DETECT_PIXELS = 660, 800 * 1066
_SHORT_SIDE, _LONG_SIDE = 800, 1333


@dataclass(eq=False)
class Bench:
    """One run of the benchmark; models are loaded when a part first asks for them.

    `address` is where the images of `album` are served. `machine` has its facts. Of
    what is measured several times, `rounds` says how often.
    """

    album: Album
    address: str
    folders: Folders
    compute: Compute
    machine: Mapping[str, Any]
    rounds: int = 3
    is_quick: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def __post_init__(self) -> None:
        self._prompts = prompts()

    @cached_property
    def ours(self) -> Ours:
        return Ours.load(self.folders, self.compute)

    @cached_property
    def reference(self) -> Reference:
        return Reference.load(self.folders, self.compute.device)

    def new_image(self, size_wh: tuple[int, int]) -> str:
        """The address of an image that nobody has seen."""
        return f"{self.address}/{self.album.new(size_wh)}"

    def new_prompt(self) -> str:
        """A prompt that nobody has typed, of as many tokens as all others."""
        return next(self._prompts)

    def say(self, what: str) -> None:
        """Tell whoever waits what is measured now."""
        self.console.print(f"[dim]{what}[/dim]", highlight=False)

    def share_of_matmul(
        self, seconds: float | None, size_wh: tuple[int, int], precision: str = "float32"
    ) -> float:
        """How much of the speed of torch's matmul a detector reaches that takes `seconds`.

        It may be over 1: not everywhere is torch's the fastest.
        """
        if not seconds:
            return 0.0
        scale = min(_SHORT_SIDE / min(size_wh), _LONG_SIDE / max(size_wh))
        pixels = size_wh[0] * size_wh[1] * scale**2
        speed = _DETECT_GFLOP * pixels / _DETECT_PIXELS / seconds
        return speed / float(self.machine[f"GFLOP/s {precision}"])
