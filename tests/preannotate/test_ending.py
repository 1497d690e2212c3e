"""How a run ends when somebody ends it, or the system does, and what it says before."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from grounded_labeler.cli.preannotate import main
from grounded_labeler.demo.process import ROOT, free_port
from grounded_labeler.label_studio_api import client as client_module
from grounded_labeler.label_studio_api import tasks as tasks_module
from grounded_labeler.models.pipeline import Pipeline
from tests.conftest import SAMPLES
from tests.preannotate.label_studio import PROJECT, Standing, standing

pytestmark = pytest.mark.slow

STOPPED = "Stopped; run the same command to go on where it ended.\n"
ON_IMAGES = ("--images", "images", "--labels", "Circle,Star")
SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
PATIENCE_S = 120.0

# Tells a file that an import has begun, and holds it until the file is gone.
HOLDING = """
import importlib.abc, os, sys, time
from pathlib import Path

class Hold(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == os.environ["HOLD_IMPORT_OF"] and not Path("held").exists():
            Path("held").touch()
            time.sleep(600)

sys.meta_path.insert(0, Hold())
"""

Process = subprocess.Popen[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with `images`; the demo models, and an image takes a while."""
    (tmp_path / "images").mkdir()
    for number in range(300):
        os.link(SAMPLES / "wide.jpg", tmp_path / "images" / f"{number:03}.jpg")
    for name, value in {
        "DETECTOR": "demo", "SEGMENTER": "demo", "MODEL_DIR": str(tmp_path / "models"),
        "CACHE_BYTES": "0", "PYTHONPATH": str(ROOT),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def started(*options: str, **environ: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "grounded_labeler", "preannotate", *options]
    process = subprocess.Popen(
        command, env=os.environ | environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_to(process: Process, words: str) -> str:
    """What it says until `words` are in it."""
    said = ""
    assert process.stdout
    while words not in said:
        char = process.stdout.read(1)
        assert char, (said, process.communicate())
        said += char
    return said


def wait_for(condition: Callable[[], object], process: Process) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ends_with(process: Process, number: signal.Signals, code: int) -> None:
    process.send_signal(number)
    _, complained = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, complained) == (code, STOPPED)


def kept() -> int:
    """How many answers are in the journal by now."""
    try:
        with closing(sqlite3.connect("preannotated/journal.sqlite3")) as database:
            return int(database.execute("SELECT COUNT(*) FROM outcomes").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


@pytest.mark.parametrize("module", ["pydantic", "numpy", "sqlalchemy"])
@SIGNALS
def test_while_it_imports(here: Path, module: str, number: signal.Signals, code: int) -> None:
    (here / "sitecustomize.py").write_text(HOLDING)
    path = os.pathsep.join([str(here), str(ROOT)])
    with started(*ON_IMAGES, PYTHONPATH=path, HOLD_IMPORT_OF=module) as process:
        wait_for((here / "held").exists, process)
        ends_with(process, number, code)


def test_while_the_models_load(here: Path) -> None:
    with started(*ON_IMAGES) as process:
        read_to(process, "Loading demo + demo ...")
        ends_with(process, signal.SIGTERM, 143)


def test_while_the_models_work(here: Path) -> None:
    with started(*ON_IMAGES) as process:
        read_to(process, "1 of 300 tasks")
        ends_with(process, signal.SIGTERM, 143)
    # What was answered is kept, though it was less than is kept at once.
    assert kept() >= 1


def test_while_answers_are_kept(here: Path) -> None:
    with started(*ON_IMAGES) as process:
        wait_for(kept, process)
        ends_with(process, signal.SIGINT, 130)
    before = kept()
    assert before >= 16
    with started(*ON_IMAGES, "--dry-run") as process:
        said, _ = process.communicate()
    assert f"300 tasks, {300 - before} of them to look at" in said


@pytest.fixture
def label_studio(here: Path) -> Iterator[Standing]:
    with standing(tasks=300) as server:
        yield server


def test_while_label_studio_imports(label_studio: Standing) -> None:
    label_studio.status = None
    with started("--project", str(PROJECT), **label_studio.environ) as process:
        wait_for(label_studio.asked.is_set, process)
        ends_with(process, signal.SIGINT, 130)


def test_an_error_while_the_models_work_is_one_sentence_too(
    label_studio: Standing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    label_studio.status = 403
    for name, value in label_studio.environ.items():
        monkeypatch.setenv(name, value)
    assert main(["--project", str(PROJECT)]) == 1
    complained = capsys.readouterr().err
    assert complained.startswith(f"Label Studio refused the predictions of project {PROJECT}: 403")
    assert complained.count("\n") == 1


def test_a_whole_project_is_read_page_by_page_however_often_it_fails(
    label_studio: Standing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in label_studio.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client_module, "wait_exponential_jitter", lambda *_: wait_none())
    monkeypatch.setattr(tasks_module, "_PAGE", 100)
    real, calls = Standing.verify_request, iter([None, 503, None, 429, None, None])

    def fail_some(self: Standing, request: Any, address: Any) -> bool:
        status = next(calls, None)
        self.failures += [] if status is None else [status]
        return real(self, request, address)

    monkeypatch.setattr(Standing, "verify_request", fail_some)
    assert main(["--project", str(PROJECT), "--dry-run"]) == 0
    assert "300 tasks, 300 of them to look at" in capsys.readouterr().out


def refuse_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError(f"it waits for {seconds} s")

    monkeypatch.setattr(time, "sleep", sleep)


def run_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> str:
    """What a run over a project at `url` complains of."""
    monkeypatch.setenv("LABEL_STUDIO_URL", url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    refuse_to_wait(monkeypatch)
    assert main(["--project", "7"]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.out == ""
    return said.err


@pytest.mark.usefixtures("here")
def test_a_label_studio_that_is_not_there_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = run_project(monkeypatch, capsys, url)
    assert said.startswith(f"Label Studio at {url} does not answer: ")
    assert "Connection refused" in said


@pytest.mark.usefixtures("here")
def test_a_label_studio_whose_name_is_unknown_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = run_project(monkeypatch, capsys, "http://label-studio.invalid")
    assert "Name or service not known" in said


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_label_studio_that_does_not_begin_to_answer_is_said_at_once(
    label_studio: Standing, status: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    label_studio.failures = [status]
    url = label_studio.environ["LABEL_STUDIO_URL"]
    assert f"refused the project 7: {status}" in run_project(monkeypatch, capsys, url)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--out", "elsewhere")])
def test_trying_a_folder_dry_writes_nothing(
    here: Path, options: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for image in sorted((here / "images").iterdir())[3:]:
        image.unlink()
    command = [*ON_IMAGES, *options, "--dry-run"]
    before = list(here.rglob("*"))
    assert main(command) == 0
    assert list(here.rglob("*")) == before
    assert main(list(ON_IMAGES)) == 0
    files = files_below(here)
    assert main(command) == 0
    assert files_below(here) == files


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--export", "made/coco.json")])
def test_trying_a_project_dry_writes_nothing(
    here: Path, label_studio: Standing, options: Sequence[str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in label_studio.environ.items():
        monkeypatch.setenv(name, value)
    before = list(here.rglob("*"))
    assert main(["--project", str(PROJECT), *options, "--dry-run"]) == 0
    assert "300 tasks, 300 of them to look at" in capsys.readouterr().out
    assert list(here.rglob("*")) == before
    assert label_studio.kept == []


def test_markup_is_printed_as_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for image in sorted((here / "images").iterdir())[1:]:
        image.unlink()
    out, labels = here / "[bold]out[/bold]", "[/red] Star,:car: Circle"
    options = ["--images", "images", "--labels", labels, "--out", str(out)]
    assert (
        main([*options, "--prompt", "blue star -> [/red] Star . red circle -> :car: Circle"]) == 0
    )
    said = capsys.readouterr().out
    assert f"Written to {out}" in said
    assert "[/red] Star" in said
    assert ":car: Circle" in said


def test_why_the_models_failed_is_in_the_log_that_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for image in sorted((here / "images").iterdir())[2:]:
        image.unlink()
    run, runs = Pipeline.run, iter(["warm up", "fail", "work"])

    def fail_once(self: Pipeline, jobs: Any) -> Any:
        if next(runs) == "fail":
            raise RuntimeError("of all things, this")
        return run(self, jobs)

    monkeypatch.setattr(Pipeline, "run", fail_once)
    assert main(list(ON_IMAGES)) == 2
    [failure] = Path("preannotated/failures.tsv").read_text().splitlines()
    assert failure.endswith("the log says why.")
    log = Path("preannotated/log.txt").read_text()
    assert "RuntimeError: of all things, this" in log
    assert "`make weights`" in log


def test_models_that_cannot_be_loaded_are_one_sentence_that_names_the_log(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Pipeline, **_: bool) -> None:
        raise RuntimeError("of all things, this")

    monkeypatch.setattr(Pipeline, "warm_up", fail)
    assert main(list(ON_IMAGES)) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "preannotated/log.txt" in said.err
    assert "Loading demo + demo ..." in said.out
    assert "RuntimeError: of all things, this" in Path("preannotated/log.txt").read_text()


def test_what_the_system_refuses_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in sorted((here / "images").iterdir())[1:]:
        image.unlink()
    (here / "preannotated" / "sheet.jpg").mkdir(parents=True)
    assert main(list(ON_IMAGES)) == 1
    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence == "The run cannot go on: preannotated/sheet.jpg: Is a directory."
    shutil.rmtree(here / "preannotated")
    (here / "preannotated").write_text("a file")
    assert main(list(ON_IMAGES)) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
