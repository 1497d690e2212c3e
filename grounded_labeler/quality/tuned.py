"""What tuning came to: for each label what it was and what it becomes, with figures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.curve import Goal
from grounded_labeler.evaluation.intervals import (
    Interval,
    f1,
    f1_interval,
    more_to_halve,
    precision,
    recall,
    wilson,
)
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.figures import Rate
from grounded_labeler.quality.held_out import Gain, gain, worth
from grounded_labeler.quality.phrases import Phrases
from grounded_labeler.weights.choice import ModelChoice

LEAST_OBJECTS, LEAST_IMAGES = 5, 2  # of a label, to choose anything for it
_WIDE = 0.2  # an interval that is wider says little

ImageKey = tuple[TaskId, str]  # a task and the name of its Image tag
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """How many objects were found, how many detections were wrong, how many objects missed.

    Each figure has its 95 % interval, and is None where there is nothing to count.
    """

    found: int
    wrong: int
    missed: int

    @property
    def precision(self) -> Rate:
        """The part of the detections that are right."""
        detections = self.found + self.wrong
        return Rate.of(precision(self.found, self.wrong), wilson(self.found, detections))

    @property
    def recall(self) -> Rate:
        """The part of the objects that are found."""
        objects = self.found + self.missed
        return Rate.of(recall(self.found, self.missed), wilson(self.found, objects))

    @property
    def f1(self) -> Rate:
        """The harmonic mean of the two."""
        counts = self.found, self.wrong, self.missed
        return Rate.of(f1(*counts), f1_interval(*counts))


def tally(counts: Ints) -> Tally:
    """Add counts up, int64 (..., 3)."""
    return Tally(*counts.reshape(-1, 3).sum(axis=0).tolist())


@dataclass(frozen=True)
class TunedLabel:
    """One label.

    Attributes:
        label: its value.
        now: the phrases it is asked with, and `phrases` those it should be asked with.
        threshold_now: its box threshold, and `threshold` the one it should have.
        interval: where the best threshold would be in 95 of 100 draws of as many images; None
            where none was chosen.
        objects: how many there are in the images.
        before: the figures with what holds now.
        after: those with what is chosen, of images that did not choose it: `fitting` tells how.
        gain: how much better `after` is.
        remark: a sentence about what was not chosen, or empty.
    """

    label: str
    now: Phrases
    phrases: Phrases
    threshold_now: float
    threshold: float
    interval: Interval | None
    objects: int
    before: Tally
    after: Tally
    gain: Gain
    remark: str = ""

    @property
    def has_other_phrases(self) -> bool:
        return not self.phrases.is_same(self.now)

    @property
    def has_other_threshold(self) -> bool:
        return self.threshold != self.threshold_now

    @property
    def is_changed(self) -> bool:
        return self.has_other_phrases or self.has_other_threshold

    @property
    def more(self) -> str:
        """A sentence about how little truth there is; empty where there is enough."""
        one, ends = self.after, self.after.recall.interval
        if ends is None:
            return f"{self.label}: there is none in the images."
        if ends.width <= _WIDE:
            return ""
        total = one.found + one.missed
        return (
            f"{self.label}: {total} objects, so the interval of its recall is {ends.low:.2f} to "
            f"{ends.high:.2f}; {more_to_halve(one.found, total)} more would halve it."
        )


@dataclass(frozen=True, eq=False)
class TunedModels:
    """What is best for one pair of models.

    Attributes:
        choice: the models.
        labels: every label that is looked for.
        images: the I images that were measured.
        before: int64 (I, L, 3), found, wrong and missed of each label in each image now.
        after: the same with what is chosen, each image by what the others chose.
        failures: why some tasks were not measured.
    """

    choice: ModelChoice
    labels: tuple[TunedLabel, ...]
    images: tuple[ImageKey, ...]
    before: Ints
    after: Ints
    failures: dict[TaskId, str]

    def gain(self, goal: Goal) -> Gain:
        """How much better all labels together become."""
        return gain(self.before, self.after, goal)


@dataclass(frozen=True, eq=False)
class Tuned:
    """The outcome: `now` are the models that the project has, `best` those it should have.

    `every` are all that were compared, `goal` is what was to be reached. `choice_gain` is how much
    better the best models are than those that it has, tuned likewise; None where they are the same.
    """

    goal: Goal
    now: TunedModels
    best: TunedModels
    every: tuple[TunedModels, ...]
    choice_gain: Gain | None

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks that chose: no promise may rest on them again."""
        used = dict.fromkeys(task for one in self.every for task, _ in one.images)
        return tuple(used)

    @property
    def has_other_models(self) -> bool:
        return self.best is not self.now

    @property
    def is_changed(self) -> bool:
        """Whether anything should be other than it is."""
        return self.has_other_models or any(one.is_changed for one in self.best.labels)

    def best_of(self, label: str) -> ModelChoice:
        """The models that are best for one label."""

        def value(models: TunedModels) -> float:
            own = next(one.after for one in models.labels if one.label == label)
            return float(worth(np.array([own.found, own.wrong, own.missed]), self.goal))

        return max(self.every, key=value).choice
