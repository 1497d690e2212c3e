"""The images of a project of Label Studio with what people submitted there."""

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

from grounded_labeler.console import tell, timed
from grounded_labeler.errors import GroundedLabelerError, SettingsError
from grounded_labeler.exports.types import ExportDataset, ExportImage, ExportObject, LeftOut
from grounded_labeler.images.decode import displayed_size
from grounded_labeler.interrupts import check
from grounded_labeler.label_studio.annotated_objects import AnnotatedObject
from grounded_labeler.label_studio.annotations import AnnotatedImage, read_image, says_size
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task, address_of
from grounded_labeler.label_studio.task_labels import with_task_labels
from grounded_labeler.label_studio_api.annotations import Annotation
from grounded_labeler.preannotate.names import GROUP_KEY, Address, file_names
from grounded_labeler.preannotate.plan import open_project
from grounded_labeler.service import label_studio_of, make_fetcher
from grounded_labeler.settings import Settings

_AT_ONCE = 4  # tasks read at once: of some, an image must be fetched
_BATCH = 50  # tasks; no more annotations than of these are in memory as Label Studio sends them
_MOST_TASKS = 5  # that a sentence names


def read_project(
    settings: Settings,
    number: int,
    *,
    reviewed: bool,
    accepted: bool = False,
    view: int | None = None,
    task_ids: Collection[int] | None = None,
) -> ExportDataset:
    """Read what people submitted in a project: of each task the annotation that counts.

    That is the ground truth, or else the one that was changed last. Tasks that nobody annotated,
    and skipped ones, are not in; annotated ones without a region are. What cannot be read is
    listed with its reason. An image is fetched now only where no region says how large it is, as
    in an annotation without regions; the others are when the dataset is written. Images of one
    group are those whose tasks have one `group` in their data, and else those of one task.

    Args:
        settings: say where Label Studio is, and what may be fetched from where.
        number: the number of the project.
        reviewed: whether what people submitted is wanted; there is nothing else.
        accepted: where no person submitted anything, also take predictions that
            `grounded-labeler accept` made annotations.
        view: take only the tasks of this tab of the data manager.
        task_ids: take only these tasks.

    Raises SettingsError where it is not known what is wanted or where Label Studio is, and where
    nobody submitted anything; LabelStudioError where it does not do what it is asked; BadRequest
    for a label config that cannot be read.
    """
    if not reviewed:
        raise SettingsError(
            "--project needs --reviewed, which takes what people submitted. To export what models "
            f"find, run `grounded-labeler preannotate --project {number} --export FILE --out DIR` "
            "and then `grounded-labeler export --run DIR`."
        )
    project = open_project(settings, number)
    targets = read_label_config(project.label_config()).images
    reader = _Reader(settings, targets, accepted=accepted)
    tasks = project.each_annotated_task(view, task_ids)
    read: dict[int, list[_Read]] = {}
    with timed(f"Reading project {number}"), ThreadPoolExecutor(_AT_ONCE) as pool:
        while batch := list(islice(tasks, _BATCH)):
            check()
            new = {task["id"]: (task, own) for task, own in batch if task["id"] not in read}
            read.update(zip(new, pool.map(reader.read, new.values()), strict=True))
    every = [image for task in sorted(read) for image in read[task]]
    if passed_over := {image.address.task for image in every if image.is_passed_over}:
        tell(f"Accepted with nobody looking, and left out without --accepted: {len(passed_over)}.")
    if all(image.content is None for image in every):
        raise SettingsError(
            f"There is no submitted annotation to export in project {number}: annotate some tasks "
            "first, and check --view and --task-ids if you gave them."
        )
    _tell_of_regions(every)
    return _dataset(every, targets, reader)


@dataclass(frozen=True, eq=False)
class _Read:
    """One image of a task.

    `content` is None where nobody annotated it, or a sentence why it cannot be read;
    `is_passed_over` says that it has an annotation that nobody looked at.
    """

    address: Address
    content: AnnotatedImage | str | None
    group: str
    is_passed_over: bool


