"""Where the images of the playground come from: uploads, samples, the web, a folder, a project."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grounded_labeler._text import shorten
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.errors import BadRequest, GroundedLabelerError, ImageError
from grounded_labeler.images.decode import decode
from grounded_labeler.images.label_studio_auth import Origin
from grounded_labeler.images.source import ImageReader, image_key
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.task_images import Task, address_of
from grounded_labeler.playground.models import Picture
from grounded_labeler.preannotate.image_folder import FolderReader, read_folder

MOST_IMAGES = 50  # of a folder or a project, on one contact sheet
SAMPLES = Path(__file__).parents[1] / "demo" / "samples"


class TaskSource(Protocol):
    """The tasks of one project of Label Studio; raises LabelStudioError."""

    def label_config(self) -> str:
        """Return its labeling interface."""

    def first(self, count: int) -> list[Task]:
        """Return the tasks with the lowest ids, at most `count` of them."""

    def find(self, number: int) -> Task | None:
        """Return the task of that id, None where the project has none."""


@dataclass(frozen=True)
class Reader:
    """Reads and decodes image files.

    `fetcher` fetches what has an address, `origin` is the Label Studio that tasks come from.
    """

    fetcher: ImageReader
    max_bytes: int
    max_pixels: int
    origin: Callable[[], Origin | None] = lambda: None
    stretch: bool = False

    def picture(self, name: str, data: bytes) -> Picture:
        """Decode an image file; raises ImageError."""
        pixels = decode(data, max_pixels=self.max_pixels, stretch=self.stretch)
        key = image_key(hashlib.sha256(data).hexdigest(), stretch=self.stretch)
        return Picture(name, data, DecodedImage(pixels, key))

    def file(self, path: Path) -> Picture:
        """Read and decode a file of this machine that was uploaded or chosen; raises ImageError."""
        data = FolderReader(self.max_bytes).fetch(str(path), None)
        return self.picture(path.name, data)

    def address(self, url: str) -> Picture:
        """Fetch and decode what is at an http or https address; raises ImageError.

        No token goes along, whatever host it is.
        """
        url = url.strip()
        if not url.lower().startswith(("http://", "https://")):
            raise ImageError("The address of an image must begin with http:// or https://.")
        name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
        return self.picture(shorten(name), self.fetcher.fetch(url, None))

    def task(self, source: TaskSource, task: Task) -> Picture:
        """Fetch and decode the image of a task; raises ImageError and BadRequest."""
        target = read_label_config(source.label_config()).images[0]
        data = self.fetcher.fetch(address_of(task, target), self.origin(), task["id"])
        return self.picture(f"task {task['id']}", data)


@dataclass(frozen=True)
class Pictures:
    """All images to choose from: `folder` holds some, `project` others, if there are such."""

    reader: Reader
    folder: tuple[Path, ...] = ()
    project: TaskSource | None = None

    @property
    def samples(self) -> list[Path]:
        """The images that come with the package."""
        return sorted(SAMPLES.glob("*.jpg"))

    def sample(self, number: int) -> Picture:
        """Return one of the samples."""
        return self.reader.file(self.samples[number])

    def task(self, number: int) -> Picture:
        """Return the image of a task; raises GroundedLabelerError where there is none."""
        if self.project is None:
            raise BadRequest("No project is at hand: start the playground with --project NUMBER.")
        task = self.project.find(number)
        if task is None:
            raise BadRequest(f"The project has no task {number}.")
        return self.reader.task(self.project, task)

    def many(self) -> Sequence[tuple[str, Callable[[], Picture]]]:
        """Return the images of the folder or the project, at most MOST_IMAGES, none loaded yet."""
        if self.project is not None:
            project = self.project
            tasks = project.first(MOST_IMAGES)
            return [(f"task {one['id']}", _loading(self.reader, project, one)) for one in tasks]
        return [(path.name, _reading(self.reader, path)) for path in self.folder[:MOST_IMAGES]]

    def labels(self) -> str:
        """Return the label config of the project; empty without one."""
        try:
            return "" if self.project is None else self.project.label_config()
        except GroundedLabelerError:
            return ""


def images_of(folder: Path) -> tuple[Path, ...]:
    """Return the images in a folder and below, by name; raises SettingsError without any."""
    paths = read_folder([folder], folder / "preannotated").paths
    return tuple(path for _, path in sorted(paths.items()))


def _loading(reader: Reader, project: TaskSource, task: Task) -> Callable[[], Picture]:
    return lambda: reader.task(project, task)


def _reading(reader: Reader, path: Path) -> Callable[[], Picture]:
    return lambda: reader.file(path)
