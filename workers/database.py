"""The database of the application: SQLite by default, PostgreSQL by ``DATABASE_URL``.

Nothing is opened before the first session is used, so that importing tasks costs nothing and a
worker that needs no database has no connection.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateIndex, CreateTable

from workers.models import Model

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from sqlalchemy import Connection

#: Seconds that a writer waits for another writer: SQLite has one at a time in the whole file.
_SQLITE_BUSY_TIMEOUT = 30
#: Key of the PostgreSQL lock under which tables are made; any constant would do.
_TABLES_LOCK = 20_251_110
#: Connections a process keeps: PostgreSQL has room for some hundred in all.
_POOL_SIZE = 5


class Database:
    """One database with a face for ``async`` tasks and one for plain ones.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
    """

    def __init__(self, url: str) -> None:
        """Remember where the database is."""
        self.url = make_url(url)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncSession]:
        """A session that commits at the end of the block, and rolls back on an exception."""
        async with (
            AsyncSession(self._async_engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def transaction_sync(self) -> Generator[Session]:
        """The same for plain functions."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    def create_tables(self) -> None:
        """Make the tables that are missing; harmless when several processes do so at once."""
        with self._engine.begin() as connection:
            _create_missing(connection)

    async def close(self) -> None:
        """Close all connections."""
        if "_async_engine" in self.__dict__:
            await self._async_engine.dispose()
        self.close_sync()

    def close_sync(self) -> None:
        """Close the connections of the plain face."""
        if "_engine" in self.__dict__:
            self._engine.dispose()

    @cached_property
    def _async_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            _with_driver(self.url, "aiosqlite"), **_engine_options(self.url)
        )
        _prepare(engine.sync_engine)
        return engine

    @cached_property
    def _engine(self) -> Engine:
        engine = create_engine(_with_driver(self.url, "pysqlite"), **_engine_options(self.url))
        _prepare(engine)
        return engine


def upsert(
    dialect: str, model: type[Model], rows: Sequence[Mapping[str, object]], *, key: Sequence[str]
) -> postgresql.Insert | sqlite.Insert:
    """One statement that inserts the rows, and updates those whose ``key`` is there already.

    Args:
        dialect: ``session.get_bind().dialect.name``.
        model: The table.
        rows: Column values, all with the same columns, no key twice.
        key: The unique columns that say which row is meant.
    """
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(model).values(list(rows))
    changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
    return statement.on_conflict_do_update(index_elements=list(key), set_=changed)


def _with_driver(url: URL, sqlite_driver: str) -> URL:
    if url.get_backend_name() == "sqlite":
        return url.set(drivername=f"sqlite+{sqlite_driver}")
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    raise ValueError(
        "DATABASE_URL must be sqlite:///path or postgresql://user@host/name, "
        f"not '{url.drivername}://…'."
    )


def _engine_options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _SQLITE_BUSY_TIMEOUT}}
    return {"pool_size": _POOL_SIZE, "max_overflow": _POOL_SIZE, "pool_pre_ping": True}


def _prepare(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return
    if engine.url.database and engine.url.database != ":memory:":
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_immediate)


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself: it would do so only at the first write,
    # and a transaction that reads first and writes later fails at once when another has written.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _create_missing(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TABLES_LOCK})
    for table in Model.metadata.sorted_tables:
        _create(connection, table)


def _create(connection: Connection, table: Table) -> None:
    connection.execute(CreateTable(table, if_not_exists=True))
    for index in table.indexes:
        connection.execute(CreateIndex(index, if_not_exists=True))
