"""A publication against everything else, at the very moment at which it goes live.

Another transaction holds the plan until both of them wait for it; then they are let go together, in either order.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.errors import Refused
from db.plans import commands as plans
from db.plans.jobs import PublishPlan
from db.session import Database
from db.tasks import commands as tasks
from jobs.attempt import Attempt, Cancelled, Declared
from jobs.registry import load
from tests.support.drain import drain
from tests.support.plans import World, a_world
from tests.support.workers import until_waiting

OTHERS = {kind: each for kind, each in load().items() if kind != PublishPlan.kind}
SEEN = """
    SELECT count(*) AS tasks, count(DISTINCT t.assignee_user_id) AS learners,
        count(DISTINCT t.generation) AS generations
    FROM tasks t JOIN plans p ON p.id = t.plan_id AND p.live_generation = t.generation
    WHERE p.id = $1 AND t.status <> 'CANCELLED' AND t.assignee_user_id = ANY($2)
"""
ORDERS = pytest.mark.parametrize("is_publication_first", [True, False])


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=6)


@asynccontextmanager
async def watched(world: World, plan_id: UUID, learners: list[UUID]) -> AsyncIterator[None]:
    """Whoever looks within the block sees one task of each of these learners, of one generation."""
    stop = asyncio.Event()

    async def look() -> int:
        looks = 0
        while not stop.is_set():
            (row,) = await world.database.reader.fetch(SEEN, [plan_id, learners])
            assert tuple(row) == (len(learners), len(learners), 1)
            looks += 1
        return looks

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        stop.set()
        assert await looking > 1


async def at_the_swap(
    world: World, plan_id: UUID, other: Callable[[], Awaitable[Any]], *, is_publication_first: bool, waiting: int = 2
) -> Any:
    """Run a publication to where it goes live, and let it meet `other` there. What that gave, or its refusal."""
    ready, go = asyncio.Event(), asyncio.Event()

    async def publish(attempt: Attempt, work: PublishPlan) -> None:
        async with attempt.transaction() as tx:
            publication = await plans.begin(tx, work=work, is_first_attempt=attempt.number == 1)
        for batch in publication.batches:
            async with attempt.transaction() as tx:
                await plans.make_batch(tx, work=work, publication=publication, batch=batch, actor_id=None, now=tx.now)
        ready.set()
        await go.wait()
        try:
            async with attempt.completing() as end:
                end.result = await plans.go_live(end.tx, work=work, publication=publication, made=0, now=end.tx.now)
        except plans.Superseded:
            raise Cancelled from None

    async def tried() -> Any:
        try:
            return await other()
        except Refused as refused:
            return refused.code

    # Only the first publication stops there; what the other one asks for comes after it.
    one = {PublishPlan.kind: Declared(PublishPlan, publish)}
    publishing = asyncio.create_task(drain(world.database, kinds=one))
    await ready.wait()
    async with world.database.transaction() as tx:
        await tx.execute(text("SELECT FROM plans WHERE id = :id FOR UPDATE"), {"id": plan_id})
        if is_publication_first:
            go.set()
            await until_waiting(world.database)
            meeting = asyncio.create_task(tried())
        else:
            meeting = asyncio.create_task(tried())
            await until_waiting(world.database)
            go.set()
        await until_waiting(world.database, waiting)
    outcome = await meeting
    await publishing
    await drain(world.database)
    return outcome


async def check(world: World, plan_id: UUID, learners: list[UUID]) -> None:
    """Each of these learners, and nobody else, has one task of the newest generation."""
    live = await world.live_tasks(plan_id)
    assert sorted(task.assignee_user_id for task in live if task.status != "CANCELLED") == sorted(learners)
    plan = await world.plan(plan_id)
    assert plan.live_generation == plan.publish_generation
    assert (await world.job(plan.publish_job_id)).state == "completed"
    (left,) = await world.rows(
        "SELECT (SELECT count(*) FROM tasks WHERE generation <> :live) AS tasks,"
        " (SELECT count(*) FROM plan_roster_changes) AS noted",
        live=plan.live_generation,
    )
    assert (left.tasks, left.noted) == (0, 0)


async def republished(world: World) -> UUID:
    """A plan whose second publication waits to be run."""
    plan_id = await world.published()
    await world.publish(plan_id)
    return plan_id


@ORDERS
async def test_what_is_saved_at_the_swap_is_what_learners_have_in_the_end(
    world: World, is_publication_first: bool
) -> None:
    plan_id = await republished(world)
    async with watched(world, plan_id, world.learners):
        saved = await at_the_swap(
            world, plan_id, lambda: world.update(plan_id, title="Anew"), is_publication_first=is_publication_first
        )
    await check(world, plan_id, world.learners)
    plan = await world.plan(plan_id)
    assert (plan.live_generation, plan.publish_job_id) == (3, saved.job_id)
    assert {task.title for task in await world.live_tasks(plan_id)} == {"Anew"}


@ORDERS
async def test_a_plan_withdrawn_at_the_swap_is_withdrawn_with_one_whole_generation(
    world: World, is_publication_first: bool
) -> None:
    plan_id = await republished(world)
    job_id = (await world.plan(plan_id)).publish_job_id
    async with watched(world, plan_id, world.learners):
        await at_the_swap(world, plan_id, lambda: world.withdraw(plan_id), is_publication_first=is_publication_first)
    plan, job = await world.plan(plan_id), await world.job(job_id)
    assert plan.state == "WITHDRAWN"
    assert (plan.live_generation, job.state) in {(2, "completed"), (1, "cancelled")}
    await world.restore(plan_id)
    await drain(world.database)
    await check(world, plan_id, world.learners)


@ORDERS
async def test_who_joins_at_the_swap_has_one_task(world: World, is_publication_first: bool) -> None:
    plan_id = await republished(world)
    (late,) = await world.newcomers(1)

    async def join() -> None:
        await world.enroll(late)
        await drain(world.database, kinds=OTHERS)

    async with watched(world, plan_id, world.learners):
        await at_the_swap(world, plan_id, join, is_publication_first=is_publication_first)
    await check(world, plan_id, [*world.learners, late])


@ORDERS
async def test_who_leaves_at_the_swap_has_none_that_they_did_not_begin(
    world: World, is_publication_first: bool
) -> None:
    plan_id = await republished(world)
    gone, *rest = world.learners

    async def leave() -> None:
        await world.drop(gone)
        await drain(world.database, kinds=OTHERS)

    async with watched(world, plan_id, rest):
        await at_the_swap(world, plan_id, leave, is_publication_first=is_publication_first)
    await check(world, plan_id, rest)


@ORDERS
async def test_a_step_completed_at_the_swap_is_never_lost(world: World, is_publication_first: bool) -> None:
    plan_id = await republished(world)
    world.database.clock.shift += timedelta(days=1, hours=1)
    learner = Viewer(world.learners[0], "Learner", frozenset({Role.MEMBER}))
    (own,) = await world.rows(
        "SELECT t.id, s.id AS template_id FROM tasks t JOIN task_step_templates s"
        " ON s.plan_id = t.plan_id AND s.generation = t.generation AND s.position = 0 WHERE t.assignee_user_id = :id",
        id=learner.user_id,
    )

    async def complete() -> str:
        async with world.database.transaction() as tx:
            await tasks.complete_step(tx, actor=learner, task_id=own.id, template_id=own.template_id, now=tx.now)
        return "completed"

    async with watched(world, plan_id, world.learners):
        outcome = await at_the_swap(world, plan_id, complete, is_publication_first=is_publication_first)
    live = {task.assignee_user_id: task for task in await world.live_tasks(plan_id)}
    (done,) = await world.rows("SELECT count(*) AS steps FROM task_step_completions")
    if outcome == "completed":
        assert (done.steps, live[learner.user_id].id, live[learner.user_id].status) == (1, own.id, "IN_PROGRESS")
    else:
        assert (outcome, done.steps, live[learner.user_id].status) == ("NOT_FOUND", 0, "ASSIGNED")
    await check(world, plan_id, world.learners)
