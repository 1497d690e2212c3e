"""Runs one pair of models over annotated images, with the phrases that labels are asked with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.types import Label
from grounded_labeler.evaluation.matching import count_labels
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.preannotate.running import Running
from grounded_labeler.quality.candidates import CandidateSet, ScoredImage, Variant
from grounded_labeler.quality.phrases import Phrases, with_phrases
from grounded_labeler.quality.subject import Subject
from grounded_labeler.quality.tuned import ImageKey
from grounded_labeler.settings import Settings
from grounded_labeler.weights.choice import ModelChoice

Ints = NDArray[np.int64]
Limits = Mapping[str, float]  # box thresholds by label
Say = Callable[[str], None]


class Runs:
    """What one pair of models finds in the images of a subject; kept, and never run twice.

    `failures` says why some tasks have no result.
    """

    def __init__(
        self,
        subject: Subject,
        choice: ModelChoice,
        settings: Settings,
        running: Running,
        say: Say,
    ) -> None:
        """Say who runs what; `say` is told what each run is for."""
        self._subject, self._settings, self._running = subject, settings, running
        self.choice, self._say = choice, say
        self.failures: dict[TaskId, str] = {}
        self.targets: Mapping[str, tuple[Label, ...]] = {
            target.name: target.labels for target in subject.config.images
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are looked for, each once."""
        return tuple(dict.fromkeys(one.value for own in self.targets.values() for one in own))

    def ask(self, phrases: Mapping[str, Phrases], what: str) -> dict[ImageKey, ScoredImage]:
        """Run the models with these phrases in place of those that labels have now.

        `what` completes "Looking ...". Returns the images that have a result and a truth.
        """
        config = self._subject.config
        images = tuple(
            replace(target, labels=with_phrases(target.labels, phrases)) for target in config.images
        )
        subject = replace(self._subject, config=replace(config, images=images))
        kept = CandidateSet(subject, Variant(choice=self.choice), self._settings, self._running)
        self._say(f"{kept.models}: looking {what}, {kept.first_line}")
        self.failures |= kept.run()
        return {(image.task, image.target): image for image in kept.images()}


def limits_of(image: ScoredImage) -> dict[str, float]:
    """The box thresholds that hold for the labels of an image."""
    query = image.query
    return {
        label: threshold
        for phrase, label, threshold in zip(
            query.prompt.phrases, query.phrase_labels, query.box_thresholds, strict=True
        )
        if label is not None and not phrase.negative
    }


def count_at(images: Sequence[ScoredImage], labels: Sequence[str], limits: Limits) -> Ints:
    """Count what the service returns with these thresholds of labels.

    Other labels, and negative phrases, keep those that hold for them.

    Returns:
        int64 (I, L, 3), found, wrong and missed of each of `labels`.
    """
    counts = np.zeros((len(images), len(labels), 3), np.int64)
    for place, image in enumerate(images):
        query = image.query
        own = [
            held if phrase.negative or label is None else limits.get(label, held)
            for phrase, label, held in zip(
                query.prompt.phrases, query.phrase_labels, query.box_thresholds, strict=True
            )
        ]
        counts[place] = count_labels(image.found(own), image.truth, labels)
    return counts


def count_objects(images: Sequence[ScoredImage], labels: Sequence[str]) -> Ints:
    """Count the objects of each label that people say are in each image: int64 (I, L)."""
    counts = np.zeros((len(images), len(labels)), np.int64)
    for place, image in enumerate(images):
        own = [
            label
            for label, crowd in zip(image.truth.labels, image.truth.is_crowd, strict=True)
            if not crowd
        ]
        counts[place] = [own.count(label) for label in labels]
    return counts
