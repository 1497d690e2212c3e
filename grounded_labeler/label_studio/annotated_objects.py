"""The regions of an annotation that are of one object: which of them belong together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.coco import CocoRle, coco_box, union_of_coco_rles
from grounded_labeler.core.boxes import box_iou
from grounded_labeler.core.rotated import RotatedBox

# A rectangle and a mask whose box overlaps it by at least so much are one object, drawn twice.
_SAME_OBJECT = 0.8


@dataclass(frozen=True, eq=False)
class AnnotatedObject:
    """A region, or several that are one object.

    Attributes:
        label: its label.
        box: float32 (4,), xyxy in pixels of the displayed image, half-open.
        mask: its pixels; None for an object that only has a box.
        rotated: its box as somebody turned it; None where none is turned.
        score: in [0, 1], where a model said one and the region still has it.
        drawn: the name that this service gave all regions of the object, or "".
        is_rectangle: whether it is a rectangle and nothing else.
        is_paired: whether a rectangle belongs to the mask already.
    """

    label: str
    box: NDArray[np.float32]
    mask: CocoRle | None
    rotated: RotatedBox | None
    score: float | None
    drawn: str
    is_rectangle: bool = False
    is_paired: bool = False


def join_regions(regions: Sequence[AnnotatedObject]) -> list[AnnotatedObject]:
    """Make one object of all regions that are one.

    Those that this service drew of one object are, as long as they have one label and overlap; so
    are a rectangle and a mask of one label whose boxes overlap by an IoU of 0.8.
    """
    return _paired(_joined(regions))


def _joined(objects: Sequence[AnnotatedObject]) -> list[AnnotatedObject]:
    """One object for all regions of one label that this service drew of one."""
    groups: dict[tuple[str, str | int], list[AnnotatedObject]] = {}
    for place, one in enumerate(objects):
        groups.setdefault((one.label, one.drawn or place), []).append(one)
    joined = []
    for own in groups.values():
        boxes = [one for one in own if one.mask is None]
        masks = [one.mask for one in own if one.mask is not None]
        if masks:
            union = union_of_coco_rles(masks)
            box = coco_box(union)
            # An annotator may have moved the box to another object.
            fits = [one for one in boxes if box_iou(one.box[None], box[None])[0, 0] > 0][:1]
            boxes = [one for one in boxes if one not in fits]
            around, rotated = (fits[0].box, fits[0].rotated) if fits else (box, None)
            joined.append(
                replace(own[0], box=around, mask=union, rotated=rotated, is_paired=bool(fits))
            )
        joined += boxes
    return joined


def _paired(objects: Sequence[AnnotatedObject]) -> list[AnnotatedObject]:
    """One object for each rectangle and mask of one label that lie on one another, best first."""
    made = list(objects)
    pairs = []
    for label in {one.label for one in made}:
        own = [place for place, one in enumerate(made) if one.label == label]
        boxes = [place for place in own if made[place].mask is None and made[place].is_rectangle]
        masks = [place for place in own if made[place].mask is not None]
        masks = [place for place in masks if not made[place].is_paired]
        if boxes and masks:
            overlaps = box_iou(
                np.stack([made[place].box for place in boxes]),
                np.stack([made[place].box for place in masks]),
            )
            for i, j in np.argwhere(overlaps >= _SAME_OBJECT):
                pairs.append((float(overlaps[i, j]), boxes[i], masks[j]))
    taken: set[int] = set()
    for _, box, mask in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
        if taken.isdisjoint((box, mask)):
            taken |= {box, mask}
            score = made[mask].score if made[box].score is None else made[box].score
            made[box] = replace(made[box], mask=made[mask].mask, score=score)
            made[mask] = replace(made[mask], label="")
    return [one for one in made if one.label]
