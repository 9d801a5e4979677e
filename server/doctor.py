"""Looks at a deployment the way an experienced colleague would: what is wrong, and what to do about it.

Every check is one function that answers with findings. A check that depends on one that failed is left out.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import asyncpg
import redis.asyncio as redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import create_async_engine

from db.environment import SetupError
from db.ledger.queries import (
    SILENT_AFTER,
    Backlog,
    QueueRow,
    Stuck,
    read_backlog,
    read_queues,
    read_stuck,
)
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from server.migrations import Revision, revision

OLDEST_POSTGRES = 180_000
CONNECT_SECONDS = 5.0
# Tokens of identity providers are judged by this machine's clock, everything else by the database's.
CLOCK_TOLERANCE_SECONDS = 2.0
WAITS_TOO_LONG_SECONDS = 60.0


class State(StrEnum):
    """How bad it is."""

    WELL = "ok"
    DOUBTFUL = "doubtful"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do."""

    subject: str
    state: State
    found: str
    advice: str = ""


class UnfitDatabaseError(SetupError):
    """The database cannot be used. The message says why and what to do."""


async def examine(database: DatabaseSettings, carrier: RedisSettings) -> list[Finding]:
    """Look at everything; never raises for something that is wrong with the deployment."""
    findings: list[Finding] = []
    try:
        async with connected(database) as connection:
            findings += [await check_version(connection), await check_clock(connection)]
            findings += [await check_pooling(database)]
    except UnfitDatabaseError as error:
        findings.append(Finding("database", State.WRONG, str(error), "Set DATABASE_URL, or start the server there."))
    else:
        migrations = await check_migrations(database)
        findings.append(migrations)
        if migrations.state is State.WELL:
            findings += await check_queues(database)
    findings += await check_carrier(carrier)
    return findings


