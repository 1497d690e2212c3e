"""Graphs beside the weights: made once, found by what they were made of, used by the service."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grounded_labeler.cache import ByteCache
from grounded_labeler.cli import weights
from grounded_labeler.core.inference import InferenceRequest
from grounded_labeler.core.prompt import parse_prompt
from grounded_labeler.core.types import DecodedImage, Thresholds
from grounded_labeler.images.decode import decode
from grounded_labeler.inference.loader import load_pipeline
from grounded_labeler.models import export as exports
from grounded_labeler.models.pipeline import Pipeline
from grounded_labeler.models.runtime.facts import FACTS, write_sums
from grounded_labeler.settings import Settings
from grounded_labeler.weights import lock
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.listing import write_listing
from grounded_labeler.weights.model import Model, ModelFile
from tests.conftest import SAMPLES

MODELS = [*DETECTORS.values(), *SEGMENTERS.values()]
LIMITS = Thresholds(box=0.3, text=0.25, nms=0.7, max_regions=300)


def test_every_model_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for model in {model.name: model for model in MODELS if model.hub is not None}.values():
        model.folder(tmp_path).mkdir()
        write_listing(model.folder(tmp_path), [ModelFile("a", "https://b/a", 1, "c" * 64)])
    folders = {exports.export_dir(model, tmp_path) for model in MODELS}
    assert len(folders) == len({id(model) for model in MODELS})
    assert {folder.parent for folder in folders} == {tmp_path / "openvino"}


def test_the_folder_is_another_for_other_weights_and_another_openvino(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, demo = DETECTORS["grounding-dino-tiny"], DETECTORS["demo"]
    copy = shutil.copytree(demo.folder(tmp_path), tmp_path / "changed")
    (copy / "config.json").write_text("{}")
    changed = Model(demo.name, demo.engine, demo.source, demo.licence, bundled=str(copy))
    assert exports.export_dir(changed, tmp_path) != exports.export_dir(demo, tmp_path)

    before = exports.export_dir(tiny, tmp_path)
    monkeypatch.setattr(exports, "version", lambda _: "2099.1")
    assert exports.export_dir(tiny, tmp_path) != before


def test_making_weights_makes_the_graphs_once_and_removes_older_ones(
    exported_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {exports.export_dir(kind["demo"], exported_demo) for kind in (DETECTORS, SEGMENTERS)}
    assert all((folder.stat().st_mode & 0o777) == 0o755 for folder in folders)
    assert set((exported_demo / "openvino").iterdir()) == folders

    assert (
        weights.main(
            ["--detector", "demo", "--segmenter", "none", "--model-dir", str(exported_demo)]
        )
        == 0
    )
    assert "demo: graphs were here" in capsys.readouterr().out


def test_graphs_of_other_weights_of_a_model_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = SEGMENTERS["demo"]

    def export_nothing(*given: Any) -> None:
        given[2].mkdir(parents=True)
        (given[2] / FACTS).write_text("{}")
        write_sums(given[2])

    monkeypatch.setattr(exports, "export_segmenter", export_nothing)
    older = tmp_path / "openvino" / "demo-sam-0123456789ab"
    detector = tmp_path / "openvino" / "demo-transformers-0123456789ab"
    for folder in (older, detector):
        folder.mkdir(parents=True)
    assert exports.export(demo, tmp_path)
    assert not older.exists()
    assert detector.is_dir()
    assert not exports.export(demo, tmp_path)


@pytest.mark.parametrize("damage", ["half", "gone", "a list", "an empty object"])
@pytest.mark.parametrize("name", ["encoder.bin", "decoder.xml", "facts.json", "sums.json"])
def test_damaged_graphs_are_made_again_and_whole_ones_are_not(
    exported_demo: Path, tmp_path: Path, name: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the sentence about damaged graphs says: `grounded-labeler weights` makes them again."""
    demo = SEGMENTERS["demo"]
    folder = exports.export_dir(demo, tmp_path)
    made = exports.export_dir(demo, exported_demo)
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("compiled"))
    calls: list[str] = []

    def export_again(*given: Any) -> None:
        calls.append("made")
        shutil.copytree(made, given[2], dirs_exist_ok=True)

    monkeypatch.setattr(exports, "export_segmenter", export_again)
    (folder / "compiled").mkdir()  # what is kept beside the graphs is not theirs
    assert not exports.export(demo, tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    damaged = {"half": content[: len(content) // 2], "a list": b"[]", "an empty object": b"{}"}
    if damage != "gone":
        (folder / name).write_bytes(damaged[damage])
    assert exports.export(demo, tmp_path)
    assert calls == ["made"]


def test_two_exports_at_once_make_the_graphs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    waiting = threading.Event()

    def export_facts(*given: Any) -> None:
        assert waiting.wait(20)
        made.append(given[2])
        given[2].mkdir(parents=True)
        (given[2] / FACTS).write_text("{}")
        write_sums(given[2])

    monkeypatch.setattr(exports, "export_segmenter", export_facts)
    monkeypatch.setattr(lock, "tell", lambda _: waiting.set())
    # The lock belongs to the opened file, so threads wait for it as processes do.
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(exports.export, SEGMENTERS["demo"], tmp_path) for _ in range(2)]
    assert sorted(run.result() for run in runs) == [False, True]
    assert len(made) == 1


def test_the_service_answers_the_same_with_graphs_and_without(
    exported_demo: Path, demo_pipeline: Pipeline
) -> None:
    environ = {"DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(exported_demo)}
    with_graphs = load_pipeline(Settings.from_env(environ), ByteCache(0))
    for name in ("wide.jpg", "tall.jpg", "large.jpg"):
        image = DecodedImage.of(decode((SAMPLES / name).read_bytes()))
        job = InferenceRequest(
            image, parse_prompt("circle . star . ring", ()), (), LIMITS, with_masks=True
        )
        [one], [other] = with_graphs.run([job]), demo_pipeline.run([job])
        assert one.detections.phrases == other.detections.phrases
        assert len(one.detections) > 0
        assert abs(one.detections.boxes - other.detections.boxes).max() < 0.1
        assert abs(one.detections.scores - other.detections.scores).max() < 1e-3
        assert one.masks is not None
        assert other.masks is not None
        for mine, theirs in zip(one.masks, other.masks, strict=True):
            assert (mine.full() != theirs.full()).mean() < 1e-4
