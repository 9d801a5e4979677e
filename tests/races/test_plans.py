"""Two do something to one plan at once: exactly one outcome, and nothing of either is lost."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.errors import Code, Refused
from db.plans import commands as plans
from db.plans.jobs import PublishPlan
from db.session import Database
from db.tasks import commands as tasks
from tests.support.drain import drain
from tests.support.plans import World, a_world


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=20)


async def test_of_ten_requests_at_once_the_newest_generation_wins_and_nine_jobs_are_cancelled(world: World) -> None:
    plan_id = (await world.create()).plan_id
    await asyncio.gather(*[world.publish(plan_id) for _ in range(10)])
    await drain(world.database)
    plan = await world.plan(plan_id)
    jobs = await world.rows("SELECT id, state FROM jobs WHERE kind = 'plan.publish'")
    assert (plan.state, plan.publish_generation, plan.live_generation) == ("PUBLISHED", 10, 10)
    assert sorted(job.state for job in jobs) == ["cancelled"] * 9 + ["completed"]
    assert [job.id for job in jobs if job.state == "completed"] == [plan.publish_job_id]
    assert [task.assignee_user_id for task in await world.live_tasks(plan_id)] == sorted(world.learners)


async def test_of_two_saves_of_one_revision_one_is_a_conflict(world: World) -> None:
    plan_id = (await world.create()).plan_id

    async def save(title: str) -> str:
        try:
            async with world.database.transaction() as tx:
                await plans.update_plan(
                    tx,
                    actor=world.teacher,
                    plan_id=plan_id,
                    changes={"title": title},
                    publish=False,
                    expected_revision=1,
                    now=tx.now,
                )
        except Refused as refused:
            return refused.code.value
        return title

    outcomes = await asyncio.gather(save("One"), save("Two"))
    (saved,) = [outcome for outcome in outcomes if outcome != Code.CONFLICT]
    assert sorted(outcomes) == sorted([saved, Code.CONFLICT])
    plan = await world.plan(plan_id)
    assert (plan.title, plan.revision) == (saved, 2)


async def test_a_step_completed_while_a_publication_goes_live_is_kept(world: World) -> None:
    """The learner shares the plan's key, the publication wants it whole: whoever is first, the step stands."""
    plan_id = await world.published()
    await world.publish(plan_id)
    world.database.clock.shift += timedelta(days=1, hours=1)
    begun = await world.rows(
        "SELECT t.id, t.assignee_user_id, s.id AS template_id FROM tasks t JOIN task_step_templates s"
        " ON s.plan_id = t.plan_id AND s.generation = t.generation AND s.position = 0"
    )

    async def complete(task_id: UUID, learner: UUID, template_id: UUID) -> bool:
        viewer = Viewer(learner, "Learner", frozenset({Role.MEMBER}))
        try:
            async with world.database.transaction() as tx:
                await tasks.complete_step(tx, actor=viewer, task_id=task_id, template_id=template_id, now=tx.now)
        except Refused as refused:
            if refused.code is not Code.NOT_FOUND:
                raise
            return False
        return True

    done, _ = await asyncio.gather(
        asyncio.gather(*[complete(row.id, row.assignee_user_id, row.template_id) for row in begun]),
        drain(world.database),
    )
    kept = {row.id for row, was_done in zip(begun, done, strict=True) if was_done}
    live = await world.live_tasks(plan_id)
    assert [task.assignee_user_id for task in live] == sorted(world.learners)
    assert {task.id for task in live if task.status == "IN_PROGRESS"} == kept
    (row,) = await world.rows("SELECT count(*) AS completions FROM task_step_completions")
    assert row.completions == len(kept)


async def test_an_older_generation_never_goes_live_after_a_newer_request(world: World) -> None:
    first = await world.create(publish=True)
    work = PublishPlan(plan_id=first.plan_id, generation=1, keeps_tasks=False)
    async with world.database.transaction() as tx:
        publication = await plans.begin(tx, work=work, is_first_attempt=True)
    async with world.database.transaction() as tx:
        await plans.make_batch(
            tx, work=work, publication=publication, batch=publication.batches[0], actor_id=None, now=tx.now
        )
    await world.publish(first.plan_id)
    with pytest.raises(plans.Superseded):
        async with world.database.transaction() as tx:
            await plans.go_live(tx, work=work, publication=publication, made=20, now=tx.now)
    assert (await world.plan(first.plan_id)).live_generation == 0


async def test_saving_does_not_wait_for_a_batch_that_is_being_written(world: World) -> None:
    first = await world.create(publish=True)
    work = PublishPlan(plan_id=first.plan_id, generation=1, keeps_tasks=False)
    async with world.database.transaction() as tx:
        publication = await plans.begin(tx, work=work, is_first_attempt=True)
    async with world.database.transaction() as batch:
        await plans.make_batch(
            batch, work=work, publication=publication, batch=publication.batches[0], actor_id=None, now=batch.now
        )
        async with world.database.transaction() as tx:
            # Refused at once by Postgres, were there anything to wait for.
            await tx.execute(text("SET LOCAL lock_timeout = '1ms'"))
            await plans.publish_plan(
                tx,
                actor=world.teacher,
                plan_id=first.plan_id,
                open_now=False,
                expected_revision=None,
                now=tx.now,
            )
    assert (await world.plan(first.plan_id)).publish_generation == 2
