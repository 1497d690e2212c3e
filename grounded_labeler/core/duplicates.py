"""Groups of near-duplicates, by the similarity of their embeddings."""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512  # rows that are compared with all others at once: 20 MB for 10,000 images


def group_duplicates(embeddings: NDArray[np.floating], threshold: float) -> NDArray[np.intp]:
    """Put together whatever is linked by pairs whose dot product reaches `threshold`.

    That is single linkage: the frames of a video are one group, though its first and its last
    frame may be unlike. No matrix of all pairs is made.

    Args:
        embeddings: unit vectors, (N, D), float16 or float32.
        threshold: the least dot product of a pair, in [-1, 1].

    Returns:
        For each row the index of the first row of its group, intp (N,).
    """
    count = len(embeddings)
    parents = np.arange(count)
    for first in range(0, count, _BLOCK):
        rows = embeddings[first : first + _BLOCK].astype(np.float32)
        for other in range(first, count, _BLOCK):
            columns = embeddings[other : other + _BLOCK].astype(np.float32)
            pairs = np.argwhere(rows @ columns.T >= threshold)
            for row, column in pairs:
                if first + row < other + column:
                    _join(parents, first + int(row), other + int(column))
    return np.array([_root(parents, row) for row in range(count)], np.intp)


def _root(parents: NDArray[np.intp], row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = int(parents[row])
    return row


def _join(parents: NDArray[np.intp], one: int, other: int) -> None:
    a, b = _root(parents, one), _root(parents, other)
    parents[max(a, b)] = min(a, b)
