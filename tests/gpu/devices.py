"""What the tests of GPUs share: each runs on the CPU, too, so that only the card is new there.

They use no fixture of `tests/conftest.py`, which imports the whole service: `python -m
benchmarks.gpu` runs them where only the models' own packages are installed.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.agreement import demo_jobs, demo_pipeline
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.types import DecodedImage
from grounded_labeler.demo.shapes import draw_image
from grounded_labeler.models.runtime.device import Compute

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
DEVICES = ["cpu", CUDA]
IMAGES = 24


@cache
def jobs() -> Sequence[InferenceRequest]:
    """Boxes and masks in drawn images of several sizes."""
    return demo_jobs(IMAGES)


@cache
def truth() -> Sequence[InferenceResult]:
    """What float32 on the CPU answers to `jobs`."""
    return demo_pipeline(Compute()).run(jobs())


def drawn(count: int, size_wh: tuple[int, int] = (320, 240)) -> list[DecodedImage]:
    """As many images of one size, no two alike."""
    return [
        DecodedImage.of(draw_image(np.random.default_rng(seed), size_wh).image)
        for seed in range(count)
    ]


def to_numpy(array: Any) -> NDArray[Any]:
    """Return an output of a graph, wherever it is, as a copy of its own."""
    return np.array(array if isinstance(array, np.ndarray) else array.cpu().numpy())
