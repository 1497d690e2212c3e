"""SAM 3 where detectors, segmenters and whole pipelines are loaded by name."""

from pathlib import Path

import numpy as np
import pytest

from grounded_labeler import metrics
from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest, SegmentRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.errors import SettingsError
from grounded_labeler.inference.loader import FileLoader
from grounded_labeler.models import export as exports
from grounded_labeler.models.detectors import Options, export_detector, load_detector
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.graph import Graphs
from grounded_labeler.models.sam3.detector import Sam3Detector
from grounded_labeler.models.sam3.facts import DETECTOR, SEGMENTER
from grounded_labeler.models.sam3.model import Sam3
from grounded_labeler.models.sam3.segmenter import Sam3Segmenter
from grounded_labeler.models.segmenters import export_segmenter
from grounded_labeler.weights import catalog
from grounded_labeler.weights.choice import ModelChoice
from grounded_labeler.weights.model import Model
from tests.models.detectors.small_models import noise
from tests.models.sam3.small_models import save_small
from tests.models.segmenters.test_clicks import ONE

pytestmark = pytest.mark.slow

LIMITS = Thresholds(box=0.0, text=1.0, nms=1.0, max_regions=5)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_small(folder / "sam3")
    return folder


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Model:
    """The catalog with a model "sam3", whose files are checked against nothing."""
    model = Model("sam3", "sam3", "here", "SAM License")
    monkeypatch.setattr(catalog, "DETECTORS", {**catalog.DETECTORS, "sam3": model})
    monkeypatch.setattr(catalog, "SEGMENTERS", {**catalog.SEGMENTERS, "sam3": model})
    return model


def runs(part: str) -> float:
    return float(metrics.RUNS.labels(part)._value.get())


def ask(pipeline: Pipeline, image: DecodedImage) -> None:
    prompt = parse_prompt("cat . dog", ())
    request = InferenceRequest(image, prompt, (), LIMITS, with_masks=True)
    found, drawn = pipeline.run([request, SegmentRequest(image, ONE)])
    assert len(found.detections) == 5
    assert found.masks is not None
    assert len(found.masks) == 5
    assert drawn.masks is not None


@pytest.mark.parametrize("by", ["PyTorch", "OpenVINO"])
def test_one_object_is_both_and_encodes_an_image_once(
    named: Model, model_dir: Path, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    if by == "OpenVINO":
        exports.export(named, model_dir)
        assert not exports.export(named, model_dir)
    pipeline = FileLoader(model_dir, ByteCache(2**24)).load_pair(ModelChoice("sam3", "sam3"))
    assert isinstance(pipeline.detector, Sam3)
    assert pipeline.segmenter is pipeline.detector
    assert pipeline.runtime is not None
    assert pipeline.runtime.name == by
    told = [one.getMessage() for one in caplog.records if "sam3 takes this CPU" in one.getMessage()]
    assert len(told) == (pipeline.device == "cpu")
    before = runs("backbone")
    image = DecodedImage.of(noise(60, 90, seed=9))
    ask(pipeline, image)
    ask(pipeline, image)
    assert runs("backbone") == before + 1
    pipeline.release()
    ask(pipeline, DecodedImage.of(noise(60, 90, seed=10)))
    assert runs("backbone") == before + 2


def test_the_graphs_of_one_that_is_both_are_released_once(
    named: Model, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = FileLoader(model_dir, ByteCache(0)).load_pair(ModelChoice("sam3", "sam3"))
    released: list[Graphs] = []
    monkeypatch.setattr(Graphs, "release", lambda self: released.extend([self]))
    pipeline.release()
    assert len(released) == 1


def test_either_works_beside_another_model(named: Model, model_dir: Path) -> None:
    image = DecodedImage.of(noise(60, 90, seed=11))
    as_detector = FileLoader(model_dir, ByteCache(2**24)).load_pair(ModelChoice("sam3", "demo"))
    assert isinstance(as_detector.detector, Sam3Detector)
    ask(as_detector, image)
    as_segmenter = FileLoader(model_dir, ByteCache(2**24)).load_pair(ModelChoice("demo", "sam3"))
    assert isinstance(as_segmenter.segmenter, Sam3Segmenter)
    drawn = as_segmenter.run([SegmentRequest(image, ONE)])
    assert drawn[0].masks is not None
    alone = FileLoader(model_dir, ByteCache(2**24)).load_pair(ModelChoice("sam3", "none"))
    request = InferenceRequest(image, parse_prompt("cat", ()), (), LIMITS, with_masks=True)
    assert alone.run([request])[0].masks is None


def test_a_size_for_the_detector_is_refused(named: Model, model_dir: Path) -> None:
    with pytest.raises(SettingsError, match="DETECT_SIZE=480 has no meaning for sam3"):
        FileLoader(model_dir, ByteCache(0), detect_size=480).load_pair(ModelChoice("sam3", "sam3"))


def test_graphs_are_the_same_whoever_exports(model_dir: Path, tmp_path: Path) -> None:
    export_detector("sam3", model_dir / "sam3", tmp_path / "one")
    export_segmenter("sam3", model_dir / "sam3", tmp_path / "other")
    names = [{file.name for file in (tmp_path / of).iterdir()} for of in ("one", "other")]
    assert names[0] == names[1]
    assert {name for name in names[0] if name.endswith(".xml")} == {
        f"{part}.xml" for part in {*DETECTOR, *SEGMENTER}
    }


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_finds_what_the_cpu_finds(named: Model, model_dir: Path, precision: str) -> None:
    image = DecodedImage.of(noise(60, 90, seed=12))
    loader = FileLoader(
        model_dir,
        ByteCache(2**24),
        device="cuda",
        precision=precision,  # type: ignore[arg-type]
    )
    on_gpu = loader.load_pair(ModelChoice("sam3", "sam3"))
    on_cpu = load_detector("sam3", model_dir / "sam3", Options())
    [one] = on_gpu.detector.detect([image], [["cat", "a red dog"]])
    [other] = on_cpu.detect([image], [["cat", "a red dog"]])
    close = 1e-3 if precision == "fp32" else 0.05
    np.testing.assert_allclose(one.peaks, other.peaks, atol=close)
    np.testing.assert_allclose(one.boxes / 90, other.boxes / 90, atol=close)
    ask(on_gpu, image)
