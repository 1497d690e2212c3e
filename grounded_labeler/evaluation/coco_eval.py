"""COCO's own metrics, computed by pycocotools: https://cocodataset.org/#detection-eval.

The figures are made from the very documents that `coco_truth` and `coco_results` return, so that
whoever has these as files gets the same figures with pycocotools alone.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from grounded_labeler.coco import CocoRle, coco_area
from grounded_labeler.evaluation.types import Found, Truth

Kind = Literal["bbox", "segm"]


class CocoImage(TypedDict):
    """An image as COCO lists it; sizes in pixels."""

    id: int
    file_name: str
    width: int
    height: int


class CocoCategory(TypedDict):
    """A label as COCO lists it."""

    id: int
    name: str


class CocoObject(TypedDict):
    """A true object; `bbox` is x, y, width, height in pixels, `area` that of its mask if any."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int
    segmentation: NotRequired[CocoRle]


class CocoTruth(TypedDict):
    """What `pycocotools.coco.COCO` reads from a file of annotations."""

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoObject]


class CocoResult(TypedDict):
    """A detection in a file of results: `bbox` or `segmentation`, and `score` in [0, 1]."""

    image_id: int
    category_id: int
    score: float
    bbox: NotRequired[list[float]]
    segmentation: NotRequired[CocoRle]


@dataclass(frozen=True)
class LabelAP:
    """COCO's average precision of one label; None where no object has the label.

    Attributes:
        label: the label.
        ap: the mean over IoU thresholds from 0.50 to 0.95, in [0, 1].
        ap50: at IoU 0.50, in [0, 1].
    """

    label: str
    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class CocoMetrics:
    """COCO's metrics, each in [0, 1], and None where there is no object to compute it from.

    Average precision (AP) is the area under the curve of precision over recall that turning the
    score's threshold draws, so it depends on no threshold. It is the mean over the labels.

    Attributes:
        ap: the mean over IoU thresholds from 0.50 to 0.95 in steps of 0.05.
        ap50, ap75: at IoU 0.50 and 0.75.
        ap_small, ap_medium, ap_large: of objects with an area up to 32^2 pixels, up to 96^2, and
            of larger ones.
        ar1, ar10, ar100: average recall with the 1, 10 and 100 best detections of a label in an
            image, the mean over the same IoU thresholds.
        labels: one entry per label, in the order given.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    labels: tuple[LabelAP, ...]


def coco_truth(
    truths: Sequence[Truth],
    labels: Sequence[str],
    *,
    kind: Kind,
    file_names: Sequence[str] | None = None,
) -> CocoTruth:
    """Make the document of true objects that `pycocotools.coco.COCO` reads.

    Images have the ids 1, 2, and so on; so have the labels. Objects of other labels are left out.

    Args:
        truths: one per image.
        labels: the categories.
        kind: with "segm", objects without a mask are left out: there is nothing to compare a
            mask with, so what was found there counts as wrong. As in COCO's own files, the area
            of an object is that of its mask if it has one, with both kinds.
        file_names: of the images; their ids where None.
    """
    if file_names is None:
        file_names = [str(id) for id in range(1, len(truths) + 1)]
    images = [
        CocoImage(id=id, file_name=name, width=truth.size_hw[1], height=truth.size_hw[0])
        for id, (truth, name) in enumerate(zip(truths, file_names, strict=True), 1)
    ]
    category_ids = {label: id for id, label in enumerate(labels, 1)}
    annotations: list[CocoObject] = []
    for image_id, truth in enumerate(truths, 1):
        for place, (label, mask) in enumerate(zip(truth.labels, truth.masks, strict=True)):
            if label not in category_ids or (kind == "segm" and mask is None):
                continue
            bbox = _xywh(truth.boxes[place])
            annotation = CocoObject(
                id=len(annotations) + 1,  # an id of 0 would mean "none" to COCOeval
                image_id=image_id,
                category_id=category_ids[label],
                bbox=bbox,
                area=bbox[2] * bbox[3] if mask is None else coco_area(mask),
                iscrowd=int(truth.is_crowd[place]),
            )
            if mask is not None:
                annotation["segmentation"] = mask
            annotations.append(annotation)
    categories = [CocoCategory(id=id, name=label) for label, id in category_ids.items()]
    return CocoTruth(images=images, categories=categories, annotations=annotations)


def coco_results(founds: Sequence[Found], labels: Sequence[str], *, kind: Kind) -> list[CocoResult]:
    """Make the document of detections that `pycocotools.coco.COCO.loadRes` reads.

    Ids are as in `coco_truth`; detections of other labels are left out. Results of the kind
    "segm" have no `bbox`, as pycocotools would take the area of an object from it.
    `loadRes` itself fails on a document without any detection.
    Raises ValueError for the kind "segm" where detections have no masks.
    """
    category_ids = {label: id for id, label in enumerate(labels, 1)}
    results: list[CocoResult] = []
    for image_id, found in enumerate(founds, 1):
        if kind == "segm" and len(found) and found.masks is None:
            raise ValueError("detections must have masks to be compared by them")
        for place, label in enumerate(found.labels):
            if label not in category_ids:
                continue
            result = CocoResult(
                image_id=image_id,
                category_id=category_ids[label],
                score=float(found.scores[place]),
            )
            if kind == "segm" and found.masks is not None:
                result["segmentation"] = found.masks[place]
            else:
                result["bbox"] = _xywh(found.boxes[place])
            results.append(result)
    return results


def coco_metrics(
    images: Sequence[tuple[Truth, Found]], labels: Sequence[str], *, kind: Kind
) -> CocoMetrics:
    """Compute COCO's metrics of the boxes ("bbox") or the masks ("segm") of all images.

    COCO ranks detections by their scores, so give it those below the thresholds in use, too.
    It uses the 100 best detections of each label in an image. While pycocotools computes,
    what other threads print to the standard output is lost: pycocotools itself prints a lot.
    Raises ValueError for the kind "segm" where detections have no masks.
    """
    from pycocotools.coco import COCO  # noqa: PLC0415 - needed for COCO only
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    truth = coco_truth([truth for truth, _ in images], labels, kind=kind)
    results = coco_results([found for _, found in images], labels, kind=kind)
    with contextlib.redirect_stdout(io.StringIO()):
        coco, detections = COCO(), COCO()
        coco.dataset = truth
        coco.createIndex()
        detections.dataset = {"annotations": []}
        if results:  # loadRes fails without any
            detections = coco.loadRes(results)
        evaluation = COCOeval(coco, detections, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    (ap, ap50, ap75, small, medium, large, ar1, ar10, ar100, *_) = map(_or_none, evaluation.stats)
    # (IoU thresholds, recalls, labels, areas, numbers of detections): all areas, the most of them
    curves: NDArray[np.float64] = evaluation.eval["precision"][:, :, :, 0, -1]
    of_labels = tuple(
        LabelAP(label, _mean(curves[:, :, place]), _mean(curves[0, :, place]))
        for place, label in enumerate(labels)
    )
    return CocoMetrics(ap, ap50, ap75, small, medium, large, ar1, ar10, ar100, of_labels)


def _xywh(box: NDArray[np.float32]) -> list[float]:
    x0, y0, x1, y1 = (float(corner) for corner in box)
    return [x0, y0, x1 - x0, y1 - y0]


def _or_none(value: float) -> float | None:
    """COCO writes -1 for a figure that there is nothing to compute from."""
    return None if value == -1 else float(value)


def _mean(precisions: NDArray[np.float64]) -> float | None:
    known = precisions[precisions > -1]
    return float(known.mean()) if known.size else None
