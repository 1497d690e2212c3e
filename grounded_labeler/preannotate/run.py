"""The run itself: tasks to the models, answers to where they are kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from grounded_labeler.answers import Answers, Prediction
from grounded_labeler.loading import check_models
from grounded_labeler.looks import Task
from grounded_labeler.predictions import Predictor
from grounded_labeler.questions import Question
from grounded_labeler.service import start_service
from grounded_labeler.settings import Settings
from grounded_labeler.targets import LabelConfig
from grounded_labeler.versions import version_of

# Kept together, all or none: what a kill loses.
_CHUNK = 16

# Nobody waits as an annotator does, but a cluster may never serve what is asked for.
_LOADING_PATIENCE_S = 600.0

TaskId = int | str
Predictions = Mapping[TaskId, Prediction]


@dataclass(frozen=True)
class Run:
    """What is asked of every task of a project, and with which settings.

    `project` is its number in Label Studio, empty for pictures that are in none.
    """

    settings: Settings
    config: LabelConfig
    questions: Sequence[Question]
    project: str

    @property
    def version(self) -> str:
        """The model version, the same as the service has for the same question."""
        return version_of(self.settings, self.questions)

    @property
    def answers(self) -> Answers:
        return Answers(self.config, self.settings.output, self.version, typed=False)


# Answers a run's tasks, some at a time, with so many images fetched at once.
Engine = Callable[[Run, Sequence[Task], int], Iterator[Predictions]]


def predictions_here(run: Run, tasks: Sequence[Task], concurrency: int) -> Iterator[Predictions]:
    """What the models answer, in this process, by task id and some at a time.

    `concurrency` images are fetched at once. Raises PromptError when a phrase is too long
    to ask, WeightsError or NotReady when the models cannot be had.
    """
    check_models(run.settings)
    service = start_service(run.settings)
    service.models(_LOADING_PATIENCE_S)
    predictor = Predictor(service, run.project, run.answers, ahead=concurrency)
    done = 0
    for some in predictor.stream(tasks, run.questions):
        ids = [task["id"] for task in tasks[done : done + len(some)]]
        done += len(some)
        yield dict(zip(ids, some, strict=True))


def keep_all(predictions: Iterable[Predictions], keep: Callable[[Predictions], None]) -> None:
    """Let `keep` have all of them, a chunk at a time and in order, while the next ones come.

    Raises what `keep` and `predictions` raise; what is not kept then is asked again by the
    next run.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="keep") as keeper:
        keeping: Future[None] | None = None
        for chunk in _chunks(predictions):
            if keeping is not None:
                keeping.result()
            keeping = keeper.submit(keep, chunk)
        if keeping is not None:
            keeping.result()


def _chunks(predictions: Iterable[Predictions]) -> Iterator[Predictions]:
    chunk: dict[TaskId, Prediction] = {}
    for some in predictions:
        chunk |= some
        if len(chunk) >= _CHUNK:
            yield chunk
            chunk = {}
    if chunk:
        yield chunk
