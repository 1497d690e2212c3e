"""Prompts in a file and in a real PostgreSQL: the same of each."""

import logging
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from grounded_labeler.demo.process import ROOT, free_port
from grounded_labeler.errors import SettingsError
from grounded_labeler.prompts import circuit_breaker
from grounded_labeler.prompts.circuit_breaker import CircuitBreaker
from grounded_labeler.prompts.database import DatabaseStore
from grounded_labeler.prompts.factory import open_store
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.store import Entry, PromptStore, StoreError
from tests.helpers.clocks import FakeClock
from tests.helpers.prompt_servers import (
    SECRETS,
    TABLE,
    PostgreSQL,
    address,
    run_postgresql,
)
from tests.helpers.serving import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

KINDS = ["sqlite", "postgresql"]
TEXTS = [
    "cats . dogs",
    "",
    "ünïcode 猫 🐈\n'; DROP TABLE prompts; --",
    "\0x\0",
    "long " * 20_000,
]


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[PostgreSQL]:
    with run_postgresql() as server:
        yield server


@pytest.fixture
def server(postgresql_server: PostgreSQL) -> PostgreSQL:
    """The server, without prompts."""
    postgresql_server.clear()
    return postgresql_server


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store of the kind that a test is called for."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/a%20folder/prompts.sqlite3"
    server: PostgreSQL = request.getfixturevalue("server")
    return server.url


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged at any level; no secret is in it at the end."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    logged = caplog.text + "".join(str(record.args) for record in caplog.records)
    assert [secret for secret in SECRETS if secret in logged] == []


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in log.records if record.levelno >= logging.WARNING]


# What every store does

each_kind = pytest.mark.parametrize("url", KINDS, indirect=True)


@each_kind
@pytest.mark.parametrize("prompt", TEXTS, ids=range(len(TEXTS)))
def test_newest_prompt_survives_a_restart(
    url: str, prompt: str, log: pytest.LogCaptureFixture
) -> None:
    history = PromptHistory(open_store(url))
    assert history.newest("1/ïmage") is None
    history.save("1/ïmage", "an older one")
    history.save("1/ïmage", prompt)
    history.save("1", "of another project")
    assert history.newest("1/ïmage") == prompt
    assert PromptHistory(open_store(url)).newest("1/ïmage") == prompt
    assert warnings(log) == []


def test_what_is_no_unicode_comes_back_as_it_was(server: PostgreSQL) -> None:
    open_store(server.url).save("\ud800/\0", 1.0, "\udfff\0")
    assert open_store(server.url).newest("\ud800/\0") == (1.0, "\udfff\0")
    assert open_store(server.url).newest("?/\0") is None


@each_kind
def test_an_older_prompt_never_overwrites_a_newer_one(url: str) -> None:
    store, now = open_store(url), time.time()
    store.save("1", now, "new")
    store.save("1", now - 0.001, "old, and late")
    assert store.newest("1") == (now, "new")  # to the last bit of the time
    store.save("1", now, "of the same moment")
    assert store.newest("1") == (now, "of the same moment")


@each_kind
def test_threads_share_a_store(url: str) -> None:
    store = open_store(url)
    times = [float(number) for number in range(40)]
    random.Random(0).shuffle(times)

    def use(learned: float) -> tuple[float, str] | None:
        store.save(str(learned), learned, f"prompt {learned}")
        store.save("all", learned, f"prompt {learned}")
        return store.newest(str(learned))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, times)) == [(learned, f"prompt {learned}") for learned in times]
    assert store.newest("all") == (39.0, "prompt 39.0")


TWICE = """
import logging, os, sys
from grounded_labeler.prompts.history import PromptHistory
from grounded_labeler.prompts.database import DatabaseStore
from grounded_labeler.prompts.factory import open_store

logging.basicConfig()
history = PromptHistory(open_store(sys.argv[1]))
history.save(sys.argv[2], "before the fork")
child = os.fork() == 0
name = sys.argv[2] + ("child" if child else "parent")
for number in range(20):
    history.save("all", f"{name} {number}")
    history.save(name, f"{name} {number}")
    assert history.newest(name) == f"{name} {number}"
if child:
    os._exit(0)
assert os.wait()[1] == 0
"""


