"""An image as a segmenter's square has it, before it is normalised."""

from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.models.pixels import resize
from grounded_labeler.models.segmenters.geometry import Geometry


def resized(geometry: Geometry, image: RGBImage) -> RGBImage:
    """Resize an image to the size that it has in the square."""
    sizes_hw = geometry.sizes_hw((image.shape[0], image.shape[1]))
    return resize(image, sizes_hw, Image.Resampling.BILINEAR)
