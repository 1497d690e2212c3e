import contextlib
import itertools
import json
import logging
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from grounded_labeler.prompts.history import PromptHistory, project_key
from grounded_labeler.prompts.sqlite import SQLiteStore
from tests.conftest import RecordFigure
from tests.helpers.held import Held
from tests.helpers.serving import PATIENCE_S

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "prompts.sqlite3"  # the folder is not there yet


def worker(path: Path, code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Another process with `history` open on `path`; what it prints can be read."""
    start = "import sys; from pathlib import Path\n"
    start += "from grounded_labeler.prompts.history import PromptHistory\n"
    start += "from grounded_labeler.prompts.sqlite import SQLiteStore\n"
    start += "history = PromptHistory(SQLiteStore(Path(sys.argv[1])))\n"
    command = [sys.executable, "-c", start + code, str(path), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def test_without_a_file() -> None:
    history = PromptHistory(None)
    history.save("1", "cats")
    assert history.newest("1") == "cats"
    assert history.newest("2") is None
    assert PromptHistory(None).newest("1") is None


def test_threads_share_a_memory(path: Path) -> None:
    history = PromptHistory(SQLiteStore(path))

    def use(number: int) -> str | None:
        history.save(str(number), f"prompt {number}")
        history.save("all", f"prompt {number}")
        return history.newest(str(number))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(16))) == [f"prompt {number}" for number in range(16)]
    assert (history.newest("all") or "").startswith("prompt ")


def test_a_file_that_another_is_making_is_waited_for(tmp_path: Path) -> None:
    # SQLite does not wait by itself when a file being written to is to change to WAL.
    path = tmp_path / "prompts.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(SQLiteStore(path).save, "1", 1.0, "cats")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            other.execute("COMMIT")
            waiting.result()
    assert SQLiteStore(path).newest("1") == (1.0, "cats")


def write_on(path: Path, first: int, done: Connection) -> None:
    """Remember prompts without end, and send the number of each once it is stored."""
    history = PromptHistory(SQLiteStore(path))
    for n in itertools.count(first):
        history.save("1", f"{n} {'x' * (n * 99_991 % 400_000)}")
        done.send(n)


def received(done: Connection) -> Iterator[int]:
    """Yield what the other end sent before it went."""
    with contextlib.suppress(EOFError):
        while True:
            yield done.recv()


def test_a_hundred_kills_in_the_middle_of_writing_lose_no_prompt(
    path: Path, caplog: pytest.LogCaptureFixture, record_figure: RecordFigure
) -> None:
    # Prompts of a hundred pages take long enough to write for a kill to fall into it: with
    # journal_mode OFF in place of WAL this fails.
    history, number = PromptHistory(SQLiteStore(path)), -1
    processes = multiprocessing.get_context("forkserver")  # it imports once for all of them
    processes.set_forkserver_preload([__name__])
    for kill in range(100):
        done, sender = processes.Pipe(duplex=False)
        process = processes.Process(target=write_on, args=(path, number + 1, sender))
        process.start()
        sender.close()
        with done:
            kept = [done.recv() for _ in range(1 + kill % 5)]
            time.sleep(kill % 10 * 0.0003)
            process.kill()
            kept += received(done)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        newest = history.newest("1") or ""
        number = int(newest.partition(" ")[0])
        assert number >= kept[-1], kill
        is_whole = newest == f"{number} {'x' * (number * 99_991 % 400_000)}"
        assert is_whole, kill
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], kill
    record_figure("kills in the middle of writing", f"100, {number} prompts written, none lost")
    history.save("1", "after")
    assert PromptHistory(SQLiteStore(path)).newest("1") == "after"
    assert caplog.records == []


def unusable_paths(folder: Path) -> dict[str, Path]:
    """Files SQLite cannot use, also as root, whom permissions do not stop."""
    (folder / "file").write_text("")
    (folder / "corrupt").write_bytes(b"this is no database" * 1000)
    (folder / "directory").mkdir()
    with sqlite3.connect(folder / "other") as database:
        database.execute("CREATE TABLE prompts (something TEXT)")
    database.close()
    names = {"under a file": "file/prompts", "corrupt": "corrupt", "a directory": "directory"}
    return {name: folder / path for name, path in {**names, "another table": "other"}.items()}


@pytest.mark.parametrize("name", ["under a file", "corrupt", "a directory", "another table"])
def test_unusable_file_is_warned_of_once_and_stood_in_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    history = PromptHistory(SQLiteStore(unusable_paths(tmp_path)[name]))
    assert history.newest("1") is None
    history.save("1", "older")
    history.save("1", "cats")
    assert history.newest("1") == "cats"
    assert history.newest("2") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cats" not in caplog.text


def test_stand_in_is_newer_than_the_file_until_the_file_works_again(path: Path) -> None:
    history = PromptHistory(SQLiteStore(path))
    history.save("1", "old")
    moved = path.rename(path.with_suffix(".moved"))
    path.mkdir()
    history.save("1", "while it was away")
    path.rmdir()
    moved.rename(path)
    assert history.newest("1") == "while it was away"
    PromptHistory(SQLiteStore(path)).save("1", "another worker's, newer still")
    assert history.newest("1") == "another worker's, newer still"
    history.save("1", "new")
    assert history.newest("1") == "new"
    assert PromptHistory(SQLiteStore(path)).newest("1") == "new"


def test_text_that_cannot_be_stored_is_kept_in_the_process(path: Path) -> None:
    history = PromptHistory(SQLiteStore(path))
    history.save("1", "\ud800")
    assert history.newest("1") == "\ud800"
    assert history.newest("\ud800") is None


def test_the_fallback_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grounded_labeler.prompts.history._MAX_FALLBACK", 2)
    history = PromptHistory(None)
    for project in ("1", "2", "2", "3"):
        history.save(project, "x")
    assert [history.newest(project) for project in ("1", "2", "3")] == [None, "x", "x"]


# Without waiting for the store


def test_a_prompt_is_known_before_the_store_has_it(held: Held) -> None:
    history = PromptHistory(held)
    history.save_later("1", "cats")
    history.save_later("2", "dogs")
    assert held.begun.wait(60)
    assert held.kept == []
    assert (history.newest("1"), history.newest("2"), history.newest("3")) == ("cats", "dogs", None)
    held.go_on.set()
    history.flush()
    assert held.kept == [("1", "cats"), ("2", "dogs")]
    assert (history.newest("1"), history.newest("2")) == ("cats", "dogs")


def test_of_what_waits_the_newest_of_each_project_is_written(held: Held) -> None:
    history = PromptHistory(held)
    history.save_later("0", "first")
    assert held.begun.wait(60)  # the others wait behind it
    for number in range(50):
        history.save_later("1", f"prompt {number}")
        history.save_later("2", f"prompt {number}")
    held.go_on.set()
    history.flush()
    assert held.kept == [("0", "first"), ("1", "prompt 49"), ("2", "prompt 49")]


def test_what_waits_has_an_end(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grounded_labeler.prompts.history._MAX_FALLBACK", 2)
    history = PromptHistory(held)
    history.save_later("0", "first")
    assert held.begun.wait(60)
    for project in "12345":
        history.save_later(project, "x")
    held.go_on.set()
    history.flush()
    assert [project for project, _ in held.kept] == ["0", "4", "5"]


def test_a_newer_prompt_that_comes_while_one_is_written_is_not_lost(held: Held) -> None:
    history = PromptHistory(held)
    history.save_later("1", "old")
    assert held.begun.wait(60)
    history.save_later("1", "new")
    held.go_on.set()
    history.flush()
    assert held.kept == [("1", "old"), ("1", "new")]
    assert history.newest("1") == "new"


def test_a_store_that_fails_is_stood_in_for(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    history = PromptHistory(held)
    held.fails = True
    held.go_on.set()
    history.save_later("1", "cats")
    history.flush()
    assert (history.newest("1"), held.kept) == ("cats", [])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    held.fails = False
    history.save_later("2", "dogs")
    history.flush()
    assert held.kept == [("2", "dogs")]


def test_what_waits_is_written_before_the_process_ends(path: Path) -> None:
    code = "for n in range(20): history.save_later(str(n), 'x' * 100_000)"
    assert worker(path, code).wait(PATIENCE_S) == 0
    assert all(PromptHistory(SQLiteStore(path)).newest(str(n)) for n in range(20))


def test_without_a_store_there_is_nothing_to_wait_for() -> None:
    history = PromptHistory(None)
    history.save_later("1", "cats")
    history.flush()
    assert history.newest("1") == "cats"


# Names


@pytest.mark.parametrize(
    ("number", "created", "key"),
    [
        ("1.1795170150", None, "1.1795170150"),  # as /setup and /predict write it
        (1, "2026-11-20T10:22:30.172388Z", "1.1795170150"),  # as webhooks write it
        (1, "2026-11-20T10:22:30.999999Z", "1.1795170150"),
        (1, "2026-11-20T11:22:30.172388+01:00", "1.1795170150"),
        (1, "2026-11-20T10:22:30.172388", "1.1795170150"),
        (1, datetime(2026, 11, 20, 10, 22, 30, 172388, tzinfo=UTC), "1.1795170150"),  # the SDK
        (1, None, "1"),
        (1, "", "1"),
        (1, "yesterday \ud800", "1"),
        (1, 1795170150, "1"),
        (1, ["2026-11-20T10:22:30.172388Z"], "1"),
        (None, "2026-11-20T10:22:30.172388Z", ""),
        ("9" * 1000, None, "9" * 64),
    ],
)
def test_a_project_is_its_number_and_when_it_was_made(
    number: object, created: object, key: str
) -> None:
    assert project_key(number, created) == key


def test_the_captured_requests_and_webhooks_name_one_project() -> None:
    captures = ROOT / "tests" / "data" / "label-studio"
    setup = json.loads((captures / "02_connect_setup.json").read_text())["body"]
    event = json.loads((captures / "12_webhook_ANNOTATION_CREATED.json").read_text())["body"]
    project = event["project"]
    assert project_key(project["id"], project["created_at"]) == project_key(setup["project"])
