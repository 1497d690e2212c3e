"""COCO: https://cocodataset.org/#format-data, a file for each split."""

from pathlib import Path

from grounded_labeler.exports.types import PlacedDataset
from grounded_labeler.preannotate.exporters.coco import CocoImage, CocoObject, write_coco_dataset


def write_coco(folder: Path, dataset: PlacedDataset) -> None:
    """A FormWriter: `annotations/instances_train.json`, with the images in `images/train/`."""
    (folder / "annotations").mkdir()
    for split in dataset.splits:
        images = (
            CocoImage(
                placed.number,
                dataset.name_of(placed),
                placed.image.size_hw,
                [
                    CocoObject(one.label, one.box, one.mask, one.score, one.rotated)
                    for one in placed.image.objects
                ],
            )
            for placed in dataset.of(split)
        )
        path = folder / "annotations" / f"instances_{split}.json"
        write_coco_dataset(path, dataset.classes, images, for_trainers=True)
