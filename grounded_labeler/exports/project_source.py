"""The images of a project of Label Studio with what people submitted there."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import PurePosixPath

from grounded_labeler.errors import GroundedLabelerError, ImageError, NoImage, SettingsError
from grounded_labeler.exports.types import ExportImage, ExportObject
from grounded_labeler.images.decode import displayed_size
from grounded_labeler.interrupts import check
from grounded_labeler.label_studio.annotated_objects import AnnotatedObject
from grounded_labeler.label_studio.annotations import AnnotatedImage, read_image, says_size
from grounded_labeler.label_studio.config import read_label_config
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task, address_of
from grounded_labeler.label_studio.task_labels import with_task_labels
from grounded_labeler.label_studio_api.annotations import Annotation
from grounded_labeler.preannotate.names import Address, file_names
from grounded_labeler.preannotate.plan import open_project
from grounded_labeler.service import label_studio_of, make_fetcher
from grounded_labeler.settings import Settings

_AT_ONCE = 4  # images fetched at once, of those whose size the annotation does not say
_BATCH = 50  # tasks
_GROUP = "group"  # the key of a task's data that says which images belong together


@dataclass(frozen=True)
class LeftOut:
    """What is not in the dataset: an image, or regions of one, and the sentence why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class ProjectImages:
    """The annotated images of a project, by task, and the classes: the project's labels first."""

    images: tuple[ExportImage, ...]
    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def read_project(
    settings: Settings,
    number: int,
    *,
    accepted: bool = False,
    view: int | None = None,
    task_ids: Collection[int] | None = None,
) -> ProjectImages:
    """Read what people submitted in a project: of each task the annotation that counts.

    That is the ground truth, or else the one that was changed last. Tasks that nobody annotated,
    or that were skipped, are not in; annotated ones without a region are. What cannot be read is
    listed with its reason. An image file is read now only where no region says how large the image
    is, as in an annotation without regions; all others when the dataset is written.

    Args:
        settings: say where Label Studio is, and what may be fetched from where.
        number: the number of the project.
        accepted: where no person submitted anything, also take predictions that `accept` made
            annotations.
        view: take only the tasks of this tab of the data manager.
        task_ids: take only these tasks.

    Raises SettingsError where Label Studio is not named or nothing was submitted, LabelStudioError
    where it does not do what it is asked, BadRequest for a label config that cannot be read.
    """
    project = open_project(settings, number)
    targets = read_label_config(project.label_config()).images
    reader = _Reader(settings, targets)
    tasks = iter(project.each_annotated_task(view, task_ids, with_accepted=accepted))
    read: dict[int, list[_Read]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while batch := list(islice(tasks, _BATCH)):
            check()
            new = [one for one in batch if one[0]["id"] not in read]
            for (task, _), images in zip(new, pool.map(reader.read, new), strict=True):
                read[task["id"]] = images
    every = [image for task in sorted(read) for image in read[task]]
    if all(image.content is None for image in every):
        raise SettingsError(
            f"There is no submitted annotation to export in project {number}: annotate some tasks "
            "first, and check --view and --task-ids if you gave them."
        )
    return _named(every, targets, reader)


@dataclass(frozen=True, eq=False)
class _Read:
    """One image of a task; its `content` is None where nobody annotated it, or says why not."""

    address: Address
    group: str
    content: AnnotatedImage | str | None


class _Reader:
    """Reads the images of tasks, which threads may share."""

    def __init__(self, settings: Settings, targets: tuple[ImageTarget, ...]) -> None:
        self._targets = targets
        self._fetcher = make_fetcher(settings)
        self._origin = label_studio_of(settings)
        self._max_pixels = settings.max_image_pixels

    def read(self, one: tuple[Task, Annotation | None]) -> list[_Read]:
        """Read every image of a task; those of a task that nobody annotated have no content."""
        task, annotation = one
        own = str(task["data"].get(_GROUP) or "").strip()
        images = []
        for target in self._targets:
            content: AnnotatedImage | str | None = None
            try:
                uri = address_of(task, target)
                address = Address(task["id"], target.name, uri)
                if annotation is not None:
                    content = self._content(task, annotation, target, address)
            except NoImage as problem:
                address = Address(task["id"], target.name, "")
                content = None if annotation is None else str(problem)
            except GroundedLabelerError as problem:
                content = str(problem)
            images.append(_Read(address, own, content))
        return images

    def _content(
        self, task: Task, annotation: Annotation, target: ImageTarget, address: Address
    ) -> AnnotatedImage:
        own = with_task_labels(target, task["data"])
        size_wh = None
        if not says_size(annotation.result, target):
            size_wh = displayed_size(self._fetch(address), max_pixels=self._max_pixels)
        return read_image(annotation.result, own, size_wh)

    def file(self, address: Address, size_hw: tuple[int, int]) -> bytes:
        """Fetch an image file; raises ImageError where it is no image of this size any more."""
        data = self._fetch(address)
        width, height = displayed_size(data, max_pixels=self._max_pixels)
        if (height, width) != size_hw:
            raise ImageError(
                f"The image is of {width} x {height} pixels now, but was annotated as one of "
                f"{size_hw[1]} x {size_hw[0]}."
            )
        return data

    def _fetch(self, address: Address) -> bytes:
        task = address.task if isinstance(address.task, int) else None
        return self._fetcher.fetch(address.uri, self._origin, task)


def _named(every: list[_Read], targets: tuple[ImageTarget, ...], reader: _Reader) -> ProjectImages:
    # Of all tasks, so that an image keeps its name when others are annotated.
    names = file_names(image.address for image in every)
    groups = _groups(every, names)
    images, left_out = [], []
    classes = dict.fromkeys(label.value for target in targets for label in target.labels)
    for name, group, image in zip(names, groups, every, strict=True):
        content = image.content
        if content is None:
            continue
        if isinstance(content, str):
            left_out.append(LeftOut(name, content))
            continue
        left_out += [LeftOut(name, reason) for reason in _regions_left_out(content)]
        objects = tuple(map(_object, sorted(content.objects, key=_certainty, reverse=True)))
        classes |= dict.fromkeys(one.label for one in objects)
        read = partial(reader.file, image.address, content.size_hw)
        images.append(ExportImage(name, content.size_hw, objects, group, read))
    return ProjectImages(tuple(images), tuple(classes), tuple(left_out))


def _groups(every: list[_Read], names: list[str]) -> Iterator[str]:
    """The group of each image, which all images of its task share.

    It is the task's own, or else the folder of its first image. Label Studio puts all uploads
    of a project into one folder, which says nothing.
    """
    counts: dict[int | str, int] = {}
    for image in every:
        counts[image.address.task] = counts.get(image.address.task, 0) + 1
    firsts: dict[int | str, str] = {}
    for image, name in zip(every, names, strict=True):
        task = image.address.task
        if task not in firsts:
            alone = "" if counts[task] == 1 else f"task {task}"
            firsts[task] = image.group or _folder(name) or alone
        yield firsts[task]


def _folder(name: str) -> str:
    match PurePosixPath(name).parent.parts:
        case ("upload", project) if project.isdecimal():
            return ""
        case parts:
            return "/".join(parts)


def _object(one: AnnotatedObject) -> ExportObject:
    return ExportObject(one.label, one.box, one.mask, one.rotated, one.score)


def _certainty(one: AnnotatedObject) -> float:
    """The score, and that of what a person drew."""
    return 1.0 if one.score is None else one.score


def _regions_left_out(content: AnnotatedImage) -> Iterator[str]:
    if content.without_label:
        yield f"Of its regions, {content.without_label} without a label."
    if content.unreadable:
        yield f"Of its regions, {content.unreadable} that cannot be read."
