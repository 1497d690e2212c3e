"""What is copied to a GPU without waiting is what was given, whatever becomes of it later."""

from typing import Any

import numpy as np
import pytest

from benchmarks.agreement import demo_folder
from grounded_labeler.models.detectors import Options, load_detector
from grounded_labeler.models.runtime.device import Compute
from tests.gpu.devices import DEVICES, to_numpy

pytestmark = pytest.mark.slow

SIZE_HW = (160, 212)
ROUNDS = 20


def encoder(device: str) -> Any:
    """Pixels to the levels of the demo detector."""
    detector: Any = load_detector("transformers", demo_folder("detector"), Options(Compute(device)))
    return detector.encode_image


@pytest.mark.parametrize("device", DEVICES)
def test_pixels_may_be_overwritten_as_soon_as_they_are_given(device: str) -> None:
    encode = encoder(device)
    rng = np.random.default_rng(0)
    given = [rng.standard_normal((1, 3, *SIZE_HW), np.float32) for _ in range(ROUNDS)]
    expected = [to_numpy(encode(pixels)[0]) for pixels in given]
    buffer = np.empty_like(given[0])
    found = []
    for pixels in given:  # nothing waits for the device in between
        buffer[:] = pixels
        found.append(encode(buffer)[0])
        buffer[:] = np.nan
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(to_numpy(one), other, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["transposed", "read-only", "every other column"])
def test_pixels_may_lie_in_memory_in_any_way(device: str, form: str) -> None:
    encode = encoder(device)
    pixels = np.random.default_rng(1).standard_normal((1, 3, *SIZE_HW), np.float32)
    if form == "transposed":
        given = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif form == "read-only":
        given = pixels.copy()
        given.setflags(write=False)
    else:
        given = np.repeat(pixels, 2, axis=3)[..., ::2]
    one, other = (to_numpy(encode(each)[0]) for each in (pixels, given))
    np.testing.assert_allclose(other, one, atol=1e-4)
