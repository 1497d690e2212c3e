"""A model's parts as a detector: what is run, and what is kept."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.types import Candidates, DecodedImage
from grounded_labeler.models.detectors import Options, from_parts
from grounded_labeler.models.detectors import huggingface_build as hf
from grounded_labeler.models.detectors.grounding_dino import GroundingDetector
from grounded_labeler.models.runtime.graph import Array, Arrays
from tests.models.detectors.small_models import noise, save_tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), "grounding-dino")


def detector_with(folder: Path, keep: int, batch_size: int = 1) -> GroundingDetector:
    options = Options(batch_size=batch_size, cache=ByteCache(keep))
    return from_parts(hf.load(folder), options)


class Counts:
    """What the service counts of the models' parts and of what is kept, since it last told."""

    NAMES = {
        "backbone": ("grounded_labeler_model_runs_total", {"part": "backbone"}),
        "fusion": ("grounded_labeler_model_runs_total", {"part": "fusion"}),
        "read": ("grounded_labeler_cache_lookups_total", {"kind": "text", "outcome": "miss"}),
    }

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {name: REGISTRY.get_sample_value(*at) or 0 for name, at in self.NAMES.items()}

    def since(self) -> dict[str, float]:
        before, self._before = self._before, self._now()
        return {name: count - before[name] for name, count in self._before.items()}


def test_only_what_is_not_known_yet_is_run(folder: Path) -> None:
    detector = detector_with(folder, 10**8)
    one, other = (DecodedImage.of(noise(60, 80, seed)) for seed in range(2))
    counts = Counts()
    detector.detect([one], [["red circle"]])
    assert counts.since() == {"backbone": 1, "fusion": 1, "read": 1}
    detector.detect([one], [["star"]])
    assert counts.since() == {"backbone": 0, "fusion": 1, "read": 1}
    detector.detect([other], [["star"]])
    assert counts.since() == {"backbone": 1, "fusion": 1, "read": 0}
    detector.detect([DecodedImage.of(noise(60, 80, 0))], [["star"]])
    assert counts.since() == {"backbone": 0, "fusion": 1, "read": 0}
    detector.detect([one, other, one], [["star"]] * 3)
    assert counts.since() == {"backbone": 0, "fusion": 3, "read": 0}


def test_an_image_given_twice_is_looked_at_once(folder: Path) -> None:
    detector = detector_with(folder, 0, batch_size=3)
    one, other = (DecodedImage.of(noise(60, 80, seed)) for seed in range(2))
    counts = Counts()
    found = detector.detect([one, other, one], [["star"]] * 3)
    assert counts.since() == {"backbone": 1, "fusion": 1, "read": 1}
    # Places in a batch are rounded differently.
    np.testing.assert_allclose(found[0].boxes, found[2].boxes, atol=1e-3)
    np.testing.assert_allclose(found[0].peaks, found[2].peaks, atol=1e-5)
    assert not np.allclose(found[0].boxes, found[1].boxes)


def test_what_is_kept_answers_as_what_is_made_now(folder: Path) -> None:
    keeping, forgetful = detector_with(folder, 10**8), detector_with(folder, 0)
    images = [DecodedImage.of(noise(60, 80, seed)) for seed in range(2)]
    for asked in (["red circle"], ["star", "blue square"], ["red circle"]):
        for image in images:
            ((one,), (other,)) = (
                detector.detect([image], [asked]) for detector in (keeping, forgetful)
            )
            assert_same(one, other)
    counts = Counts()
    forgetful.detect(images[:1], [["red circle"]])
    assert counts.since() == {"backbone": 1, "fusion": 1, "read": 1}


# Of 96 x 128 pixels, the cells of each level; the finest has one for every 8, or every 4.
CELLS = {
    "grounding-dino": 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2,
    "llmdet": 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2,
    "llmdet-large": 24 * 32 + 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2,
}


@pytest.mark.parametrize("family", CELLS)
def test_what_is_kept_is_counted(tmp_path: Path, family: str) -> None:
    detector = detector_with(save_tiny(tmp_path, family), 10**8, batch_size=2)
    images = [DecodedImage.of(noise(60, 80, seed)) for seed in range(3)]
    features = 64 * 4 * CELLS[family]  # 64 channels of float32
    # Of [CLS] star . [SEP], 64 channels, which are tokens, places, and what may look at what.
    text = 4 * 64 * 4 + 4 + 4 * 8 + 4 * 4
    detector.detect(images[:1], [["star"]])
    assert REGISTRY.get_sample_value("grounded_labeler_cache_bytes") == features + text
    detector.detect(images, [["star"], [], []])
    assert REGISTRY.get_sample_value("grounded_labeler_cache_bytes") == features + text
    detector.detect(images, [["star"]] * 3)
    assert REGISTRY.get_sample_value("grounded_labeler_cache_bytes") == 3 * features + 3 * text


def test_what_is_kept_of_an_image_holds_nothing_of_others_of_its_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view would: more memory were held than is counted, once the others are forgotten."""
    detector = detector_with(folder, 0, batch_size=3)
    asked: list[Array] = []
    decode = detector.decode

    def watched(
        levels_of: Sequence[Arrays], text: Arrays
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        asked.extend(level for levels in levels_of for level in levels)
        return decode(levels_of, text)

    monkeypatch.setattr(detector, "decode", watched)
    detector.detect([DecodedImage.of(noise(60, 80, seed)) for seed in range(3)], [["star"]] * 3)
    assert all(isinstance(level, np.ndarray) and level.base is None for level in asked)
    assert len(asked) == 3 * 4


def test_a_detector_keeps_nothing_but_in_the_cache_it_is_given(folder: Path) -> None:
    """Two that share one cache are apart where each is given a view of it with keys of its own."""
    options = Options(cache=ByteCache(10**8))
    detector, other = (from_parts(hf.load(folder), options) for _ in range(2))
    image = DecodedImage.of(noise(60, 80))
    detector.detect([image], [["star"]])
    counts = Counts()
    other.detect([image], [["star"]])
    assert counts.since() == {"backbone": 0, "fusion": 1, "read": 0}, "kept in the shared cache"
    options.cache.clear()
    detector.detect([image], [["star"]])
    assert counts.since() == {"backbone": 1, "fusion": 1, "read": 1}, "and nowhere else"


def assert_same(one: Candidates, other: Candidates) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, vars(other)[name], name)
