"""Chooses phrases and thresholds for one pair of models, and says how good they are.

What the stated figures mean: the images are dealt into five folds. For each fold, phrases and
thresholds are chosen by the images of the other four alone, with all that belongs to choosing, and
the images of the fold are counted with these. So no image has a say in how it is counted, and the
figures are what to expect of other images of the same kind: a little less than that rather than
more, as each choice is made by four fifths of them. What is chosen in the end is chosen by all.

A label's counts of a fold come from the run with the phrases that are chosen in the end, where the
other folds chose the same phrases for it, and else from the run that asked with all phrases at
once, whose scores differ a little. Which labels change at all is decided by these figures, each by
an interval that must not reach 0: that choice is not cross-validated.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.choice import choose_threshold
from grounded_labeler.evaluation.curve import F1, Goal
from grounded_labeler.evaluation.intervals import Interval
from grounded_labeler.quality.candidates import ScoredImage
from grounded_labeler.quality.counting import THRESHOLDS, count_images
from grounded_labeler.quality.held_out import FOLDS, choose_index, deal, gain, goal_among
from grounded_labeler.quality.phrases import Phrases, Trial, asked_with
from grounded_labeler.quality.remarks import may_reach, of_no_gain, of_shortfall, of_too_few
from grounded_labeler.quality.runs import (
    Limits,
    Runs,
    count_at,
    count_objects,
    limits_of,
)
from grounded_labeler.quality.screening import THRESHOLDS as COARSE
from grounded_labeler.quality.screening import Screening
from grounded_labeler.quality.tuned import (
    LEAST_IMAGES,
    LEAST_OBJECTS,
    TunedLabel,
    TunedModels,
    tally,
)

_SEED = 7  # the same truth is tuned the same way

Ints = NDArray[np.int64]
_Chosen = dict[str, Phrases]  # by label, of those labels that are asked otherwise than now


def fit_models(runs: Runs, trials: Sequence[Trial], goal: Goal) -> TunedModels:
    """Choose phrases and thresholds for one pair of models.

    The models run as the project asks now, then once with all phrases at once, and then with
    those that are chosen. What they found is kept.

    Args:
        runs: the models, and the images with what people say is in them.
        trials: what is tried; a label that is not in it keeps its phrases.
        goal: what is to be reached.

    Raises what running the models raises.
    """
    now = runs.ask({}, "for the labels as they are asked for now")
    enough = _with_truth(list(now.values()), runs.labels)
    tried = [one for one in trials if one.label in enough and one.every != one.now]
    screened = None
    if tried:
        count = sum(len(one.every) for one in tried)
        screened = runs.ask({one.label: one.every for one in tried}, f"for {count} phrases at once")
    keys = [key for key in now if screened is None or key in screened]
    images = [now[key] for key in keys]
    screening = None
    if screened is not None:
        screening = Screening([screened[key] for key in keys], runs.targets, tried, goal)
    fit = _Fit(runs, images, goal, screening)
    return fit.fitted()


class _Fit:
    """The images that all runs have a result of, dealt into folds, and what each fold chooses."""

    def __init__(
        self,
        runs: Runs,
        images: Sequence[ScoredImage],
        goal: Goal,
        screening: Screening | None,
    ) -> None:
        self._runs, self._images, self._goal, self._screening = runs, images, goal, screening
        self._labels = runs.labels
        self._objects = count_objects(images, self._labels)
        self._enough = _with_truth(images, self._labels)
        self._fold_of = deal(self._objects > 0, FOLDS, np.random.default_rng(_SEED))
        self._folds = np.unique(self._fold_of)
        self._of_fold = [self._chosen(self._fold_of != fold) for fold in self._folds]
        # Where a label means different things for two images of a task, those of the first count.
        self._asked: dict[str, Phrases] = {}
        for labels in runs.targets.values():
            self._asked = asked_with(labels) | self._asked
        self._held = dict.fromkeys(self._labels, 0.0)
        for image in reversed(images):
            self._held |= limits_of(image)

    def fitted(self) -> TunedModels:
        before = count_at(self._images, self._labels, {})
        chosen = self._chosen(np.ones(len(self._images), np.bool_))
        while True:
            final = self._with(chosen)
            sweep = count_images(final, self._labels).counts
            every = self._left_out(final, sweep, chosen, self._enough)
            wanted = self._wanted(before, every, sweep)
            lost = chosen.keys() - wanted
            if not lost:
                break
            # Run for themselves, or counted by thresholds of all labels, they are no better.
            chosen = {label: own for label, own in chosen.items() if label not in lost}
        after = self._left_out(final, sweep, chosen, wanted)
        counts = before, after, every
        labels = tuple(
            self._label(place, counts, sweep, chosen, wanted) for place in range(len(self._labels))
        )
        keys = tuple((image.task, image.target) for image in self._images)
        return TunedModels(self._runs.choice, labels, keys, before, after, self._runs.failures)

    def _chosen(self, among: NDArray[np.bool_]) -> _Chosen:
        """The phrases that these images choose, of the labels for which they differ."""
        if self._screening is None or not among.any():
            return {}
        return self._screening.choose(among)

    def _with(self, chosen: _Chosen) -> Sequence[ScoredImage]:
        if not chosen:
            return self._images
        found = self._runs.ask(chosen, "for the phrases that are chosen")
        return [found.get((image.task, image.target), image) for image in self._images]

    def _wanted(self, before: Ints, after: Ints, sweep: Ints) -> frozenset[str]:
        """The labels to change: those that are better for it, or that reach the floor."""
        if isinstance(self._goal, F1):
            return frozenset(
                label
                for place, label in enumerate(self._labels)
                if label in self._enough
                and gain(before[:, place], after[:, place], self._goal).is_sure
            )
        return frozenset(
            label
            for place, label in enumerate(self._labels)
            if label in self._enough
            and choose_index(sweep[:, :, place], THRESHOLDS, self._goal) >= 0
            # Where images left out contradict it, the floor is only reached by chance.
            and may_reach(tally(after[:, place]), self._goal)
        )

    def _left_out(
        self,
        final: Sequence[ScoredImage],
        sweep: Ints,
        chosen: _Chosen,
        wanted: frozenset[str],
    ) -> Ints:
        """Count each fold by what the others choose for the labels in `wanted`: (I, L, 3)."""
        counts = np.zeros((len(final), len(self._labels), 3), np.int64)
        for fold, own in zip(self._folds, self._of_fold, strict=True):
            inside = self._fold_of == fold
            images = [image for image, is_in in zip(final, inside, strict=True) if is_in]
            limits = self._limits(sweep[~inside], wanted)
            counts[inside] = count_at(images, self._labels, limits)
            differing = [
                place
                for place, label in enumerate(self._labels)
                if label in wanted and not _is_same(own.get(label), chosen.get(label))
            ]
            if differing and self._screening is not None:
                of_fold = {label: phrases for label, phrases in own.items() if label in wanted}
                limits = self._coarse_limits(of_fold, ~inside, wanted)
                asked = self._screening.at(of_fold, np.flatnonzero(inside))
                counts[np.ix_(inside, differing)] = count_at(asked, self._labels, limits)[
                    :, differing
                ]
        return counts

    def _limits(self, sweep: Ints, wanted: frozenset[str]) -> Limits:
        """The thresholds that counts (I, T, L, 3) choose; a label without one keeps its own."""
        indices = {
            label: choose_index(sweep[:, :, place], THRESHOLDS, self._goal)
            for place, label in enumerate(self._labels)
            if label in wanted
        }
        return {label: float(THRESHOLDS[i]) for label, i in indices.items() if i >= 0}

    def _coarse_limits(
        self, own: _Chosen, among: NDArray[np.bool_], wanted: frozenset[str]
    ) -> Limits:
        """The thresholds that the run with all phrases chooses for a fold's own phrases."""
        assert self._screening is not None
        limits = {}
        for label in wanted:
            counts = self._screening.counts(label, own.get(label))[among]
            index = choose_index(counts, COARSE, self._goal)
            if index >= 0:
                limits[label] = float(COARSE[index])
        return limits

    def _label(
        self,
        place: int,
        counts: tuple[Ints, Ints, Ints],
        sweep: Ints,
        chosen: _Chosen,
        wanted: frozenset[str],
    ) -> TunedLabel:
        """What becomes of a label; `counts` are before, after, and if all labels were changed."""
        label = self._labels[place]
        before, after, if_changed = (one[:, place] for one in counts)
        own, held = sweep[:, :, place], self._held[label]
        now = self._asked.get(label, Phrases(()))
        index = choose_index(own, THRESHOLDS, self._goal) if label in self._enough else -1
        threshold = held if index < 0 else float(THRESHOLDS[index])
        if label in wanted:
            remark = of_shortfall(label, tally(after), self._goal)
        elif label not in self._enough:
            count = self._objects[:, place]
            remark = of_too_few(label, int(count.sum()), int((count > 0).sum()))
        else:
            would = gain(before, if_changed, self._goal)
            remark = of_no_gain(label, held, threshold, would, self._goal)
        return TunedLabel(
            label=label,
            now=now,
            phrases=chosen.get(label, now),
            threshold_now=held,
            threshold=threshold if label in wanted else held,
            interval=self._interval(own) if label in self._enough else None,
            objects=int(self._objects[:, place].sum()),
            before=tally(before),
            after=tally(after),
            gain=gain(before, after, self._goal),
            remark=remark,
        )

    def _interval(self, counts: Ints) -> Interval | None:
        goal = goal_among(counts, THRESHOLDS, self._goal)
        if goal is None:
            return None
        rng = np.random.default_rng(_SEED)
        return choose_threshold(counts, THRESHOLDS, goal, rng=rng).interval


def _with_truth(images: Sequence[ScoredImage], labels: Sequence[str]) -> frozenset[str]:
    """The labels that there are enough objects of, in enough images, to choose anything."""
    objects = count_objects(images, labels)
    enough = (objects.sum(axis=0) >= LEAST_OBJECTS) & ((objects > 0).sum(axis=0) >= LEAST_IMAGES)
    return frozenset(label for label, is_so in zip(labels, enough, strict=True) if is_so)


def _is_same(one: Phrases | None, other: Phrases | None) -> bool:
    return one is other or (one is not None and other is not None and one.is_same(other))
