"""One run: what is asked of every task, who runs it, and how its results are kept."""

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from grounded_labeler.cache import ByteCache
from grounded_labeler.images.source import ImageReader, Source
from grounded_labeler.interrupts import check
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.schema import LabelConfig
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.label_studio.versions import version_of
from grounded_labeler.preannotate.image_folder import FolderReader
from grounded_labeler.preannotate.results import TaskId, TaskOutcome, TaskOutcomes
from grounded_labeler.service import label_studio_of, make_fetcher
from grounded_labeler.settings import Settings
from grounded_labeler.weights.summary import PairSummary, summarize

# Kept together, all or none: what a kill loses.
_CHUNK = 16

# At an interrupt, for what is being kept; Label Studio may take longer, and is asked what it
# has of it by the next run.
_SAVING_TIMEOUT_S = 5.0

Keep = Callable[[TaskOutcomes], None]


@dataclass(frozen=True)
class Run:
    """What is asked of every task of a project, and with which settings.

    The settings' models are those that the project chose, and no others. `project` is its number
    in Label Studio, empty for images that are in none.
    """

    settings: Settings
    config: LabelConfig
    queries: Sequence[Query]
    project: str

    @property
    def version(self) -> str:
        """The model version, the same as the service has for the same question."""
        return version_of(self.settings, self.summary, self.queries)

    @property
    def summary(self) -> PairSummary:
        """What is known of the models before they are loaded."""
        return summarize(self.settings.choice, self.settings.model_dir)

    @property
    def models(self) -> str:
        """The models' names, for people."""
        return self.settings.choice.name.replace("+", " + ")


class Runner(Protocol):
    """Runs the models on tasks, in this process or on a cluster."""

    def __call__(
        self, run: Run, tasks: Sequence[Task], concurrency: int
    ) -> Generator[TaskOutcomes, None, None]:
        """Yield the outcomes of all tasks by their ids, some at a time and in any order.

        `concurrency` tasks are fetched at once. Raises BadRequest when no task has the images,
        PromptError when a phrase is too long, WeightsError or NotReady when the models cannot
        be had.
        """


def reader_of(settings: Settings, project: str) -> ImageReader:
    """What reads the images of a project, or without one of a folder, which needs no rules."""
    return make_fetcher(settings) if project else FolderReader(settings.max_image_bytes)


def images_of(settings: Settings, project: str) -> Source:
    """Where the images of a project, or a folder, come from; each is loaded once and not stored."""
    reader, origin = reader_of(settings, project), label_studio_of(settings)
    return Source(reader, origin, ByteCache(0), settings.max_image_pixels, settings.stretch)


def keep_all(outcomes: Iterable[TaskOutcomes], keep: Keep, show: Keep) -> None:
    """Let `keep` have all of them, a chunk at a time and in order, while the next ones come.

    `show` has them at once.

    Raises what `keep` and `outcomes` raise. At an interrupt `keep` has what came until
    then; what is not kept then is asked again by the next run.
    """
    keeper = _Keeper(keep)
    chunk: dict[TaskId, TaskOutcome] = {}
    try:
        for some in outcomes:
            check()
            chunk |= some
            show(some)
            if len(chunk) >= _CHUNK:
                keeper.finish()
                # In this order: an interrupt between the two must not keep a chunk twice.
                full, chunk = chunk, {}
                keeper.begin(full)
        keeper.finish()
        full, chunk = chunk, {}
        keeper.begin(full)
        keeper.finish()
    except KeyboardInterrupt:
        keeper.begin(chunk)
        keeper.leave(_SAVING_TIMEOUT_S)
        raise
    except BaseException:
        keeper.leave(None)
        raise


class _Keeper:
    """Keeps chunks on a thread of its own, which no interrupt disturbs."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keep")
        self._keeping: list[Future[None]] = []

    def begin(self, chunk: TaskOutcomes) -> None:
        """Keep it after those before."""
        if chunk:
            self._keeping.append(self._thread.submit(self._keep, chunk))

    def finish(self) -> None:
        """Wait until all is kept; raises what `keep` raises."""
        while self._keeping:
            self._keeping[0].result()
            del self._keeping[0]

    def leave(self, timeout_s: float | None) -> None:
        """Wait `timeout_s` seconds for what is being kept, or until it is if None."""
        wait(self._keeping, timeout=timeout_s)
        self._thread.shutdown(wait=False)
