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
from db.settings import DatabaseSettings, RedisSettings
from server.migrations import Revision, revision

OLDEST_POSTGRES = 180_000
CONNECT_SECONDS = 5.0
# Tokens of identity providers are judged by this machine's clock, everything else by the database's.
CLOCK_TOLERANCE_SECONDS = 2.0
WORKER_SILENT_SECONDS = 15.0
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
    if found.current is None:
        return Finding("migrations", State.WRONG, "The database is empty.", "Run `python -m server migrate`.")
    if not found.is_newest:
        said = f"The database is at {found.current}, this program wants {found.newest}."
        return Finding("migrations", State.WRONG, said, "Run `python -m server migrate` with this program's version.")
    return Finding("migrations", State.WELL, f"at {found.current}, the newest")


async def where_migrations_stand(settings: DatabaseSettings) -> Revision:
    """The database's revision beside the newest."""
    engine = create_async_engine(settings.sqlalchemy_url)
    try:
        async with engine.connect() as connection:
            return await revision(connection)
    finally:
        await engine.dispose()


WAITING = """
SELECT (SELECT count(*) FROM workers WHERE seen_at > now() - make_interval(secs => $1)) AS workers,
       (SELECT count(*) FROM jobs WHERE state IN ('queued', 'scheduled') AND scheduled_at <= now()) AS due,
       (SELECT coalesce(extract(epoch FROM now() - min(scheduled_at)), 0)::float8 FROM jobs
         WHERE state IN ('queued', 'scheduled') AND scheduled_at <= now()
           AND queue NOT IN (SELECT name FROM queues WHERE paused_at IS NOT NULL)) AS oldest,
       (SELECT count(*) FROM jobs WHERE state = 'quarantined') AS quarantined,
       (SELECT string_agg(name, ', ' ORDER BY name) FROM queues WHERE paused_at IS NOT NULL) AS paused
"""


async def check_queues(settings: DatabaseSettings) -> list[Finding]:
    """Whether somebody works, and whether anything waits too long."""
    async with connected(settings) as connection:
        row = await connection.fetchrow(WAITING, WORKER_SILENT_SECONDS)
    if row is None:
        return []
    findings = []
    if row["workers"] == 0:
        findings.append(Finding("workers", State.WRONG, "No worker runs.", "Start one: `python -m server worker`."))
    else:
        findings.append(
            Finding("workers", State.WELL, f"{row['workers']} seen in the last {WORKER_SILENT_SECONDS:g} s")
        )
    said = f"{row['due']} jobs are due, the oldest for {row['oldest']:.0f} s"
    if row["oldest"] > WAITS_TOO_LONG_SECONDS:
        findings.append(Finding("queue", State.DOUBTFUL, f"{said}.", "Start more workers, or see what they wait for."))
    else:
        findings.append(Finding("queue", State.WELL, said))
    if row["quarantined"]:
        said = f"{row['quarantined']} jobs were put aside after killing their workers."
        advice = "See jobs(filter: {isQuarantined: true}); retryJob runs one again."
        findings.append(Finding("quarantine", State.DOUBTFUL, said, advice))
    if row["paused"]:
        findings.append(
            Finding("paused", State.DOUBTFUL, f"Paused: {row['paused']}.", "resumeQueue goes on with them.")
        )
    return findings


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
