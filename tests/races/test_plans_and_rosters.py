"""Many publish, join, move and leave at once: one task for each learner and plan, and nothing left over."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.errors import Refused
from db.plans import commands as plans
from db.plans.jobs import EnrollLearner, PublishPlan
from db.session import Database
from jobs.handlers.courses import DROPPED_AT_ONCE
from jobs.registry import load
from tests.support.drain import drain
from tests.support.facts import PATIENCE_SECONDS
from tests.support.plans import World, a_world, another_class, another_course
from tests.support.workers import until_waiting

# Who is reached by a plan and has no task or two; who is not reached and has one that they never began.
WRONG = """
    WITH reached AS (
        SELECT DISTINCT p.id AS plan_id, e.user_id FROM plans p
        JOIN tasking_plans g ON g.plan_id = p.id
        JOIN classes k ON k.course_id = p.course_id AND (g.class_id = k.id OR g.course_id = k.course_id)
            AND NOT k.is_archived
        JOIN enrollments e ON e.class_id = k.id AND e.status = 'ACTIVE'
        WHERE p.live_generation > 0
    ), live AS (
        SELECT t.plan_id, t.assignee_user_id AS user_id, t.is_touched FROM tasks t
        JOIN plans p ON p.id = t.plan_id AND p.live_generation = t.generation WHERE t.status <> 'CANCELLED'
    )
    SELECT 'none' AS what, plan_id, user_id FROM reached
    WHERE NOT EXISTS (SELECT FROM live l WHERE l.plan_id = reached.plan_id AND l.user_id = reached.user_id)
    UNION ALL
    SELECT 'two', plan_id, user_id FROM live GROUP BY plan_id, user_id HAVING count(*) > 1
    UNION ALL
    SELECT 'left over', plan_id, user_id FROM live WHERE NOT is_touched AND NOT EXISTS (
        SELECT FROM reached r WHERE r.plan_id = live.plan_id AND r.user_id = live.user_id
    )
