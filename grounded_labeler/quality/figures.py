"""All figures of an evaluation as plain values: what the report prints and the JSON file has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.evaluation.coco_eval import CocoMetrics, LabelAP
from grounded_labeler.evaluation.curve import F1, Floats, LabelScores, best_threshold
from grounded_labeler.evaluation.intervals import (
    Interval,
    f1,
    f1_interval,
    more_to_halve,
    precision,
    recall,
    wilson,
)
from grounded_labeler.evaluation.types import FOUND, MISSED, WRONG
from grounded_labeler.quality.measure import Evaluation

# COCO's sizes: https://cocodataset.org/#detection-eval, the side of a square in pixels.
_SMALL, _MEDIUM = 32, 96
# Of recall: a wider interval tells little, as that of fewer than some 60 objects does.
_WIDE = 0.2


@dataclass(frozen=True)
class Rate:
    """A figure in [0, 1] with its 95 % interval; both None where there is nothing to count."""

    value: float | None
    interval: Interval | None

    @classmethod
    def of(cls, value: float | None, interval: Interval) -> Self:
        return cls(value, None if value is None else interval)


@dataclass(frozen=True)
class LabelFigures:
    """How good the detections of one label are, or of all together, at an IoU of 0.5.

    Attributes:
        label: the label; None for all together.
        thresholds: the box thresholds that hold for it; most often one.
        truths: how many objects there are; those of them that are `found` and `missed`.
        wrong: how many detections found no object.
        ap, ap50: COCO's average precision of the boxes; None where no object has the label.
        mask_ap, mask_ap50: that of the masks.
        more_to_halve: how many more objects would halve the interval of the recall; None where
            the interval is narrow already.
    """

    label: str | None
    thresholds: tuple[float, ...]
    truths: int
    found: int
    missed: int
    wrong: int
    precision: Rate
    recall: Rate
    f1: Rate
    ap: float | None
    ap50: float | None
    mask_ap: float | None
    mask_ap50: float | None
    more_to_halve: int | None


@dataclass(frozen=True)
class SizeFigures:
    """How many objects of a size were found; with the average precision of boxes and masks.

    `name` is COCO's; the area is from `least` pixels, the square of a side, up to `most`.
    """

    name: str
    least: int
    most: int | None
    truths: int
    found: int
    recall: Rate
    ap: float | None
    mask_ap: float | None


@dataclass(frozen=True)
class Curve:
    """Precision, recall and F1 over thresholds; None where there is nothing to count.

    `label` is None for all labels together. `best` is the threshold with the highest F1 on these
    images, and `best_f1` that; None where nothing right is found at any.
    """

    label: str | None
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    best: float | None
    best_f1: float | None


@dataclass(frozen=True)
class ConfusionTable:
    """How often `names[row]` is true where `names[column]` was found; the last is nothing."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class WorstImage:
    """An image with how much in it was missed and wrong."""

    task: int | str
    image: str
    missed: int
    wrong: int


@dataclass(frozen=True)
class Figures:
    """All that was measured.

    Attributes:
        images: how many were measured.
        failed: why others were not, by task.
        total: of all labels together; AP is COCO's mean over the labels.
        labels: by label.
        sizes: by size of object.
        thresholds: of the `curves`, of which the first is that of all labels together.
        not_asked: how many objects have a label that was not asked for, by label.
        crowds: how many objects are groups, which are neither found nor missed.
        without_mask: how many objects have no mask where masks were measured.
        worst: the images with anything missed or wrong, those with most of it first.
    """

    images: int
    failed: Mapping[int | str, str]
    total: LabelFigures
    labels: tuple[LabelFigures, ...]
    sizes: tuple[SizeFigures, ...]
    boxes: CocoMetrics
    masks: CocoMetrics | None
    confusion: ConfusionTable
    thresholds: tuple[float, ...]
    curves: tuple[Curve, ...]
    not_asked: Mapping[str, int]
    crowds: int
    without_mask: int
    worst: tuple[WorstImage, ...]


