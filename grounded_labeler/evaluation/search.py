"""Finds the smallest whole number that is enough."""

from collections.abc import Callable


def smallest(is_enough: Callable[[int], bool], *, limit: int = 10**9) -> int | None:
    """Return the smallest number from 1 on that is enough, None where none up to `limit` is.

    Every number above one that is enough must be enough, too.
    """
    enough = 1
    while not is_enough(enough):
        if enough == limit:
            return None
        enough = min(2 * enough, limit)
    low = enough // 2
    while enough - low > 1:
        middle = (low + enough) // 2
        low, enough = (low, middle) if is_enough(middle) else (middle, enough)
    return enough
