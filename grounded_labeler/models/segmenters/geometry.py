"""How an image of any size becomes a model's square, and a model's grid the image again."""

from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.models.segmenters.mask_upscaling import Upscaler


class Geometry(Protocol):
    """Where the pixels of an image lie in the square that a model sees."""

    @property
    def side(self) -> int:
        """Return the square's side in pixels."""
        ...

    def input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size that an image of `size_hw` has in the square, from its first corner."""
        ...

    def sizes_hw(self, size_hw: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return what an image of `size_hw` is resized to, one after the other, up to that size."""
        ...

    def upscaler(self, grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> Upscaler:
        """Return what brings logits on the model's grid to masks of `size_hw`."""
        ...


@dataclass(frozen=True)
class PaddedSquare:
    """The image keeps its ratio and is padded below or to the right, as SAM has it."""

    side: int

    def input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """See `Geometry.input_hw`; as `ResizeLongestSide.get_preprocess_shape`."""
        scale = self.side * 1.0 / max(size_hw)
        height, width = (int(length * scale + 0.5) for length in size_hw)
        # An image a thousand times longer than wide would lose its short side altogether.
        return max(1, height), max(1, width)

    def sizes_hw(self, size_hw: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """See `Geometry.sizes_hw`; as SamPredictor does."""
        return (self.input_hw(size_hw),)

    def upscaler(self, grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> Upscaler:
        """See `Geometry.upscaler`."""
        return Upscaler.through_square(grid_hw, self.side, self.input_hw(size_hw), size_hw)


@dataclass(frozen=True)
class SquashedSquare:
    """The image fills the square, whatever its ratio, as SAM 2 has it."""

    side: int

    def input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """See `Geometry.input_hw`."""
        return self.side, self.side

    def sizes_hw(self, size_hw: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """See `Geometry.sizes_hw`.

        transformers' processors have torchvision do the same with fewer bits: of an image of
        noise, 1 value in 200 then differs by 1.
        """
        # torchvision goes along rows first. Pillow at times goes along columns first, when a
        # quarter of the values come out 1 higher or lower: both round between the steps.
        return (size_hw[0], self.side), (self.side, self.side)

    def upscaler(self, grid_hw: tuple[int, int], size_hw: tuple[int, int]) -> Upscaler:
        """See `Geometry.upscaler`."""
        return Upscaler.direct(grid_hw, size_hw)
