"""A simulated annotator: where one would click to correct a mask."""

import cv2
import numpy as np
from numpy.typing import NDArray


def correcting_click(
    found: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> tuple[int, int, bool]:
    """A click (x, y, whether it is positive) inside the largest wrong area of a mask.

    `found` and `truth` are bool (H, W). It is the area's innermost pixel, or with `rng` any
    pixel of the area; where nothing is wrong, that of the shape.
    """
    wrong = found != truth
    count, areas, figures, _ = cv2.connectedComponentsWithStats(
        wrong.astype(np.uint8), connectivity=4
    )
    largest = truth
    if count > 1:
        largest = areas == 1 + int(figures[1:, cv2.CC_STAT_AREA].argmax())
    if rng is not None:
        rows, columns = np.nonzero(largest)
        chosen = int(rng.integers(len(rows)))
        x, y = int(columns[chosen]), int(rows[chosen])
    else:
        padded = np.pad(largest.astype(np.uint8), 1)  # the image's edge is an edge of the area
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = (int(axis) for axis in np.unravel_index(int(depth.argmax()), depth.shape))
    return x, y, bool(truth[y, x])
