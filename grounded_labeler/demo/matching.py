"""Which detections of drawn shapes are right."""

from collections.abc import Callable

from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.types import Boxes, Detections

RIGHT_IOU = 0.5


def match(
    found: Detections, boxes: Boxes, fits: Callable[[int, str], bool]
) -> list[tuple[int, int, float]]:
    """Give (detection, shape, IoU) of the right ones: each shape once, best score first.

    `boxes` (N, 4) are those of the shapes; `fits` tells whether a phrase names shape i.
    """
    ious = box_iou(found.boxes, boxes)
    taken: set[int] = set()
    pairs = []
    for i, phrase in enumerate(found.phrases):
        fitting = [
            (float(ious[i, j]), j)
            for j in range(len(boxes))
            if j not in taken and fits(j, phrase) and ious[i, j] >= RIGHT_IOU
        ]
        if fitting:
            iou, j = max(fitting)
            taken.add(j)
            pairs.append((i, j, iou))
    return pairs
