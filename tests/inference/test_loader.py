"""Which runtime computes is known, and a slow one is warned of with its remedy."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from grounded_labeler.cache import ByteCache
from grounded_labeler.core.inference import InferenceRequest, InferenceResult
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.errors import SettingsError
from grounded_labeler.inference.loader import FileLoader, load_pipeline
from grounded_labeler.models.runtime import choice, device
from grounded_labeler.models.runtime.device import Runtime
from grounded_labeler.settings import Settings
from grounded_labeler.weights import catalog
from grounded_labeler.weights.choice import ModelChoice
from tests.conftest import SAMPLES
from tests.helpers.blind import DEMO_DETECTOR

pytestmark = pytest.mark.slow

NO_GRAPHS = "there are no graphs for OpenVINO; `make weights` makes them."


def load(folder: Path, **environ: str) -> Runtime:
    models = {"DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(folder)}
    pipeline = load_pipeline(Settings.from_env(models | environ), ByteCache(0))
    assert pipeline.runtime is not None
    return pipeline.runtime


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def test_graphs_are_computed_by_openvino_without_a_warning(
    exported_demo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = load(exported_demo, CPU_THREADS="3")
    assert runtime == Runtime("OpenVINO", "fp32", 3)
    assert str(runtime) == "OpenVINO, fp32, 3 CPU threads"
    assert warnings_of(caplog) == []


def test_without_graphs_it_is_pytorch_and_a_warning_that_says_what_to_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = load(tmp_path, CPU_THREADS="1")
    assert (runtime.name, runtime.precision, runtime.threads) == ("PyTorch", "fp32", 1)
    [warning] = warnings_of(caplog)
    assert warning.startswith("PyTorch computes on this CPU")
    assert warning.endswith(NO_GRAPHS)


def test_mixed_precision_without_graphs_is_refused_with_the_way_to_make_them(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match=r"PRECISION=mixed needs .* `make weights` makes"):
        load(tmp_path, PRECISION="mixed")


def test_mixed_precision_is_refused_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "pick_device", lambda: "cuda")
    with pytest.raises(SettingsError, match=r"PRECISION=mixed is for CPUs: use fp16 or auto"):
        load(tmp_path, PRECISION="mixed")


def test_graphs_of_one_model_only_are_both(
    exported_demo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "openvino").mkdir()
    for folder in (exported_demo / "openvino").glob("demo-transformers-*"):
        (tmp_path / "openvino" / folder.name).symlink_to(folder)
    runtime = load(tmp_path)
    assert runtime.name == "OpenVINO+PyTorch"
    [warning] = warnings_of(caplog)
    assert warning.endswith(NO_GRAPHS)


def test_on_a_single_core_that_is_the_reason(
    exported_demo: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "visible_cores", lambda: 1)
    assert load(exported_demo).name == "PyTorch"
    [warning] = warnings_of(caplog)
    assert "this process may use one core only" in warning
    assert "make weights" not in warning


def test_a_container_has_a_command_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(catalog, "__file__", str(tmp_path / "grounded_labeler" / "catalog.py"))
        command = catalog.make_weights()
    assert command == "grounded-labeler weights"
    monkeypatch.setattr(choice, "make_weights", lambda: command)
    load(tmp_path)
    [warning] = warnings_of(caplog)
    assert warning.endswith(f"`{command}` makes them.")


def test_a_read_only_folder_of_weights_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    load(tmp_path)
    [warning] = warnings_of(caplog)
    assert warning.endswith("MODEL_DIR set to a folder that can be written to.")


def test_weights_that_were_replaced_between_two_loads_get_no_features_of_the_old(
    tmp_path: Path,
) -> None:
    mine, cache = tmp_path / "mine", ByteCache(2**26)
    shutil.copytree(DEMO_DETECTOR, mine)
    loader = FileLoader(tmp_path, cache, cpu_threads=1)
    image = DecodedImage.of(np.asarray(Image.open(SAMPLES / "wide.jpg").convert("RGB")))
    request = InferenceRequest(
        image, parse_prompt("red circle", ()), (), Thresholds(0.3, 0.25, 0.7, 9), with_masks=False
    )

    def scores(loader: FileLoader) -> list[float]:
        [result] = loader.load_pair(ModelChoice(str(mine))).run([request])
        assert isinstance(result, InferenceResult)
        return [float(score) for score in result.detections.scores]

    assert scores(loader)
    weights = load_file(mine / "model.safetensors")
    name = next(name for name in weights if name.endswith("patch_embeddings.projection.weight"))
    save_file(weights | {name: weights[name] * 0}, tmp_path / "new", metadata={"format": "pt"})
    (tmp_path / "new").replace(mine / "model.safetensors")
    assert scores(loader) == scores(FileLoader(tmp_path, ByteCache(0), cpu_threads=1))
