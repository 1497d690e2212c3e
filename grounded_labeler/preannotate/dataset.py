"""The dataset of a run, written at its end, when it is ended, and every few minutes before."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from grounded_labeler.core.label_matching import label_for
from grounded_labeler.errors import PromptError, SettingsError
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.description import KeptImage
from grounded_labeler.preannotate.exporters import DatasetExporter, DatasetImage
from grounded_labeler.preannotate.exporters.coco import MADE_BY
from grounded_labeler.preannotate.journal import Journal
from grounded_labeler.preannotate.names import readable
from grounded_labeler.preannotate.results import ImageResult, TaskResult
from grounded_labeler.preannotate.sources import Source, address_or_empty, group_of

_EVERY_S = 180.0
_SHARE = 10  # of the time since it was last written; a million images take a while


class Dataset:
    """The dataset that `export` writes at `path` of what the journal holds about these tasks.

    Raises SettingsError when it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        tasks: Sequence[Task],
        queries: Sequence[Query],
        journal: Journal,
        *,
        export: DatasetExporter,
        stretch: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(os.path.realpath(path))
        self._export = export
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._categories = dict.fromkeys(_categories(queries, tasks))
        images = [(task, query.target) for task in tasks for query in queries]
        numbers = journal.numbers([(task["id"], target.name) for task, target in images])
        names = source.names(images)
        journal.describe(
            self._categories,
            [
                KeptImage(
                    task["id"], target.name, name, address_or_empty(task, target), group_of(task)
                )
                for (task, target), name in zip(images, names, strict=True)
            ],
            stretch=stretch,
        )
        self._images = sorted(zip(numbers, names, images, strict=True), key=lambda image: image[0])
        with self._writable():
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._has_news = False
        self._due = clock() + _EVERY_S

    def grow(self) -> None:
        """Note that the journal has more now, and write that when some minutes are over."""
        self._has_news = True
        if self._clock() >= self._due:
            self.write()

    def write_news(self) -> None:
        """Write what has come since it was last written; nothing when nothing has."""
        if self._has_news:
            self.write()

    def write(self) -> None:
        """Put what there is in the place of what was written before, all or none of it."""
        with self._lock:  # at an interrupt the thread that keeps results may still be here
            self._write()

    def _write(self) -> None:
        self._has_news = False
        began = self._clock()
        part = self._path.with_name(f".{self._path.name}.part")
        with self._writable():
            try:
                self._export(part, self._categories, self._found())
                part.replace(self._path)
            finally:
                part.unlink(missing_ok=True)
        ended = self._clock()
        self._due = ended + max(_EVERY_S, _SHARE * (ended - began))

    def _found(self) -> Iterator[DatasetImage]:
        for number, name, (task, target) in self._images:
            outcome = self._journal.outcome(task["id"])
            image = outcome.images[target.name] if isinstance(outcome, TaskResult) else None
            if isinstance(image, ImageResult):
                yield DatasetImage(number, name, image)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            said = f"The dataset {readable(str(self._path))} cannot be written: {reason}."
            raise SettingsError(said) from error


def check_replaceable(path: Path) -> None:
    """Raise SettingsError when there is something at `path` that this command did not make.

    IsADirectoryError when that is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(1000)
            if not head or MADE_BY.encode() in head:
                return
        elif not path.exists():
            return
    except OSError as error:
        said = f"The dataset {readable(str(path))} cannot be read: {error.strerror}."
        raise SettingsError(said) from error
    raise SettingsError(
        f"{readable(str(path))} is there and was not made by this command: name another place for "
        "the dataset, or move it away."
    )


def _categories(queries: Sequence[Query], tasks: Sequence[Task]) -> Iterator[str]:
    """The labels, then the phrases that no label fits, the same in every run."""
    asked = [one for query in queries for one in _asked(query, tasks)]
    for query in asked:
        yield from (label.value for label in query.target.labels)
    for query in asked:
        for phrase in query.prompt.phrases:
            if not phrase.negative and label_for(phrase, query.target.labels) is None:
                yield phrase.text


def _asked(query: Query, tasks: Sequence[Task]) -> Iterator[Query]:
    """The question, with the labels of each task where these bring some."""
    if not query.target.has_task_labels:
        yield query
        return
    for task in tasks:
        with suppress(PromptError):  # this task is told among the failures
            yield query.of_task(task["data"])
