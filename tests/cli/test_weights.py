import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from grounded_labeler.cli.weights import main
from grounded_labeler.demo.process import ROOT
from grounded_labeler.errors import WeightsError
from grounded_labeler.inference.loader import check_weights
from grounded_labeler.settings import Settings
from grounded_labeler.weights.catalog import DETECTORS
from grounded_labeler.weights.listing import paths_of
from tests.helpers.weights_server import closed_address

pytestmark = pytest.mark.slow


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
    for file, path in paths_of(DETECTORS["groundingdino-swint-ogc"], tmp_path):
        path.parent.mkdir()
        with path.open("wb") as out:
            out.truncate(file.bytes)  # a hole: takes no room on the disk
    assert main(["--check", "--segmenter", "none", "--model-dir", str(tmp_path)]) == 0
    assert "groundingdino-swint-ogc: all files are here" in capsys.readouterr().out


def test_main_fetches_all_models_that_projects_choose_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("DETECTOR", "grounding-dino-tiny")  # not among them
    monkeypatch.setenv("MODELS", "demo+demo,groundingdino-swint-ogc+mobile-sam,demo+sam-vit-b")
    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    for file in ("groundingdino_swint_ogc.pth", "mobile_sam.pt", "sam_vit_b_01ec64.pth"):
        assert said.count(f"/{file}") == 1
    assert "grounding-dino-tiny/" not in said
    with pytest.raises(WeightsError, match=r"mobile_sam\.pt"):
        check_weights(Settings.from_env(os.environ))  # as at the start of the service
    assert main(["--check", "--detector", "demo", "--segmenter", "demo"]) == 0
    assert "demo, demo: all files are here" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_it_stops_at_ctrl_c_with_a_sentence(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """While it waits for another download, and while it makes graphs."""
    stopped = "Stopped; run the same command to go on where it ended.\n"
    (tmp_path / "mobile-sam").mkdir()
    with (tmp_path / "mobile-sam" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        choice = ["--detector", "demo", "--segmenter", "mobile-sam"]
        with started(tmp_path, *choice) as process:
            read_to(process, "waiting for another download")
            assert end(process, number) == (code, stopped)
    with started(tmp_path, "--detector", "demo", "--segmenter", "demo") as process:
        read_to(process, "making graphs")
        assert end(process, number) == (code, stopped)
    assert list(tmp_path.glob("openvino/.export-*")) == []


def started(model_dir: Path, *choice: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "grounded_labeler", "weights", "--model-dir", model_dir, *choice],
        cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def read_to(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stdout
    while words not in (line := process.stdout.readline()):
        assert line, process.communicate()


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> tuple[int, str]:
    process.send_signal(number)
    _, complained = process.communicate(timeout=120)
    return process.returncode, complained


def test_graphs_that_cannot_be_written_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = ["--detector", "demo", "--segmenter", "demo", "--model-dir"]
    (tmp_path / "file").write_text("no folder")
    assert main([*demo, str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}/file: File exists. Free some space there")
    assert said.count("\n") == 1

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")  # its words, on a full disk

    monkeypatch.setattr("openvino.save_model", full)
    assert main([*demo, str(tmp_path / "models")]) == 1
    said = capsys.readouterr().err
    assert "OpenVINO cannot write it" in said
    assert "Free some space there" in said
    assert said.count("\n") == 1
    assert list((tmp_path / "models" / "openvino").iterdir()) == []


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
