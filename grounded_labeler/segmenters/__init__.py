"""Boxes to masks. Nothing here imports torch until a segmenter is loaded."""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from grounded_labeler.errors import SettingsError
from grounded_labeler.structures import Boxes, Masks, RGBImage

_MODULES = {"sam": "sam", "mobile-sam": "mobile_sam"}


class Segmenter(Protocol):
    """Outlines what is in each box. Keeps no image: threads may share one."""

    device: str

    def segment(self, image: RGBImage, boxes: Boxes) -> Masks:
        """One mask per box, in the boxes' order.

        `image` is uint8 RGB (H, W, 3), `boxes` float32 (N, 4) xyxy in its pixels;
        the masks are bool (N, H, W). N may be 0. Raises OutOfMemory when the image,
        or a single box of it, is too much for the device.
        """
        ...


def load_segmenter(engine: str, folder: Path, device: str) -> Segmenter:
    """The segmenter whose weights lie in `folder`, ready on `device` ("cpu", "cuda").

    `engine` is "sam" or "mobile-sam". Raises SettingsError for another engine and
    WeightsError when the files are missing, damaged or not of that engine.
    """
    if engine not in _MODULES:
        raise SettingsError(
            f"The segmenter engine must be one of {', '.join(_MODULES)}, got {engine!r}."
        )
    module = import_module(f"{__name__}.{_MODULES[engine]}")
    return cast(Segmenter, module.load(folder, device))
