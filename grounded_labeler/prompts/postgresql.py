"""Prompts in PostgreSQL, for all who are given its address."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg
from psycopg import conninfo, errors

from grounded_labeler.prompts.store import MAX_PROMPTS, Entry, StoreError
from grounded_labeler.prompts.text import decode, encode
from grounded_labeler.prompts.url import StoreAddress

_SECONDS = 2  # for connecting, and for the statements after that
# BYTEA, because TEXT holds no NUL, and only what the database's encoding has.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS grounded_labeler_prompts "
    "(project BYTEA PRIMARY KEY, learned DOUBLE PRECISION NOT NULL, prompt BYTEA NOT NULL)"
)
_INDEX = (
    "CREATE INDEX IF NOT EXISTS grounded_labeler_prompts_learned "
    "ON grounded_labeler_prompts (learned)"
)
_MAKING = 7_061_523_018_442_197_005  # the advisory lock's number, ours by chance
_NEWEST = "SELECT learned, prompt FROM grounded_labeler_prompts WHERE project = %s"
_ENTRIES = (
    "SELECT project, learned, prompt FROM grounded_labeler_prompts ORDER BY learned DESC, project"
)
_DELETE = "DELETE FROM grounded_labeler_prompts WHERE project = %s"
_REMEMBER = (
    "INSERT INTO grounded_labeler_prompts AS kept (project, learned, prompt) VALUES (%s, %s, %s) "
    "ON CONFLICT (project) DO UPDATE SET learned = excluded.learned, prompt = excluded.prompt "
    "WHERE excluded.learned >= kept.learned"
)
_FORGET = (
    "DELETE FROM grounded_labeler_prompts WHERE learned < "
    "(SELECT learned FROM grounded_labeler_prompts ORDER BY learned DESC LIMIT 1 OFFSET %s)"
)


class PostgreSQLStore:
    """A table, made when it is first needed, in the database at `address`, with `most` projects.

    Raises SettingsError for an address that libpq cannot read.
    """

    remedy = "See that it runs, can be reached from here and lets this user make and use a table."

    def __init__(self, address: StoreAddress, most: int = MAX_PROMPTS) -> None:
        self.place = address.place
        self._address, self._most = address, most
        try:
            conninfo.conninfo_to_dict(address.url)
        except psycopg.ProgrammingError as error:
            raise address.refusal(error) from None

    def newest(self, project: str) -> tuple[float, str] | None:
        with self._connected() as connection:
            try:
                found = connection.execute(_NEWEST, (encode(project),)).fetchone()
            except errors.UndefinedTable:
                return None  # nobody has remembered anything yet
            return None if found is None else (found[0], decode(found[1]))

    def remember(self, project: str, learned: float, prompt: str) -> None:
        row = (encode(project), learned, encode(prompt))
        with self._connected() as connection:
            try:
                connection.execute(_REMEMBER, row)
            except errors.UndefinedTable:
                _make_table(connection)
                connection.execute(_REMEMBER, row)
            connection.execute(_FORGET, (self._most - 1,))

    def entries(self) -> list[Entry]:
        with self._connected() as connection:
            try:
                rows = connection.execute(_ENTRIES).fetchall()
            except errors.UndefinedTable:
                return []
            return [Entry(decode(key), learned, decode(prompt)) for key, learned, prompt in rows]

    def forget(self, project: str) -> None:
        with self._connected() as connection, suppress(errors.UndefinedTable):
            connection.execute(_DELETE, (encode(project),))

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        """A connection for one question; every way in which it can fail is a StoreError.

        A new one each time (some milliseconds) is safe under threads and after a fork.
        """
        late = threading.Event()
        try:
            opened = psycopg.connect(self._address.url, autocommit=True, connect_timeout=_SECONDS)
            with closing(opened) as connection, _deadline(connection, late):
                yield connection
        except (psycopg.Error, OSError, UnicodeError) as error:
            reason = f"no answer within {_SECONDS} s" if late.is_set() else str(error)
            raise StoreError(self._address.hide_secrets(reason)) from None


def _make_table(connection: psycopg.Connection) -> None:
    with connection.transaction():
        # IF NOT EXISTS fails for one of two that make it at once.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        connection.execute(_TABLE)
        connection.execute(_INDEX)


@contextmanager
def _deadline(connection: psycopg.Connection, late: threading.Event) -> Iterator[None]:
    """Cut the connection off after `_SECONDS`, and set `late`: psycopg would wait for ever."""
    line = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)

    def cut() -> None:
        late.set()
        with suppress(OSError):  # the server has closed it already
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(_SECONDS, cut)
    timer.daemon = True
    with line:
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
