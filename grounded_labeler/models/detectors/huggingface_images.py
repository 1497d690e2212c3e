"""How a processor of transformers prepares images, as numbers that need no transformers."""

from pathlib import Path

import numpy as np
from PIL import Image
from transformers import BaseImageProcessor

from grounded_labeler.core.types import RGBImage
from grounded_labeler.errors import WeightsError
from grounded_labeler.models.detectors.preprocess import Fit, Preprocessing
from grounded_labeler.models.pixels import RGB, Pixels

# What a processor may say of sizes, and what that is here.
_FITS: dict[tuple[str, str], Fit] = {
    ("shortest_edge", "longest_edge"): "transformers",
    ("max_height", "max_width"): "within",
    ("height", "width"): "exact",
}
_CHECKED_HW = ((97, 160), (160, 97))
# torchvision and Pillow may round a resized value differently, a step of 255.
_MOST_STEPS = 1.01


def preprocessing_of(processor: BaseImageProcessor, folder: Path) -> Preprocessing:
    """Return how `processor`, read from `folder`, prepares images.

    It is tried on images of noise: raises WeightsError when `processor` makes others of them,
    because it does something that `Preprocessing` has no words for.
    """
    try:
        made = _read(processor)
        for size_hw in _CHECKED_HW:
            _check(made, processor, size_hw)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise WeightsError(
            f"{folder} prepares images in a way that does not run here ({error}): expected a "
            "preprocessor_config.json like that of the published model, which resizes to "
            "shortest_edge and longest_edge, rescales and normalises."
        ) from error
    return made


def _read(processor: BaseImageProcessor) -> Preprocessing:
    # Of several the processor itself takes the first.
    fits = [names for names in _FITS if all(getattr(processor.size, name) for name in names)]
    if not processor.do_resize or not fits:
        raise ValueError("it resizes to no size that is known")
    mean, deviation, divisor = (0.0,) * 3, (1.0,) * 3, 1.0
    if processor.do_normalize:
        # As the processor does, rescaling is put into them, in 32 bits.
        factor = np.float32(1 / processor.rescale_factor if processor.do_rescale else 1)
        mean, deviation = (
            _scaled(one, factor) for one in (processor.image_mean, processor.image_std)
        )
    elif processor.do_rescale:
        divisor = 1 / processor.rescale_factor
    first, second = (int(getattr(processor.size, name)) for name in fits[0])
    resample = Image.Resampling(int(processor.resample)).value
    return Preprocessing(_FITS[fits[0]], (first, second), resample, divisor, mean, deviation)


def _scaled(values: object, factor: np.float32) -> RGB:
    red, green, blue = np.broadcast_to(np.array(values, np.float32) * factor, 3).tolist()
    return red, green, blue


def _check(made: Preprocessing, processor: BaseImageProcessor, size_hw: tuple[int, int]) -> None:
    """Raise ValueError unless both make the same of an image of noise."""
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    theirs, ours = prepare_with(processor, image), made.prepare(image)
    if theirs.shape != ours.shape:
        raise ValueError(f"an image of {size_hw} gets {theirs.shape} instead of {ours.shape}")
    step = 1 / (np.array(made.deviation) * made.divisor)
    steps = np.abs(theirs - ours) / step[:, None, None]
    if not steps.max() <= _MOST_STEPS:  # NaN, too
        raise ValueError(f"values differ by {steps.max():.1f} of 255")


def prepare_with(processor: BaseImageProcessor, image: RGBImage) -> Pixels:
    """Let the processor itself prepare an image, (3, h, w)."""
    # A PIL image: a strip 3 pixels high, as an array, passes for channels first.
    values = processor(images=Image.fromarray(image), return_tensors="np")
    return np.asarray(values["pixel_values"][0], np.float32)
