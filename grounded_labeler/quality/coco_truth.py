"""What people say is in the images of a folder, by a COCO file.

https://cocodataset.org/#format-data has the form.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from grounded_labeler._text import shorten
from grounded_labeler.coco import (
    CocoRle,
    checked_coco_rle,
    coco_area,
    coco_box,
    coco_rle_of_polygons,
)
from grounded_labeler.core.boxes import clip_boxes
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.preannotate.image_folder import Folder
from grounded_labeler.preannotate.names import readable
from grounded_labeler.quality.coco_document import (
    Annotation,
    CocoCategory,
    CocoImage,
    Id,
    RunLengths,
    TruthFileError,
    read_document,
)

_MIN_POLYGON = 6  # numbers, of three points

Named = TypeVar("Named", CocoImage, CocoCategory)


@dataclass(frozen=True, eq=False)
class CocoTruth:
    """The truth of the images of a folder that a COCO file lists.

    Attributes:
        truths: by the id of the image's task, its path below the folder. One without annotations
            has nothing in it. The sizes are those that the file has.
        labels: the names of the categories, in the file's order.
        missing: the images that the file lists and the folder does not have, by name.
        unlisted: the images of the folder that the file does not list, which are left out.
        without_area: how many annotations were left out because nothing of their box, or of
            their mask, is in the image.
    """

    truths: dict[str, Truth]
    labels: tuple[str, ...]
    missing: list[str]
    unlisted: list[str]
    without_area: int


def read_coco_truth(path: Path, folder: Folder) -> CocoTruth:
    """Read the truth of a folder's images from a COCO file.

    Images are found by `file_name`, their path below the folder, however its accents are written,
    or else by the name alone where the folder and the file have it once. Segmentations may be
    polygons or run lengths, packed or not; an annotation may have a box alone. What reaches over
    the edge of the image is cut off.

    Raises TruthFileError for a file that cannot be read, is no COCO file, names one image or
    category twice, refers to one that it does not have, or lists no image of the folder.
    """
    document = read_document(path)
    where = readable(path.name)
    images = _by_id(document.images, "images", where)
    categories = _by_id(document.categories, "categories", where)
    annotations: dict[Id, list[Annotation]] = {number: [] for number in images}
    for place, one in enumerate(document.annotations):
        for kind, number, known in (
            ("image", one.image_id, images.keys()),
            ("category", one.category_id, categories.keys()),
        ):
            if number not in known:
                raise TruthFileError(
                    f"{where} has no {kind} {_shown(number)}, which its {_name(one, place)} is of."
                )
        annotations[one.image_id].append(one)
    tasks = _tasks_of([one.name for one in images.values()], folder)
    if not tasks:
        first = next((one.name for one in images.values()), "")
        raise TruthFileError(
            f"{folder.name} has none of the {len(images)} images of {where}"
            + (f', such as "{shorten(first)}".' if images else ".")
        )
    truths: dict[str, Truth] = {}
    without_area = 0
    for number, image in images.items():
        if (task := tasks.get(image.name)) is not None:
            truth = _truth(image, annotations[number], categories, where)
            without_area += len(annotations[number]) - len(truth)
            truths[task] = truth
    return CocoTruth(
        truths=truths,
        labels=tuple(one.name for one in document.categories),
        missing=[one.name for one in images.values() if one.name not in tasks],
        unlisted=sorted({readable(name) for name in folder.paths} - truths.keys()),
        without_area=without_area,
    )


def _by_id(named: Sequence[Named], kind: str, where: str) -> dict[Id, Named]:
    """These images or categories by their ids, of which there is one each, as of their names."""
    for what, values in (("id", [one.id for one in named]), ("name", [one.name for one in named])):
        value, count = next(iter(Counter(values).most_common(1)), (None, 0))
        if count > 1:
            raise TruthFileError(f"{where} has {count} {kind} of the {what} {_shown(value)}.")
    return {one.id: one for one in named}


def _tasks_of(names: Iterable[str], folder: Folder) -> dict[str, str]:
    """The task of each of the file's images that the folder has, by the name in the file."""
    paths = {name.replace("\\", "/"): readable(name) for name in folder.paths}
    written = {name: name.replace("\\", "/").removeprefix("./") for name in names}
    found: dict[str, str] = {}
    # By one thing after the other, those that are left and have it alone.
    for key in (str, _composed, _base):
        taken = set(found.values())
        ours = _once((key(path), task) for path, task in paths.items() if task not in taken)
        theirs = _once((key(path), name) for name, path in written.items() if name not in found)
        found |= {name: ours[own] for own, name in theirs.items() if own in ours}
    return found


