"""Images that are not there, and a detector whose scores are drawn as it was planted."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from scipy import stats

from grounded_labeler.core.types import Candidates, Label
from grounded_labeler.evaluation.types import Truth
from grounded_labeler.label_studio.schema import ImageTarget
from grounded_labeler.label_studio.task_images import Task
from grounded_labeler.preannotate.plan import folder_config
from grounded_labeler.preannotate.results import ImageResult, TaskId, TaskOutcomes, TaskResult
from grounded_labeler.preannotate.run import Run
from grounded_labeler.quality.counting import THRESHOLDS
from grounded_labeler.quality.subject import Subject

_SIDE = 1000  # pixels; things lie in a grid of 10 x 10
Beta = tuple[float, float]
NOTHING: Beta = (1, 60)
LOW, MIDDLE, HIGH = (2.0, 9.0), (4.0, 4.0), (8.0, 3.0)


@dataclass(frozen=True)
class World:
    """`kinds` are how many of each kind of thing an image has, on average.

    `phrases` are the scores, as Beta distributions, that a phrase gives to each kind of thing;
    to all others it gives next to nothing. `noise` is how often a person names no thing, or
    another one than is there.
    """

    kinds: dict[str, float]
    phrases: dict[str, dict[str, Beta]]
    labels: dict[str, str]  # of the kinds that have one
    noise: float = 0.0
    seed: int = 0

    def things(self, task: int) -> list[tuple[str, int]]:
        """The kind and the place of each thing of an image."""
        rng = np.random.default_rng([self.seed, task])
        kinds = [kind for kind, mean in self.kinds.items() for _ in range(rng.poisson(mean))]
        places = rng.permutation(100)[: len(kinds)].tolist()
        return list(zip(kinds, places, strict=False))

    def truth(self, task: int) -> Truth:
        rng = np.random.default_rng([self.seed, task, 1])
        every = sorted(set(self.labels.values()))
        named = []
        for kind, place in self.things(task):
            label = self.labels.get(kind)
            if rng.random() < self.noise:
                label = str(rng.choice(every)) if rng.random() < 0.5 else None
            if label is not None:
                named.append((label, place))
        boxes = np.array([_box(place) for _, place in named], np.float32).reshape(-1, 4)
        labels = tuple(label for label, _ in named)
        crowd = np.zeros(len(named), np.bool_)
        return Truth(boxes, labels, (None,) * len(named), crowd, (_SIDE, _SIDE))

    def result(self, task: int, phrases: Sequence[str], detector: str) -> ImageResult:
        things = self.things(task)
        boxes = np.array([_box(place) for _, place in things], np.float32).reshape(-1, 4)
        scores = np.zeros((len(things), len(phrases)), np.float32)
        for column, phrase in enumerate(phrases):
            # A plural is scored as its singular is.
            word = crc32(phrase.casefold().removesuffix("s").encode())
            rng = np.random.default_rng([self.seed, task, 2, word])
            own = self.phrases.get(f"{detector}:{phrase}", self.phrases.get(phrase, {}))
            for row, (kind, _) in enumerate(things):
                scores[row, column] = rng.beta(*own.get(kind, NOTHING))
        captions = np.zeros(len(things), np.intp)
        candidates = Candidates(boxes, scores, scores.copy(), captions)
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        size_hw, best = (_SIDE, _SIDE), (0.0,) * len(phrases)
        return ImageResult(*nothing, (), (), None, size_hw, "", best, 0.0, candidates=candidates)

    def best_threshold(self, phrase: str, label: str) -> float:
        """The threshold with the highest expected F1, of a label that is asked with one phrase."""
        found, wrong = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
        total = 0.0
        for kind, mean in self.kinds.items():
            above = mean * stats.beta.sf(THRESHOLDS, *self.phrases[phrase].get(kind, NOTHING))
            if self.labels.get(kind) == label:
                found, total = found + above, total + mean
            else:
                wrong = wrong + above
        return float(THRESHOLDS[(2 * found / (found + wrong + total)).argmax()])

    def subject(self, count: int, labels: Sequence[Label], first: int = 0) -> Subject:
        """So many annotated images of it."""
        tasks: list[Task] = [
            {"id": i, "data": {"image": str(i)}} for i in range(first, first + count)
        ]

        def truth(task: Task, target: str, size_hw: tuple[int, int]) -> Truth | None:
            return self.truth(int(task["id"]))

        config = folder_config(labels)
        return Subject(PlantedSource(), config, tasks, truth, False, "", remembered=lambda _: None)


@dataclass
class PlantedRunner:
    """Runs the planted detector and counts the tasks; ends by an interrupt after `stop` of them."""

    world: World
    stop: int | None = None
    tasks: int = 0
    prompts: list[str] = field(default_factory=list)

    def __call__(
        self, run: Run, tasks: Sequence[Task], concurrency: int
    ) -> Generator[TaskOutcomes, None, None]:
        [query] = run.queries
        phrases = [phrase.text for phrase in query.prompt.phrases]
        self.prompts.append(" . ".join(phrases))
        for task in tasks:
            if self.tasks == self.stop:
                raise KeyboardInterrupt
            self.tasks += 1
            result = self.world.result(int(task["id"]), phrases, run.settings.detector)
            yield {task["id"]: TaskResult({query.target.name: result})}


class PlantedSource:
    """Has no images: the planted detector looks at none."""

    identity = '{"planted": true}'
    name = "planted images"

    def content(self, task: Task) -> str:
        return "the same"

    def content_seen(self, task: Task, result: TaskResult) -> str:
        return "the same"

    def names(self, images: Sequence[tuple[Task, ImageTarget]]) -> list[str]:
        return [f"{task['id']}.png" for task, _ in images]


def _box(place: int) -> list[float]:
    row, column = divmod(place, 10)
    return [column * 100 + 10, row * 100 + 10, column * 100 + 80, row * 100 + 80]


def ids(tasks: Sequence[Any]) -> list[TaskId]:
    return [task["id"] for task in tasks]