@each_kind
def test_processes_share_a_store_also_after_a_fork(url: str) -> None:
    # All make the table, if it is one, at once.
    processes = [
        subprocess.Popen([sys.executable, "-c", TWICE, url, name], cwd=ROOT, stderr=subprocess.PIPE)
        for name in "abc"
    ]
    assert [process.communicate(timeout=60)[1] for process in processes] == [b""] * 3
    assert [process.returncode for process in processes] == [0] * 3
    store = open_store(url)
    for name in ("aparent", "achild", "bparent", "bchild", "cparent", "cchild"):
        assert (store.newest(name) or ())[1:] == (f"{name} 19",)
    assert (store.newest("all") or (0, ""))[1].endswith(" 19")


@each_kind
def test_the_oldest_prompts_are_forgotten(url: str) -> None:
    store = open_store(url, most=3)
    for number, project in enumerate("12345"):
        store.save(project, number, f"prompt {project}")
    store.save("3", 7.0, "again")
    store.save("6", 8.0, "prompt 6")
    known = [store.newest(project) for project in "123456"]
    assert known == [None, None, (7.0, "again"), None, (4.0, "prompt 5"), (8.0, "prompt 6")]


@each_kind
def test_all_that_is_kept_can_be_seen_and_taken_back(url: str) -> None:
    store = open_store(url)
    assert store.entries() == []
    store.delete("1")  # nothing is there, not even a table
    assert store.entries() == []
    for learned, (project, prompt) in enumerate([("1/a", "cats"), ("1/b", "\0ü"), ("2", "")]):
        store.save(project, learned + 0.5, prompt)
    assert store.entries() == [("2", 2.5, ""), ("1/b", 1.5, "\0ü"), ("1/a", 0.5, "cats")]
    store.delete("1/b")
    store.delete("1")
    assert store.entries() == [("2", 2.5, ""), ("1/a", 0.5, "cats")]
    assert store.newest("1/b") is None
    store.save("1/b", 0.1, "older than what was forgotten")
    assert store.newest("1/b") == (0.1, "older than what was forgotten")


def test_a_file_of_an_earlier_version_is_used(tmp_path: Path) -> None:
    path = tmp_path / "prompts.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(
            "CREATE TABLE prompts "
            "(project TEXT PRIMARY KEY, learned REAL NOT NULL, prompt TEXT NOT NULL)"
        )
        database.execute("INSERT INTO prompts VALUES ('1/ïmage', 1.5, 'cäts')")
    use_what_an_earlier_version_left(f"sqlite://{path}")


def test_a_table_of_an_earlier_version_is_used(server: PostgreSQL) -> None:
    with closing(server.connect()) as connection:
        connection.execute(
            f"CREATE TABLE {TABLE} "
            "(project BYTEA PRIMARY KEY, learned DOUBLE PRECISION NOT NULL, prompt BYTEA NOT NULL)"
        )
        connection.execute(f"CREATE INDEX {TABLE}_learned ON {TABLE} (learned)")
        row = ("1/ïmage".encode(), 1.5, "cäts".encode())
        connection.execute(f"INSERT INTO {TABLE} VALUES (%s, %s, %s)", row)
    use_what_an_earlier_version_left(server.url)


def use_what_an_earlier_version_left(url: str) -> None:
    store = open_store(url)
    assert store.newest("1/ïmage") == (1.5, "cäts")
    store.save("1/ïmage", 1.25, "older")
    store.save("2", 2.5, "dogs")
    assert store.entries() == [("2", 2.5, "dogs"), ("1/ïmage", 1.5, "cäts")]