"""


async def test_of_five_publications_at_once_of_a_class_of_150_the_newest_goes_live(database: Database) -> None:
    world = await a_world(database, learners=150)
    plan_id = (await world.create()).plan_id

    async def publish_and_run() -> None:
        await world.publish(plan_id)
        await drain(database)

    await asyncio.gather(*[publish_and_run() for _ in range(5)])
    await drain(database)
    plan = await world.plan(plan_id)
    assert (plan.state, plan.publish_generation, plan.live_generation) == ("PUBLISHED", 5, 5)
    jobs = await world.rows("SELECT id, state FROM jobs WHERE kind = 'plan.publish'")
    assert {job.state for job in jobs} <= {"completed", "cancelled"}
    assert [job.state for job in jobs if job.id == plan.publish_job_id] == ["completed"]
    live = await world.live_tasks(plan_id)
    assert [task.assignee_user_id for task in live] == sorted(world.learners)
    (row,) = await world.rows("SELECT count(*) AS n FROM tasks")
    assert row.n == 150


async def test_ten_who_join_at_once_have_one_task_of_each_of_five_plans(database: Database) -> None:
    world = await a_world(database, learners=3)
    plan_ids = [await world.published() for _ in range(5)]
    late = await world.newcomers(10)

    async def join(learner: UUID) -> None:
        await world.enroll(learner)
        await drain(database)

    async def again(learner: UUID) -> None:
        work = EnrollLearner(course_id=world.course_id, user_id=learner)
        async with database.transaction() as tx:
            await plans.enroll_learner(tx, work=work, now=tx.now)

    await asyncio.gather(*[join(learner) for learner in late], *[again(learner) for learner in late])
    await drain(database)
    for plan_id in plan_ids:
        live = await world.live_tasks(plan_id)
        assert [task.assignee_user_id for task in live] == sorted([*world.learners, *late])
    (row,) = await world.rows("SELECT count(*) AS jobs FROM jobs WHERE kind = 'plan.enroll' AND state = 'completed'")
    assert row.jobs == 10


async def test_who_leaves_while_their_tasks_are_made_has_none_of_them_left(database: Database) -> None:
    world = await a_world(database, learners=1)
    plan_id = await world.published()
    (late,) = await world.newcomers(1)
    await world.enroll(late)
    async with database.transaction() as tx:
        work = EnrollLearner(course_id=world.course_id, user_id=late)
        assert (await plans.enroll_learner(tx, work=work, now=tx.now))["tasks_created"] == 1
        await world.drop(late)
        following = asyncio.create_task(drain(database))
        await until_waiting(database)
    await following
    status = {task.assignee_user_id: task.status for task in await world.live_tasks(plan_id)}
    assert status == {world.learners[0]: "ASSIGNED", late: "CANCELLED"}


async def test_who_joins_and_opens_a_plan_earlier_does_not_deadlock_with_a_publication_that_keeps_its_tasks(
    database: Database,
) -> None:
    world = await a_world(database, learners=1)
    empty, _ = await another_class(world, learners=0)
    plan_id = await world.published(world.tasking(), world.tasking(key=empty, opens=0.5))
    database.clock.shift += timedelta(days=1, hours=1)
    before = await world.plan(plan_id)
    first, second = sorted(await world.newcomers(2))
    await world.enroll(first, second, class_id=empty)
    await world.publish(plan_id)
    publish = PublishPlan(plan_id=plan_id, generation=2, keeps_tasks=True)

    async def make_batch() -> int:
        async with database.transaction() as tx:
            publication = await plans.begin(tx, work=publish, is_first_attempt=True)
        async with database.transaction() as tx:
            (batch,) = publication.batches
            return await plans.make_batch(
                tx, work=publish, publication=publication, batch=batch, actor_id=None, now=tx.now
            )

    async def join() -> dict[str, int]:
        async with database.transaction() as tx:
            work = EnrollLearner(course_id=world.course_id, user_id=second)
            return await plans.enroll_learner(tx, work=work, now=tx.now)

    # The publication has shared the plan, waits for the first one's task, and comes to the second one's then.
    with contextlib.suppress(_TakenBack):
        async with database.transaction() as tx:
            await tx.execute(
                text(
                    "INSERT INTO tasks (type_name, title, assignee_user_id, plan_id, generation)"
                    " VALUES ('reading', 'Nobody sees this', :learner, :id, 1)"
                ),
                {"id": plan_id, "learner": first},
            )
            publishing = asyncio.create_task(make_batch())
            await until_waiting(database)
            joining = asyncio.create_task(join())
            await until_waiting(database, 2)
            raise _TakenBack
    assert (await publishing, (await joining)["tasks_created"]) == (2, 0)
    assert [task.assignee_user_id for task in await world.live_tasks(plan_id)] == sorted(
        [*world.learners, first, second]
    )
    await drain(database)
    assert (await world.plan(plan_id)).live_opens_at == before.live_opens_at - timedelta(days=0.5)


OTHERS = {kind: each for kind, each in load().items() if kind != PublishPlan.kind}


@asynccontextmanager
async def stopped_at(world: World, plan_id: UUID, learner: UUID) -> AsyncIterator[None]:
    """Within the block a publication gets as far as the batch that makes this learner's task, and waits there.

    Somebody else is making the same task, and takes it back at the end: then the publication goes on.
    """
    with contextlib.suppress(_TakenBack):
        async with world.database.transaction() as tx:
            made = await tx.affect(
                text(
                    "INSERT INTO tasks (type_name, title, assignee_user_id, plan_id, generation)"
                    " SELECT 'reading', 'Nobody sees this', :learner, id, publish_generation FROM plans WHERE id = :id"
                ),
                {"id": plan_id, "learner": learner},
            )
            assert made == 1
            publishing = asyncio.create_task(drain(world.database))
            await until_waiting(world.database)
            yield
            raise _TakenBack
    await publishing


class _TakenBack(Exception):
    """The transaction is to leave nothing."""


# The learners of the first class are all in the first batch of 50: that one waits, having read the classes as they
# were, or it is committed, and one that comes after it waits.
@pytest.mark.parametrize("waits_in_batch", [1, 2])
@pytest.mark.parametrize("becomes_archived", [True, False])
async def test_who_is_in_a_class_that_is_archived_or_put_back_while_a_publication_runs_has_what_reaches_them(
    database: Database, becomes_archived: bool, waits_in_batch: int
) -> None:
    world = await a_world(database, learners=4)
    _, others = await another_class(world, learners=60)
    plan_id = await world.published(world.tasking("Course", world.course_id))
    touched, *_ = world.learners
    await world.rows("UPDATE tasks SET is_touched = true WHERE assignee_user_id = :id RETURNING id", id=touched)
    if not becomes_archived:
        await world.change_class(is_archived=True)
        await drain(database)
    await world.publish(plan_id)
    async with stopped_at(world, plan_id, sorted([*world.learners, *others])[0 if waits_in_batch == 1 else 55]):
        await world.change_class(is_archived=becomes_archived)
        await drain(database, kinds=OTHERS)
    live = [task for task in await world.live_tasks(plan_id) if task.status != "CANCELLED"]
    reached = others if becomes_archived else [*world.learners, *others]
    assert [task.assignee_user_id for task in live] == sorted(reached)
    assert {task.generation for task in live} == {2}
    # Where the tasks are replaced, one that was touched and is out of reach stays as it was, but cancelled.
    (own,) = [task for task in await world.live_tasks(plan_id) if task.assignee_user_id == touched]
    assert (own.status, own.generation) == ("CANCELLED" if becomes_archived else "ASSIGNED", 2)
    assert await world.rows(WRONG) == []
    assert await world.rows("SELECT 1 FROM plan_roster_changes") == []
    assert await world.rows("SELECT 1 FROM jobs WHERE state <> 'completed'") == []


@pytest.mark.parametrize("goes_live", [True, False])
async def test_a_class_archived_while_a_publication_that_keeps_tasks_writes_has_none_left_even_if_it_is_cancelled(
    database: Database, goes_live: bool
) -> None:
    world = await a_world(database, learners=2)
    plan_id = await world.published(world.tasking("Course", world.course_id))
    touched, untouched = world.learners
    await world.rows("UPDATE tasks SET is_touched = true WHERE assignee_user_id = :id RETURNING id", id=touched)
    second, others = await another_class(world, learners=3)
    database.clock.shift += timedelta(days=1, hours=1)
    saved = await world.publish(plan_id)
    work = PublishPlan(plan_id=plan_id, generation=2, keeps_tasks=True)
    async with database.transaction() as tx:
        publication = await plans.begin(tx, work=work, is_first_attempt=True)
    async with database.transaction() as tx:
        (batch,) = publication.batches
        made = await plans.make_batch(tx, work=work, publication=publication, batch=batch, actor_id=None, now=tx.now)
        assert made == 3
        for class_id in (world.class_id, second):
            await world.change_class(class_id, is_archived=True)
        following = asyncio.create_task(drain(database, kinds=OTHERS))
        await until_waiting(database, 2)
    await following
    left = {task.assignee_user_id: task.status for task in await world.live_tasks(plan_id)}
    assert left == {touched: "ASSIGNED", **dict.fromkeys([untouched, *others], "CANCELLED")}
    if goes_live:
        await drain(database)
    else:
        await world.withdraw(plan_id)
    assert (await world.job(saved.job_id)).state == "completed" if goes_live else "cancelled"
    assert {task.assignee_user_id: task.status for task in await world.live_tasks(plan_id)} == left


@pytest.mark.parametrize("change", [{"is_archived": True}, {"course_id": None}])
async def test_who_is_given_tasks_while_their_class_goes_out_of_reach_has_none_of_them_left(
    database: Database, change: dict[str, Any]
) -> None:
    world = await a_world(database, learners=1)
    plan_id = await world.published()
    (late,) = await world.newcomers(1)
    await world.enroll(late)
    async with database.transaction() as tx:
        work = EnrollLearner(course_id=world.course_id, user_id=late)
        assert (await plans.enroll_learner(tx, work=work, now=tx.now))["tasks_created"] == 1
        await world.change_class(**change)
        following = asyncio.create_task(drain(database))
        await until_waiting(database)
    await following
    assert [task.status for task in await world.live_tasks(plan_id)] == ["CANCELLED", "CANCELLED"]


async def test_a_large_class_loses_its_tasks_in_batches_and_nothing_twice(database: Database) -> None:
    world = await a_world(database, learners=DROPPED_AT_ONCE + 1)
    plan_id = await world.published()
    *first, last = sorted(world.learners)
    await world.change_class(is_archived=True)
    async with database.transaction() as tx:
        # Somebody works on the last one's task: the others' are gone by then, and seen to be.
        await tx.execute(text("SELECT FROM tasks WHERE assignee_user_id = :id FOR UPDATE"), {"id": last})
        following = asyncio.create_task(drain(database))
        await until_waiting(database)
        status = {task.assignee_user_id: task.status for task in await world.live_tasks(plan_id)}
        assert status == {**dict.fromkeys(first, "CANCELLED"), last: "ASSIGNED"}
    await following
    assert {task.status for task in await world.live_tasks(plan_id)} == {"CANCELLED"}
    async with database.transaction() as tx:
        again = await plans.drop_learners(tx, user_ids=first, course_ids=[world.course_id], now=tx.now)
    (told,) = await world.rows("SELECT count(*) AS n FROM task_transitions WHERE to_status = 'CANCELLED'")
    assert (again, told.n) == (0, DROPPED_AT_ONCE + 1)


async def test_a_class_waits_for_one_publication_at_a_time_and_for_none_of_another_course(database: Database) -> None:
    world = await a_world(database, learners=2)
    elsewhere = await another_course(world)
    away = await elsewhere.published()
    free, busy = sorted([await world.published() for _ in "ab"])
    database.clock.shift += timedelta(days=1, hours=1)
    for plan_id in (away, free, busy):
        await world.publish(plan_id)
    await world.change_class(is_archived=True)
    async with database.transaction() as tx:
        # As a batch of each of these does that makes tasks where they are seen.
        await tx.execute(text("SELECT FROM plans WHERE id = ANY(:ids) FOR SHARE"), {"ids": [away, busy]})
        following = asyncio.create_task(drain(database, kinds=OTHERS))
        await until_waiting(database)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.update(free, title="Nobody waits for the batch of another plan")
    await following
    noted = await world.rows("SELECT plan_id, user_id FROM plan_roster_changes")
    assert {tuple(row) for row in noted} == {
        (plan_id, learner) for plan_id in (free, busy) for learner in world.learners
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_at_once_everybody_has_in_the_end_what_reaches_them(
    database: Database, seed: int
) -> None:
    dice = random.Random(seed)
    world = await a_world(database, learners=4)
    second, others = await another_class(world, learners=4)
    people = [*world.learners, *others, *await world.newcomers(4)]
    classes = [world.class_id, second]
    targets = [world.tasking(), world.tasking(key=second), world.tasking("Course", world.course_id)]
    plan_ids = [await world.published(target) for target in targets]
    # Open from the start: its publications keep what is there.
    plan_ids.append(await world.published(world.tasking("Course", world.course_id, opens=0)))

    async def touch(plan_id: UUID, learner: UUID) -> None:
        async with database.transaction() as tx:
            await tx.execute(text("SELECT FROM plans WHERE id = :id FOR KEY SHARE"), {"id": plan_id})
            await tx.execute(
                text(
                    "UPDATE tasks t SET is_touched = true FROM plans p WHERE p.id = :plan_id AND t.plan_id = p.id"
                    " AND t.generation = p.live_generation AND t.assignee_user_id = :user_id"
                ),
                {"plan_id": plan_id, "user_id": learner},
            )

    def happening() -> Any:
        plan_id, learner, class_id = dice.choice(plan_ids), dice.choice(people), dice.choice(classes)
        return dice.choice(
            [
                lambda: world.publish(plan_id),
                lambda: world.update(plan_id, title=f"Anew {learner}"),
                lambda: world.withdraw(plan_id),
                lambda: world.restore(plan_id),
                lambda: world.enroll(learner, class_id=class_id),
                lambda: world.drop(learner),
                lambda: world.move(learner, class_id),
                lambda: touch(plan_id, learner),
                lambda: world.change_class(class_id, is_archived=dice.random() < 0.5),
                lambda: world.change_class(class_id, course_id=dice.choice([None, world.course_id])),
                lambda: drain(database),
            ]
        )

    async def one_after_the_other() -> None:
        for _ in range(12):
            with contextlib.suppress(Refused, LookupError):
                await happening()()

    await asyncio.gather(*[one_after_the_other() for _ in range(4)])
    await drain(database)
    for plan_id in plan_ids:
        if (await world.plan(plan_id)).state == "WITHDRAWN":
            await world.restore(plan_id)
    await drain(database)
    assert {(await world.plan(plan_id)).state for plan_id in plan_ids} == {"PUBLISHED"}
    assert await world.rows(WRONG) == []
    # What looks at a plan when it opens still waits for that.
    left = "state NOT IN ('completed', 'cancelled') AND (state, kind) <> ('scheduled', 'plan.revert')"
    assert await world.rows(f"SELECT kind, state, error FROM jobs WHERE {left}") == []
