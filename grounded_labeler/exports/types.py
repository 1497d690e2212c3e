"""A dataset before it is written: images, what is in each of them, and what belongs together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import CocoRle
from grounded_labeler.core.rotated import RotatedBox


@dataclass(frozen=True, eq=False)
class ExportObject:
    """One object of an image.

    Attributes:
        label: its label, or the phrase that found it where no label fits.
        box: float32 (4,), xyxy in pixels of the displayed image, half-open.
        mask: a mask of the size of the image; None without one.
        rotated: the box as somebody turned it; None for one that is upright.
        score: in [0, 1]; None for what a person drew.
    """

    label: str
    box: NDArray[np.float32]
    mask: CocoRle | None = None
    rotated: RotatedBox | None = None
    score: float | None = None


@dataclass(frozen=True, eq=False)
class ExportImage:
    """One image that was looked at; without objects it is there all the same.

    Attributes:
        name: what its source calls it, a relative path with "/", each name once.
        size_hw: height and width of the displayed image in pixels.
        objects: what is in it, best first.
        group: images of one group stay on one side of a split; "" belongs with no other.
        read: reads the image file; raises ImageError when it cannot be had.
        path: the file on this machine, where it is one.
        address: what Label Studio calls the image, where it is one of a task.
        is_annotated: whether the objects are what people submitted, and not what models found.
    """

    name: str
    size_hw: tuple[int, int]
    objects: tuple[ExportObject, ...]
    group: str
    read: Callable[[], bytes]
    path: Path | None = None
    address: str | None = None
    is_annotated: bool = False


@dataclass(frozen=True)
class LeftOut:
    """An image that is not in the dataset: what its source calls it, and a sentence why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ExportDataset:
    """What a run or a project holds.

    Attributes:
        images: all that were looked at.
        classes: the labels of the project in its order, then phrases that no label fits. A label
            of an object that is not among them comes after them.
        left_out: the images that could not be looked at.
        stretch: whether images of more than 8 bits a channel were stretched when looked at.
    """

    images: tuple[ExportImage, ...]
    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    stretch: bool = False


@dataclass(frozen=True, eq=False)
class PlacedImage:
    """An image with its place in the dataset.

    Attributes:
        number: from 1 on, each once.
        file_name: the name of its file, without a folder; no two have the same stem.
        split: the name of the side it is on.
        image: what is in it: boxes and masks lie inside it, and no mask is without a pixel.
    """

    number: int
    file_name: str
    split: str
    image: ExportImage

    @property
    def stem(self) -> str:
        """The name of its file without the ending."""
        return PurePosixPath(self.file_name).stem


@dataclass(frozen=True, eq=False)
class PlacedDataset:
    """What the writers of forms have: every image in its place.

    Attributes:
        images: those that are in the dataset, by number.
        classes: every label of an object once; the place is the number of the class, from 0.
        splits: the names of the sides in their order, one without a split.
        has_files: whether image files lie beside what is written.
    """

    images: tuple[PlacedImage, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    has_files: bool

    def name_of(self, placed: PlacedImage) -> str:
        """What an image is called in a list of images: without files, as its source does."""
        return placed.file_name if self.has_files else placed.image.name

    def of(self, split: str) -> list[PlacedImage]:
        """The images on one side."""
        return [placed for placed in self.images if placed.split == split]


class FormWriter(Protocol):
    """Writes everything but the image files of a dataset, in one form."""

    def __call__(self, folder: Path, dataset: PlacedDataset, /) -> None:
        """Write into `folder`, which is there; raises ExportError, and OSError."""


@dataclass(frozen=True)
class Form:
    """A form that people train with.

    Attributes:
        write: what writes it.
        images: the folder of the image files of a split, below that of the form.
    """

    write: FormWriter
    images: Callable[[str], str]
