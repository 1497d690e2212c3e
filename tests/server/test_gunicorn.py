"""What gunicorn is told, seen from an application it serves."""

import os
import runpy
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from grounded_labeler.demo.process import HERE, ROOT, answers, free_port, running
from tests.helpers.serving import ECHO, GUNICORN, PATIENCE_S

pytestmark = pytest.mark.slow

PROXY_HEADERS = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Ssl": "on",
    "Forwarded": "for=203.0.113.9;proto=https",
}


def test_no_forwarded_header_is_believed(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [*ECHO, "--bind", f"127.0.0.1:{port}"]
    environ = os.environ | {"DETECTOR": "demo", "SEGMENTER": "demo"}
    with running(command, environ, tmp_path / "log", lambda: answers(url)):
        believed = HERE.get(url, headers=PROXY_HEADERS, timeout=PATIENCE_S).json()
    assert believed == ["http", "127.0.0.1"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_folder_of_the_user_s_figures_is_left_alone(tmp_path: Path, workers: str) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "theirs.txt").write_text("kept")
    command = [*ECHO, "--bind", f"127.0.0.1:{(port := free_port())}"]
    environ = {
        "DETECTOR": "demo",
        "SEGMENTER": "demo",
        "WORKERS": workers,
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
    }
    url = f"http://127.0.0.1:{port}"
    with running(command, os.environ | environ, tmp_path / "log", lambda: answers(url)):
        pass
    assert [file.name for file in folder.iterdir()] == ["theirs.txt"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_worker_that_computes_ends_without_aborting(
    tmp_path: Path, number: signal.Signals
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [*GUNICORN, "--bind", f"127.0.0.1:{port}", "tests.helpers.computing:app"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"DETECTOR": "demo", "SEGMENTER": "demo"},
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        while not answers(url):
            assert process.poll() is None, log.read_text()
        os.killpg(process.pid, number)  # as a terminal does at Ctrl-C
        assert process.wait(timeout=PATIENCE_S) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = log.read_text()
    assert said.count("Worker exiting") == 1
    assert "terminate called" not in said
    assert "SIGABRT" not in said
    assert "Traceback" not in said


def test_a_signal_that_comes_while_a_request_is_handed_to_a_thread_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DETECTOR", "demo")
    monkeypatch.setenv("SEGMENTER", "demo")
    worker_class = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["Worker"]
    worker = object.__new__(worker_class)
    worker.cfg = SimpleNamespace(worker_int=lambda _: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        with ThreadPoolExecutor(1) as pool:
            worker.tpool = pool
            with pool._shutdown_lock, pytest.raises(SystemExit):  # as submit() holds it
                worker.handle_quit(signal.SIGINT, None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
