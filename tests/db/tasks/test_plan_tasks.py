"""Tasks of plans are ordinary tasks: held, given to others, cancelled; and publishing again respects that."""

from typing import Any
from uuid import UUID

import pytest

from db.accounts.rules import Role, Viewer
from db.errors import Code
from db.plans.rules import PlanType
from db.reading import Reading, Want, want
from db.session import Database
from db.tasks.queries import QUEUES, WORK_TASK, TaskCounts, own_counts, tasks_page
from db.tasks.rules import QueueTab
from tests.support.drain import drain
from tests.support.plans import World, a_world, another_class
from tests.support.tasks import Desk, a_desk


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await a_desk(database)


def learner(world: World, number: int) -> Viewer:
    return Viewer(world.learners[number], f"Learner {number}", frozenset({Role.MEMBER}))


async def task_of(world: World, plan_id: UUID, number: int) -> Any:
    (task,) = [each for each in await world.live_tasks(plan_id) if each.assignee_user_id == world.learners[number]]
    return task


async def publish_again(world: World, plan_id: UUID) -> Any:
    saved = await world.publish(plan_id)
    await drain(world.database)
    return (await world.job(saved.job_id)).result


async def test_a_plans_task_is_held_by_its_learner_and_its_teacher_once_each_may_see_it(
    world: World, desk: Desk
) -> None:
    plan_id = await world.published()
    first, second = [(await task_of(world, plan_id, number)).id for number in (0, 1)]
    async with desk.refused(Code.NOT_FOUND, "taskId"):
        await desk.place(first, by=learner(world, 0))
    await desk.place(second, by=world.teacher)
    desk.later(days=1, hours=1)
    await desk.place(first, by=learner(world, 0))
    async with desk.refused(Code.NOT_FOUND, "taskId"):
        await desk.place(first, by=learner(world, 1))
    async with desk.refused(Code.NOT_FOUND, "taskId"):
        await desk.place(first, by=desk.lead)
    assert [await desk.status(each) for each in (first, second)] == ["ON_HOLD", "ON_HOLD"]
    await desk.end(first, by=world.teacher)
    async with desk.refused(Code.FORBIDDEN, "taskId"):
        await desk.cancel(first, by=learner(world, 0))
    async with desk.refused(Code.FORBIDDEN, "taskId"):
        await desk.start(first, by=world.teacher)
    await desk.cancel(first, by=world.teacher, reason="Excused")
    assert await desk.status(first) == "CANCELLED"


async def test_steps_are_not_completed_on_hold(world: World, desk: Desk) -> None:
    plan_id = await world.published()
    task = await task_of(world, plan_id, 0)
    desk.later(days=1, hours=1)
    await desk.place(task.id)
    async with desk.refused(Code.TASK_ON_HOLD, "stepId"):
        await desk.complete_step(task.id, by=learner(world, 0))
    async with desk.refused(Code.STEPS_INCOMPLETE, "taskId"):
        await desk.complete(task.id, by=learner(world, 0))


async def test_a_held_task_keeps_its_hold_when_its_plan_is_published_again(world: World, desk: Desk) -> None:
    plan_id = await world.published()
    task = await task_of(world, plan_id, 0)
    hold_id = await desk.place(task.id, 30)
    before = await desk.hold(hold_id)
    result = await publish_again(world, plan_id)
    assert result == {"learners": 3, "tasks_created": 2, "tasks_kept": 1}
    after = await task_of(world, plan_id, 0)
    assert (after.id, after.status, after.generation) == (task.id, "ON_HOLD", 2)
    assert await desk.hold(hold_id) == before
    desk.later(days=30)
    assert await desk.sweep() == 1
    assert await desk.status(task.id) == "ASSIGNED"


async def test_what_is_open_below_a_task_that_is_no_longer_reached_ends_with_it(world: World, desk: Desk) -> None:
    plan_id = await world.published()
    task = await task_of(world, plan_id, 0)
    child = await desk.create(desk.ann, below=task.id)
    deep = await desk.place(child)
    hold_id = await desk.place(task.id)
    await desk.rows_of(
        "UPDATE enrollments SET status = 'DROPPED', dropped_at = now() WHERE user_id = :id", id=world.learners[0]
    )
    await publish_again(world, plan_id)
    for each in (task.id, child):
        assert (await desk.status(each), (await desk.history(each))[-1]) == ("CANCELLED", ("ON_HOLD", "CANCELLED"))
    for each in (hold_id, deep):
        hold = await desk.hold(each)
        assert (hold.status, hold.end_reason, hold.timer_cancelled_at) == ("CANCELLED", "TASK_CLOSED", hold.closed_at)
    desk.later(days=60)
    assert await desk.sweep() == 0


