"""Prompts in PostgreSQL, for all services that are given its address."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self, cast

import psycopg
from psycopg import conninfo
from psycopg.abc import Params, Query, QueryNoTemplate
from psycopg.pq.abc import PGconn
from psycopg.rows import RowFactory, TupleRow, tuple_row
from sqlalchemy import NullPool, create_engine

from grounded_labeler.prompts.database import DatabaseStore
from grounded_labeler.prompts.store import MAX_PROMPTS
from grounded_labeler.prompts.url import StoreAddress

_SECONDS = 2  # for connecting, and for the statements after that


class PostgreSQLStore(DatabaseStore):
    """A table, made when the first prompt is stored, in the database at `address`.

    Raises SettingsError for an address that libpq cannot read.
    """

    remedy = "See that it runs, can be reached from here and lets this user make and use a table."

    def __init__(self, address: StoreAddress, most: int = MAX_PROMPTS) -> None:
        try:
            conninfo.conninfo_to_dict(address.url)
        except psycopg.ProgrammingError as error:
            raise address.refusal(error) from None

        def connect() -> psycopg.Connection:
            # libpq reads the address: SQLAlchemy knows neither several hosts nor every option.
            return _TimedConnection.connect(
                address.url, connect_timeout=_SECONDS, cursor_factory=_TimedCursor
            )

        engine = create_engine(
            "postgresql+psycopg://",
            creator=connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,  # it would cost a query
            hide_parameters=True,
        )
        super().__init__(address, engine, "grounded_labeler_prompts", most)


class _TimedConnection(psycopg.Connection[TupleRow]):
    """A connection whose statements all have to end `_SECONDS` after it was made."""

    def __init__(self, pgconn: PGconn, row_factory: RowFactory[TupleRow] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.ends = time.monotonic() + _SECONDS


class _TimedCursor(psycopg.Cursor[TupleRow]):
    """A cursor of a `_TimedConnection`: psycopg itself would wait for ever.

    A limit that the server keeps (`statement_timeout`) is none where the server hangs.
    """

    def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        connection = cast("_TimedConnection", self.connection)
        with _cut_off(connection, connection.ends - time.monotonic()):
            text = cast("QueryNoTemplate", query)  # SQLAlchemy writes no template strings
            return super().execute(text, params, prepare=prepare, binary=binary)


@contextmanager
def _cut_off(connection: psycopg.Connection[TupleRow], seconds: float) -> Iterator[None]:
    """Cut the connection off after `seconds`, and raise OperationalError then."""
    late = threading.Event()
    line = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)

    def cut() -> None:
        late.set()
        with suppress(OSError):  # the server has closed it already
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    with line:
        timer.start()
        try:
            yield
        except psycopg.Error:
            if late.is_set():
                raise psycopg.OperationalError(f"no answer within {_SECONDS} s") from None
            raise
        finally:
            timer.cancel()
            timer.join()
