"""A store of prompts in one table of an SQL database, by SQLAlchemy."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Double,
    Engine,
    LargeBinary,
    MetaData,
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
        with self._reading() as connection:
            row = None if connection is None else connection.execute(wanted).one_or_none()
        return None if row is None else (row.learned, row.prompt)

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
            if not self._has_table(connection):
                self._make_table(connection)
            connection.execute(upsert)
            connection.execute(evict)

    def entries(self) -> list[Entry]:
        by_age = select(self._table).order_by(self._table.c.learned.desc(), self._table.c.project)
        with self._reading() as connection:
            rows = [] if connection is None else connection.execute(by_age).all()
        return [Entry(*row) for row in rows]

    def delete(self, project: str) -> None:
        with self._reading() as connection:
            if connection is not None:
                connection.execute(delete(self._table).where(self._table.c.project == project))

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """Yield a connection, None where nobody has stored a prompt yet: reading makes nothing."""
        with self._connected() as connection:
            yield connection if self._has_table(connection) else None

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

    def _has_table(self, connection: Connection) -> bool:
        return inspect(connection).has_table(self._table.name)

    def _make_table(self, connection: Connection) -> None:
        try:
            self._table.create(connection, checkfirst=False)
        except DBAPIError:
            # Another process has made it since; any other failure stands.
            if not self._has_table(connection):
                raise