def _once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The pairs whose first part comes once."""
    every = list(pairs)
    counts = Counter(first for first, _ in every)
    return {first: second for first, second in every if counts[first] == 1}


def _composed(path: str) -> str:
    # macOS writes an accent as a character of its own, which looks the same.
    return normalize("NFC", path)


def _base(path: str) -> str:
    return _composed(path).rsplit("/", maxsplit=1)[-1]


def _truth(
    image: CocoImage,
    annotations: Sequence[Annotation],
    labels: Mapping[Id, CocoCategory],
    where: str,
) -> Truth:
    size_hw = (image.height, image.width)
    boxes, names, masks, crowd = [], [], [], []
    for place, one in enumerate(annotations):
        try:
            mask = _mask(one.segmentation, size_hw)
        except ValueError as error:
            raise TruthFileError(
                f'In {where}, {_name(one, place)} of image "{shorten(image.name)}" has a '
                f"segmentation that cannot be used: {error}."
            ) from error
        box = _box(one, mask, size_hw)
        if (box[2:] > box[:2]).all():
            boxes.append(box)
            names.append(labels[one.category_id].name)
            masks.append(mask)
            crowd.append(bool(one.iscrowd))
    return Truth(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=tuple(names),
        masks=tuple(masks),
        is_crowd=np.array(crowd, np.bool_),
        size_hw=size_hw,
    )


def _mask(
    segmentation: RunLengths | list[list[float]] | None, size_hw: tuple[int, int]
) -> CocoRle | None:
    """The mask of a segmentation, None for one without a pixel. Raises ValueError."""
    if segmentation is None:
        return None
    if isinstance(segmentation, RunLengths):
        if segmentation.size != size_hw:
            height, width = segmentation.size
            raise ValueError(f"it is of {width} x {height} pixels, not of the image's size")
        mask = checked_coco_rle(segmentation.counts, size_hw)
    else:
        if any(len(numbers) % 2 for numbers in segmentation):
            raise ValueError("a polygon must have two numbers for each point")
        # With less, as some programs write boxes, nothing is inside.
        polygons = [
            np.array(numbers, np.float64).reshape(-1, 2).clip(0, size_hw[::-1])
            for numbers in segmentation
            if len(numbers) >= _MIN_POLYGON
        ]
        if not polygons:
            return None
        mask = coco_rle_of_polygons(polygons, size_hw)
    return mask if coco_area(mask) else None


def _box(one: Annotation, mask: CocoRle | None, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """The box, float32 (4,) xyxy inside the image; zeros where there is none."""
    if one.bbox is None:
        return np.zeros(4, np.float32) if mask is None else coco_box(mask)
    x, y, width, height = one.bbox
    corners = np.array([[x, y, x + width, y + height]], np.float32)
    box: NDArray[np.float32] = clip_boxes(corners, size_hw[::-1])[0]
    return box


def _name(one: Annotation, place: int) -> str:
    return f"annotation {place + 1}" if one.id is None else f"annotation {_shown(one.id)}"


def _shown(value: object) -> str:
    """An id or a name in a sentence."""
    return f'"{shorten(value)}"' if isinstance(value, str) else shorten(str(value))
