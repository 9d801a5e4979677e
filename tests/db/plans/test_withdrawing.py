"""Plans that are taken back, brought back, deleted or given more time, through the real runner."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db import endings
from db.errors import Code, Refused
from db.plans import commands as plans
from db.plans.jobs import PublishPlan
from db.session import Database
from jobs.attempt import Attempt, Declared
from jobs.handlers.plans import publish_plan
from jobs.registry import load
from tests.support.drain import drain
from tests.support.plans import World, a_world

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


async def refused(awaitable: Any) -> Code:
    with pytest.raises(Refused) as refusal:
        await awaitable
    return refusal.value.code


# --- taking back ------------------------------------------------------------------------------------------------------


async def test_learners_keep_their_tasks_and_cannot_work_on_them_until_the_plan_is_back(world: World) -> None:
    plan_id = await world.published()
    world.database.clock.shift += DAY + HOUR
    await world.complete_first_step(world.learners[0])
    before = await world.live_tasks(plan_id)
    await world.withdraw(plan_id)
    assert await world.live_tasks(plan_id) == before
    assert await refused(world.complete_first_step(world.learners[1])) is Code.TASK_NOT_OPEN
    restored = await world.restore(plan_id)
    await world.complete_first_step(world.learners[1])
    await drain(world.database)
    plan = await world.plan(plan_id)
    assert (plan.state, plan.withdrawn_at, plan.live_generation) == ("PUBLISHED", None, 1)
    assert (await world.job(restored.job_id)).result == {"learners": 3, "tasks_created": 0, "tasks_kept": 3}
    assert [task.id for task in await world.live_tasks(plan_id)] == [task.id for task in before]


async def test_a_publication_that_has_not_begun_is_cancelled_at_once(world: World) -> None:
    saved = await world.create(publish=True)
    withdrawn = await world.withdraw(saved.plan_id, reason="Wrong week")
    assert withdrawn.cancelled_job_id == saved.job_id
    job, plan = await world.job(saved.job_id), await world.plan(saved.plan_id)
    assert (job.state, job.cancel_reason) == ("cancelled", "The plan was withdrawn: Wrong week")
    assert (plan.state, plan.first_published_at) == ("WITHDRAWN", None)
    await drain(world.database)
    assert await world.live_tasks(saved.plan_id) == []


async def test_a_reason_that_is_too_long_is_refused_and_nothing_happens(world: World) -> None:
    saved = await world.create(publish=True)
    before = await world.plan(saved.plan_id)
    with pytest.raises(Refused) as refusal:
        await world.withdraw(saved.plan_id, reason="x" * 501)
    (problem,) = refusal.value.problems
    assert (problem.code, problem.path, problem.details) == (Code.BAD_USER_INPUT, ("reason",), {"max": 500})
    assert await world.plan(saved.plan_id) == before
    assert (await world.job(saved.job_id)).state == "queued"


async def test_a_publication_that_runs_can_no_longer_go_live_and_its_tasks_are_swept(world: World) -> None:
    saved = await world.create(publish=True)

    async def withdrawn_meanwhile(attempt: Attempt, work: PublishPlan) -> Any:
        async with attempt.transaction() as tx:
            publication = await plans.begin(tx, work=work, is_first_attempt=True)
            (batch,) = publication.batches
            await plans.make_batch(tx, work=work, publication=publication, batch=batch, actor_id=None, now=tx.now)
        assert (await world.withdraw(saved.plan_id)).cancelled_job_id == saved.job_id
        with pytest.raises(plans.Superseded):
            async with world.database.transaction() as tx:
                await plans.go_live(tx, work=work, publication=publication, made=3, now=tx.now)
        return await publish_plan(attempt, work)

    await drain(world.database, kinds={**load(), PublishPlan.kind: Declared(PublishPlan, withdrawn_meanwhile)})
    assert (await world.plan(saved.plan_id)).state == "WITHDRAWN"
    assert (await world.job(saved.job_id)).state == "cancelled"
    (row,) = await world.rows(
        "SELECT count(*) AS tasks, (SELECT count(*) FROM task_step_templates) AS steps FROM tasks"
    )
    assert (row.tasks, row.steps) == (0, 0)


async def test_a_plan_withdrawn_before_it_was_published_is_published_when_it_comes_back(world: World) -> None:
    saved = await world.create(publish=True)
    await world.withdraw(saved.plan_id)
    world.database.clock.shift += DAY + HOUR
    await world.restore(saved.plan_id)
    await drain(world.database)
    live = await world.live_tasks(saved.plan_id)
    assert [task.assignee_user_id for task in live] == sorted(world.learners)
    (tasking,) = await world.rows("SELECT opens_at FROM tasking_plans")
    assert {task.opens_at for task in live} == {tasking.opens_at}
    assert (await world.plan(saved.plan_id)).live_opens_at == tasking.opens_at


async def test_a_restoration_that_is_cancelled_leaves_the_plan_withdrawn(world: World) -> None:
    plan_id = await world.published()
    await world.withdraw(plan_id)
    restored = await world.restore(plan_id)
    assert (await world.plan(plan_id)).withdrawn_at is None
    async with world.database.transaction() as tx:
        await endings.cancel_job(tx, job_id=restored.job_id or UUID(int=0), actor_id=None, reason=None, now=tx.now)
    plan = await world.plan(plan_id)
    assert plan.state == "WITHDRAWN"
    assert plan.withdrawn_at is not None


async def test_a_restoration_that_fails_still_brings_back_what_learners_had(world: World) -> None:
    plan_id = await world.published()
    before = await world.live_tasks(plan_id)
    await world.withdraw(plan_id)
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now()"))
    restored = await world.restore(plan_id)
    await drain(world.database)
    assert (await world.job(restored.job_id)).error["code"] == "EMPTY_TASKS"
    assert (await world.plan(plan_id)).state == "PUBLISHED"
    assert await world.live_tasks(plan_id) == before


async def test_a_job_of_a_withdrawn_plan_is_not_retried(world: World) -> None:
    saved = await world.create(publish=True)
    await world.withdraw(saved.plan_id)
    before = await world.plan(saved.plan_id)

    async def retry() -> None:
        async with world.database.transaction() as tx:
            await endings.retry_job(tx, job_id=saved.job_id or UUID(int=0), actor_id=None, now=tx.now)

    assert await refused(retry()) is Code.JOB_NOT_RETRYABLE
    assert await world.plan(saved.plan_id) == before


# --- deleting ---------------------------------------------------------------------------------------------------------


async def test_a_draft_that_was_never_published_is_gone_with_all_that_belongs_to_it(world: World) -> None:
    saved = await world.create()
    await world.delete(saved.plan_id)
    (row,) = await world.rows("SELECT (SELECT count(*) FROM plans) + (SELECT count(*) FROM tasking_plans) AS n")
    assert row.n == 0
    assert await refused(world.delete(saved.plan_id)) is Code.NOT_FOUND


async def test_a_draft_is_deleted_with_the_tasks_that_a_cancelled_publication_left(world: World) -> None:
    saved = await world.create(publish=True)
    work = PublishPlan(plan_id=saved.plan_id, generation=1, keeps_tasks=False)
    async with world.database.transaction() as tx:
        publication = await plans.begin(tx, work=work, is_first_attempt=True)
        await plans.make_batch(
            tx, work=work, publication=publication, batch=publication.batches[0], actor_id=None, now=tx.now
        )
        await endings.cancel_job(tx, job_id=saved.job_id or UUID(int=0), actor_id=None, reason=None, now=tx.now)
    await world.delete(saved.plan_id)
    (row,) = await world.rows("SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM task_step_templates) AS n")
    assert row.n == 0
    await drain(world.database)


@pytest.mark.parametrize("is_drained", [False, True])
async def test_what_was_published_or_is_being_published_is_not_deleted(world: World, is_drained: bool) -> None:
    saved = await world.create(publish=True)
    if is_drained:
        await drain(world.database)
    assert await refused(world.delete(saved.plan_id)) is Code.CONFLICT
    assert (await world.plan(saved.plan_id)).id == saved.plan_id


# --- more time --------------------------------------------------------------------------------------------------------


async def test_one_learner_gets_more_time_after_opening_and_it_is_recorded(world: World) -> None:
    plan_id = await world.published()
    world.database.clock.shift += DAY + HOUR
    before = {task.assignee_user_id: task for task in await world.live_tasks(plan_id)}
    own = world.learners[0]
    due, closes = before[own].due_at + 5 * DAY, before[own].closes_at + 5 * DAY
    extended = await world.extend(plan_id, "User", own, due=due, closes=closes)
    await drain(world.database)
    after = {task.assignee_user_id: task for task in await world.live_tasks(plan_id)}
    assert {key: task.id for key, task in after.items()} == {key: task.id for key, task in before.items()}
    assert (after[own].opens_at, after[own].due_at, after[own].closes_at) == (before[own].opens_at, due, closes)
    assert {after[key].due_at for key in world.learners[1:]} == {before[own].due_at}
    (record,) = await world.rows("SELECT * FROM plan_extensions")
    assert (record.user_id, record.actor_id) == (own, world.teacher.user_id)
    assert (record.due_before, record.due_at) == (before[own].due_at, due)
    (tasking,) = await world.rows("SELECT * FROM tasking_plans WHERE id = :id", id=extended.tasking_plan_id)
    assert (tasking.user_id, tasking.closes_at) == (own, closes)
    assert (await world.plan(plan_id)).state == "PUBLISHED"


async def test_a_class_gets_more_time_before_opening_in_a_new_generation(world: World) -> None:
    plan_id = await world.published()
    (task, *_) = await world.live_tasks(plan_id)
    extended = await world.extend(plan_id, "CourseClass", world.class_id, closes=task.closes_at + DAY)
    await drain(world.database)
    plan = await world.plan(plan_id)
    assert (plan.live_generation, plan.publish_job_id) == (2, extended.job_id)
    assert {each.closes_at for each in await world.live_tasks(plan_id)} == {task.closes_at + DAY}


async def test_an_extension_that_is_refused_leaves_everything_as_it_was(world: World) -> None:
    plan_id = await world.published()
    plan, (task, *_) = await world.plan(plan_id), await world.live_tasks(plan_id)
    earlier = world.extend(plan_id, "CourseClass", world.class_id, due=task.due_at - DAY)
    assert await refused(earlier) is Code.DATE_NOT_LATER
    unknown = world.extend(plan_id, "CourseClass", UUID(int=1), due=task.due_at + DAY)
    assert await refused(unknown) is Code.NOT_FOUND
    assert await world.plan(plan_id) == plan
    (row,) = await world.rows("SELECT (SELECT count(*) FROM plan_extensions) AS n, (SELECT count(*) FROM jobs) AS jobs")
    assert (row.n, row.jobs) == (0, 2)
