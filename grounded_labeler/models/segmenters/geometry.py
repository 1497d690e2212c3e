"""How an image of any size becomes a model's square, and a model's grid the image again."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torchvision.transforms.v2 import functional

from grounded_labeler.core.types import RGBImage
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

    def resize(self, image: RGBImage) -> Tensor:
        """Return the image at that size: uint8 (3, h, w), 0 to 255."""
        ...

    def upscaler(self, grid_hw: tuple[int, int], size_hw: tuple[int, int], device: str) -> Upscaler:
        """Return what brings logits on the model's grid to masks of `size_hw`."""
        ...


@dataclass(frozen=True)
class PaddedSquare:
    """The image keeps its ratio and is padded below or to the right, as SAM has it."""

    side: int

    def input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """See `Geometry.input_hw`."""
        height, width = ResizeLongestSide.get_preprocess_shape(*size_hw, self.side)
        # An image a thousand times longer than wide would lose its short side altogether.
        return max(1, height), max(1, width)

    def resize(self, image: RGBImage) -> Tensor:
        """See `Geometry.resize`; by Pillow, as SamPredictor does."""
        height, width = self.input_hw((image.shape[0], image.shape[1]))
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

    def upscaler(self, grid_hw: tuple[int, int], size_hw: tuple[int, int], device: str) -> Upscaler:
        """See `Geometry.upscaler`."""
        return Upscaler.through_square(grid_hw, self.side, self.input_hw(size_hw), size_hw, device)


@dataclass(frozen=True)
class SquashedSquare:
    """The image fills the square, whatever its ratio, as SAM 2 has it."""

    side: int

    def input_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """See `Geometry.input_hw`."""
        return self.side, self.side

    def resize(self, image: RGBImage) -> Tensor:
        """See `Geometry.resize`; by torchvision, as Sam2ImageProcessor does.

        Pillow's rounds otherwise: some pixels differ by 1.
        """
        pixels = torch.tensor(image).permute(2, 0, 1)
        resized: Tensor = functional.resize(pixels, [self.side, self.side], antialias=True)
        return resized

    def upscaler(self, grid_hw: tuple[int, int], size_hw: tuple[int, int], device: str) -> Upscaler:
        """See `Geometry.upscaler`."""
        return Upscaler.direct(grid_hw, size_hw, device)
