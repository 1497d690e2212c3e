"""`grounded-labeler verify`, and `weights`, which runs it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from grounded_labeler.cli import verify, weights
from grounded_labeler.errors import SettingsError, WeightsError
from grounded_labeler.models import verification as running
from grounded_labeler.weights import catalog, published
from grounded_labeler.weights.catalog import DETECTORS, SEGMENTERS
from grounded_labeler.weights.reference_values import DetectorValues, ReferenceImage
from grounded_labeler.weights.verification import Outcome, outcome_of
from tests.conftest import SAMPLES
from tests.helpers.weights_server import closed_address, sum_of

pytestmark = pytest.mark.slow

DEMO = ["--detector", "demo", "--segmenter", "demo"]
FOLDER = SAMPLES.parent / "weights" / "detector"
Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def sabotaged(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A folder that the demo detector is read from, with a wrong mean and deviation."""
    folder = shutil.copytree(FOLDER, tmp_path / "sabotaged")
    path = folder / "preprocessor_config.json"
    wrong = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    model = replace(DETECTORS["demo"], bundled=str(folder))
    monkeypatch.setattr(catalog, "DETECTORS", {**DETECTORS, "demo": model})
    return folder


@pytest.fixture
def unreachable(monkeypatch: Patch) -> str:
    """The demo detector's values are of an image that cannot be fetched; returns its sum."""
    content = (SAMPLES / "wide.jpg").read_bytes()
    [wide, *_] = published.detector_values(DETECTORS["demo"])
    image = ReferenceImage("cats.jpg", closed_address(), len(content), sum_of(content))

    def values(_: object) -> tuple[DetectorValues, ...]:
        return (replace(wide, image=image),)

    monkeypatch.setattr("grounded_labeler.weights.verification.detector_values", values)
    monkeypatch.setattr("grounded_labeler.weights.reference_images._WAITS", ())
    return sum_of(content)


def test_the_demo_models_are_verified_offline(tmp_path: Path, capsys: Capture) -> None:
    assert verify.main([*DEMO, "--offline", "--model-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("verified") == 2
    assert shown.count("19 of 19") == 2
    assert outcome_of("detector", DETECTORS["demo"], tmp_path) is Outcome.VERIFIED
    assert outcome_of("segmenter", SEGMENTERS["demo"], tmp_path) is Outcome.VERIFIED


def test_json_has_the_figures(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["--detector", "demo", "--segmenter", "none", "--json"]
    assert verify.main([*arguments, "--model-dir", str(tmp_path)]) == 0
    [one] = json.loads(capsys.readouterr().out)
    assert (one["model"], one["outcome"], one["figures"]["missing"]) == ("demo", "verified", 0)
    [written] = tmp_path.glob("verify/*.json")
    assert json.loads(written.read_text()) == one


@pytest.mark.usefixtures("sabotaged")
def test_a_model_that_differs_ends_with_1_and_says_by_how_much(
    tmp_path: Path, capsys: Capture
) -> None:
    arguments = [*DEMO, "--model-dir", str(tmp_path)]
    assert verify.main(arguments) == 1
    shown = capsys.readouterr().out
    assert "demo differs from what was published: " in shown
    assert "of 19 results are missing" in shown
    assert "the worst box overlaps by 0." in shown
    assert "the worst score is off by 0." in shown
    outcome = outcome_of("detector", catalog.DETECTORS["demo"], tmp_path)
    assert outcome is Outcome.DIFFERS


@pytest.mark.usefixtures("sabotaged")
def test_weights_fails_for_a_model_that_differs_unless_told_not_to_look(
    tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    arguments = [*DEMO, "--model-dir", str(tmp_path / "models")]
    assert weights.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("demo differs from what was published")
    assert said.count("\n") == 1
    monkeypatch.setenv("VERIFY", "off")
    assert weights.main(arguments) == 0
    monkeypatch.setenv("VERIFY", "")  # as Docker hands on an argument that is not given
    assert weights.main(arguments) == 1


def test_weights_makes_graphs_and_verifies_them(exported_demo: Path) -> None:
    written = json.loads((exported_demo / "verify" / "detector-demo.json").read_text())
    assert written["outcome"] == "verified"
    assert written["runtime"].startswith("OpenVINO, fp32")


@pytest.mark.usefixtures("unreachable")
def test_an_image_that_cannot_be_fetched_is_a_line_and_no_failure(
    exported_demo: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(exported_demo / "openvino", tmp_path / "openvino")
    chosen = ["--detector", "demo", "--segmenter", "none", "--model-dir", str(tmp_path)]
    assert weights.main(chosen) == 0
    said = capsys.readouterr().out
    [line] = [line for line in said.splitlines() if "not verified" in line]
    assert "cats.jpg was not downloaded" in line
    assert not list(tmp_path.glob("verify/*.json"))
    assert verify.main(chosen) == 0
    assert "not verified" in capsys.readouterr().out
    assert verify.main([*chosen, "--offline"]) == 0
    assert "name it with --image" in capsys.readouterr().out


def test_an_image_of_the_user_s_takes_its_place(
    unreachable: str, tmp_path: Path, capsys: Capture
) -> None:
    assert unreachable
    chosen = ["--detector", "demo", "--segmenter", "none", "--model-dir", str(tmp_path)]
    assert verify.main([*chosen, "--image", str(SAMPLES / "wide.jpg")]) == 0
    assert "5 of 5" in capsys.readouterr().out
    assert verify.main([*chosen, "--image", str(SAMPLES / "tall.jpg")]) == 1
    assert "is none of the images" in capsys.readouterr().err


def test_all_are_those_whose_files_are_here(tmp_path: Path, capsys: Capture) -> None:
    assert verify.main(["--all", "--offline", "--model-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("demo") == 2


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (SettingsError("sam3 needs a GPU."), 0, "not verified"),
        (WeightsError("model.safetensors is damaged."), 1, "failed"),
    ],
)
def test_a_model_that_cannot_be_loaded_has_its_reason(
    tmp_path: Path, capsys: Capture, monkeypatch: Patch, error: Exception, code: int, outcome: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(running, "load_segmenter", refuse)
    assert verify.main([*DEMO, "--model-dir", str(tmp_path)]) == code
    shown = capsys.readouterr().out
    assert outcome in shown
    assert f"demo: {error}" in shown
    assert not (tmp_path / "verify" / "segmenter-demo.json").exists()
    assert (tmp_path / "verify" / "detector-demo.json").exists()


def test_a_result_that_cannot_be_kept_is_shown_all_the_same(
    tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    assert verify.main([*DEMO, "--json", "--model-dir", str(tmp_path / "file")]) == 0
    shown = capsys.readouterr()
    assert [one["outcome"] for one in json.loads(shown.out)] == ["verified", "verified"]
    assert shown.err.count("The result for demo cannot be kept: ") == 2


def test_missing_weights_and_unknown_models_are_a_sentence(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["--detector", "grounding-dino-tiny", "--segmenter", "none", "--offline"]
    assert verify.main([*arguments, "--model-dir", str(tmp_path)]) == 1
    assert "missing or incomplete" in capsys.readouterr().out
    assert verify.main(["--detector", "yolo"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
