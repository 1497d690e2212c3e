"""The real server when things go wrong: told to stop, killed, stuck, left alone, on full disks."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from grounded_labeler.demo.process import ROOT, DidNotStart
from grounded_labeler.prompts.sqlite import SQLiteStore
from tests.helpers.asking import CREATED, HAND_DRAWN, body, typed
from tests.helpers.serving import (
    BOXES,
    CLIENTS,
    PATIENCE_S,
    STUCK,
    Server,
    assert_right,
    drawn,
    is_refused,
    is_right,
    is_running,
    served,
    status,
    wait_until,
)

pytestmark = pytest.mark.slow


def test_told_to_stop_it_keeps_the_prompts_it_has_learned(tmp_path: Path) -> None:
    with served(tmp_path, "_wsgi:app") as server:
        for number in range(1, 41):
            event = {
                "annotation": {"result": [*typed(f"prompt {number}")["result"], HAND_DRAWN]},
                "project": {"id": number, "created_at": CREATED, "label_config": BOXES},
            }
            assert server.post("/webhook", event).status_code == 200
        os.kill(server.master, signal.SIGTERM)
        wait_until(lambda: not any(map(is_running, [server.master, *server.workers])))
        assert "Traceback" not in server.log
    kept = SQLiteStore(tmp_path / "prompts.sqlite3").entries()
    assert {entry.project: entry.prompt for entry in kept} == {
        f"{number}.1795170150/image": f"prompt {number}" for number in range(1, 41)
    }


# Killed


def test_a_killed_worker_takes_nothing_of_the_other_with_it_and_is_replaced(
    tmp_path: Path,
) -> None:
    with served(tmp_path, WORKERS="2", LABEL_STUDIO_URL="http://127.0.0.1:9") as server:
        answers: dict[str, bool] = {}  # by tag: whether it was right
        lost: list[str] = []
        stop = threading.Event()

        def keep_asking(client: int) -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                tag = f"{client}.{number}"
                try:
                    answer = server.ask("square. sleep 0.1. wait", tag=tag)
                    answers[tag] = is_right(answer.json()["results"][0])
                except requests.ConnectionError:
                    lost.append(tag)

        def being_answered(pid: int) -> set[str]:
            arrived = {
                line.text.removeprefix("/predict ")
                for line in server.lines("arrivals")
                if line.pid == pid and line.text.startswith("/predict ")
            }
            return arrived - answers.keys() - set(lost)

        def at_work(pid: int) -> bool:
            return any(line.pid == pid for line in server.lines("runs"))

        def both_are_at_work(pids: Sequence[int]) -> bool:
            """Whether all that is asked now, which waits then, is at these two."""
            server.hold()
            wait_until(lambda: sum(len(being_answered(pid)) for pid in pids) == CLIENTS)
            if all(being_answered(pid) for pid in pids):
                return True
            server.go_on()
            return False

        with ThreadPoolExecutor(CLIENTS) as clients:
            asking = [clients.submit(keep_asking, number) for number in range(CLIENTS)]
            try:
                dead, survivor = server.workers
                wait_until(lambda: both_are_at_work([dead, survivor]))
                at_the_other = being_answered(survivor)
                os.kill(dead, signal.SIGKILL)
                wait_until(lambda: lost)
                server.go_on()
                wait_until(lambda: len(server.workers) == 3)
                new = server.workers[2]
                wait_until(lambda: at_work(new))
            finally:
                stop.set()
                server.go_on()
            for client in asking:
                client.result()

        arrivals = {line.text.split()[-1]: line for line in server.lines("arrivals")}
        others = {tag for tag, line in arrivals.items() if line.pid != dead}
        assert others.isdisjoint(lost)
        assert all(answers.values())
        assert at_the_other <= answers.keys()  # after this one was killed
        assert len(lost) <= CLIENTS  # each lost one at most
        assert not is_running(dead)
        assert all(is_running(pid) for pid in (survivor, new))
        for path in ("/health", "/metrics"):
            assert all(server.get(path).status_code == 200 for _ in range(8))


# Stuck


def is_well(server: Server) -> bool:
    """Whether it answers; on a busy machine a second may be too short for the models."""
    [prediction] = server.ask("square").json()["results"]
    return is_right(prediction)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("service"), MODEL_DEADLINE="1") as server:
        yield server


def test_a_model_that_hangs_is_told_of_and_comes_back(impatient: Server) -> None:
    server = impatient
    with ThreadPoolExecutor() as clients:
        hanging = clients.submit(server.ask, "hang")
        wait_until(lambda: server.runs("hang"))
        queued = clients.submit(server.ask, "square")
        assert STUCK.fullmatch(status(hanging.result()))
        assert STUCK.fullmatch(status(queued.result()))

        health = server.get("/health")
        assert health.status_code == 503
        assert health.json()["models"] == "stuck"
        assert STUCK.fullmatch(health.json()["error"])
        assert server.get("/ready").status_code == 503
        assert STUCK.fullmatch(status(server.ask("square")))  # though it still hangs
        pre_annotation = server.post("/predict", body([drawn("square")], None, BOXES))
        assert pre_annotation.status_code == 503
        assert int(pre_annotation.headers["Retry-After"]) > 0

        server.release()
        wait_until(lambda: server.get("/health").ok and server.get("/ready").ok)
        wait_until(lambda: is_well(server))
        assert len(server.workers) == 1


def test_a_service_that_is_stuck_can_be_ended(impatient: Server) -> None:
    """The last one of this service."""
    impatient.hold()
    assert STUCK.fullmatch(status(impatient.ask("wait")))
    worker = impatient.workers[-1]
    os.kill(impatient.master, signal.SIGTERM)
    wait_until(lambda: not is_running(worker))


# Left, killed when there is no other, and told to stop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("service")) as server:
        yield server


def departures(server: Server) -> int:
    return server.log.count("The caller did not wait for the answer")


def test_work_of_a_caller_that_left_the_queue_is_never_begun(server: Server) -> None:
    before, runs_before = departures(server), len(server.lines("runs"))
    with ThreadPoolExecutor() as clients:
        first = clients.submit(server.ask, "square. hang")
        wait_until(lambda: server.runs("hang"))
        request = body([drawn("circle")], typed("circle. never begun"), BOXES)
        server.send_and_keep("leaving", request).close()
        third = clients.submit(server.ask, "triangle. third", "triangle")
        wait_until(lambda: departures(server) == before + 1)
        server.release()
        assert_right(first.result())
        assert_right(third.result(), "triangle")
    runs = [line.text for line in server.lines("runs")[runs_before:]]
    assert runs == ["square. hang", "triangle. third"]


def test_a_whole_project_whose_caller_left_is_given_up_after_the_batch_at_hand(
    server: Server,
) -> None:
    before = departures(server)
    config = BOXES.replace('value="Square"', 'value="Square" prompt="square, wait"')
    request = body([drawn("square")] * 100, None, config) | {"project": "left"}
    server.hold()
    connection = server.send_and_keep("project", request)
    wait_until(lambda: server.runs("wait"))
    connection.close()
    server.go_on()
    wait_until(lambda: departures(server) == before + 1)
    assert_right(server.ask("square"))  # whatever had been begun is over
    assert len(server.runs("wait")) <= 2  # the next may just have been begun


def test_the_only_worker_comes_back_when_it_was_killed(server: Server) -> None:
    workers = len(server.workers)
    with pytest.raises(requests.ConnectionError):
        server.ask("die")
    assert_right(server.ask("square"))  # waits until the new one is ready
    assert len(server.workers) == workers + 1
    assert server.get("/health").json()["models"] == "ready"


def test_a_worker_that_lost_the_models_thread_is_replaced(server: Server) -> None:
    before = server.workers
    (server.folder / "end-thread").touch()
    server.ask("square")  # answered, refused or lost with the worker: all is well after it
    wait_until(lambda: len(server.workers) == len(before) + 1)
    wait_until(lambda: not is_running(before[-1]))
    wait_until(lambda: server.get("/ready").ok)
    assert_right(server.ask("square"))
    assert "The thread that runs the models has ended" in server.log


def test_told_to_stop_it_answers_what_it_has_begun_and_takes_nothing_more(server: Server) -> None:
    """The last one of this service."""
    told_before = server.log.count("Traceback")
    with ThreadPoolExecutor() as clients:
        server.hold()
        waiting = clients.submit(server.ask, "square. told to stop. wait")
        wait_until(lambda: server.runs("told to stop"))
        os.kill(server.master, signal.SIGTERM)
        try:
            wait_until(lambda: is_refused(server.url))
            assert not waiting.done()
        finally:
            server.go_on()
            assert_right(waiting.result())
        wait_until(lambda: not any(map(is_running, [server.master, *server.workers])))
    assert server.log.count("Traceback") == told_before


# Full or unwritable disks

FULL_DISK = """
import resource, sys
from pathlib import Path
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.sqlite import SQLiteStore