# What the versions before 0.2.0 send, of each store: they can be gone back to.
EARLIER = {
    "sqlite": (
        "CREATE TABLE IF NOT EXISTS prompts "
        "(project TEXT PRIMARY KEY, learned REAL NOT NULL, prompt TEXT NOT NULL)",
        "SELECT learned, prompt FROM prompts WHERE project = ?",
        "INSERT INTO prompts (project, learned, prompt) VALUES (?, ?, ?) "
        "ON CONFLICT (project) DO UPDATE SET learned = excluded.learned, prompt = excluded.prompt "
        "WHERE excluded.learned >= prompts.learned",
        "DELETE FROM prompts WHERE project IN "
        "(SELECT project FROM prompts ORDER BY learned DESC LIMIT -1 OFFSET ?)",
    ),
    "postgresql": (
        f"CREATE INDEX IF NOT EXISTS {TABLE}_learned ON {TABLE} (learned)",
        f"SELECT learned, prompt FROM {TABLE} WHERE project = %s",
        f"INSERT INTO {TABLE} AS kept (project, learned, prompt) VALUES (%s, %s, %s) "
        "ON CONFLICT (project) DO UPDATE SET learned = excluded.learned, prompt = excluded.prompt "
        "WHERE excluded.learned >= kept.learned",
        f"DELETE FROM {TABLE} WHERE learned < "
        f"(SELECT learned FROM {TABLE} ORDER BY learned DESC LIMIT 1 OFFSET %s)",
    ),
}


