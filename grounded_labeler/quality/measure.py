"""Measure what the service returns against the truth: each image is judged, once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import coco_area
from grounded_labeler.evaluation.coco_eval import CocoMetrics, coco_metrics
from grounded_labeler.evaluation.matching import (
    Matching,
    confusion,
    count_labels,
    match_labels,
)
from grounded_labeler.evaluation.types import Found, Truth
from grounded_labeler.preannotate.results import TaskId
from grounded_labeler.quality.candidates import ScoredImage
from grounded_labeler.quality.counting import THRESHOLDS, Counted, count_over

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JudgedImage:
    """One image, with what was right and wrong in it.

    Attributes:
        task: the task's id; `target` is the name of the Image tag.
        truth: the objects of the labels that are measured.
        found: what the service returns at the thresholds that hold, boxes alone.
        every: what scores at least the floor, with masks if the run made them.
        matching: which object each detection of `found` found.
    """

    task: TaskId
    target: str
    truth: Truth
    found: Found
    every: Found
    matching: Matching

    @property
    def missed(self) -> int:
        """How many objects were not found."""
        return int(self.matching.missed.sum())

    @property
    def wrong(self) -> int:
        """How many detections found nothing."""
        return int(self.matching.wrong.sum())


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good detections are in I images, by L labels.

    Attributes:
        labels: the labels that were asked for; others are not measured.
        images: the images, in the order of the tasks.
        counted: what is found, wrong and missed over thresholds.
        held: int64 (I, L, 3), the same at the thresholds that hold.
        confusion: int64 (L + 1, L + 1), rows are true labels, columns found ones, the last of
            each is nothing.
        boxes: COCO's metrics of the boxes of all that scores at least the floor.
        masks: those of the masks; None where none were made.
        thresholds: the box thresholds that hold for each label, rising; most often one.
        not_asked: how many objects have a label that was not asked for, by label.
    """

    labels: tuple[str, ...]
    images: tuple[JudgedImage, ...]
    counted: Counted
    held: NDArray[np.int64]
    confusion: NDArray[np.int64]
    boxes: CocoMetrics
    masks: CocoMetrics | None
    thresholds: Mapping[str, tuple[float, ...]]
    not_asked: Mapping[str, int]

    @cached_property
    def worst(self) -> list[JudgedImage]:
        """The images with anything missed or wrong, those with most of it first."""
        bad = [image for image in self.images if image.missed + image.wrong]
        return sorted(bad, key=lambda image: -(image.missed + image.wrong))

    @property
    def objects(self) -> Iterator[tuple[int, bool]]:
        """The area in pixels of each object that is no crowd, and whether it was found."""
        for image in self.images:
            truth, missed = image.truth, image.matching.missed
            for place, area in enumerate(areas(truth)):
                if not truth.is_crowd[place]:
                    yield area, not missed[place]


def measure(
    images: Iterable[ScoredImage],
    labels: Sequence[str],
    *,
    thresholds: Floats = THRESHOLDS,
    with_masks: bool = False,
) -> Evaluation:
    """Judge the images and compute all metrics; `images` is gone through once.

    Args:
        images: with all candidates from the lowest of `thresholds` on, and with masks to measure
            masks.
        labels: what is measured. Objects of other labels are counted, and are not missed.
        thresholds: float64 (T,), rising, of the curves.
        with_masks: whether to measure masks, too.
    """
    judged: list[JudgedImage] = []
    counts: list[NDArray[np.int64]] = []
    held: list[NDArray[np.int64]] = []
    table = np.zeros((len(labels) + 1, len(labels) + 1), np.int64)
    limits: dict[str, set[float]] = {label: set() for label in labels}
    measured, not_asked = frozenset(labels), Counter[str]()
    for image in images:
        truth, found = truth_of(image.truth, labels), image.found()
        not_asked.update(label for label in image.truth.labels if label not in measured)
        for label, limit in _limits(image):
            limits.setdefault(label, set()).add(limit)
        counts.append(count_over(image, labels, thresholds))
        held.append(count_labels(found, truth, labels))
        table += confusion(found, truth, labels)
        every, matching = image.found_from_floor(), match_labels(found, truth)
        judged.append(JudgedImage(image.task, image.target, truth, found, every, matching))
    pairs = [(image.truth, image.every) for image in judged]
    tasks = tuple(image.task for image in judged)
    shape = (len(judged), len(thresholds), len(labels), 3)
    return Evaluation(
        tuple(labels),
        tuple(judged),
        Counted(tasks, tuple(labels), thresholds, np.array(counts, np.int64).reshape(shape)),
        np.array(held, np.int64).reshape(len(judged), len(labels), 3),
        table,
        coco_metrics(pairs, labels, kind="bbox"),
        coco_metrics(pairs, labels, kind="segm") if with_masks else None,
        {label: tuple(sorted(limits[label])) for label in labels},
        not_asked,
    )


def truth_of(truth: Truth, labels: Sequence[str]) -> Truth:
    """Return the objects of these labels."""
    wanted = frozenset(labels)
    rows = [row for row, label in enumerate(truth.labels) if label in wanted]
    return Truth(
        truth.boxes[rows],
        tuple(truth.labels[row] for row in rows),
        tuple(truth.masks[row] for row in rows),
        truth.is_crowd[rows],
        truth.size_hw,
    )


def areas(truth: Truth) -> list[int]:
    """Return the area of each object in pixels, as COCO has it: of its mask, or else its box."""
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    of_boxes = sides.prod(axis=1).round().astype(int).tolist()
    return [
        of_box if mask is None else coco_area(mask)
        for of_box, mask in zip(of_boxes, truth.masks, strict=True)
    ]


def _limits(image: ScoredImage) -> Iterator[tuple[str, float]]:
    """The box threshold of each label that is looked for."""
    query = image.query
    rows = zip(query.prompt.phrases, query.phrase_labels, query.box_thresholds, strict=True)
    for phrase, label, limit in rows:
        if not phrase.negative:
            yield label or phrase.text, limit
