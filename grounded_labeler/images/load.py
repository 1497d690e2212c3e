"""Load an image from whatever a Python program has of it."""

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import ImageError
from grounded_labeler.images.decode import decode, from_pillow

# The path of a file, the bytes of a file, a Pillow image, or uint8 RGB pixels (H, W, 3).
ImageSource = str | PathLike[str] | bytes | Image.Image | NDArray[np.uint8]


def load_image(source: ImageSource, *, max_pixels: int, stretch: bool = False) -> RGBImage:
    """Load an image as uint8 RGB (H, W, 3), upright, in memory of its own.

    With `stretch`, channels of more than 8 bits are stretched, as `decode` does.

    Raises ImageError when a file cannot be read or is no image, TypeError and ValueError
    for anything else that is none.
    """
    if isinstance(source, Image.Image):
        return from_pillow(source, max_pixels=max_pixels, stretch=stretch)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise ValueError(
                "An image array must be uint8 RGB of shape (H, W, 3), "
                f"not {source.dtype} of shape {source.shape}."
            )
        return source.copy()
    if isinstance(source, bytes):
        return decode(source, max_pixels=max_pixels, stretch=stretch)
    if not isinstance(source, str | PathLike):
        raise TypeError(
            "An image must be a path, bytes, a PIL image or a uint8 RGB array, "
            f"not {type(source).__name__}."
        )
    try:
        return decode(Path(source).read_bytes(), max_pixels=max_pixels, stretch=stretch)
    except OSError as error:
        raise ImageError(f"{source} cannot be read: {error.strerror}.") from error
    except ImageError as error:
        raise ImageError(f"{source}: {error}") from error