class _Reader:
    """Reads the images of tasks, in several threads at once."""

    def __init__(
        self, settings: Settings, targets: Sequence[ImageTarget], *, accepted: bool
    ) -> None:
        self._targets = targets
        self._accepted = accepted
        self._fetcher = make_fetcher(settings)
        self._origin = label_studio_of(settings)
        self._max_pixels = settings.max_image_pixels

    def read(self, one: tuple[Task, Annotation | None]) -> list[_Read]:
        """Read every image of a task with the annotation that counts, if there is one."""
        task, annotation = one
        passed_over = annotation is not None and annotation.is_accepted and not self._accepted
        group = str(task["data"].get(GROUP_KEY) or "").strip()
        if not group and len(self._targets) > 1:
            group = f"task {task['id']}"
        return [
            _Read(
                *self._image(task, None if passed_over else annotation, target), group, passed_over
            )
            for target in self._targets
        ]

    def _image(
        self, task: Task, annotation: Annotation | None, target: ImageTarget
    ) -> tuple[Address, AnnotatedImage | str | None]:
        address, content = Address(task["id"], target.name, ""), None
        try:
            address = Address(task["id"], target.name, address_of(task, target))
            if annotation is not None:
                content = self._content(task, annotation, target, address)
        except GroundedLabelerError as problem:
            return address, None if annotation is None else str(problem)
        return address, content

    def _content(
        self, task: Task, annotation: Annotation, target: ImageTarget, address: Address
    ) -> AnnotatedImage:
        own = with_task_labels(target, task["data"])
        size_wh = None
        if not says_size(annotation.result, target):
            size_wh = displayed_size(self.fetch(address), max_pixels=self._max_pixels)
        return read_image(annotation.result, own, size_wh)

    def fetch(self, address: Address) -> bytes:
        """Fetch an image file; raises ImageError."""
        task = address.task if isinstance(address.task, int) else None
        return self._fetcher.fetch(address.uri, self._origin, task)


def _dataset(
    every: Sequence[_Read], targets: Sequence[ImageTarget], reader: _Reader
) -> ExportDataset:
    # Those of all tasks are named, so that a name stays when other tasks are annotated.
    names = file_names(image.address for image in every)
    images, left_out = [], []
    for name, image in zip(names, every, strict=True):
        address, content = image.address, image.content
        if isinstance(content, str):
            left_out.append(LeftOut(name, content))
        elif content is not None:
            objects = tuple(map(_object, sorted(content.objects, key=_certainty, reverse=True)))
            size_hw, read = content.size_hw, partial(reader.fetch, address)
            images.append(
                ExportImage(
                    name,
                    size_hw,
                    objects,
                    image.group,
                    read,
                    address=address.uri,
                    is_annotated=True,
                )
            )
    labels = (label.value for target in targets for label in target.labels)
    return ExportDataset(tuple(images), tuple(dict.fromkeys(labels)), tuple(left_out))


def _object(one: AnnotatedObject) -> ExportObject:
    return ExportObject(one.label, one.box, one.mask, one.rotated, one.score)


def _certainty(one: AnnotatedObject) -> float:
    """The score; what a person drew goes before all others."""
    return 1.0 if one.score is None else one.score


def _tell_of_regions(every: Iterable[_Read]) -> None:
    """Say which regions are not in the dataset though their images are."""
    counts = {"without a label": 0, "that cannot be read": 0}
    tasks: dict[str, None] = {}
    for image in every:
        content = image.content
        if isinstance(content, AnnotatedImage) and content.without_label + content.unreadable:
            counts["without a label"] += content.without_label
            counts["that cannot be read"] += content.unreadable
            tasks[str(image.address.task)] = None
    if not tasks:
        return
    said = " and ".join(f"{count} {why}" for why, count in counts.items() if count)
    named = ", ".join(list(tasks)[:_MOST_TASKS]) + ", ..." * (len(tasks) > _MOST_TASKS)
    tell(f"Regions left out: {said}, in task(s) {named}.")
