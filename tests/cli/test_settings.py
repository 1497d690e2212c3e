"""`grounded-labeler settings`, and the file .env that it and `serve` read."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from grounded_labeler.cli import settings as command
from grounded_labeler.cli.healthcheck import check_service
from grounded_labeler.demo.process import ROOT, free_port, running
from grounded_labeler.settings import variable_names


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of no settings, in a folder of its own."""
    for name in [name for names in variable_names().values() for name in names]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ENV_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN='s3krit'\nTILES=auto\nBOX_TRESHOLD=s3krit\n")
    monkeypatch.setenv("TILES", "640")
    assert command.main([]) == 0
    out, err = capsys.readouterr()
    lines = [re.split(" {2,}", line) for line in out.splitlines()]
    assert ["HF_TOKEN", "********", ".env"] in lines
    assert ["TILES", "640", "environment"] in lines
    assert ["SEGMENTER", "mobile-sam", "default"] in lines
    assert ["MODELS", "default"] in lines
    assert len(lines) == len(variable_names())
    assert err == "BOX_TRESHOLD is no setting: did you mean BOX_THRESHOLD?\n"
    assert "s3krit" not in out


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PROVENANCE", "yes")
    assert command.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name": "PROVENANCE", "value": True, "source": "environment"} in rows
    assert {"name": "WORKERS", "value": 1, "source": "default"} in rows
    assert {"name": "HF_TOKEN", "value": None, "source": "default"} in rows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("BOX_THRESHOLD=7", "Cannot start: BOX_THRESHOLD=7 should be less than or equal to 1."),
        ("A='b", "Cannot start: the file .env cannot be read in line 1, A: the value that begins"),
    ],
)
def test_a_wrong_value_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    (tmp_path / ".env").write_text(text)
    assert command.main([]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence)
    assert err.count("\n") == 1


# In processes


def run(*arguments: str, folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "grounded_labeler", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_every_command_has_what_the_file_sets(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DETECTOR=no-such-model\n")
    for name in ("serve", "weights", "settings"):
        ran = run(name, folder=tmp_path)
        assert ran.returncode == 1
        assert "DETECTOR=no-such-model" in ran.stderr
    assert run("weights", "--check", folder=tmp_path, DETECTOR="demo", SEGMENTER="demo").stdout


@pytest.mark.slow
def test_a_file_that_cannot_be_read_ends_a_command_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A='b")
    ran = run("healthcheck", folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("Cannot start: the file .env cannot be read in line 1, A")
    assert ran.stderr.count("\n") == 1


@pytest.mark.slow
def test_serve_has_all_from_the_file(tmp_path: Path) -> None:
    """Address, prefix and a slip of the pen; the health check finds it by the same file."""
    port = free_port()
    settings = {"DETECTOR": "demo", "SEGMENTER": "demo", "BIND": f"127.0.0.1:{port}"}
    settings |= {"URL_PREFIX": "/labeler", "BOX_TRESHOLD": "s3krit"}
    (tmp_path / ".env").write_text("".join(f"{name}={one}\n" for name, one in settings.items()))
    log = tmp_path / "log"
    with running(serve_in(tmp_path), without_settings(), log, lambda: check_service(settings) == 0):
        checked = run("healthcheck", folder=tmp_path)
        assert (checked.returncode, json.loads(checked.stdout)) == (0, {"status": "READY"})
    said = log.read_text()
    assert "BOX_TRESHOLD is no setting: did you mean BOX_THRESHOLD?" in said
    assert "s3krit" not in said


def serve_in(folder: Path) -> list[str]:
    code = f"import os, sys; os.chdir({str(folder)!r}); sys.argv[1:] = ['serve']; "
    return [sys.executable, "-c", f"{code}from grounded_labeler.cli.main import main; main()"]


def without_settings() -> Mapping[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}
