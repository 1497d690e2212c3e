"""Which phrases a label is best asked with, told by one run that asks with all of them at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.prompt import phrases_from_labels
from grounded_labeler.core.types import Label
from grounded_labeler.evaluation.curve import Goal
from grounded_labeler.evaluation.types import FOUND, MISSED
from grounded_labeler.quality.candidates import ScoredImage
from grounded_labeler.quality.counting import count_over
from grounded_labeler.quality.held_out import FOLDS, deal, gain, held_out, worth
from grounded_labeler.quality.phrases import Phrases, Trial, with_phrases

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Coarse, as many sets of phrases are compared: what is chosen is then swept finely.
THRESHOLDS: Floats = np.arange(0.05, 0.951, 0.05).round(2)
_SEED = 29  # the same images choose the same phrases


def as_asked(
    image: ScoredImage, labels: Sequence[Label], chosen: Mapping[str, Phrases]
) -> ScoredImage:
    """Return an image as if it had been asked with other phrases, all of which it was asked with.

    The scores stay those of the run: the phrases beside one in a caption change its scores a
    little, so what is told by this is then run for itself.

    Args:
        image: what was found with at least these phrases.
        labels: those of the project as they are now.
        chosen: what labels are asked with instead, by their values.
    """
    query, all_of_them = image.query, image.candidates
    asked = with_phrases(labels, chosen)
    prompt = phrases_from_labels(asked)
    place = {phrase.text.casefold(): i for i, phrase in enumerate(query.prompt.phrases)}
    columns = np.array([place[phrase.text.casefold()] for phrase in prompt.phrases], np.intp)
    peaks = all_of_them.peaks[:, columns]
    # A candidate that scores less than every threshold with all of these is none of theirs.
    rows = np.flatnonzero(peaks.max(axis=1, initial=0) >= THRESHOLDS[0])
    some = all_of_them.subset(rows)
    presence = some.presence
    candidates = replace(
        some,
        peaks=some.peaks[:, columns],
        means=some.means[:, columns],
        presence=None if presence is None else presence[columns],
    )
    target = replace(query.target, labels=asked)
    return replace(
        image,
        query=replace(query, target=target, prompt=prompt),
        result=replace(image.result, candidates=candidates),
    )


class Screening:
    """Chooses phrases by a run that asked with all of them, for all images or for some.

    A set of phrases is counted once, whoever compares it.
    """

    def __init__(
        self,
        images: Sequence[ScoredImage],
        labels: Mapping[str, Sequence[Label]],
        trials: Sequence[Trial],
        goal: Goal,
    ) -> None:
        """Take the images of the run; nothing is counted yet.

        Args:
            images: of a run that asked every label with all that is tried for it.
            labels: those of the project as they are now, by the name of the Image tag.
            trials: what is tried.
            goal: what makes a threshold, and with it a set of phrases, good.
        """
        self._images, self._labels, self._goal = images, labels, goal
        self._trials = trials
        self._counts: dict[tuple[str, Phrases | None], Ints] = {}

    def choose(self, among: NDArray[np.bool_]) -> dict[str, Phrases]:
        """Return the best phrases where these images are the only ones known.

        Of the labels that should be asked otherwise than now, by their values.

        What a label is asked with now stays, unless another set is better beyond noise: see
        `_choose`. Labels that would share a phrase do not: the first one has it.

        Args:
            among: bool (I,), which images.
        """
        chosen: dict[str, Phrases] = {}
        for trial in self._trials:
            taken = frozenset[str]().union(*(one.keys for one in chosen.values()))
            best = self._choose(trial, among, taken)
            if not best.is_same(trial.now):
                chosen[trial.label] = best
        return chosen

    def counts(self, label: str, phrases: Phrases | None) -> Ints:
        """Count a label in all images, were it asked with these phrases and no other changed.

        With None, as it is asked now.

        Returns:
            int64 (I, T, 3), at each of THRESHOLDS.
        """
        key, chosen = (label, phrases), {} if phrases is None else {label: phrases}
        if key not in self._counts:
            rows = [
                count_over(
                    as_asked(image, self._labels[image.target], chosen),
                    [label],
                    THRESHOLDS,
                )[:, 0]
                for image in self._images
            ]
            self._counts[key] = np.array(rows, np.int64).reshape(-1, len(THRESHOLDS), 3)
        return self._counts[key]

    def at(self, chosen: Mapping[str, Phrases], rows: NDArray[np.intp]) -> list[ScoredImage]:
        """Return the images at `rows` as if they had been asked with these phrases."""
        images = [self._images[row] for row in rows.tolist()]
        return [as_asked(one, self._labels[one.target], chosen) for one in images]

    def _choose(self, trial: Trial, among: NDArray[np.bool_], taken: frozenset[str]) -> Phrases:
        """Add phrases one by one, the best first, as long as one more is worth it.

        The first one may take the place of what there is now. Every set is counted at thresholds
        that other images chose, and is taken if it is better than the one before by a paired
        bootstrap; as the best of several looks better than it is, the interval is so much wider
        (Bonferroni).
        """
        counts = self.counts(trial.label, None)[among]
        has_label = np.asarray(counts[:, 0, (FOUND, MISSED)].sum(axis=1) > 0)
        fold_of = deal(has_label[:, None], FOLDS, np.random.default_rng(_SEED))

        def counted(phrases: Phrases) -> Ints:
            own = self.counts(trial.label, None if phrases is trial.now else phrases)[among]
            return held_out(own, THRESHOLDS, self._goal, fold_of)

        now = trial.now
        best = counted(now)
        steps = [step for step in trial.steps if not step.keys & taken]
        alone = [step for step in steps if step.wanted]
        while True:
            sets = [now | step for step in steps if not step.keys & now.keys] + alone
            sets = [one for one in dict.fromkeys(sets) if not one.is_same(now)]
            if not sets:
                return now
            tried = {one: counted(one) for one in sets}
            # Of equals, the one with the fewest phrases: each costs time and may find too much.
            chosen = max(
                sets, key=lambda one: (float(worth(tried[one].sum(axis=0), self._goal)), -len(one))
            )
            confidence = 1 - 0.05 / len(sets)
            if not gain(best, tried[chosen], self._goal, confidence=confidence).is_sure:
                return now
            now, best, alone = chosen, tried[chosen], []
