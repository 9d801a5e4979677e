"""The ways to the database: a transaction that writes, one statement that writes, and short reads.

The only module that commits. `Tx` and `Reader` are different types on purpose: a function that takes a Reader cannot
write, and one that takes a Tx says that it must run inside somebody's transaction. They use pools of their own, so that
a burst of reads never keeps a write waiting, and reads skip the ORM and its BEGIN and ROLLBACK. `Single` is for what a
worker writes all the time: a transaction of one statement, in one round trip.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast

import asyncpg
import orjson
from sqlalchemy import CursorResult, Executable, event
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import QueuePool

from db.clock import Clock
from db.compiled import Write
from db.connecting import driver_options, lent
from db.errors import Outage, TimedOut
from db.settings import DatabaseSettings

# serialization_failure, deadlock_detected: the transaction did nothing wrong and may be run again from its start.
RETRYABLE = frozenset({"40001", "40P01"})
# What is raised where a statement fails or the database does not answer, by SQLAlchemy and by the driver itself.
# InternalClientError: the server has said that it ends the connection, and has not closed it yet.
STORE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# The same for a read: it is not the statement that is at fault.
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
    OSError,
)
# Statements that are executed alone come from a few loops of a worker, each of which waits for its own.
MOST_SINGLES = 5


class Row(Protocol):
    """A row of a statement, by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a column."""


class Publisher(Protocol):
    """Whoever carries hints: `db.feed.Feed`. A hint says "look again" and may be lost; facts are in Postgres."""

    async def publish(self, topics: Iterable[str]) -> None:
        """Tell everybody who listens. Never raises: a lost hint costs latency only."""


class Tx(AsyncSession):
    """One transaction that writes. `now` is the database's clock, read once at its start.

    Commands add and execute; only `Database.transaction` commits.
    """

    now: datetime
    hints: dict[str, None]
    counters: list[dict[str, int]]
    _driver: "asyncpg.Connection[asyncpg.Record] | None" = None

    def hint(self, *topics: str) -> None:
        """Have these topics published after the commit; each once, however often it is named."""
        self.hints.update(dict.fromkeys(topics))

    async def affect(self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> int:
        """Execute a statement that writes, and say how many rows it wrote."""
        result = cast("CursorResult[Any]", await self.execute(statement, values))
        return result.rowcount

    async def fetch(self, write: Write, values: Mapping[str, Any]) -> Sequence[Row]:
        """Execute a statement that may also be executed alone (see `Single`). Its rows.

        By the driver itself, at half the cost. The transaction has begun, for the first thing it did was to read the
        clock. Raises what the driver raises (`STORE_ERRORS`).
        """
        for counter in self.counters:
            counter["statements"] += 1
        if self._driver is None:
            pooled = await (await self.connection()).get_raw_connection()
            self._driver = cast("asyncpg.Connection[asyncpg.Record]", pooled.driver_connection)
        try:
            return await self._driver.fetch(write.inside.sql, *write.arguments_inside({"now": self.now, **values}))
        except TimeoutError:
            # Nor would it answer a ROLLBACK.
            self._driver.terminate()
            raise

    async def insert(self, *rows: DeclarativeBase) -> None:
        """Write new rows now, so that what Postgres makes (keys, defaults) can be read from them."""
        self.add_all(rows)
        await self.flush()


class Single:
    """A transaction of one statement, whose `$now` is the time at which it begins."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock, *, patience_seconds: float | None) -> None:
        self.hints: dict[str, None] = {}
        self._pool: asyncpg.Pool[asyncpg.Record] | None = pool
        self._clock = clock
        self._patience_seconds = patience_seconds

    def hint(self, *topics: str) -> None:
        """Have these topics published after the statement; each once."""
        self.hints.update(dict.fromkeys(topics))

    async def fetch(self, write: Write, values: Mapping[str, Any]) -> Sequence[Row]:
        """Execute the statement and commit it. Its rows. Raises what the driver raises (`STORE_ERRORS`)."""
        pool, self._pool = self._pool, None
        if pool is None:
            raise RuntimeError("A second statement would not be part of the first one's transaction.")
        async with lent(pool, patience_seconds=self._patience_seconds) as connection:
            return await connection.fetch(write.alone.sql, *write.alone.arguments({**values, **self._clock.parameters}))


# Who executes a `Write`.
Writer = Tx | Single


class Reader:
    """Short reads, each statement on its own, each on a connection that is held only while it runs."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", clock: Clock, *, patience_seconds: float | None) -> None:
        self._pool = pool
        self._patience_seconds = patience_seconds
        self.clock = clock
        self.statements = 0

    async def fetch(
        self,
        sql: str,
        arguments: Sequence[Any] = (),
        *,
        timeout_seconds: float | None = None,
        is_planned_anew: bool = False,
    ) -> list[asyncpg.Record]:
        """Execute one compiled statement and give its records back.

        `is_planned_anew` has Postgres plan it for these very arguments, for a round trip more: after a few executions
        it would otherwise take a plan for arguments in general.
        Raises TimeoutError past `timeout_seconds`, having cancelled the statement in the database; TimedOut where the
        database's own limit cancelled it; Outage where the database does not answer.
        """
        self.statements += 1
        is_lent = False
        try:
            async with lent(self._pool, patience_seconds=self._patience_seconds) as connection:
                is_lent = True
                if is_planned_anew:
                    statement = await connection.prepare(sql, name="", timeout=timeout_seconds)
                    return await statement.fetch(*arguments, timeout=timeout_seconds)
                return await connection.fetch(sql, *arguments, timeout=timeout_seconds)
        except asyncpg.QueryCanceledError as error:
            raise TimedOut("Reading took longer than the database allows.") from error
        except _AWAY as error:
            if isinstance(error, TimeoutError) and is_lent and timeout_seconds is not None:
                raise
            raise Outage("The database does not answer now.") from error


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How many connections a pool may have, and how many of them somebody holds now."""

    most: int
    used: int


