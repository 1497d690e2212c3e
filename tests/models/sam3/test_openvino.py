"""SAM 3's graphs for OpenVINO compute what torch does."""

import gc
from pathlib import Path

import numpy as np
import pytest

from grounded_labeler.models.detectors import Options
from grounded_labeler.models.sam3 import export_sam3, load_sam3
from grounded_labeler.models.sam3.model import load_detector
from grounded_labeler.models.sam3.modules import Backbone, Joint
from tests.models.detectors.small_models import images_of, noise
from tests.models.sam3.small_models import save_small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("graphs") / "sam3"
    export_sam3(folder, into)
    return into


def test_the_detector_finds_what_it_finds_with_torch(folder: Path, exported: Path) -> None:
    images = images_of([noise(90, 150), noise(300, 40, seed=1)])
    # One token, several, and all that the model reads.
    prompts = [["a", "a red cat", "x" * 30], ["dog"]]
    by_openvino = load_detector(folder, Options(exported=exported))
    assert by_openvino.runtime.name == "OpenVINO"
    by_torch = load_detector(folder, Options())
    assert by_torch.runtime.name == "PyTorch"
    pairs = zip(by_openvino.detect(images, prompts), by_torch.detect(images, prompts), strict=True)
    for image, (one, other) in zip(images, pairs, strict=True):
        assert one.presence is not None
        assert other.presence is not None
        longest = max(image.pixels.shape)
        np.testing.assert_allclose(one.boxes / longest, other.boxes / longest, atol=1e-5)
        np.testing.assert_allclose(one.peaks, other.peaks, atol=1e-5)
        np.testing.assert_allclose(one.presence, other.presence, atol=1e-5)


def test_a_text_is_encoded_again_after_a_release(folder: Path, exported: Path) -> None:
    detector = load_detector(folder, Options(exported=exported))
    [image] = images_of([noise(90, 150)])
    [before] = detector.detect([image], [["cat"]])
    detector.release()
    [after] = detector.detect([image], [["cat"]])
    np.testing.assert_array_equal(after.peaks, before.peaks)


def test_what_openvino_computes_is_no_torch_module_any_more(folder: Path, exported: Path) -> None:
    def modules() -> int:
        gc.collect()
        return sum(isinstance(one, Backbone | Joint) for one in gc.get_objects())

    before = modules()
    by_openvino = load_sam3(folder, Options(exported=exported))
    assert modules() == before
    by_torch = load_sam3(folder, Options())
    assert modules() == before + 2
    assert by_torch.device == by_openvino.device
