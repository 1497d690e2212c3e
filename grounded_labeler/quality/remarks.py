"""Sentences about labels: why one stays as it is, and where a floor is not sure."""

from grounded_labeler.evaluation.curve import Goal, PrecisionAtLeast, RecallAtLeast
from grounded_labeler.quality.figures import Rate
from grounded_labeler.quality.held_out import Gain
from grounded_labeler.quality.tuned import LEAST_IMAGES, LEAST_OBJECTS, Tally


def of_too_few(label: str, objects: int, images: int) -> str:
    """Say that there is too little truth to choose anything."""
    return (
        f"{label} stays as it is: {objects} objects in {images} images are too few to choose by; "
        f"there must be {LEAST_OBJECTS} in {LEAST_IMAGES}."
    )


def of_no_gain(label: str, held: float, threshold: float, would: Gain, goal: Goal) -> str:
    """Say why another threshold than `held` was not taken; empty where it finds the same."""
    match goal:
        case PrecisionAtLeast(floor):
            return _of_no_threshold(label, f"a precision of {floor:g}")
        case RecallAtLeast(floor):
            return _of_no_threshold(label, f"a recall of {floor:g}")
    if threshold == held or would.low == would.high == 0:
        return ""
    return (
        f"{label} stays as it is: {threshold:.2f} instead of {held:.2f} is not better beyond "
        f"chance; F1 on images that did not choose it changes by {would.difference:+.3f} "
        f"({would.low:+.3f} to {would.high:+.3f})."
    )


def of_shortfall(label: str, after: Tally, goal: Goal) -> str:
    """Say where other images fall a little short of the floor; empty where they do not."""
    name, rate, floor = _floored(after, goal)
    if rate.value is None or rate.value >= floor:
        return ""
    return (
        f"{label}: on images that did not choose, the {name} is {rate.value:.3f}, short of "
        f"{floor:g}; more truth would tell."
    )


def may_reach(counts: Tally, goal: Goal) -> bool:
    """Whether these counts leave it open that the floor is reached; F1 has none."""
    _, rate, floor = _floored(counts, goal)
    return rate.interval is not None and rate.interval.high >= floor


def _of_no_threshold(label: str, what: str) -> str:
    return f"{label} stays as it is: no threshold reaches {what} on images that did not choose it."


def _floored(counts: Tally, goal: Goal) -> tuple[str, Rate, float]:
    """What the goal sets a floor to, its name and the floor; of F1 that is 0."""
    match goal:
        case PrecisionAtLeast(floor):
            return "precision", counts.precision, floor
        case RecallAtLeast(floor):
            return "recall", counts.recall, floor
    return "F1", counts.f1, 0.0