@asynccontextmanager
async def connected(settings: DatabaseSettings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection, outside any pool. Raises UnfitDatabaseError."""
    try:
        connection = await asyncpg.connect(settings.driver_dsn, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        where = settings.parsed.render_as_string(hide_password=True)
        raise UnfitDatabaseError(f"No connection to {where}: {error or type(error).__name__}.") from None
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def refuse_old_database(settings: DatabaseSettings) -> None:
    """Raise UnfitDatabaseError where the database cannot be reached or is too old."""
    async with connected(settings) as connection:
        finding = await check_version(connection)
    if finding.state is State.WRONG:
        raise UnfitDatabaseError(f"{finding.found} {finding.advice}")


async def refuse_unready_database(settings: DatabaseSettings) -> None:
    """Raise UnfitDatabaseError where the database cannot be reached, is too old, or has migrations before it.

    One that a newer version has migrated is for whoever asks to try: while a fleet is replaced, both versions work.
    """
    await refuse_old_database(settings)
    found = await where_migrations_stand(settings)
    if found.is_known and not found.is_newest:
        finding = _behind(found)
        raise UnfitDatabaseError(f"{finding.found} {finding.advice}")


async def check_version(connection: "asyncpg.Connection[asyncpg.Record]") -> Finding:
    """PostgreSQL 18 or newer: ids are made there by uuidv7()."""
    number = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    name = await connection.fetchval("SELECT current_setting('server_version')")
    if number < OLDEST_POSTGRES:
        return Finding("version", State.WRONG, f"PostgreSQL {name} is too old.", "Use PostgreSQL 18 or newer.")
    return Finding("version", State.WELL, f"PostgreSQL {name}")


async def check_clock(connection: "asyncpg.Connection[asyncpg.Record]") -> Finding:
    """The database's clock and this machine's."""
    before = time.time()
    there = float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
    apart = abs(there - (before + time.time()) / 2)
    if apart > CLOCK_TOLERANCE_SECONDS:
        said = f"This machine and the database are {apart:.1f} s apart."
        return Finding("clock", State.DOUBTFUL, said, "Let both follow a time server (chrony, systemd-timesyncd).")
    return Finding("clock", State.WELL, f"{apart * 1000:.0f} ms apart")


async def check_pooling(settings: DatabaseSettings) -> Finding:
    """Whether each connection keeps its session, as prepared statements and advisory locks need.

    A pooler in transaction mode hands out a session for each transaction: while another connection holds the
    session that was used last, somebody else answers.
    """
    advice = "Connect to PostgreSQL itself, or set pool_mode = session in PgBouncer."
    bad = Finding("pooling", State.WRONG, "Something pools connections by transaction (PgBouncer?).", advice)
    try:
        async with connected(settings) as first, connected(settings) as second:
            before = await first.fetchval("SELECT pg_backend_pid()")
            async with second.transaction():
                await second.fetchval("SELECT 1")
                after = await first.fetchval("SELECT pg_backend_pid()", timeout=CONNECT_SECONDS)
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError, TimeoutError):
        # The statement was prepared in another session; or with one session for all, nobody was left to answer.
        return bad
    except (asyncpg.PostgresError, UnfitDatabaseError) as error:
        return Finding("pooling", State.WRONG, f"Two connections at once did not work: {error}", advice)
    return Finding("pooling", State.WELL, "sessions stay the same") if before == after else bad


async def check_migrations(settings: DatabaseSettings) -> Finding:
    """Whether the schema is the one this program was written for."""
    found = await where_migrations_stand(settings)
    if found.is_newest:
        return Finding("migrations", State.WELL, f"at {found.current}, the newest")
    if found.is_known:
        return _behind(found)
    said = f"The database is at {found.current}, which a newer version of this program has made."
    return Finding("migrations", State.WRONG, said, "Replace this one with it.")


def _behind(found: Revision) -> Finding:
    if found.current is None:
        return Finding("migrations", State.WRONG, "The database is empty.", "Run `python -m server migrate`.")
    said = f"The database is at {found.current}, this program wants {found.newest}."
    return Finding("migrations", State.WRONG, said, "Run `python -m server migrate` with this program's version.")


async def where_migrations_stand(settings: DatabaseSettings) -> Revision:
    """The database's revision beside the newest."""
    engine = create_async_engine(settings.sqlalchemy_url)
    try:
        async with engine.connect() as connection:
            return await revision(connection)
    finally:
        await engine.dispose()


async def check_queues(settings: DatabaseSettings) -> list[Finding]:
    """Whether somebody works, and what waits too long or for ever."""
    database = await Database.open(settings.model_copy(update={"read_pool": 1, "write_pool": 1}))
    try:
        reader = database.reader
        backlog, queues = await read_backlog(reader), await read_queues(reader, with_ended=False)
        stuck = await read_stuck(reader)
    finally:
        await database.close()
    return [
        _workers(backlog),
        _oldest(queues, backlog),
        *([_kinds(stuck)] if stuck and backlog.workers else []),
        *(_paused(row) for row in queues if row.is_paused),
        *([_quarantined(backlog)] if backlog.quarantined else []),
    ]


def _workers(backlog: Backlog) -> Finding:
    if not backlog.workers:
        return Finding("workers", State.WRONG, "No worker runs.", "Start one: `python -m server worker`.")
    seconds = SILENT_AFTER.total_seconds()
    return Finding("workers", State.WELL, f"{backlog.workers} seen in the last {seconds:g} s, {backlog.slots} slots")


def _oldest(queues: list[QueueRow], backlog: Backlog) -> Finding:
    """Paused queues wait on purpose: they have a finding of their own."""
    open_ = [row for row in queues if not row.is_paused]
    slowest = max(open_, key=lambda row: row.oldest_queued_seconds or 0.0, default=None)
    oldest = (slowest.oldest_queued_seconds or 0.0) if slowest is not None else 0.0
    said = f"{sum(row.queued for row in open_)} jobs are due, the oldest for {oldest:.0f} s"
    if slowest is None or oldest <= WAITS_TOO_LONG_SECONDS:
        return Finding("queue", State.WELL, said)
    said = f"{said}, in {slowest.queue}."
    if slowest.limit is not None and slowest.running >= slowest.limit:
        advice = f"Its limit of {slowest.limit} is used up: `python -m server queue limit {slowest.queue}` raises it."
    elif backlog.workers and not slowest.workers:
        advice = f"No worker takes jobs from {slowest.queue}: start one whose kinds are in it."
    else:
        advice = "Start more workers, or see what they are busy with: `python -m server queue list`."
    return Finding("queue", State.DOUBTFUL, said, advice)


def _kinds(stuck: list[Stuck]) -> Finding:
    said = ", ".join(f"{each.kind} ({each.jobs})" for each in stuck)
    advice = "Start workers of the version that knows them, or cancel the jobs."
    return Finding("kinds", State.WRONG, f"Jobs wait that no worker knows: {said}.", advice)


def _paused(row: QueueRow) -> Finding:
    since = f"since {row.paused_at:%Y-%m-%d %H:%M} UTC" if row.paused_at else ""
    by = f" by {row.paused_by_name}" if row.paused_by_name else ""
    why = f" ({row.pause_reason})" if row.pause_reason else ""
    said = f"{row.queue} is paused {since}{by}{why}; {row.queued} jobs wait in it."
    return Finding("paused", State.DOUBTFUL, said, f"`python -m server queue resume {row.queue}` goes on with it.")


def _quarantined(backlog: Backlog) -> Finding:
    said = f"{backlog.quarantined} jobs were put aside after killing their workers."
    advice = "See jobs(filter: {isQuarantined: true}); once the cause is gone, retryJob runs one again."
    return Finding("quarantine", State.DOUBTFUL, said, advice)


async def check_carrier(settings: RedisSettings) -> list[Finding]:
    """Valkey or Redis: reachable, and never throwing tickets away."""
    client = redis.Redis.from_url(settings.url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS)
    try:
        async with asyncio.timeout(2 * CONNECT_SECONDS), client:
            about = await client.info("server")
            memory = await client.info("memory")
    except (RedisError, OSError, TimeoutError) as error:
        said = f"No connection: {error or type(error).__name__}."
        advice = "Set REDIS_URL, or start the server there. Without it work goes on, but slower and without live hints."
        return [Finding("valkey", State.WRONG, said, advice)]
    version = about.get("valkey_version") or about.get("redis_version")
    findings = [Finding("valkey", State.WELL, f"{about.get('server_name', 'redis')} {version}")]
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        said = f"maxmemory-policy is {policy}: it may throw tickets away."
        findings.append(Finding("eviction", State.DOUBTFUL, said, "Set maxmemory-policy noeviction."))
    return findings
