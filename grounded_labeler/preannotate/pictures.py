"""The images of tasks, fetched once more where they are to be looked at."""

from grounded_labeler.fetch import Fetcher
from grounded_labeler.images import decode, displayed_size
from grounded_labeler.looks import Task, address_of
from grounded_labeler.service import make_fetcher, origin_of
from grounded_labeler.settings import Settings
from grounded_labeler.structures import RGBImage
from grounded_labeler.targets import ImageTarget


class Pictures:
    """Where the settings say that images are, by the same rules as the service's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fetcher: Fetcher = make_fetcher(settings)

    def image(self, task: Task, target: ImageTarget) -> RGBImage:
        """Raises ImageError when it cannot be had any more."""
        return decode(self._read(task, target), max_pixels=self._settings.max_image_pixels)

    def size_wh(self, task: Task, target: ImageTarget) -> tuple[int, int]:
        """The width and height at which it is displayed; raises ImageError as `image` does."""
        pixels = self._settings.max_image_pixels
        return displayed_size(self._read(task, target), max_pixels=pixels)

    def _read(self, task: Task, target: ImageTarget) -> bytes:
        number = task["id"] if isinstance(task["id"], int) else None
        return self._fetcher.fetch(address_of(task, target), origin_of(self._settings), number)
