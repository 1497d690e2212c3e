"""In which order a run in this process loads, computes and writes: events, and never a second."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import cast, overload

import numpy as np
import pytest
from PIL import Image

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.types import Detections, Label
from grounded_labeler.errors import PromptError
from grounded_labeler.images.fetcher import Fetcher
from grounded_labeler.inference.queue import InferenceQueue
from grounded_labeler.inference.slots import RequestSlots
from grounded_labeler.label_studio.queries import default_queries
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.preannotate import local_runner
from grounded_labeler.preannotate.image_folder import IMAGE_KEY
from grounded_labeler.preannotate.local_runner import run_on
from grounded_labeler.preannotate.plan import folder_config
from grounded_labeler.preannotate.results import TaskOutcomes, TaskResult
from grounded_labeler.preannotate.run import Run, keep_all
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.sqlite import SQLiteStore
from grounded_labeler.service import Service
from grounded_labeler.settings import Settings
from tests.helpers.backends import loaded
from tests.helpers.models import models_of

PATIENCE_S = 60.0  # the end of a hang, which fails
SETTINGS = Settings.from_env({"DETECTOR": "demo", "SEGMENTER": "demo"})


class Models:
    """In the place of a Pipeline: `turn` is called with the number of each image it runs on."""

    device, runtime = "cpu", None

    def __init__(self, turn: Callable[[int], None], batch_size: int = 1) -> None:
        self._turn, self.batch_size = turn, batch_size

    def run(self, requests: Sequence[InferenceRequest]) -> list[InferenceResult]:
        for request in requests:
            self._turn(int(request.image.pixels[0, 0, 0]))
        return [
            InferenceResult(Detections.empty(), [], request.image.pixels.shape[:2], (), 0.0, 0.0)
            for request in requests
        ]


def until(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S), "what should happen meanwhile does not"


def eventually(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("what should happen does not")


def events(count: int) -> list[threading.Event]:
    return [threading.Event() for _ in range(count)]


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    """A task for each of some images, whose first pixel says which one it is."""
    made: list[Task] = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
        made.append({"id": str(number), "data": {IMAGE_KEY: str(path)}})
    return made


class Running:
    """A run on `models`; `queue` is the one in front of them."""

    def __init__(self, models: Models, folder: Path, concurrency: int = 1) -> None:
        config = folder_config([Label("Star")])
        queries = default_queries(config, SETTINGS, models_of(SETTINGS), lambda _: None)
        self._run, self._concurrency = Run(SETTINGS, config, queries, ""), concurrency
        self.queue = InferenceQueue(SETTINGS.model_deadline)
        self._service = Service(
            SETTINGS,
            loaded(cast(Pipeline, models), self.queue),
            Fetcher(),
            PromptHistory(SQLiteStore(folder / "prompts.sqlite3")),
            RequestSlots(1),
            ByteCache(0),
        )

    def on(self, tasks: Sequence[Task]) -> Generator[TaskOutcomes, None, None]:
        return run_on(self._service, self._run, tasks, self._concurrency)


def numbers(outcomes: TaskOutcomes) -> list[int]:
    assert all(isinstance(one, TaskResult) for one in outcomes.values())
    return [int(task) for task in outcomes]


def test_the_next_image_is_decoded_and_in_the_queue_while_the_models_run(
    tasks: list[Task], tmp_path: Path
) -> None:
    waiting: list[int] = []

    def turn(number: int) -> None:
        if number < len(tasks) - 1:
            eventually(lambda: running.queue.waiting > 0)
        waiting.append(running.queue.waiting)

    running = Running(Models(turn), tmp_path)
    found = [number for some in running.on(tasks) for number in numbers(some)]
    assert found == list(range(len(tasks)))
    assert waiting == [1] * (len(tasks) - 1) + [0]


def test_a_result_is_there_to_be_written_while_the_models_run_on_the_next_image(
    tasks: list[Task], tmp_path: Path
) -> None:
    came = events(len(tasks))

    def turn(number: int) -> None:
        if number:
            until(came[number - 1])

    for some in Running(Models(turn), tmp_path).on(tasks):
        for number in numbers(some):
            came[number].set()


def test_results_are_kept_while_the_models_run(
    tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grounded_labeler.preannotate.run._CHUNK", 2)
    began = events(len(tasks))
    kept: list[int] = []

    def keep(outcomes: TaskOutcomes) -> None:
        own = numbers(outcomes)
        # These are being written until the models are at the image after the next.
        if own[-1] + 2 < len(tasks):
            until(began[own[-1] + 2])
        kept.extend(own)

    running = Running(Models(lambda number: began[number].set()), tmp_path)
    keep_all(running.on(tasks), keep, lambda _: None)
    assert kept == list(range(len(tasks)))


class Counted(Sequence[Task]):
    """Tasks that know how many of them were begun by who goes through them last."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks, self.begun = tasks, 0

    def __len__(self) -> int:
        return len(self._tasks)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | Sequence[Task]:
        return self._tasks[index]

    def __iter__(self) -> Iterator[Task]:
        for number, task in enumerate(self._tasks, 1):
            self.begun = number
            yield task


@pytest.mark.parametrize("concurrency", [1, 3])
def test_only_so_many_images_are_in_memory_as_are_loaded_ahead_or_at_the_models(
    tasks: list[Task], tmp_path: Path, concurrency: int
) -> None:
    counted = Counted([{**task, "id": f"{n}"} for n, task in enumerate(tasks * 5)])
    running = Running(Models(lambda _: None), tmp_path, concurrency)
    ahead = []
    for done, _ in enumerate(running.on(counted)):
        ahead.append(counted.begun - done)
    assert len(ahead) == 30
    # The one that comes now, two at the models, and what is loaded meanwhile.
    assert max(ahead) == 1 + local_runner.AT_THE_MODELS + concurrency


def test_left_early_it_takes_back_what_waits_for_the_models(
    tasks: list[Task], tmp_path: Path
) -> None:
    ran: list[int] = []
    go_on, second = threading.Event(), threading.Event()

    def turn(number: int) -> None:
        ran.append(number)
        if number == 1:
            second.set()
            until(go_on)

    running = Running(Models(turn), tmp_path)
    results = running.on(tasks)
    assert numbers(next(results)) == [0]
    until(second)
    results.close()
    eventually(lambda: running.queue.waiting == 0)
    go_on.set()
    # Another run has the models to itself: nothing of the first one is before it.
    assert [n for some in running.on(tasks[3:]) for n in numbers(some)] == [3, 4, 5]
    assert ran == [0, 1, 3, 4, 5]


def test_what_comes_before_an_error_is_yielded_first(tasks: list[Task], tmp_path: Path) -> None:
    def turn(number: int) -> None:
        if number == 2:
            raise PromptError("This phrase is too long.")

    found: list[int] = []
    with pytest.raises(PromptError, match="too long"):
        for some in Running(Models(turn), tmp_path).on(tasks):
            found += numbers(some)
    assert found == [0, 1]


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_tasks_come_in_their_order_in_batches_of_any_size(
    tasks: list[Task], tmp_path: Path, batch_size: int
) -> None:
    running = Running(Models(lambda _: None, batch_size), tmp_path, concurrency=3)
    sizes = [numbers(some) for some in running.on(tasks)]
    assert [number for some in sizes for number in some] == list(range(len(tasks)))
    assert max(map(len, sizes)) == min(batch_size, len(tasks))
