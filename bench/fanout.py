"""How many frames a second one server process sends to 1,000 WebSocket subscribers, and how old an event is by then.

`python -m bench fanout [events a second] [seconds]`: ten jobs tell events at that rate, each is watched by a hundred
subscribers, four of each person's. Events are stored as in production; the subscribers are real sockets in another
process. An event carries the time at which it was told; how long the fan-out takes is counted from its commit on, when
its hint goes out.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import UUID

from rich.console import Console
from sqlalchemy import text

from bench.stores import stores
from db.accounts.commands import issue_token
from db.accounts.models import User
from db.accounts.rules import Role
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.commands import Line
from db.ledger.rules import EventType, LogLevel
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from resolvers.ids import encode_id
from server.migrations import upgrade

SUBSCRIBERS = 1_000
JOBS = 10
PEOPLE = 250
FLUSHES_A_SECOND = 10
QUERY = """
subscription Progress($id: ID!) {
  jobProgress(jobId: $id) { seq type at message status progress step done total job { id status progress lastSeq } }
}
"""
# What would stop a thousand subscribers who are all on this machine.
LIMITS = {
    "LIMIT_SOCKETS_PER_ADDRESS": "100000",
    "LIMIT_ADDRESS_REQUESTS_PER_SECOND": "1000000",
    "LIMIT_ADDRESS_BURST": "1000000",
    "EDGE_LOG_REQUESTS": "false",
    "EDGE_LOG_LEVEL": "WARNING",
}

_RUNNING = text("""
WITH made AS (
    INSERT INTO jobs (kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds, fence, attempt,
        enqueued_at, scheduled_at, started_at, timeout_at, worker_id, last_seq, actor_id)
    SELECT 'bench.told', 'default', 'running', 5, '{}', 1, 5, 3600, 1, 1,
        now(), now(), now(), now() + interval '1 hour', uuidv7(), 1, CAST(:actor_id AS uuid)
    RETURNING id, state, enqueued_at
)
INSERT INTO job_events (job_id, seq, at, type, state, progress, attempt)
SELECT id, 1, enqueued_at, 'STATUS', state, 0, 1 FROM made RETURNING job_id
""")


@dataclass(frozen=True)
class Counted:
    """What came of one rate."""

    told: int
    frames: int
    seconds: float
    from_told: list[float]
    from_commit: list[float]
    server_cpu: float

    def __str__(self) -> str:
        return (
            f"{self.told / self.seconds:,.0f} events/s told, {self.frames / self.seconds:,.0f} frames/s sent; "
            f"committed → client {_percentiles(self.from_commit)}, told → client {_percentiles(self.from_told)}; "
            f"the server used {self.server_cpu / self.seconds:.0%} of a core"
        )


async def main_async(database_url: str, redis_url: str, *, rate: int, seconds: int) -> Counted:
    """Make the world, subscribe, tell, and count."""
    await upgrade(database_url)
    feed = Feed.open(RedisSettings(url=redis_url))
    database = await Database.open(DatabaseSettings(url=database_url), feed=feed)
    try:
        tokens, jobs = await _world(database)
        with _server(database_url, redis_url) as (server, port), _subscribers(tokens, jobs, port) as subscribers:
            await _ask(subscribers)
            cpu = _cpu_of(server.pid)
            began = time.monotonic()
            committed = await _tell(database, jobs, rate=rate, seconds=seconds)
            told = sum(count for _, count in committed.values())
            frames = told * SUBSCRIBERS // JOBS
            counted = json.loads(await _ask(subscribers, str(frames)))
            took = time.monotonic() - began
            cpu = _cpu_of(server.pid) - cpu
        if counted["closed"]:
            raise RuntimeError(
                f"{counted['closed']} subscribers were closed after {counted['frames']} of {frames} frames"
            )
        pairs = list(zip(counted["told"], counted["came"], strict=True))
        return Counted(
            told=told,
            frames=frames,
            seconds=took,
            from_told=[came - at for at, came in pairs],
            from_commit=[came - committed[f"{at:.6f}"][0] for at, came in pairs],
            server_cpu=cpu,
        )
    finally:
        await database.close()
        await feed.close()


async def _world(database: Database) -> tuple[list[str], list[UUID]]:
    """People with tokens, all of them admins, and jobs that run."""
    async with database.transaction() as tx:
        people = [User(name=f"Person {number}", email=None, roles=[Role.ADMIN]) for number in range(PEOPLE)]
        await tx.insert(*people)
        issued = [
            await issue_token(tx, user_id=one.id, name="bench", roles=(Role.ADMIN,), expires_at=None) for one in people
        ]
        jobs = [(await tx.execute(_RUNNING, {"actor_id": people[0].id})).scalar_one() for _ in range(JOBS)]
    return [each.secret for each in issued], jobs


async def _tell(database: Database, jobs: list[UUID], *, rate: int, seconds: int) -> dict[str, tuple[float, int]]:
    """Tell so many events of each job a second, in ten flushes, each job at its own moment.

    When each flush, by the time in its events, was committed, and how many events it had.
    """
    committed: dict[str, tuple[float, int]] = {}

    async def of(number: int, job_id: UUID) -> None:
        begin = time.monotonic() + number / JOBS / FLUSHES_A_SECOND
        for flush in range(seconds * FLUSHES_A_SECOND):
            await asyncio.sleep(max(0.0, begin + flush / FLUSHES_A_SECOND - time.monotonic()))
            now = f"{time.time():.6f}"
            done = min(99, flush // 2)
            each = rate * (flush + 1) // FLUSHES_A_SECOND - rate * flush // FLUSHES_A_SECOND
            lines = [Line(EventType.PROGRESS, done, "Working", done, 100, message=now)]
            lines += [Line(EventType.LOG, done, "Working", done, 100, LogLevel.INFO, now) for _ in range(each - 1)]
            async with database.transaction() as tx:
                await ledger.note(tx, lines={(job_id, 1): lines})
            committed[now] = (time.time(), each)

    await asyncio.gather(*[of(number, job_id) for number, job_id in enumerate(jobs)])
    return committed


@contextlib.contextmanager
def _server(database_url: str, redis_url: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """One server process, as `make up` starts it; under `BENCH_PROFILE`, a command such as a profiler's."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=SUBSCRIBERS)
    environment = {**os.environ, **LIMITS, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
    command = [*os.environ.get("BENCH_PROFILE", "").split(), "-m", "server", "serve", "--fd", str(listener.fileno())]
    process = subprocess.Popen([sys.executable, *command], env=environment, pass_fds=[listener.fileno()])
    try:
        yield process, listener.getsockname()[1]
    finally:
        process.terminate()
        process.wait(30)
        listener.close()


@contextlib.contextmanager
def _subscribers(tokens: list[str], jobs: list[UUID], port: int) -> Iterator["subprocess.Popen[bytes]"]:
    task: dict[str, Any] = {"host": "127.0.0.1", "port": port, "tokens": tokens, "query": QUERY}
    task |= {"subscribers": SUBSCRIBERS, "jobs": [encode_id("Job", job_id) for job_id in jobs]}
    with subprocess.Popen(
        [sys.executable, "-m", "bench.subscribers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


async def _ask(process: "subprocess.Popen[bytes]", word: str = "") -> bytes:
    """What the process says next, once it has been told this."""
    assert process.stdin is not None
    assert process.stdout is not None
    if word:
        process.stdin.write(word.encode() + b"\n")
        process.stdin.flush()
    said: bytes = await asyncio.to_thread(process.stdout.readline)
    if not said:
        raise RuntimeError("the subscribers have gone")
    return said


def _percentiles(took: list[float]) -> str:
    cuts = quantiles(took, n=100)
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms"


def _cpu_of(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(rate: int = 20, seconds: int = 15) -> None:
    """Measure and show."""
    with stores() as (postgres, valkey):
        counted = asyncio.run(main_async(postgres.url(), valkey.url(), rate=rate, seconds=seconds))
    Console().print(f"{SUBSCRIBERS:,} subscribers of {JOBS} jobs: {counted}")