@each_kind
def test_an_earlier_version_uses_what_this_one_stored(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    store.save("1/ïmage", 1.5, "cäts")
    kind = "postgresql" if url.startswith("postgresql") else "sqlite"
    make, newest, remember, forget = EARLIER[kind]
    connected: sqlite3.Connection | psycopg.Connection
    if kind == "sqlite":
        connected = sqlite3.connect(tmp_path / "a folder" / "prompts.sqlite3", isolation_level=None)
    else:
        connected = psycopg.connect(url, autocommit=True)

    def sent(text: str) -> str | bytes:
        return text if kind == "sqlite" else text.encode()

    with closing(connected) as database:
        execute: Callable[..., Any] = database.execute
        execute(make)
        assert execute(newest, (sent("1/ïmage"),)).fetchone() == (1.5, sent("cäts"))
        execute(remember, (sent("7"), 2.5, sent("dogs")))
        execute(forget, (9_999,))
    assert store.entries() == [("7", 2.5, "dogs"), ("1/ïmage", 1.5, "cäts")]


def test_nothing_is_made_for_looking(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/nowhere/prompts")
    assert store.entries() == []
    store.delete("1")
    assert not (tmp_path / "nowhere").exists()


# A file is read again only once it has changed


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The projects that were looked up in a database, since the test began or last cleared it."""
    projects: list[str] = []
    newest = DatabaseStore.newest

    def noted(store: DatabaseStore, project: str) -> tuple[float, str] | None:
        projects.append(project)
        return newest(store, project)

    monkeypatch.setattr(DatabaseStore, "newest", noted)
    return projects


def set_clock(monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + ahead_s)
    monkeypatch.setattr("grounded_labeler.prompts.sqlite.time", clock)


def restore(path: Path) -> None:
    saved = sqlite3.connect(path.with_name("other"))
    with closing(saved), closing(sqlite3.connect(path)) as database:
        saved.backup(database)


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[float, str] | None]] = {
    "another's prompt": (
        lambda path: open_store(f"sqlite://{path}").save("1", 2.0, "b"),
        (2.0, "b"),
    ),
    "another's delete": (lambda path: open_store(f"sqlite://{path}").delete("1"), None),
    "a backup brought back": (restore, (1.5, "c")),
    "another file in its place": (
        lambda path: path.with_name("other").replace(path),
        (1.5, "c"),
    ),
    "another file copied over it": (
        lambda path: shutil.copy2(path.with_name("other"), path),
        (1.5, "c"),
    ),
    "no file": (lambda path: path.unlink(), None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_is_read_again_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str], name: str
) -> None:
    path = tmp_path / "prompts.sqlite3"
    open_store(f"sqlite://{tmp_path}/other").save("1", 1.5, "c")
    store = open_store(f"sqlite://{path}")
    store.save("1", 1.0, "a")
    set_clock(monkeypatch, 60)
    with ExitStack() as stack:
        if "prompt" in name:  # it is in the log beside the file, as long as somebody uses that
            user = stack.enter_context(closing(sqlite3.connect(path)))
            user.execute("SELECT * FROM prompts").fetchone()
        assert [store.newest("1") for _ in range(3)] == [(1.0, "a")] * 3
        assert [store.newest("2") for _ in range(3)] == [None] * 3
        assert reads == ["1", "2"]
        time.sleep(0.05)  # times of files have no finer steps than some milliseconds
        change, after = CHANGES[name]
        change(path)
        assert store.newest("1") == after


def test_a_file_that_changed_a_moment_ago_is_always_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    store = open_store(f"sqlite://{tmp_path}/prompts.sqlite3")
    store.save("1", 1.0, "a")
    for ahead_s in (-3600, -10):  # a clock that was set back, too
        set_clock(monkeypatch, ahead_s)
        assert [store.newest("1") for _ in range(2)] == [(1.0, "a")] * 2
    assert reads == ["1"] * 4


def test_what_was_read_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    monkeypatch.setattr("grounded_labeler.prompts.sqlite._MAX_SEEN", 3)
    store = open_store(f"sqlite://{tmp_path}/prompts.sqlite3")
    store.save("1", 1.0, "a")
    set_clock(monkeypatch, 60)
    for project in "12341":
        store.newest(project)
    assert reads == list("12341")


# Servers that fail


def test_without_a_server_there_is_one_warning_and_prompts_are_remembered(
    log: pytest.LogCaptureFixture,
) -> None:
    history = PromptHistory(open_store(address(free_port(), "db")))
    assert history.newest("1") is None
    history.save("1", "older")
    history.save("1", "cats")
    assert history.newest("1") == "cats"
    assert history.newest("2") is None
    [warning] = warnings(log)
    assert warning.startswith("Prompts cannot be stored in postgresql://127.0.0.1:")
    assert "refused" in warning and "\n" not in warning


def test_a_wrong_password_is_told_of_without_the_right_or_the_wrong_one(
    server: PostgreSQL, log: pytest.LogCaptureFixture
) -> None:
    url = server.url.replace("%3A%231", "WRONG")
    assert url != server.url
    history = PromptHistory(open_store(url))
    history.save("1", "cats")
    assert history.newest("1") == "cats"
    [warning] = warnings(log)
    assert "password" in warning
    assert "WRONG" not in log.text


def test_a_server_that_goes_away_and_comes_back(
    server: PostgreSQL, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "_OPEN_SECONDS", 0.3)
    history = PromptHistory(open_store(server.url))
    history.save("1", "before")
    history.save("2", "before")
    server.stop()
    try:
        history.save("1", "while it was away")
        assert history.newest("1") == "while it was away"
        assert history.newest("2") is None
    finally:
        server.start()
    wait_until(lambda: history.newest("2") == "before")
    assert history.newest("1") == "while it was away"  # the server knows an older one
    other = PromptHistory(open_store(server.url))
    assert other.newest("1") == "before"
    other.save("1", "another's, newer still")
    assert history.newest("1") == "another's, newer still"
    history.save("1", "after")
    assert history.newest("1") == other.newest("1") == "after"
    assert len(warnings(log)) == 1


@pytest.fixture
def silent_port() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port where connections are taken and nothing is ever said, and those connections."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:  # shut down below
                    return

        thread = threading.Thread(target=take)
        thread.start()
        yield listener.getsockname()[1], taken
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


def test_a_server_that_never_answers_costs_its_timeout_once(
    silent_port: tuple[int, list[socket.socket]],
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(circuit_breaker, "_OPEN_SECONDS", 3600.0)
    port, taken = silent_port
    history = PromptHistory(open_store(address(port, "db")))
    assert history.newest("1") is None
    for number in range(200):
        history.save("1", f"prompt {number}")
        assert history.newest("1") == f"prompt {number}"
    assert len(taken) == 1
    assert len(warnings(log)) == 1


def test_a_table_that_is_locked_costs_its_timeout(server: PostgreSQL) -> None:
    store = open_store(server.url)
    store.save("1", 1.0, "before")
    with closing(server.connect()) as other, other.transaction():
        other.execute(f"LOCK TABLE {TABLE}")
        with pytest.raises(StoreError, match="no answer within 2 s"):
            store.save("1", 2.0, "meanwhile")
    again = open_store(server.url)
    again.save("1", 3.0, "after")
    assert again.newest("1") == (3.0, "after")


def test_what_others_left_there_is_an_error_of_the_store(server: PostgreSQL) -> None:
    with closing(server.connect()) as connection:
        connection.execute(f"CREATE TABLE {TABLE} (something TEXT)")
    with pytest.raises(StoreError):
        open_store(server.url).newest("1")
    with pytest.raises(StoreError):
        open_store(server.url).save("1", 1.0, "x")
    with pytest.raises(StoreError):
        open_store(server.url).entries()
    with pytest.raises(StoreError):
        open_store(server.url).delete("1")


# Rest after a failure


@dataclass
class Shaky:
    """A store that fails while it is told to, and can be held up in an answer."""

    place: str = "somewhere"
    remedy: str = "Wait."
    fails: bool = True
    asked: int = 0
    goes_on: threading.Event | None = None

    def newest(self, project: str) -> tuple[float, str] | None:
        self.asked += 1
        if self.goes_on is not None:
            assert self.goes_on.wait(PATIENCE_S)
        if self.fails:
            raise StoreError("It fails.")
        return 1.0, project

    def save(self, project: str, learned: float, prompt: str) -> None:
        self.newest(project)

    def entries(self) -> list[Entry]:
        self.newest("")
        return []

    def delete(self, project: str) -> None:
        self.newest(project)


def refused(store: PromptStore) -> bool:
    try:
        store.newest("1")
    except StoreError:
        return True
    return False


def test_after_a_rest_one_caller_tries_for_all() -> None:
    shaky, clock = Shaky(), FakeClock()
    store = CircuitBreaker(shaky, clock)
    assert (refused(store), refused(store), shaky.asked) == (True, True, 1)
    clock.pass_by(9.9)
    assert (refused(store), shaky.asked) == (True, 1)
    clock.pass_by(0.2)
    shaky.fails, shaky.goes_on = False, threading.Event()
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(store.newest, "1")
        wait_until(lambda: shaky.asked == 2)
        assert refused(store)  # at once: the other has not been answered yet
        shaky.goes_on.set()
        assert trying.result() == (1.0, "1")
    assert store.newest("2") == (1.0, "2")
    assert shaky.asked == 3


# Addresses that only a driver can judge


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://{SECRETS[0]}:{SECRETS[2]}@127.0.0.1/db?nonsense=x",
        f"postgresql://{SECRETS[0]}:{SECRETS[2]}%00@127.0.0.1/db",
    ],
)
def test_options_a_driver_refuses_are_told_of_without_secrets(url: str) -> None:
    with pytest.raises(SettingsError, match="PROMPT_STORE has options its driver refuses") as told:
        open_store(url)
    assert [secret for secret in SECRETS if secret in str(told.value)] == []


def test_drivers_are_imported_when_they_are_needed(tmp_path: Path) -> None:
    code = (
        "import sys; from grounded_labeler.prompts.history import PromptHistory;"
        "from grounded_labeler.settings import Settings;"
        "from grounded_labeler.prompts.factory import open_store;"
        "PromptHistory(open_store(sys.argv[1])).newest('1');"
        "print({'psycopg'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, f"sqlite://{tmp_path}/prompts"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "set()"
