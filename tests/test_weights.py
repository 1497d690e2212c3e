from pathlib import Path

import pytest

from grounded_labeler.catalog import detector
from grounded_labeler.settings import Settings
from grounded_labeler.weights import chosen_models, main
from tests.weights_server import closed_address


def test_none_chooses_no_segmenter() -> None:
    assert chosen_models(Settings.from_env({"SEGMENTER": "none"})) == [
        detector("groundingdino-swint-ogc")
    ]


def test_main_has_nothing_to_download_for_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--detector", "demo", "--segmenter", "demo", "--model-dir", str(tmp_path)]
    assert main([*arguments, "--no-export"]) == 0
    assert capsys.readouterr().out.count("nothing to download") == 2
    assert list(tmp_path.iterdir()) == []


def test_main_check_fails_and_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("SEGMENTER", "mobile-sam")
    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "groundingdino_swint_ogc.pth" in said
    assert "bert-base-uncased/vocab.txt" in said
    assert "mobile_sam.pt" in said
    assert "`make weights`" in said
    assert "`make demo`" in said


def test_main_check_passes_when_all_sizes_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, path in detector("groundingdino-swint-ogc").paths(tmp_path):
        path.parent.mkdir()
        with path.open("wb") as out:
            out.truncate(file.bytes)  # a hole: takes no room on the disk
    assert main(["--check", "--segmenter", "none", "--model-dir", str(tmp_path)]) == 0
    assert "groundingdino-swint-ogc: all files are here" in capsys.readouterr().out


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, closed_address())


@pytest.mark.usefixtures("_offline")
def test_main_offline_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--segmenter", "none", "--model-dir", str(tmp_path)], waits=()) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be reached through the proxy" in said


@pytest.mark.usefixtures("_offline")
def test_main_stops_at_ctrl_c_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    assert main(["--segmenter", "none", "--model-dir", str(tmp_path)]) == 130
    assert "run `make weights` to go on" in capsys.readouterr().err


def test_main_lets_an_option_win_over_use_sam(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USE_SAM", "true")
    monkeypatch.setenv("DETECTOR", "demo")
    assert main(["--check", "--model-dir", str(tmp_path)]) == 1
    assert "sam_vit_h_4b8939.pth" in capsys.readouterr().err
    assert main(["--segmenter", "none", "--model-dir", str(tmp_path), "--no-export"]) == 0


def test_main_refuses_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--detector", "yolo"]) == 1
    assert "groundingdino-swint-ogc" in capsys.readouterr().err
