"""Publishing through the real runner: who gets a task, what stays, what is never seen."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db.accounts.rules import Role, Viewer
from db.errors import Code, Refused
from db.plans import commands as plans
from db.plans.rules import PlanType
from db.session import Database
from tests.support.drain import drain
from tests.support.plans import World, a_world, another_class


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


async def touch(world: World, task_id: UUID) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE tasks SET is_touched = true WHERE id = :id"), {"id": task_id})


async def test_every_active_learner_of_the_class_gets_one_task(world: World) -> None:
    saved = await world.create(publish=True)
    assert await world.live_tasks(saved.plan_id) == []
    await drain(world.database)
    assert [task.assignee_user_id for task in await world.live_tasks(saved.plan_id)] == sorted(world.learners)
    plan, job = await world.plan(saved.plan_id), await world.job(saved.job_id)
    assert (plan.state, plan.live_generation) == ("PUBLISHED", 1)
    assert plan.first_published_at == plan.last_published_at
    assert (job.state, job.progress) == ("completed", 100)
    assert job.result == {"learners": 3, "tasks_created": 3, "tasks_kept": 0}


async def test_steps_are_templates_of_the_generation_and_not_rows_of_each_learner(world: World) -> None:
    plan_id = await world.published()
    (row,) = await world.rows("SELECT count(*) AS n FROM task_step_templates WHERE plan_id = :id", id=plan_id)
    assert row.n == 10


async def test_a_learner_reached_twice_gets_one_task_with_the_nearest_dates(world: World) -> None:
    own = world.learners[0]
    plan_id = await world.published(
        world.tasking("Course", world.course_id, due=10, closes=10),
        world.tasking(due=5, closes=10),
        world.tasking("User", own, due=7, closes=10),
    )
    due = {task.assignee_user_id: (task.due_at - task.opens_at).days for task in await world.live_tasks(plan_id)}
    assert due == {own: 6, world.learners[1]: 4, world.learners[2]: 4}


async def test_those_who_left_and_those_who_are_not_active_get_none(world: World) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            text("UPDATE enrollments SET status = 'DROPPED', dropped_at = now() WHERE user_id = :id"),
            {"id": world.learners[0]},
        )
        await tx.execute(text("UPDATE users SET is_active = false WHERE id = :id"), {"id": world.learners[1]})
    plan_id = await world.published()
    assert [task.assignee_user_id for task in await world.live_tasks(plan_id)] == [world.learners[2]]


async def test_a_class_of_many_is_made_in_batches_and_nobody_is_left_out(database: Database) -> None:
    world = await a_world(database, learners=1_003)
    plan_id = await world.published()
    assert [task.assignee_user_id for task in await world.live_tasks(plan_id)] == sorted(world.learners)


async def test_each_learner_is_given_the_same_picks_whenever_they_are_made(world: World) -> None:
    settings = {"exercises": [], "exercises_count_dynamic": 2, "page_ids": [str(world.pages[9])]}
    plan_id = await world.published(type=PlanType.HOMEWORK, settings=settings)
    first = {task.assignee_user_id: task.selection for task in await world.live_tasks(plan_id)}
    assert all(len(set(selection)) == 2 for selection in first.values())
    await world.publish(plan_id)
    await drain(world.database)
    assert {task.assignee_user_id: task.selection for task in await world.live_tasks(plan_id)} == first


# --- again, before opening --------------------------------------------------------------------------------------------


async def test_a_later_publication_replaces_all_tasks_at_once_and_the_old_ones_are_swept(world: World) -> None:
    plan_id = await world.published()
    before = {task.id for task in await world.live_tasks(plan_id)}
    await world.publish(plan_id)
    await drain(world.database)
    after = {task.id for task in await world.live_tasks(plan_id)}
    assert len(after) == 3
    assert after.isdisjoint(before)
    (row,) = await world.rows("SELECT count(*) AS n FROM tasks WHERE plan_id = :id", id=plan_id)
    assert row.n == 3


async def test_a_task_that_was_touched_keeps_its_id_and_gets_the_new_title_and_dates(world: World) -> None:
    plan_id = await world.published()
    kept = (await world.live_tasks(plan_id))[0]
    await touch(world, kept.id)
    async with world.database.transaction() as tx:
        await plans.update_plan(
            tx,
            actor=world.teacher,
            plan_id=plan_id,
            changes={"title": "Anew"},
            publish=False,
            expected_revision=1,
            now=tx.now,
        )
    await drain(world.database)
    after = await world.live_tasks(plan_id)
    assert [task.title for task in after] == ["Anew"] * 3
    assert kept.id in {task.id for task in after}
    plan = await world.plan(plan_id)
    assert (await world.job(plan.publish_job_id)).result == {"learners": 3, "tasks_created": 2, "tasks_kept": 1}


async def test_a_touched_task_of_somebody_no_longer_reached_is_cancelled_and_stays(world: World) -> None:
    plan_id = await world.published()
    gone = (await world.live_tasks(plan_id))[0]
    await touch(world, gone.id)
    async with world.database.transaction() as tx:
        await tx.execute(
            text("UPDATE enrollments SET status = 'DROPPED', dropped_at = now() WHERE user_id = :id"),
            {"id": gone.assignee_user_id},
        )
    await world.publish(plan_id)
    await drain(world.database)
    status = {task.id: task.status for task in await world.live_tasks(plan_id)}
    assert status[gone.id] == "CANCELLED"
    assert sorted(status.values()) == ["ASSIGNED", "ASSIGNED", "CANCELLED"]
    (row,) = await world.rows("SELECT * FROM task_transitions WHERE task_id = :id", id=gone.id)
    assert (row.from_status, row.to_status, row.actor_id) == ("ASSIGNED", "CANCELLED", None)


async def test_of_two_requests_the_later_one_wins_and_the_earlier_job_is_cancelled(world: World) -> None:
    first = await world.create(publish=True)
    second = await world.publish(first.plan_id)
    await drain(world.database)
    assert (await world.job(first.job_id)).state == "cancelled"
    assert (await world.job(second.job_id)).state == "completed"
    assert len(await world.live_tasks(first.plan_id)) == 3
    plan = await world.plan(first.plan_id)
    assert (plan.state, plan.publish_job_id, plan.live_generation) == ("PUBLISHED", second.job_id, 2)


# --- after opening ----------------------------------------------------------------------------------------------------


async def test_after_opening_tasks_stay_and_those_who_came_later_get_theirs(world: World) -> None:
    plan_id = await world.published(world.tasking("Course", world.course_id))
    world.database.clock.shift += timedelta(days=1, hours=1)
    before = {task.id for task in await world.live_tasks(plan_id)}
    _, late = await another_class(world, learners=2)
    await world.publish(plan_id)
    await drain(world.database)
    after = await world.live_tasks(plan_id)
    assert before < {task.id for task in after}
    assert {task.assignee_user_id for task in after} == {*world.learners, *late}


async def test_after_opening_a_completed_step_survives_a_publication(world: World) -> None:
    plan_id = await world.published()
    world.database.clock.shift += timedelta(days=1, hours=1)
    task_id = await world.complete_first_step(world.learners[0])
    await world.publish(plan_id)
    await drain(world.database)
    (row,) = await world.rows("SELECT * FROM task_step_completions")
    assert row.task_id == task_id


async def test_a_generation_asked_for_before_opening_goes_live_after_it_and_keeps_what_was_begun(
    world: World,
) -> None:
    plan_id = await world.published()
    await world.publish(plan_id)
    world.database.clock.shift += timedelta(days=1, hours=1)
    begun = await world.complete_first_step(world.learners[0])
    await drain(world.database)
    live = {task.id: task.status for task in await world.live_tasks(plan_id)}
    assert (await world.plan(plan_id)).live_generation == 2
    assert live[begun] == "IN_PROGRESS"
    assert len(live) == 3


# --- refusals and failures --------------------------------------------------------------------------------------------


async def test_learners_who_would_have_nothing_to_do_fail_the_publication_and_are_named(world: World) -> None:
    saved = await world.create(publish=True)
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now()"))
    await drain(world.database)
    job, plan = await world.job(saved.job_id), await world.plan(saved.plan_id)
    assert (job.state, job.error["code"]) == ("failed", "EMPTY_TASKS")
    assert job.error["details"]["count"] == 3
    assert {each["id"] for each in job.error["details"]["learners"]} == {str(key) for key in world.learners}
    assert plan.state == "PUBLISH_FAILED"
    assert await world.live_tasks(saved.plan_id) == []


async def test_a_failed_publication_leaves_the_earlier_one_standing(world: World) -> None:
    plan_id = await world.published()
    before = await world.live_tasks(plan_id)
    await world.publish(plan_id)
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now()"))
    await drain(world.database)
    assert (await world.plan(plan_id)).state == "PUBLISHED"
    assert await world.live_tasks(plan_id) == before


async def test_when_publication_was_last_asked_for_never_becomes_null_or_smaller(world: World) -> None:
    plan_id = await world.published()
    for value in ("NULL", "publish_last_requested_at - interval '1 microsecond'"):
        with pytest.raises(IntegrityError, match="never becomes null or smaller"):
            await world.rows(
                f"UPDATE plans SET publish_last_requested_at = {value} WHERE id = :id RETURNING 1", id=plan_id
            )
    assert (await world.plan(plan_id)).publish_last_requested_at is not None


async def test_requests_in_the_same_instant_still_move_forward(world: World) -> None:
    plan_id = await world.published()
    before = (await world.plan(plan_id)).publish_last_requested_at
    async with world.database.transaction() as tx:
        for _ in range(2):
            await plans.publish_plan(
                tx, actor=world.teacher, plan_id=plan_id, open_now=False, expected_revision=None, now=before
            )
    after = (await world.plan(plan_id)).publish_last_requested_at
    assert after - before == timedelta(microseconds=2)


async def test_who_may_not_write_is_refused_and_nothing_changes(world: World) -> None:
    plan_id = await world.published()
    before = await world.plan(plan_id)
    learner = Viewer(world.learners[0], "Learner", frozenset({Role.MEMBER}))
    outsider = replace(learner, user_id=UUID(int=1))
    # A learner knows of the plan once their task has opened.
    hour = timedelta(hours=1)
    for actor, shift, code in (
        (learner, hour, Code.NOT_FOUND),
        (learner, 25 * hour, Code.FORBIDDEN),
        (outsider, 25 * hour, Code.NOT_FOUND),
    ):
        world.database.clock.shift = shift
        with pytest.raises(Refused) as refused:
            async with world.database.transaction() as tx:
                await plans.publish_plan(
                    tx, actor=actor, plan_id=plan_id, open_now=False, expected_revision=None, now=tx.now
                )
        assert refused.value.code is code
    assert await world.plan(plan_id) == before


async def test_a_plan_that_was_saved_meanwhile_is_not_overwritten(world: World) -> None:
    saved = await world.create()
    values: dict[str, Any] = {"actor": world.teacher, "plan_id": saved.plan_id, "publish": False}
    async with world.database.transaction() as tx:
        await plans.update_plan(tx, changes={"title": "First"}, expected_revision=1, now=tx.now, **values)
    with pytest.raises(Refused) as refused:
        async with world.database.transaction() as tx:
            await plans.update_plan(tx, changes={"title": "Second"}, expected_revision=1, now=tx.now, **values)
    assert refused.value.code is Code.CONFLICT
    assert (await world.plan(saved.plan_id)).title == "First"
