"""Rounds of: COPY; a plan's first publication; publishing it again before it opens; and after, with ever more new.

`python -m bench publish [learners] [rounds]`. Measured besides: what goes on meanwhile (`watching`), how long the old
generation's deletion takes, and how long `publishPlan`, `updatePlan` and `withdrawPlan` of the very plan take while it
is being published.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg
from rich.console import Console
from rich.table import Table

from bench.publish.copying import copy_rows
from bench.publish.watching import LOOK_SECONDS, Seen, watched
from bench.stores import stores
from bench.world import BenchWorld, make_world
from db.feed import Feed
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from server.migrations import upgrade

STEPS = 10
# How many learners are new where a plan is published after it has opened, in hundredths of all.
NEW_PERCENT = (0, 1, 10)
INTERRUPTIONS = 5


@dataclass
class Round:
    """What each part of a round took, in seconds."""

    copy: float
    first: float
    again: float
    swept: float
    after_open: dict[int, float]
    seen: Seen


@dataclass
class Answers:
    """Milliseconds that commands took while the plan was being published."""

    took: dict[str, list[float]] = field(default_factory=dict)

    async def time(self, name: str, work: Awaitable[Any]) -> Any:
        """The work's result; what it took is kept."""
        began = time.perf_counter()
        result = await work
        self.took.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return result


class Publishing:
    """One server, one worker, and a course with many learners."""

    def __init__(
        self,
        world: BenchWorld,
        connection: "asyncpg.Connection[Any]",
        watcher: "asyncpg.Connection[Any]",
        worker: int,
        learners: int,
    ) -> None:
        self._world = world
        self._connection = connection
        self._watcher = watcher
        self._worker = worker
        self._learners = learners

    async def round(self) -> Round:
        """COPY and the publications of a new plan, in turn."""
        world = self._world
        plan_id = await world.create_plan("Published")
        copy = await copy_rows(self._connection, world, plan_id, learners=self._learners, steps=STEPS)
        async with watched(world, self._watcher, self._worker) as seen:
            first = await self._published(plan_id)
            await self._quiet()
            again = await self._published(plan_id)
            began = time.perf_counter()
            await self._quiet()
            swept = time.perf_counter() - began
        await self._vacuum()
        await self._open(plan_id)
        after_open = {}
        for percent in NEW_PERCENT:
            added = self._learners * percent // 100
            await world.enroll_silently(added)
            after_open[percent] = await self._published(plan_id)
            await self._quiet()
        await world.drop_newcomers()
        await self._connection.execute(
            "UPDATE plans SET state = 'WITHDRAWN', withdrawn_at = now() WHERE id = $1", plan_id
        )
        await self._connection.execute("DELETE FROM tasks WHERE plan_id = $1", plan_id)
        await self._vacuum()
        return Round(copy, first, again, swept, after_open, seen)

    async def answers(self) -> Answers:
        """Interrupt publications of everybody, again and again."""
        world, answers = self._world, Answers()
        plan_id = await world.create_plan("Interrupted")
        await world.publish(plan_id)
        for _ in range(INTERRUPTIONS):
            commands: dict[str, Callable[[UUID], Awaitable[UUID | None]]] = {
                "updatePlan": world.update,
                "publishPlan": world.publish,
                "withdrawPlan": world.withdraw,
                "restorePlan": world.restore,
            }
            for name, command in commands.items():
                if name != "restorePlan":
                    await self._until_batches(plan_id)
                await answers.time(name, command(plan_id))
        await self._quiet()
        return answers

    async def _published(self, plan_id: UUID) -> float:
        began = time.perf_counter()
        await self._world.until_ended(await self._world.publish(plan_id))
        return time.perf_counter() - began

    async def _until_batches(self, plan_id: UUID) -> None:
        """Wait until the newest publication has written a part of what it writes."""
        while not await self._connection.fetchval(
            "SELECT jobs.done > 0 AND jobs.done < jobs.total FROM plans JOIN jobs ON jobs.id = publish_job_id"
            " WHERE plans.id = $1",
            plan_id,
        ):
            await asyncio.sleep(0.01)

    async def _open(self, plan_id: UUID) -> None:
        for statement in (
            "UPDATE tasking_plans SET opens_at = now() - interval '1 hour' WHERE plan_id = $1",
            "UPDATE tasks SET opens_at = now() - interval '1 hour' WHERE plan_id = $1",
            "UPDATE plans SET live_opens_at = now() - interval '1 hour' WHERE id = $1",
        ):
            await self._connection.execute(statement, plan_id)
        await self._vacuum()

    async def _quiet(self) -> None:
        """Wait until no job is left: older generations are gone then."""
        while await self._connection.fetchval("SELECT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL)"):
            await asyncio.sleep(LOOK_SECONDS)

    async def _vacuum(self) -> None:
        # Each part finds the same tables.
        for table in ("tasks", "enrollments", "copied_tasks", "copied_steps"):
            await self._connection.execute(f"VACUUM (ANALYZE) {table}")


