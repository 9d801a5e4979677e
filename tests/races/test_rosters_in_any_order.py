"""What changes of a class mean for its members' tasks, in whatever order and however much at once its jobs are run."""

import asyncio
from itertools import permutations
from uuid import UUID

import pytest
from sqlalchemy import text

from db.courses import commands as courses
from db.session import Database
from tests.races.test_plans_and_rosters import WRONG
from tests.support.drain import drain
from tests.support.plans import World, a_world, another_class
from tests.support.workers import until_waiting

# Those of one class after whatever they ask for, in the order given.
_IN_ORDER = """
    UPDATE jobs SET priority = 9, scheduled_at = scheduled_at + wanted.place * interval '1 microsecond'
    FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS wanted (id, place) WHERE jobs.id = wanted.id RETURNING 1
"""


async def come_and_go(world: World, first: UUID, second: UUID) -> list[UUID]:
    """Both join, the first leaves, the second is welcomed back, the first joins again: the jobs that follow."""
    await world.enroll(first, second)
    await world.drop(first)
    async with world.database.transaction() as tx:
        await courses.welcome_back(tx, actor=world.teacher, user_id=second)
    await world.enroll(first)
    return [row.id for row in await world.rows("SELECT id FROM jobs WHERE state = 'queued' ORDER BY id")]


async def statuses(world: World, learner: UUID) -> list[str]:
    tasks = await world.rows("SELECT status FROM tasks WHERE assignee_user_id = :id ORDER BY status", id=learner)
    return [task.status for task in tasks]


@pytest.mark.parametrize("at_once", [1, 10])
async def test_joining_leaving_and_returning_mean_the_same_in_any_order_of_their_jobs(
    database: Database, at_once: int
) -> None:
    world = await a_world(database, learners=1)
    await world.published()
    await world.published(world.tasking("Course", world.course_id))
    orders = list(permutations(range(4)))
    people = await world.newcomers(2 * len(orders))
    for order, pair in zip(orders, zip(people[::2], people[1::2], strict=True), strict=True):
        asked = await come_and_go(world, *pair)
        await world.rows(_IN_ORDER, ids=[asked[place] for place in order])
        await drain(database, at_once=at_once)
        assert [await statuses(world, each) for each in pair] == [["ASSIGNED"] * 2] * 2, order
        for learner in pair:
            await world.drop(learner)
    await drain(database, at_once=at_once)
    assert [await statuses(world, each) for each in people] == [["CANCELLED"] * 2] * len(people)
    assert await world.rows(WRONG) == []
    assert await world.rows("SELECT 1 FROM jobs WHERE state <> 'completed'") == []


# Which of the two tasks somebody works on: of one of them the other is taken back before, of the other one not yet.
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("joins_another", [False, True])
async def test_who_comes_back_while_their_tasks_are_being_taken_back_has_them_in_the_end(
    database: Database, joins_another: bool, place: int
) -> None:
    world = await a_world(database, learners=1)
    (learner,) = world.learners
    other, _ = await another_class(world, learners=0)
    of_course = world.tasking("Course", world.course_id)
    plan_ids = [await world.published(of_course) for _ in range(2)]

    await world.drop(learner)
    async with database.transaction() as tx:
        await tx.execute(text("SELECT FROM tasks WHERE plan_id = :id FOR UPDATE"), {"id": plan_ids[place]})
        leaving = asyncio.create_task(drain(database))
        await until_waiting(database)
        await world.enroll(learner, class_id=other if joins_another else None)
        returning = asyncio.create_task(drain(database))
        await until_waiting(database, 2)
    await asyncio.gather(leaving, returning)
    await drain(database)
    assert await world.rows(WRONG) == []
    assert await statuses(world, learner) == ["ASSIGNED"] * 2 + ["CANCELLED"] * 2
    assert await world.rows("SELECT 1 FROM jobs WHERE state <> 'completed'") == []