def set_room(bytes):  # what a full disk looks like to one process: no file grows
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, resource.RLIM_INFINITY))

memory = PromptHistory(SQLiteStore(Path(sys.argv[1])))
if sys.argv[2] == "later":
    memory.save("1", "before")
    assert memory.newest("1") == "before"
set_room(0)
for text in ("cats", "dogs"):
    memory.save("1", text)
    assert memory.newest("1") == text
assert memory.newest("2") is None
set_room(resource.RLIM_INFINITY)
assert memory.newest("1") == "dogs"
memory.save("1", "after")
assert PromptHistory(SQLiteStore(Path(sys.argv[1]))).newest("1") == "after"
"""


@pytest.mark.parametrize("full", ["from the start", "later"])
def test_prompts_are_remembered_while_the_disk_is_full(tmp_path: Path, full: str) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "prompts.sqlite3"), full]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("Prompts cannot be stored") == 1
    assert len(ran.stderr.splitlines()) == 1


def test_the_service_does_not_start_where_prompts_cannot_be_stored(tmp_path: Path) -> None:
    # Not even root can make a folder there.
    named = "prompts cannot be stored in MODEL_DIR=/proc/nowhere"
    refused = pytest.raises(DidNotStart, match=named)
    with refused as error, served(tmp_path, "_wsgi:app", MODEL_DIR="/proc/nowhere"):
        pass
    assert "Traceback" not in str(error.value)


def test_a_worker_that_stays_stuck_is_replaced(tmp_path: Path) -> None:
    """After MODEL_DEADLINE and gunicorn's own timeout; else, outside an orchestrator, never."""
    impatient = {"MODEL_DEADLINE": "1", "GUNICORN_CMD_ARGS": "--timeout 10"}
    with served(tmp_path, **impatient) as server:
        assert STUCK.fullmatch(status(server.ask("hang")))
        wait_until(lambda: len(server.workers) == 2)
        wait_until(lambda: not is_running(server.workers[0]))
        wait_until(lambda: server.get("/ready").ok)
        wait_until(lambda: is_well(server))
