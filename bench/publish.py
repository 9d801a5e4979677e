"""Publishing to 100,000 learners × 10 steps, in ratio to a bare COPY of the same tasks with materialised steps.

Both run in turn on one server: `python -m bench publish [learners] [rounds]`. Measured besides: the longest
transaction, how long another plan's `updatePlan` and the same plan's `publishPlan` take meanwhile, and the peak memory
of the worker and of its backends.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import UUID

import asyncpg
from rich.console import Console
from rich.table import Table

from bench.stores import stores
from bench.world import BenchWorld, make_world
from db.feed import Feed
from db.plans import commands as plans
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from server.migrations import upgrade

STEPS = 10
LOOK_SECONDS = 0.05
# Saving another plan is to be timed, not to be the load.
SAVE_SECONDS = 0.25
KIB_A_MIB = 1024


@dataclass
class Round:
    """What one publication and one COPY took."""

    copy_seconds: float
    publish_seconds: float = 0.0
    longest_transaction: float = 0.0
    update_ms: list[float] = field(default_factory=list)
    worker_mib: float = 0.0
    backend_mib: float = 0.0

    @property
    def ratio(self) -> float:
        """Publication over COPY: less is better."""
        return self.publish_seconds / self.copy_seconds


# What a server without templates would write: a row for each task and for each of its steps, with the same keys.
LIKE_TABLES = """
    DROP TABLE IF EXISTS copied_steps, copied_tasks;
    CREATE TABLE copied_tasks (LIKE tasks INCLUDING ALL);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (plan_id) REFERENCES plans (id);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (type_name) REFERENCES task_types (name);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (assignee_user_id) REFERENCES users (id);
    ALTER TABLE copied_tasks ADD FOREIGN KEY (assigned_by_id) REFERENCES users (id);
    CREATE TABLE copied_steps (
        id uuid PRIMARY KEY DEFAULT uuidv7(), task_id uuid NOT NULL REFERENCES copied_tasks (id),
        position smallint NOT NULL, kind text NOT NULL, title text NOT NULL, content jsonb NOT NULL,
        completed_at timestamptz, UNIQUE (task_id, position)
    );