async def measure(database_url: str, redis_url: str, *, learners: int, rounds: int) -> tuple[list[Round], Answers]:
    """Make the learners, then let everything take turns."""
    await upgrade(database_url)
    feed = Feed.open(RedisSettings(url=redis_url))
    database = await Database.open(DatabaseSettings(url=database_url, statement_timeout_ms=120_000), feed=feed)
    connection, watcher = [await asyncpg.connect(database_url.replace("+asyncpg", "")) for _ in range(2)]
    world = await make_world(database, learners=learners, steps=STEPS)
    await connection.execute("ANALYZE")
    environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
    worker = subprocess.Popen([sys.executable, "-m", "jobs"], env=environment, stderr=subprocess.DEVNULL)
    try:
        while not await connection.fetchval("SELECT EXISTS (SELECT FROM workers)"):
            await asyncio.sleep(LOOK_SECONDS)
        publishing = Publishing(world, connection, watcher, worker.pid, learners)
        done = [await publishing.round() for _ in range(rounds)]
        return done, await publishing.answers()
    finally:
        worker.terminate()
        worker.wait()
        await connection.close()
        await watcher.close()
        await database.close()
        await feed.close()


# ------------------------------------------------------------------------------------------------- showing


def show(rounds: list[Round], learners: int) -> None:
    """A table for people: a line for each measure, with the median of the rounds last."""
    table = Table(title=f"Publishing to {learners:,} learners × {STEPS} steps")
    table.add_column("")
    for name in [*[f"round {number}" for number in range(1, len(rounds) + 1)], "median"]:
        table.add_column(name, justify="right")
    figures = [_figures(one) for one in rounds]
    for name in figures[0]:
        values = [each[name] for each in figures]
        table.add_row(name, *[f"{value:.3g}" for value in values], f"{median(values):.3g}")
    Console().print(table)


def _figures(one: Round) -> dict[str, float]:
    seen = one.seen
    return {
        "bare COPY, s": one.copy,
        "first publication, s": one.first,
        "first, of COPY": one.first / one.copy,
        "published again, s": one.again,
        "again, of COPY": one.again / one.copy,
        "old generation deleted, s": one.swept,
        **{f"after opening, {percent} % new, s": seconds for percent, seconds in one.after_open.items()},
        "longest transaction, s": seen.longest_transaction,
        "another plan's updatePlan, median ms": median(seen.update_ms),
        "another plan's updatePlan, longest ms": max(seen.update_ms),
        "worker, MiB": seen.worker_mib,
        "its backends, at most MiB": seen.backend_mib,
    }


def show_answers(answers: Answers, learners: int) -> None:
    """How long commands took while their plan was being published."""
    table = Table(title=f"Meanwhile, for the plan that is being published to {learners:,} learners")
    for name in ("command", "times", "median ms", "max ms"):
        table.add_column(name, justify="right")
    for name, took in answers.took.items():
        table.add_row(name, str(len(took)), f"{median(took):.0f}", f"{max(took):.0f}")
    Console().print(table)


def main(learners: int = 100_000, rounds: int = 3) -> None:
    """Measure and show."""
    with stores() as (postgres, valkey):
        done, answers = asyncio.run(measure(postgres.url(), valkey.url(), learners=learners, rounds=rounds))
    show(done, learners)
    show_answers(answers, learners)