async def test_a_learner_whose_task_somebody_cancelled_gets_no_new_one(world: World, desk: Desk) -> None:
    plan_id = await world.published()
    task = await task_of(world, plan_id, 0)
    await desk.cancel(task.id, by=world.teacher)
    for _ in range(2):
        result = await publish_again(world, plan_id)
        assert (result["tasks_created"], result["tasks_kept"]) == (2, 0)
        assert (await task_of(world, plan_id, 0)).id == task.id


async def test_a_plans_task_takes_its_steps_and_dates_along_and_stays_with_whom_it_was_given_to(
    world: World, desk: Desk
) -> None:
    plan_id = await world.published(settings={"exercises": [], "exercises_count_dynamic": 2}, type=PlanType.HOMEWORK)
    task = await task_of(world, plan_id, 0)
    hold_id = await desk.place(task.id, 90)
    async with desk.refused(Code.DUPLICATE_TASK, "assigneeId"):
        await desk.reassign(task.id, learner(world, 1))
    async with desk.refused(Code.BAD_USER_INPUT, "assigneeId"):
        await desk.reassign(task.id, desk.team)
    new_id = (await desk.reassign(task.id, desk.ann, by=desk.editor)).new_task_id
    new = await desk.row(new_id)
    assert (new.plan_id, new.generation, new.opens_at, new.due_at, new.closes_at, new.selection) == (
        plan_id,
        1,
        task.opens_at,
        task.due_at,
        task.closes_at,
        task.selection,
    )
    result = await publish_again(world, plan_id)
    assert (result["tasks_created"], result["tasks_kept"]) == (2, 1)
    kept = await desk.row(new_id)
    assert (kept.status, kept.generation, len(kept.selection)) == ("ON_HOLD", 2, 2)
    assert (await desk.hold(hold_id)).parent_id == new_id
    assert (await task_of(world, plan_id, 0)).status == "CANCELLED"


async def test_completed_steps_go_along(world: World, desk: Desk) -> None:
    plan_id = await world.published()
    task = await task_of(world, plan_id, 0)
    desk.later(days=1, hours=1)
    await desk.complete_step(task.id, by=learner(world, 0))
    new_id = (await desk.reassign(task.id, desk.ann)).new_task_id
    assert (await desk.row(new_id)).status == "IN_PROGRESS"
    rows = await desk.rows("SELECT task_id FROM task_step_completions")
    assert [row.task_id for row in rows] == [new_id]


async def test_a_plans_task_has_the_title_and_dates_of_its_plan(world: World, desk: Desk) -> None:
    plan_id = await world.published()
    task = await task_of(world, plan_id, 0)
    async with desk.refused(Code.BAD_USER_INPUT, "title"):
        await desk.update(task.id, {"title": "Mine"})
    async with desk.refused(Code.BAD_USER_INPUT, "dueAt"):
        await desk.update(task.id, {"due_at": task.due_at})
    await desk.update(task.id, {}, by=world.teacher, instructions="Take your time")
    assert (await desk.row(task.id)).is_touched


async def test_nobody_is_late_with_what_was_withdrawn(world: World, desk: Desk) -> None:
    kept, withdrawn = [await world.published(), await world.published()]
    first, second = [(await task_of(world, plan_id, 0)).id for plan_id in (kept, withdrawn)]
    await world.withdraw(withdrawn)
    desk.later(days=3)
    own = Reading(world.database.reader, learner(world, 0))
    rows = await own.by_ids(WORK_TASK, want("is_overdue", "is_withdrawn"), [first, second])
    assert [(rows[key].is_overdue, rows[key].is_withdrawn) for key in (first, second)] == [(True, False), (False, True)]
    for on_hold in (0, 2):
        tab = QueueTab.ON_HOLD if on_hold else QueueTab.ASSIGNED
        assert await own_counts(own) == TaskCounts(0, 2 - on_hold, on_hold, 0, overdue=1)
        late = Want("", want("id").wants, {"overdue_only": True})
        owner = world.learners[0]
        assert [row.id for row in (await own.below(WORK_TASK, late, QUEUES[tab], [owner], name=tab))[owner].nodes] == [
            first
        ]
        assert [row.id for row in (await tasks_page(own, late)).nodes] == [first]
        if not on_hold:
            for key in (first, second):
                await desk.place(key)


async def test_a_child_of_a_plans_task_is_no_task_of_the_plan(world: World, desk: Desk) -> None:
    _, others = await another_class(world, learners=1)
    plan_id = await world.published()
    task = await task_of(world, plan_id, 0)
    helper = Viewer(others[0], "Helper", frozenset({Role.MEMBER}))
    child = await desk.create(helper, below=task.id, type_name="reading")
    await publish_again(world, plan_id)
    assert (await task_of(world, plan_id, 0)).id == task.id
    await desk.complete(child, by=helper)
    assert await desk.status(task.id) == "ASSIGNED"
