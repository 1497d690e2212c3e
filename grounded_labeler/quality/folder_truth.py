"""The truth of the images of a folder, from a COCO dataset."""

from collections.abc import Sequence
from pathlib import Path

from grounded_labeler.console import tell
from grounded_labeler.core.types import Label
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.image_folder import read_folder
from grounded_labeler.preannotate.plan import folder_config
from grounded_labeler.quality.coco_truth import CocoTruth, read_coco_truth
from grounded_labeler.quality.subject import Subject, TruthError

_MOST_NAMED = 3


def folder_subject(
    images: Sequence[Path], coco: Path, out: Path, labels: Sequence[str] | None = None
) -> Subject:
    """Return the images below these folders that a COCO dataset tells the truth of.

    Args:
        images: folders of images, or images.
        coco: the dataset, which names images by their paths below the folders.
        out: the folder of the run's own files, which are no images to measure.
        labels: what is looked for; all categories of the dataset if None.

    Raises SettingsError where there is no image, TruthFileError for a file that cannot be used.
    """
    folder = read_folder(images, out)
    if folder.said:
        tell(folder.said)
    found = read_coco_truth(coco, folder)
    _tell_rest(found, coco)
    tasks = [task for task in folder.tasks if task["id"] in found.truths]

    def truth(task: Task, target: str, size_hw: tuple[int, int]) -> Truth | None:
        own = found.truths[task["id"]]
        if own.size_hw != size_hw:
            there, here = own.size_hw, size_hw
            raise TruthError(
                f"The image has {here[1]} x {here[0]} pixels, and {coco} says {there[1]} x "
                f"{there[0]}: it is another image, or was turned."
            )
        return own

    return Subject(
        folder,
        folder_config([Label(name) for name in found.labels if labels is None or name in labels]),
        tasks,
        truth,
        has_masks=any(one.has_masks for one in found.truths.values()),
        project="",
        remembered=lambda _: None,
    )


def _tell_rest(found: CocoTruth, coco: Path) -> None:
    """Say what of the file, and of the folder, is not measured."""
    if found.unlisted:
        tell(f"Left out, as {coco} does not list them: {_named(found.unlisted)}.")
    if found.missing:
        tell(f"Not measured, as they are not there: {_named(found.missing)}.")
    if found.without_area:
        tell(f"Left out: {found.without_area} annotations with nothing of them in their image.")


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
