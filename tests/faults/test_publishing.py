"""A publication under which workers and stores die: finished elsewhere, for everybody, once, and unseen until then.

A learner's row that the test holds locked stops the worker in the middle of the batches, at a place of our choosing.
"""

import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import text

from db.session import Database
from server.embedded.valkey import Valkey
from tests.support.plans import World, a_world
from tests.support.workers import Fleet, fleet, until

LEARNERS = 600
JOBS = "jobs"


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=LEARNERS)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A Valkey that may be killed."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = Valkey(directory / "data", directory, directory / "valkey.log", durable=False)
        child = server.start()
        yield server
        child.stop(patience_seconds=5)


@asynccontextmanager
async def stuck_at(world: World, learner: UUID) -> AsyncIterator[None]:
    """Nobody can make a task for this learner within the block: its key cannot be referred to."""
    async with world.database.transaction() as tx:
        await tx.execute(text("SELECT FROM users WHERE id = :id FOR UPDATE"), {"id": learner})
        yield


async def in_the_middle(world: World, plan_id: UUID) -> None:
    """Wait until some batches are there and the next one waits for the locked row."""

    async def look() -> bool:
        (row,) = await world.rows(
            "SELECT (SELECT count(*) FROM tasks WHERE plan_id = :id AND generation ="
            " (SELECT publish_generation FROM plans WHERE id = :id)) AS made,"
            " (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock') AS waiting",
            id=plan_id,
        )
        return 0 < row.made < LEARNERS and bool(row.waiting)

    await until(look, what="the middle of the publication")


async def completed(world: World, job_id: UUID | None) -> Any:
    async def look() -> Any:
        job = await world.job(job_id)
        return job if job.state in {"completed", "failed", "cancelled", "quarantined"} else None

    job = await until(look, what="the end of the publication")
    assert job.state == "completed", job.error
    return job


async def one_task_each(world: World, plan_id: UUID) -> None:
    tasks = await world.live_tasks(plan_id)
    assert [task.assignee_user_id for task in tasks] == sorted(world.learners)
    assert (await world.plan(plan_id)).state == "PUBLISHED"


async def test_a_killed_workers_publication_is_finished_by_another_and_nobody_sees_a_mixture(
    world: World, workers: Fleet
) -> None:
    first = workers.start(module=JOBS)
    plan_id = (await world.create(publish=True)).plan_id
    await completed(world, (await world.plan(plan_id)).publish_job_id)
    before = await world.live_tasks(plan_id)
    async with stuck_at(world, max(world.learners)):
        again = await world.publish(plan_id)
        await in_the_middle(world, plan_id)
        assert await world.live_tasks(plan_id) == before
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        workers.start(module=JOBS)
        assert await world.live_tasks(plan_id) == before
    job = await completed(world, again.job_id)
    await one_task_each(world, plan_id)
    assert {task.id for task in before}.isdisjoint(task.id for task in await world.live_tasks(plan_id))
    assert job.result == {"learners": LEARNERS, "tasks_created": LEARNERS, "tasks_kept": 0}
    outcomes = await world.rows("SELECT outcome FROM job_attempts WHERE job_id = :id ORDER BY number", id=again.job_id)
    assert [row.outcome for row in outcomes] == ["LOST", "COMPLETED"]


async def test_flushing_valkey_in_mid_publication_changes_nothing(world: World, workers: Fleet, redis_url: str) -> None:
    workers.start(module=JOBS)
    saved = await world.create(publish=True)
    async with stuck_at(world, max(world.learners)):
        await in_the_middle(world, saved.plan_id)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
    await completed(world, saved.job_id)
    await one_task_each(world, saved.plan_id)


async def test_killing_valkey_in_mid_publication_changes_nothing(
    world: World, valkey: Valkey, database_url: str, tmp_path: Path
) -> None:
    with fleet(database_url=database_url, redis_url=valkey.url(), directory=tmp_path) as workers:
        workers.start(module=JOBS)
        saved = await world.create(publish=True)
        async with stuck_at(world, max(world.learners)):
            await in_the_middle(world, saved.plan_id)
            os.kill(int((valkey.data / "valkey.pid").read_text()), signal.SIGKILL)
        await completed(world, saved.job_id)
    await one_task_each(world, saved.plan_id)


async def test_of_two_publications_at_once_the_later_one_wins_with_a_live_worker(world: World, workers: Fleet) -> None:
    workers.start(module=JOBS)
    first = await world.create(publish=True)
    async with stuck_at(world, max(world.learners)):
        await in_the_middle(world, first.plan_id)
        second = await world.publish(first.plan_id)
    await completed(world, second.job_id)

    async def first_ended() -> bool:
        return bool((await world.job(first.job_id)).state == "cancelled")

    await until(first_ended, what="the end of the earlier publication")
    await one_task_each(world, first.plan_id)
    assert (await world.plan(first.plan_id)).live_generation == 2
