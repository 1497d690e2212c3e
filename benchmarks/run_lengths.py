"""One large ragged mask to RLE, by us and by Label Studio's SDK."""

import time

import cv2
import numpy as np
from label_studio_sdk.converter import brush
from numpy.typing import NDArray

from benchmarks.report import Row
from benchmarks.timing import alternating
from grounded_labeler.core.masks import Mask
from grounded_labeler.label_studio.brush_rle import encode_rle

_SIZE_WH = (4000, 3000)
_CELL = 50  # pixels; smaller cells make more runs


def measure(rounds: int, size_wh: tuple[int, int] = _SIZE_WH) -> Row:
    """The row of both; raises RuntimeError when their bytes differ."""
    full = ragged(size_wh)
    mask = Mask.from_full(full)

    def ours() -> tuple[float, list[int]]:
        start = time.perf_counter()
        code = encode_rle(mask)
        return time.perf_counter() - start, code

    def theirs() -> tuple[float, list[int]]:
        start = time.perf_counter()
        code = brush.mask2rle(full.astype(np.uint8) * 255)
        return time.perf_counter() - start, list(code)

    ours()
    own, sdk = alternating(ours, theirs, rounds)
    if any(code != own[0][1] for _, code in (*own, *sdk)):
        raise RuntimeError("Our RLE of a mask is not that of Label Studio's SDK.")
    runs = 1 + np.count_nonzero(np.diff(full.ravel()))
    return Row(
        f"mask of {size_wh[0]}x{size_wh[1]}, {runs:,} runs",
        "RLE",
        float(np.median([seconds for seconds, _ in own])),
        float(np.median([seconds for seconds, _ in sdk])),
        note=f"the same {len(own[0][1]):,} bytes",
    )


def ragged(size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Blotches, bool (H, W), always the same."""
    width, height = size_wh
    rng = np.random.default_rng(0)
    cells = rng.standard_normal((height // _CELL, width // _CELL)).astype(np.float32)
    return np.asarray(cv2.resize(cells, size_wh, interpolation=cv2.INTER_LINEAR) > 0)
