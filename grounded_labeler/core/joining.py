"""One outline for a part of a mask and its holes: Label Studio's polygons have none."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grounded_labeler.core.thinning import Outline

# A hole is joined to the closest of so many outlines, by one of so many of its points: to try
# all of thousands takes minutes and gigabytes, and a longer cut encloses as little.
_NEIGHBOURS = 64
_TRIED_POINTS = 16


class _Cut(NamedTuple):
    """From a point of an outline to the point `start` of the outline `number`, and back."""

    number: int
    start: int


def join(part: Sequence[Outline]) -> Outline:
    """One outline for a part and its holes, each joined to another where the two come closest.

    From left to right each hole is joined to the outer outline or to a hole before it. A cut
    that crosses others does no harm: it encloses nothing.
    """
    outer, *holes = part
    outlines = [outer, *sorted(holes, key=lambda hole: tuple(hole.min(axis=0)))]
    # For each outline, at which of its points which cuts begin.
    cuts: list[dict[int, list[_Cut]]] = [{} for _ in outlines]
    for number in range(1, len(outlines)):
        before = range(max(0, number - _NEIGHBOURS), number)
        step = -(-len(outlines[number]) // _TRIED_POINTS)
        hole = outlines[number][::step]
        near = np.concatenate([outlines[other] for other in before])
        gaps = np.square(near[:, :1] - hole[:, 0]) + np.square(near[:, 1:] - hole[:, 1])
        place, there = np.unravel_index(gaps.argmin(), gaps.shape)
        ends = np.cumsum([len(outlines[other]) for other in before])
        other = int(np.searchsorted(ends, place, side="right"))
        here = int(place - (ends[other - 1] if other else 0))
        cuts[before[other]].setdefault(here, []).append(_Cut(number, int(there) * step))
    return _walk(outlines, cuts)


def _walk(outlines: Sequence[Outline], cuts: Sequence[Mapping[int, list[_Cut]]]) -> Outline:
    """Around the first outline and, where cuts begin, there, around the other and back."""
    points: list[NDArray[np.float64]] = []
    ahead = _steps(outlines[0], cuts[0], range(len(outlines[0])))
    ahead.reverse()
    while ahead:
        step = ahead.pop()
        if isinstance(step, _Cut):
            hole = outlines[step.number]
            around = [*range(step.start, len(hole)), *range(step.start + 1)]
            ahead += reversed(_steps(hole, cuts[step.number], around))
        else:
            points.append(step)
    return np.stack(points)


def _steps(
    outline: Outline, cuts: Mapping[int, list[_Cut]], order: Iterable[int]
) -> list[NDArray[np.float64] | _Cut]:
    """The points of an outline in `order`; after that where a cut begins, the cut and the point."""
    steps: list[NDArray[np.float64] | _Cut] = []
    left = dict(cuts)  # an order may come back to where it began: each cut is made once
    for index in order:
        steps.append(outline[index])
        for cut in left.pop(index, ()):
            steps += [cut, outline[index]]
    return steps
