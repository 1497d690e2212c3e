"""The run itself: tasks to the models, answers to where they are kept."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from grounded_labeler.console import tell, timed
from grounded_labeler.core.inference import InferenceResult, Outcome
from grounded_labeler.images.source import ImageReader
from grounded_labeler.inference.loader import check_models, model_name
from grounded_labeler.interrupts import check
from grounded_labeler.label_studio.prediction_builder import Prediction, PredictionBuilder
from grounded_labeler.label_studio.predictor import Predictor
from grounded_labeler.label_studio.queries import Query
from grounded_labeler.label_studio.schema import LabelConfig
from grounded_labeler.label_studio.task_images import Task, TaskImage
from grounded_labeler.label_studio.versions import version_of
from grounded_labeler.preannotate.image_folder import FolderReader
from grounded_labeler.service import make_fetcher, start_service
from grounded_labeler.settings import Settings

# Kept together, all or none: what a kill loses.
_CHUNK = 16

# Nobody waits as an annotator does, but a cluster may never serve what is asked for.
_LOADING_TIMEOUT_S = 600.0

# At an interrupt, for what is being kept; Label Studio may take longer, and is asked what it
# has of it by the next run.
_SAVING_TIMEOUT_S = 5.0

TaskId = int | str
Predictions = Mapping[TaskId, Prediction]


@dataclass(frozen=True)
class Run:
    """What is asked of every task of a project, and with which settings.

    `project` is its number in Label Studio, empty for images that are in none.
    """

    settings: Settings
    config: LabelConfig
    queries: Sequence[Query]
    project: str

    @property
    def version(self) -> str:
        """The model version, the same as the service has for the same question."""
        return version_of(self.settings, self.queries)

    @property
    def models(self) -> str:
        """The models' names, for people."""
        return model_name(self.settings).replace("+", " + ")

    @property
    def answers(self) -> PredictionBuilder:
        return AnswersWithImages(self.config, self.settings.output, self.version, typed=False)


def reader_of(settings: Settings, project: str) -> ImageReader:
    """What reads the images of a project, or without one of a folder, which needs no rules."""
    return make_fetcher(settings) if project else FolderReader(settings.max_image_bytes)


class AnswersWithImages(PredictionBuilder):
    """Predictions that say under "images", by Image tag, what was looked at."""

    def of_task(self, looks: Sequence[TaskImage], found: Sequence[Outcome]) -> Prediction:
        images = {
            look.query.target.name: {
                "sha256": look.image.key,
                "width": one.size_hw[1],
                "height": one.size_hw[0],
            }
            for look, one in zip(looks, found, strict=True)
            if look.image is not None and isinstance(one, InferenceResult)
        }
        return {**super().of_task(looks, found), "images": images}


# Answers a run's tasks, some at a time, with so many images fetched at once.
Engine = Callable[[Run, Sequence[Task], int], Generator[Predictions, None, None]]


def run_locally(
    run: Run, tasks: Sequence[Task], concurrency: int
) -> Generator[Predictions, None, None]:
    """What the models answer, in this process, by task id and some at a time.

    `concurrency` images are fetched at once. Raises PromptError when a phrase is too long
    to ask, WeightsError or NotReady when the models cannot be had.
    """
    check_models(run.settings)
    reader = reader_of(run.settings, run.project)
    service = replace(start_service(run.settings), fetcher=reader)
    with timed(f"Loading {run.models}"):
        service.backend.wait_until_ready(_LOADING_TIMEOUT_S)
    if (runtime := service.backend.runtime) is not None:
        tell(f"Computed on {service.backend.device} by {runtime}")
        if runtime.warning is not None:
            tell(runtime.warning)
    predictor = Predictor(service, run.project, run.answers, ahead=concurrency)
    done = 0
    for some in predictor.stream(tasks, run.queries):
        ids = [task["id"] for task in tasks[done : done + len(some)]]
        done += len(some)
        yield dict(zip(ids, some, strict=True))


def keep_all(
    predictions: Iterable[Predictions],
    keep: Callable[[Predictions], None],
    show: Callable[[Predictions], None],
) -> None:
    """Let `keep` have all of them, a chunk at a time and in order, while the next ones come.

    `show` has them at once.

    Raises what `keep` and `predictions` raise. At an interrupt `keep` has what came until
    then; what is not kept then is asked again by the next run.
    """
    keeper = _Keeper(keep)
    chunk: dict[TaskId, Prediction] = {}
    try:
        for some in predictions:
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

    def __init__(self, keep: Callable[[Predictions], None]) -> None:
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keep")
        self._keeping: list[Future[None]] = []

    def begin(self, chunk: Predictions) -> None:
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
