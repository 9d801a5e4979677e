"""Publications that fail, however they do: the plan says so, and nobody is left without knowing why."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db.plans.jobs import PublishPlan
from db.plans.rules import PlanType
from db.session import Database
from jobs.attempt import Attempt, Declared
from jobs.registry import load
from tests.support.api import Api, id_of
from tests.support.drain import drain
from tests.support.plans import World, a_world

WHY = "query ($id: ID!) { plan(id: $id) { state publishJob { status error { code message details } } } }"


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


async def test_of_many_learners_with_nothing_to_do_the_first_hundred_are_named_and_all_counted(
    database: Database,
) -> None:
    world = await a_world(database, learners=103)
    saved = await world.create(publish=True)
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now()"))
    await drain(database)
    plan = (await Api(database, world.teacher).data(WHY, id=id_of("TaskPlan", saved.plan_id)))["plan"]
    assert (plan["state"], plan["publishJob"]["status"]) == ("PUBLISH_FAILED", "FAILED")
    error = plan["publishJob"]["error"]
    assert error["code"] == "EMPTY_TASKS"
    assert error["message"].startswith("103 learners would have nothing to do")
    assert error["details"]["count"] == 103
    named = error["details"]["learners"]
    names = [learner["name"] for learner in named]
    assert names == [f"First learner {number:06}" for number in range(1, 101)]
    (learner,) = await world.rows("SELECT id FROM users WHERE name = 'First learner 000001'")
    assert named[0] == {"type": "User", "id": id_of("User", learner.id), "name": "First learner 000001"}


async def test_a_plan_of_pages_that_are_gone_fails_also_where_nobody_is_reached_yet(database: Database) -> None:
    world = await a_world(database, learners=0)
    saved = await world.create(publish=True)
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now()"))
    await drain(database)
    error = (await world.job(saved.job_id)).error
    assert (error["code"], error["details"]) == ("EMPTY_TASKS", {"count": 0, "learners": []})
    assert error["message"].startswith("Whoever joins would have nothing to do")


async def test_homework_of_picked_exercises_alone_fails_where_the_course_has_none(world: World) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET format = 'COLLECTION'"))
    settings = {"exercises": [], "exercises_count_dynamic": 2}
    saved = await world.create(publish=True, type=PlanType.HOMEWORK, settings=settings)
    await drain(world.database)
    assert (await world.job(saved.job_id)).error["code"] == "EMPTY_TASKS"
    assert (await world.plan(saved.plan_id)).state == "PUBLISH_FAILED"


@pytest.mark.parametrize(("type_", "settings"), [("EVENT", {}), ("EXTERNAL", {"external_url": "https://example.org"})])
async def test_events_and_external_work_need_no_pages(world: World, type_: str, settings: dict[str, Any]) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now()"))
    plan_id = await world.published(type=PlanType(type_), settings=settings)
    assert len(await world.live_tasks(plan_id)) == 3


async def test_a_plan_that_reaches_nobody_is_published_and_waits_for_its_learners(world: World) -> None:
    for learner in world.learners:
        await world.drop(learner)
    plan_id = await world.published()
    plan = await world.plan(plan_id)
    assert (plan.state, await world.live_tasks(plan_id)) == ("PUBLISHED", [])
    assert (await world.job(plan.publish_job_id)).result == {"learners": 0, "tasks_created": 0, "tasks_kept": 0}


@pytest.mark.parametrize(("is_published", "state"), [(False, "PUBLISH_FAILED"), (True, "PUBLISHED")])
async def test_a_fault_is_tried_again_and_fails_the_publication_when_the_tries_are_used_up(
    world: World, is_published: bool, state: str
) -> None:
    plan_id = await world.published() if is_published else (await world.create()).plan_id
    before = await world.live_tasks(plan_id)
    saved = await world.publish(plan_id)

    async def broken(attempt: Attempt, work: PublishPlan) -> None:
        raise RuntimeError("a fault of ours")

    for _ in range(5):
        assert (await world.plan(plan_id)).state == "PUBLISHING"
        await drain(world.database, kinds={**load(), PublishPlan.kind: Declared(PublishPlan, broken)})
        world.database.clock.shift += timedelta(minutes=1)
    job = await world.job(saved.job_id)
    assert (job.state, job.attempt, job.error["code"]) == ("failed", 5, "INTERNAL")
    assert (await world.plan(plan_id)).state == state
    assert await world.live_tasks(plan_id) == before


async def test_a_failed_plan_is_mended_and_published_by_saving_it(world: World) -> None:
    saved = await world.create(publish=True, settings={"page_ids": [str(world.pages[0])]})
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now() WHERE id = :id"), {"id": world.pages[0]})
    await drain(world.database)
    assert (await world.plan(saved.plan_id)).state == "PUBLISH_FAILED"
    await world.update(saved.plan_id, settings={"page_ids": [str(world.pages[1])]})
    await drain(world.database)
    assert (await world.plan(saved.plan_id)).state == "PUBLISHED"
    assert len(await world.live_tasks(saved.plan_id)) == 3
