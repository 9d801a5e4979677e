"""Holds: placed, replaced, ended, run out; and what they leave behind."""

from datetime import timedelta

import pytest

from db.errors import Code
from db.session import Database
from tests.support.tasks import Desk, a_desk

DAY = timedelta(days=1)


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await a_desk(database)


async def test_a_hold_pauses_its_task_and_is_a_child_with_a_timer(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    hold_id = await desk.place(task_id, 30, by=desk.ann, instructions="  Waiting for a letter  ")
    task, hold = await desk.row(task_id), await desk.hold(hold_id)
    assert (task.status, task.placed_on_hold_at, task.started_at, task.closed_at) == (
        "ON_HOLD",
        hold.starts_at,
        None,
        None,
    )
    assert (hold.type_name, hold.status, hold.parent_id, hold.root_id) == ("timed_hold", "ASSIGNED", task_id, task_id)
    assert (hold.assignee_user_id, hold.assigned_by_id) == (desk.ann.user_id, desk.ann.user_id)
    assert (hold.duration_days, hold.ends_at, hold.end_reason) == (30, hold.starts_at + 30 * DAY, None)
    assert (hold.timer_due_at, hold.attempts, hold.processed_at, hold.timer_cancelled_at) == (
        hold.ends_at,
        0,
        None,
        None,
    )
    assert await desk.history(task_id) == [(None, "ASSIGNED"), ("ASSIGNED", "ON_HOLD")]
    assert await desk.history(hold_id) == [(None, "ASSIGNED")]
    assert await desk.notes(task_id) == await desk.notes(hold_id) == ["Waiting for a letter"]


async def test_a_newer_hold_replaces_the_older_one_and_the_task_never_shows_assigned(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    first = await desk.place(task_id, 30)
    desk.later(days=1)
    second = await desk.place(task_id, 60)
    old, new = await desk.hold(first), await desk.hold(second)
    assert (old.status, old.end_reason, old.cancelled_by_id) == ("CANCELLED", "SUPERSEDED", desk.boss.user_id)
    assert old.closed_at == old.timer_cancelled_at == new.starts_at
    assert (new.status, new.processed_at, new.timer_cancelled_at) == ("ASSIGNED", None, None)
    assert await desk.history(task_id) == [(None, "ASSIGNED"), ("ASSIGNED", "ON_HOLD")]
    assert (await desk.row(task_id)).placed_on_hold_at == old.starts_at


async def test_ending_a_hold_gives_the_task_back(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    await desk.start(task_id)
    started_at = (await desk.row(task_id)).started_at
    hold_id = await desk.place(task_id)
    desk.later(days=5)
    assert await desk.end(task_id, by=desk.ann, reason="They answered") == hold_id
    task, hold = await desk.row(task_id), await desk.hold(hold_id)
    assert (task.status, task.assigned_at, task.started_at) == ("ASSIGNED", hold.closed_at, started_at)
    assert (hold.status, hold.end_reason, hold.cancelled_by_id) == ("CANCELLED", "ENDED_EARLY", desk.ann.user_id)
    assert hold.timer_cancelled_at == hold.closed_at
    (row,) = await desk.rows(
        "SELECT * FROM task_transitions WHERE task_id = :id AND to_status = 'CANCELLED'", id=hold_id
    )
    assert (row.actor_id, row.reason) == (desk.ann.user_id, "They answered")
    async with desk.refused(Code.NO_ACTIVE_HOLD, "taskId"):
        await desk.end(task_id)


async def test_a_hold_that_runs_out_resumes_its_task(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    hold_id = await desk.place(task_id, 1)
    desk.later(hours=23, minutes=59)
    assert await desk.sweep() == 0
    desk.later(minutes=1)
    assert await desk.sweep() == 1
    task, hold = await desk.row(task_id), await desk.hold(hold_id)
    assert (task.status, task.assigned_at) == ("ASSIGNED", hold.closed_at)
    assert (hold.status, hold.end_reason, hold.cancelled_by_id) == ("COMPLETED", "EXPIRED", None)
    assert (hold.processed_at, hold.timer_cancelled_at, hold.attempts) == (hold.closed_at, None, 1)
    rows = await desk.rows("SELECT actor_id FROM task_transitions WHERE at = :at", at=hold.closed_at)
    assert [row.actor_id for row in rows] == [None, None]
    assert await desk.sweep() == 0


async def test_a_hold_of_a_no_show_completes_its_task_and_what_is_above(desk: Desk) -> None:
    above = await desk.create(desk.team, type_name="no_show")
    child = (await desk.assign(above, desk.ann)).new_task_id
    await desk.place(child, 2)
    desk.later(days=2)
    assert await desk.sweep() == 1
    assert [await desk.status(each) for each in (child, above)] == ["COMPLETED", "COMPLETED"]


async def test_a_hold_that_runs_out_beside_an_open_child_leaves_the_task_on_hold(desk: Desk) -> None:
    for type_name in ("general", "no_show"):
        task_id = await desk.create(desk.ann, type_name=type_name)
        child = await desk.create(desk.ben, below=task_id)
        hold_id = await desk.place(task_id, 2)
        desk.later(days=2)
        assert await desk.sweep() == 1
        assert (await desk.status(task_id), await desk.status(hold_id)) == ("ON_HOLD", "COMPLETED")
        await desk.complete(child)
        assert await desk.status(task_id) == "ASSIGNED"


@pytest.mark.parametrize("days", [-1, 0, 121])
async def test_a_hold_out_of_its_types_range_is_refused_and_the_range_is_named(desk: Desk, days: int) -> None:
    task_id = await desk.create(desk.ann)
    async with desk.refused(Code.HOLD_DURATION_OUT_OF_RANGE, "durationDays"):
        await desk.place(task_id, days, instructions="Why not")


async def test_holds_are_refused_where_the_type_allows_none_or_the_task_is_closed(desk: Desk) -> None:
    decision = await desk.create(desk.ann, type_name="decision")
    async with desk.refused(Code.HOLD_NOT_ALLOWED, "taskId"):
        await desk.place(decision)
    await desk.complete(decision)
    async with desk.refused(Code.TASK_CLOSED, "taskId"):
        await desk.place(decision)


async def test_closing_a_task_ends_its_hold_and_its_timer(desk: Desk) -> None:
    for close in (desk.complete, desk.cancel):
        task_id = await desk.create(desk.ann)
        hold_id = await desk.place(task_id)
        await close(task_id)
        hold = await desk.hold(hold_id)
        assert (hold.status, hold.end_reason) == ("CANCELLED", "TASK_CLOSED")
        assert hold.timer_cancelled_at == hold.closed_at == (await desk.row(task_id)).closed_at
    desk.later(days=400)
    assert await desk.sweep() == 0


async def test_a_hold_is_no_task_to_work_on(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    hold_id = await desk.place(task_id)
    for command in (desk.start, desk.complete, desk.cancel, desk.place, desk.end):
        async with desk.refused(Code.BAD_USER_INPUT, "taskId"):
            await command(hold_id)
    async with desk.refused(Code.INVALID_PARENT, "parentId"):
        await desk.create(desk.ann, below=hold_id)
