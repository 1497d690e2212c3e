"""Masks as PNG images: one of classes and one of objects for each image."""

from pathlib import Path

from grounded_labeler.errors import ExportError
from grounded_labeler.exports.label_maps import is_deep, label_map, write_label_map
from grounded_labeler.exports.types import PlacedDataset
from grounded_labeler.preannotate.names import one_line


def write_png(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter: `masks/train/` and `instances/train/`, with the images in `images/train/`.

    A pixel of `masks/` is the number of a class, its line in classes.txt, from 0, the background.
    One of `instances/` is the number of an object, in their order, from 1. Raises ExportError
    where there are objects and none has a mask.
    """
    objects = [one for placed in dataset.images for one in placed.image.objects]
    if objects and all(one.mask is None for one in objects):
        raise ExportError(
            "No object has a mask, so there is nothing to write as png: label with a segmenter, or "
            "leave png out of --format."
        )
    numbers = {name: number for number, name in enumerate(dataset.classes, 1)}
    most = max((len(placed.image.objects) for placed in dataset.images), default=0)
    for split in dataset.splits:
        for kind in ("masks", "instances"):
            (folder / kind / split).mkdir(parents=True)
    for placed in dataset.images:
        image, name = placed.image, f"{placed.stem}.png"
        classes = label_map(image, [numbers[one.label] for one in image.objects])
        path = folder / "masks" / placed.split / name
        write_label_map(path, classes, deep=is_deep(len(numbers)))
        instances = label_map(image, range(1, len(image.objects) + 1))
        path = folder / "instances" / placed.split / name
        write_label_map(path, instances, deep=is_deep(most))
    lines = ["background", *map(one_line, dataset.classes)]
    (folder / "classes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