class Database:
    """The pools of one process. Made once at its start, closed at its end."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        reads: "asyncpg.Pool[asyncpg.Record]",
        singles: "asyncpg.Pool[asyncpg.Record]",
        clock: Clock,
        feed: Publisher | None,
        patience_seconds: float | None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.feed = feed
        self._patience_seconds = patience_seconds
        self.reader = Reader(reads, clock, patience_seconds=patience_seconds)
        # For tests that count: see `count_statements`.
        self.counters: list[dict[str, int]] = []
        self._pools = (reads, singles)
        self._sessions = async_sessionmaker(engine, class_=Tx, expire_on_commit=False, autoflush=False)

    @classmethod
    async def open(
        cls, settings: DatabaseSettings, *, clock: Clock | None = None, feed: Publisher | None = None
    ) -> "Database":
        """Make the pools. Nothing is connected before the first use, so a database that is down fails there."""
        patience = settings.statement_timeout_ms / 1000 or None
        engine = create_async_engine(
            settings.parsed,
            pool_size=settings.write_pool,
            max_overflow=0,
            pool_timeout=patience,
            connect_args=driver_options(settings),
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        event.listen(engine.sync_engine, "handle_error", _given_up)
        reads = await _pool(settings, settings.read_pool)
        singles = await _pool(settings, MOST_SINGLES)
        return cls(engine, reads=reads, singles=singles, clock=clock or Clock(), feed=feed, patience_seconds=patience)

    async def close(self) -> None:
        """Give every connection back, at once where one does not come back by itself."""
        for pool in self._pools:
            try:
                await asyncio.wait_for(pool.close(), timeout=5)
            except TimeoutError:
                pool.terminate()
        await self.engine.dispose()

    def pool_sizes(self) -> dict[str, PoolUse]:
        """The pools by name, as they are used now."""
        writes = cast("QueuePool", self.engine.pool)
        found = {"write": PoolUse(most=writes.size(), used=writes.checkedout())}
        for name, pool in zip(("read", "single"), self._pools, strict=True):
            found[name] = PoolUse(most=pool.get_max_size(), used=pool.get_size() - pool.get_idle_size())
        return found

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """One transaction: commits where the block ends well, rolls back on any exception, then publishes hints."""
        async with await self._begin() as tx:
            yield tx
            await tx.commit()
        if tx.hints and self.feed is not None:
            await self.feed.publish(tx.hints)

    async def _begin(self) -> Tx:
        """A transaction that knows what time it is.

        Reading the clock shows whether the connection still works, before anything is written: one that broke while it
        lay in the pool is replaced (with all others that are as old), which spares each transaction a ping.
        """
        for is_last in (False, True):
            tx = self._sessions()
            tx.hints, tx.counters = {}, self.counters
            try:
                tx.now = (await tx.execute(self.clock.statement(), self.clock.parameters)).scalar_one()
            except BaseException as error:
                await tx.close()
                if is_last or not (isinstance(error, DBAPIError) and error.connection_invalidated):
                    raise
            else:
                return tx
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Single]:
        """One statement, committed by itself; then its hints are published."""
        single = Single(self._pools[1], self.clock, patience_seconds=self._patience_seconds)
        yield single
        for counter in self.counters:
            counter["statements"] += 1
        if single.hints and self.feed is not None:
            await self.feed.publish(single.hints)


def is_retryable(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is run again from its start."""
    return sqlstate(error) in RETRYABLE


def is_data_error(error: BaseException) -> bool:
    """Whether the values are at fault: the same ones will fail again."""
    return (sqlstate(error) or "").startswith("22")


def sqlstate(error: BaseException) -> str | None:
    """Postgres' five characters for what went wrong; None for an error that is not Postgres' own."""
    return cast("str | None", getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None))


def violated_constraint(error: DBAPIError) -> str | None:
    """The name of the constraint that refused a row, where one did."""
    cause = getattr(error.orig, "__cause__", None)
    return cast("str | None", getattr(cause, "constraint_name", None))


def count_statements(database: Database) -> Mapping[str, int]:
    """Count what is written from now on: for tests that hold something to a number of statements."""
    counter = {"statements": 0}

    def count(*_: DBAPIConnection | Any) -> None:
        counter["statements"] += 1

    event.listen(database.engine.sync_engine, "before_cursor_execute", count)
    database.counters.append(counter)
    return counter


def _given_up(context: ExceptionContext) -> None:
    # Postgres has not answered in time: nor would it answer a ROLLBACK on this connection.
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = True


async def _pool(settings: DatabaseSettings, size: int) -> "asyncpg.Pool[asyncpg.Record]":
    # Nothing is connected before the first use.
    return await asyncpg.create_pool(
        settings.driver_dsn,
        min_size=0,
        max_size=size,
        **driver_options(settings),
        init=_read_json_natively,
        reset=_nothing_to_reset,
    )


async def _read_json_natively(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda raw: orjson.loads(raw[1:]),
    )


async def _nothing_to_reset(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    # These connections hold no lock, no setting and no transaction, so there is nothing that a RESET would undo.
    return None
