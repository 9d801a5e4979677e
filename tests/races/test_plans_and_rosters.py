"""Many publish, join, move and leave at once: one task for each learner and plan, and nothing left over."""

import asyncio
import contextlib
import random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.errors import Refused
from db.plans import commands as plans
from db.plans.jobs import EnrollLearner
from db.session import Database
from tests.support.drain import drain
from tests.support.plans import a_world, another_class
from tests.support.workers import until_waiting

# Who is reached by a plan and has no task or two; who is not reached and has one that they never began.
WRONG = """
    WITH reached AS (
        SELECT DISTINCT p.id AS plan_id, e.user_id FROM plans p
        JOIN tasking_plans g ON g.plan_id = p.id
        JOIN classes k ON k.course_id = p.course_id AND (g.class_id = k.id OR g.course_id = k.course_id)
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
        leaving = asyncio.create_task(world.drop(late))
        await until_waiting(database)
    await leaving
    await drain(database)
    status = {task.assignee_user_id: task.status for task in await world.live_tasks(plan_id)}
    assert status == {world.learners[0]: "ASSIGNED", late: "CANCELLED"}


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
    failed = await world.rows("SELECT kind, error FROM jobs WHERE state NOT IN ('completed', 'cancelled')")
    assert failed == []