"""


TASK_COLUMNS = [
    "id",
    "type_name",
    "title",
    "status",
    "assignee_user_id",
    "assigned_by_id",
    "created_at",
    "assigned_at",
    "plan_id",
    "generation",
    "opens_at",
    "due_at",
    "closes_at",
    "is_touched",
    "version",
]
SHOWN = [
    "round",
    "COPY s",
    "publish s",
    "ratio",
    "longest tx s",
    "updatePlan p50/p99/max ms",
    "worker MiB",
    "backend MiB",
]


async def copy_rows(connection: "asyncpg.Connection[Any]", world: BenchWorld, plan_id: UUID) -> float:
    """Seconds of a bare COPY of every task and step into like tables, in one transaction for each table."""
    await connection.execute(LIKE_TABLES)
    keys = [
        record["id"]
        for record in await connection.fetch("SELECT uuidv7() AS id FROM generate_series(1, $1)", len(world.learners))
    ]
    now = await connection.fetchval("SELECT now()")

    teacher = world.teacher.user_id

    def tasks() -> Iterator[tuple[Any, ...]]:
        for key, learner in zip(keys, world.learners, strict=True):
            yield (key, "reading", "Read", "ASSIGNED", learner, teacher, now, now, plan_id, 1, now, now, now, False, 0)

    def steps() -> Iterator[tuple[Any, ...]]:
        content = '{"itemId": "01890000-0000-7000-8000-000000000000"}'
        for key in keys:
            for position in range(STEPS):
                yield (key, position, "page", f"Page {position}", content)

    began = time.perf_counter()
    await connection.copy_records_to_table("copied_tasks", records=tasks(), columns=TASK_COLUMNS, timeout=600)
    await connection.copy_records_to_table(
        "copied_steps", records=steps(), columns=["task_id", "position", "kind", "title", "content"], timeout=600
    )
    return time.perf_counter() - began


@asynccontextmanager
async def meanwhile(work: Callable[[], Awaitable[None]], *, every: float) -> AsyncIterator[None]:
    """Repeat something beside the block."""

    async def again() -> None:
        while True:
            await work()
            await asyncio.sleep(every)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def memory_mib(pid: int) -> float:
    """Memory of one process that is its own, in MiB: pages shared with others (Postgres' buffers) do not count."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(facts.get("RssAnon", "0 kB").split()[0]) / KIB_A_MIB


async def publish_once(database: Database, world: BenchWorld, watcher: Any, worker: int, one: Round) -> None:
    """Publish the plan, and look at everything beside it."""

    async def look() -> None:
        rows = await watcher.fetch(
            "SELECT pid, extract(epoch FROM clock_timestamp() - xact_start) AS age FROM pg_stat_activity"
            " WHERE application_name = 'holdfast-worker' OR application_name = 'holdfast'"
        )
        for row in rows:
            one.longest_transaction = max(one.longest_transaction, float(row["age"] or 0))
            one.backend_mib = max(one.backend_mib, memory_mib(row["pid"]))
        one.worker_mib = max(one.worker_mib, memory_mib(worker))

    async def update() -> None:
        began = time.perf_counter()
        async with database.transaction() as tx:
            await plans.update_plan(
                tx,
                actor=world.teacher,
                plan_id=world.other_plan_id,
                changes={"description": str(began)},
                publish=False,
                expected_revision=None,
                now=tx.now,
            )
        one.update_ms.append((time.perf_counter() - began) * 1000)

    async with meanwhile(look, every=LOOK_SECONDS), meanwhile(update, every=SAVE_SECONDS):
        began = time.perf_counter()
        async with database.transaction() as tx:
            saved = await plans.publish_plan(
                tx, actor=world.teacher, plan_id=world.plan_id, open_now=False, expected_revision=None, now=tx.now
            )
        await world.until_ended(saved.job_id)
        one.publish_seconds = time.perf_counter() - began


async def swept(connection: "asyncpg.Connection[Any]") -> None:
    """Wait until older generations are gone, so that each round finds the same tables."""
    while await connection.fetchval("SELECT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL)"):
        await asyncio.sleep(0.2)
    for table in ("tasks", "copied_tasks", "copied_steps"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")


async def measure(database_url: str, redis_url: str, *, learners: int, rounds: int) -> list[Round]:
    """Make the learners, then let COPY and publication take turns."""
    await upgrade(database_url)
    feed = Feed.open(RedisSettings(url=redis_url))
    database = await Database.open(DatabaseSettings(url=database_url, statement_timeout_ms=120_000), feed=feed)
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    world = await make_world(database, learners=learners, steps=STEPS)
    await connection.execute("ANALYZE")
    environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
    worker = subprocess.Popen([sys.executable, "-m", "jobs"], env=environment, stderr=subprocess.DEVNULL)
    done: list[Round] = []
    try:
        while not await connection.fetchval("SELECT EXISTS (SELECT FROM workers)"):
            await asyncio.sleep(LOOK_SECONDS)
        for _ in range(rounds):
            one = Round(await copy_rows(connection, world, world.plan_id))
            await publish_once(database, world, connection, worker.pid, one)
            await swept(connection)
            done.append(one)
    finally:
        worker.terminate()
        worker.wait()
        await connection.close()
        await database.close()
        await feed.close()
    return done


def show(rounds: list[Round], learners: int) -> None:
    """A table for people, with the medians last."""
    table = Table(title=f"Publishing to {learners:,} learners × {STEPS} steps")
    for name in SHOWN:
        table.add_column(name, justify="right")
    for number, one in enumerate(rounds, start=1):
        cuts = quantiles(one.update_ms, n=100) if len(one.update_ms) > 1 else [0.0] * 99
        table.add_row(
            str(number),
            f"{one.copy_seconds:.2f}",
            f"{one.publish_seconds:.2f}",
            f"{one.ratio:.3f}",
            f"{one.longest_transaction:.2f}",
            f"{cuts[49]:.0f} / {cuts[98]:.0f} / {max(one.update_ms, default=0):.0f}",
            f"{one.worker_mib:.0f}",
            f"{one.backend_mib:.0f}",
        )
    table.add_row(
        "median",
        f"{median(one.copy_seconds for one in rounds):.2f}",
        f"{median(one.publish_seconds for one in rounds):.2f}",
        f"{median(one.ratio for one in rounds):.3f}",
    )
    Console().print(table)


def main(learners: int = 100_000, rounds: int = 3) -> None:
    """Measure and show."""
    with stores() as (postgres, valkey):
        done = asyncio.run(measure(postgres.url(), valkey.url(), learners=learners, rounds=rounds))
    show(done, learners)
