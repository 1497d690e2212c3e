"""The pictures of tasks, fetched once more where they are to be looked at."""

import io

from PIL import ExifTags, Image

from grounded_labeler.fetch import Fetcher
from grounded_labeler.images import decode
from grounded_labeler.looks import Task
from grounded_labeler.service import make_fetcher, origin_of
from grounded_labeler.settings import Settings
from grounded_labeler.structures import RGBImage
from grounded_labeler.targets import ImageTarget

_LYING = (5, 6, 7, 8)  # EXIF orientations of a quarter turn


class Pictures:
    """Where the settings say that pictures are, by the same rules as the service's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fetcher: Fetcher = make_fetcher(settings)

    def image(self, task: Task, target: ImageTarget) -> RGBImage:
        """Raises ImageError when it cannot be had any more."""
        return decode(self._read(task, target), max_pixels=self._settings.max_image_pixels)

    def size_wh(self, task: Task, target: ImageTarget) -> tuple[int, int]:
        """The width and height at which it is displayed; raises ImageError as `image` does."""
        with Image.open(io.BytesIO(self._read(task, target))) as image:
            lies = image.getexif().get(ExifTags.Base.Orientation, 1) in _LYING
            return (image.height, image.width) if lies else image.size

    def _read(self, task: Task, target: ImageTarget) -> bytes:
        number = task["id"] if isinstance(task["id"], int) else None
        uri = str(task["data"][target.data_key])
        return self._fetcher.fetch(uri, origin_of(self._settings), number)
