"""Saving plans: what a form sends back, who may be a target, and where a refusal says that something is wrong."""

from datetime import timedelta
from uuid import UUID

import pytest

from db.errors import Code, Refused
from db.plans import commands as plans
from db.plans.rules import PlanType
from db.session import Database
from tests.support.drain import drain
from tests.support.plans import World, a_world, another_class


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


async def shown(world: World, plan_id: UUID) -> list[plans.TaskingWanted]:
    """The tasking plans as the API shows them, which is how a form sends them back."""
    rows = await world.rows("SELECT * FROM tasking_plans WHERE plan_id = :id ORDER BY due_at, id", id=plan_id)
    names = [("CourseClass", row.class_id) if row.class_id else ("User", row.user_id) for row in rows]
    return [
        plans.TaskingWanted(*name, row.opens_at, row.due_at, row.closes_at)
        for name, row in zip(names, rows, strict=True)
    ]


async def test_what_a_plan_has_may_be_sent_back_whatever_became_of_its_targets(world: World) -> None:
    second, _ = await another_class(world, learners=1)
    plan_id = await world.published(
        world.tasking(), world.tasking(key=second), world.tasking("User", world.learners[0])
    )
    await world.change_class(second, is_archived=True)
    await world.drop(world.learners[0])
    await drain(world.database)
    # Before the plan is open, and after.
    for title in ("Anew", "And again"):
        await world.update(plan_id, title=title, taskings=await shown(world, plan_id))
        await drain(world.database)
        assert (await world.plan(plan_id)).title == title
        world.database.clock.shift += timedelta(days=1, hours=1)
    assert {task.title for task in await world.live_tasks(plan_id) if task.status != "CANCELLED"} == {"And again"}


@pytest.mark.parametrize("what", ["UPDATE users SET is_active = false", "UPDATE classes SET is_archived = true"])
async def test_only_an_active_learner_of_a_class_that_is_not_archived_may_be_a_target(world: World, what: str) -> None:
    second, learners = await another_class(world, learners=1)
    target = {"learner": learners[0], "class": second}
    id_ = target["learner" if "users" in what else "class"]
    await world.rows(f"{what} WHERE id = :id RETURNING id", id=id_)
    with pytest.raises(Refused) as refused:
        await world.create(world.tasking("User", learners[0]))
    assert [(each.code, each.path) for each in refused.value.problems] == [
        (Code.NOT_FOUND, ("taskingPlans", "0", "targetId"))
    ]


async def test_a_refusal_names_a_tasking_plan_by_its_place_in_the_api(world: World) -> None:
    second, _ = await another_class(world, learners=1)
    # The first to be stored is the last to be due, and the only one that opens soon.
    saved = await world.create(
        world.tasking(opens=0.5, due=9, closes=9), world.tasking(key=second, opens=1, due=2, closes=3)
    )
    world.database.clock.shift += timedelta(hours=13)
    with pytest.raises(Refused) as refused:
        await world.publish(saved.plan_id)
    assert [(each.code, each.path) for each in refused.value.problems] == [
        (Code.OPEN_DATE_PASSED, ("taskingPlans", "1", "opensAt"))
    ]
    assert [each.target_id for each in await shown(world, saved.plan_id)] == [second, world.class_id]


async def test_a_whole_number_is_one_however_it_is_written(world: World) -> None:
    settings = {"exercises": [], "exercises_count_dynamic": 2.0}
    plan_id = await world.published(type=PlanType.HOMEWORK, settings=settings)
    (row,) = await world.rows(
        "SELECT settings ->> 'exercises_count_dynamic' AS n FROM plans WHERE id = :id", id=plan_id
    )
    assert row.n == "2"
    (newcomer,) = await world.newcomers(1)
    await world.enroll(newcomer)
    await drain(world.database)
    assert [len(task.selection) for task in await world.live_tasks(plan_id)] == [2] * 4
