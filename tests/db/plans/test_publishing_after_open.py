"""Publishing once learners have opened their tasks: what is written is in proportion to what is new."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from db.plans.commands import publishing
from db.session import Database
from tests.support.drain import drain
from tests.support.ledger import events_of
from tests.support.plans import World, a_world, another_class

LEARNERS = 300


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=LEARNERS)


async def opened(world: World) -> UUID:
    """A plan for the whole course whose tasks are open."""
    plan_id = await world.published(world.tasking("Course", world.course_id))
    world.database.clock.shift += timedelta(days=1, hours=1)
    return plan_id


async def written(world: World, plan_id: UUID) -> dict[UUID, str]:
    """Which transaction wrote each learner's task last."""
    rows = await world.rows("SELECT assignee_user_id, xmin::text AS by FROM tasks WHERE plan_id = :id", id=plan_id)
    return {row.assignee_user_id: row.by for row in rows}


async def test_only_those_who_came_later_are_written(world: World) -> None:
    plan_id = await opened(world)
    before = await written(world, plan_id)
    _, newcomers = await another_class(world, learners=3)
    saved = await world.publish(plan_id)
    await drain(world.database)
    after = await written(world, plan_id)
    assert {learner for learner in after if after[learner] != before.get(learner)} == set(newcomers)
    job = await world.job(saved.job_id)
    assert job.result == {"learners": 303, "tasks_created": 3, "tasks_kept": 300}
    events = await events_of(world.database, saved.job_id or UUID(int=0))
    told = {(event["done"], event["total"]) for event in events if event["total"]}
    assert told == {(300, 303), (303, 303)}


async def test_with_nothing_new_no_task_is_written(world: World) -> None:
    plan_id = await opened(world)
    before = await written(world, plan_id)
    saved = await world.publish(plan_id)
    await drain(world.database)
    assert await written(world, plan_id) == before
    assert (await world.job(saved.job_id)).result == {"learners": 300, "tasks_created": 0, "tasks_kept": 300}


async def test_more_time_for_one_learner_writes_one_task(world: World) -> None:
    plan_id = await opened(world)
    before = await written(world, plan_id)
    due = (await world.live_tasks(plan_id))[0].due_at
    await world.extend(plan_id, "User", world.learners[7], due=due + timedelta(hours=6))
    await drain(world.database)
    after = await written(world, plan_id)
    assert {learner for learner in after if after[learner] != before[learner]} == {world.learners[7]}
    assert {task.assignee_user_id for task in await world.live_tasks(plan_id) if task.due_at > due} == {
        world.learners[7]
    }


async def test_whoever_came_back_has_it_again_and_who_was_excused_does_not(world: World) -> None:
    plan_id = await world.published(world.tasking("Course", world.course_id))
    back, excused = world.learners[:2]
    await world.rows(
        "UPDATE tasks SET status = 'CANCELLED', closed_at = now(), is_touched = true, cancelled_by_id = CASE"
        " WHEN assignee_user_id = :excused THEN CAST(:teacher AS uuid) END"
        " WHERE assignee_user_id IN (:back, :excused) RETURNING id",
        back=back,
        excused=excused,
        teacher=world.teacher.user_id,
    )
    world.database.clock.shift += timedelta(days=1, hours=1)
    for created in (1, 0):
        saved = await world.publish(plan_id)
        await drain(world.database)
        assert (await world.job(saved.job_id)).result == {
            "learners": 300,
            "tasks_created": created,
            "tasks_kept": 299 - created,
        }
    live = await world.rows(
        "SELECT assignee_user_id AS id FROM tasks WHERE plan_id = :id AND status <> 'CANCELLED'", id=plan_id
    )
    assert {row.id for row in live} == set(world.learners) - {excused}


async def test_many_are_named_look_by_look_and_none_is_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "NAMED_BY_A_LOOK", 70)
    plan_id = await opened(world)
    await world.update(plan_id, title="Anew")
    await drain(world.database)
    assert [task.title for task in await world.live_tasks(plan_id)] == ["Anew"] * LEARNERS
    assert {task.version for task in await world.live_tasks(plan_id)} == {1}


async def test_a_publication_that_died_goes_on_with_those_who_are_left(world: World) -> None:
    plan_id = await opened(world)
    await world.update(plan_id, title="Anew")
    some = world.learners[:100]
    async with world.database.transaction() as tx:
        # What an attempt has written that did not come to its end.
        await tx.execute(
            text("UPDATE tasks SET title = 'Anew', version = version + 1 WHERE assignee_user_id = ANY(:some)"),
            {"some": some},
        )
    await drain(world.database)
    assert {(task.title, task.version) for task in await world.live_tasks(plan_id)} == {("Anew", 1)}
