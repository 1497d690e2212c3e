"""A store of prompts in one table of an SQL database, by SQLAlchemy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Double,
    Engine,
    Executable,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    TypeDecorator,
    delete,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.types import TypeEngine

from grounded_labeler.prompts.store import MAX_PROMPTS, Entry, StoreError
from grounded_labeler.prompts.url import StoreAddress


class _AnyText(TypeDecorator[str]):
    """Text as SQLite holds it; bytes in PostgreSQL.

    PostgreSQL's TEXT holds no NUL, and only characters that the encoding of the database has.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str] | TypeEngine[bytes]:
        return LargeBinary() if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | bytes | None:
        if value is None or dialect.name != "postgresql":
            return value
        return value.encode("utf-8", "surrogatepass")

    def process_result_value(self, value: str | bytes | None, dialect: Dialect) -> str | None:
        return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


class DatabaseStore:
    """One table of the database behind `engine`; a subclass says which database that is.

    The table is made when the first prompt is stored. `engine` makes a new connection for
    each operation (some milliseconds), so that threads and forked processes share none, and
    commits each statement by itself.
    """

    remedy: str

    def __init__(
        self, address: StoreAddress, engine: Engine, table: str, most: int = MAX_PROMPTS
    ) -> None:
        """`table` is the name of the table, `most` the number of projects in it."""
        self.place = address.place
        self._address, self._engine, self._most = address, engine, most
        self._table = Table(
            table,
            MetaData(),
            Column("project", _AnyText, primary_key=True),
            Column("learned", Double, nullable=False),
            Column("prompt", _AnyText, nullable=False),
        )

    def newest(self, project: str) -> tuple[float, str] | None:
        table = self._table
        wanted = select(table.c.learned, table.c.prompt).where(table.c.project == project)
        return next(((row.learned, row.prompt) for row in self._run(wanted)), None)

    def save(self, project: str, learned: float, prompt: str) -> None:
        table, is_postgresql = self._table, self._engine.dialect.name == "postgresql"
        insert = (postgresql.insert if is_postgresql else sqlite.insert)(table).values(
            project=project, learned=learned, prompt=prompt
        )
        upsert = insert.on_conflict_do_update(
            index_elements=[table.c.project],
            set_={"learned": insert.excluded.learned, "prompt": insert.excluded.prompt},
            where=insert.excluded.learned >= table.c.learned,
        )
        by_age = select(table.c.project).order_by(table.c.learned.desc())
        evict = delete(table).where(table.c.project.in_(by_age.offset(self._most)))
        with self._connected() as connection:
            try:
                connection.execute(upsert)
            except DBAPIError as error:
                if not _says_no_table(error):
                    raise
                self._make_table(connection)
                connection.execute(upsert)
            connection.execute(evict)

    def entries(self) -> list[Entry]:
        by_age = select(self._table).order_by(self._table.c.learned.desc(), self._table.c.project)
        return [Entry(row.project, row.learned, row.prompt) for row in self._run(by_age)]

    def delete(self, project: str) -> None:
        self._run(delete(self._table).where(self._table.c.project == project))

    def _run(self, statement: Executable) -> Sequence[Row[Any]]:
        """Return the rows of `statement`, none where nobody has stored a prompt: it makes nothing.

        Whether there is a table is seen by what the database says: to ask first would cost more
        than the statement itself.
        """
        with self._connected() as connection:
            try:
                result = connection.execute(statement)
            except DBAPIError as error:
                if not _says_no_table(error):
                    raise
                return []
            return result.all() if result.returns_rows else []

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Yield a connection for one operation; every way in which it can fail is a StoreError."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError, UnicodeError) as error:
            # SQLAlchemy's own message holds the statement over several lines.
            reason = error.orig if isinstance(error, StatementError) else error
            raise StoreError(self._address.hide_secrets(str(reason))) from None

    def _make_table(self, connection: Connection) -> None:
        try:
            self._table.create(connection, checkfirst=False)
        except DBAPIError:
            # Another process has made it since; any other failure stands.
            if not inspect(connection).has_table(self._table.name):
                raise


def _says_no_table(error: DBAPIError) -> bool:
    """Whether a statement failed because its table is not there: nobody has stored a prompt."""
    is_postgresql_s = getattr(error.orig, "sqlstate", None) == "42P01"  # undefined_table
    return is_postgresql_s or str(error.orig).startswith("no such table:")