def figures_of(evaluation: Evaluation, failed: Mapping[int | str, str]) -> Figures:
    """Compute all figures of an evaluation; `failed` says why other tasks were not measured."""
    one = evaluation
    every = tuple(sorted({limit for own in one.thresholds.values() for limit in own}))
    sums: NDArray[np.int64] = one.held.sum(axis=0)
    masks = None if one.masks is None else _total_ap(one.masks)
    total = _label(None, every, sums.sum(axis=0), _total_ap(one.boxes), masks)
    of_masks = [None] * len(one.labels) if one.masks is None else one.masks.labels
    labels = tuple(
        _label(label, one.thresholds[label], sums[place], one.boxes.labels[place], of_masks[place])
        for place, label in enumerate(one.labels)
    )
    counts = one.counted.total
    grid = one.counted.thresholds
    curves = [_curve(None, counts.sum(axis=1), grid)]
    curves += [_curve(label, counts[:, place], grid) for place, label in enumerate(one.labels)]
    truths = [image.truth for image in one.images]
    return Figures(
        images=len(one.images),
        failed=failed,
        total=total,
        labels=labels,
        sizes=_sizes(one),
        boxes=one.boxes,
        masks=one.masks,
        confusion=ConfusionTable(one.labels, tuple(map(tuple, one.confusion.tolist()))),
        thresholds=tuple(one.counted.thresholds.tolist()),
        curves=tuple(curves),
        not_asked=one.not_asked,
        crowds=sum(int(truth.is_crowd.sum()) for truth in truths),
        without_mask=0
        if one.masks is None
        else sum(mask is None for truth in truths for mask in truth.masks),
        worst=tuple(
            WorstImage(image.task, image.target, image.missed, image.wrong) for image in one.worst
        ),
    )


def _label(
    label: str | None,
    thresholds: tuple[float, ...],
    counts: NDArray[np.int64],
    boxes: LabelAP,
    masks: LabelAP | None,
) -> LabelFigures:
    found, wrong, missed = (int(counts[place]) for place in (FOUND, WRONG, MISSED))
    truths = found + missed
    of_recall = wilson(found, truths)
    return LabelFigures(
        label=label,
        thresholds=thresholds,
        truths=truths,
        found=found,
        missed=missed,
        wrong=wrong,
        precision=Rate.of(precision(found, wrong), wilson(found, found + wrong)),
        recall=Rate.of(recall(found, missed), of_recall),
        f1=Rate.of(f1(found, wrong, missed), f1_interval(found, wrong, missed)),
        ap=boxes.ap,
        ap50=boxes.ap50,
        mask_ap=None if masks is None else masks.ap,
        mask_ap50=None if masks is None else masks.ap50,
        more_to_halve=more_to_halve(found, truths) if of_recall.width > _WIDE else None,
    )


def _total_ap(metrics: CocoMetrics) -> LabelAP:
    return LabelAP("", metrics.ap, metrics.ap50)


def _curve(label: str | None, counts: NDArray[np.int64], thresholds: Floats) -> Curve:
    scores = LabelScores.of(counts)
    best = best_threshold(counts, thresholds, F1())
    known = [_known(values) for values in (scores.precision, scores.recall, scores.f1)]
    top = None if best is None else known[2][thresholds.tolist().index(best)]
    return Curve(label, known[0], known[1], known[2], best, top)


def _known(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _sizes(evaluation: Evaluation) -> tuple[SizeFigures, ...]:
    objects = list(evaluation.objects)
    boxes, masks = evaluation.boxes, evaluation.masks
    ranges = (
        ("small", 0, _SMALL**2),
        ("medium", _SMALL**2, _MEDIUM**2),
        ("large", _MEDIUM**2, None),
    )
    sizes = []
    of_boxes, of_masks = _aps(boxes), (None,) * 3 if masks is None else _aps(masks)
    for (name, least, most), ap, mask_ap in zip(ranges, of_boxes, of_masks, strict=True):
        here = [found for area, found in objects if least <= area < (most or np.inf)]
        rate = Rate.of(recall(sum(here), len(here) - sum(here)), wilson(sum(here), len(here)))
        sizes.append(SizeFigures(name, least, most, len(here), sum(here), rate, ap, mask_ap))
    return tuple(sizes)


def _aps(metrics: CocoMetrics) -> tuple[float | None, ...]:
    return metrics.ap_small, metrics.ap_medium, metrics.ap_large
