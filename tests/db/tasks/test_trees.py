"""Trees of tasks: what opens and closes with what, and who takes what along."""

from datetime import timedelta

import pytest

from db.errors import Code
from db.session import Database
from db.tasks.rules import MOST_LEVELS
from tests.support.people import person
from tests.support.tasks import Desk, a_desk


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await a_desk(database)


async def test_a_child_puts_its_parent_on_hold_and_gives_it_back_when_it_closes(desk: Desk) -> None:
    for close in (desk.complete, desk.cancel):
        parent = await desk.create(desk.ann)
        await desk.start(parent)
        child = await desk.create(desk.ben, below=parent)
        row = await desk.row(child)
        assert (row.parent_id, row.root_id, row.status) == (parent, parent, "ASSIGNED")
        assert await desk.status(parent) == "ON_HOLD"
        desk.later(hours=1)
        await close(child)
        after = await desk.row(parent)
        assert (after.status, after.assigned_at) == ("ASSIGNED", (await desk.row(child)).closed_at)
        assert after.started_at < after.assigned_at
        assert await desk.history(parent) == [
            (None, "ASSIGNED"),
            ("ASSIGNED", "IN_PROGRESS"),
            ("IN_PROGRESS", "ON_HOLD"),
            ("ON_HOLD", "ASSIGNED"),
        ]


async def test_a_parent_waits_for_the_last_of_its_children(desk: Desk) -> None:
    parent = await desk.create(desk.ann)
    first, second = await desk.create(desk.ben, below=parent), await desk.create(desk.lead, below=parent)
    await desk.complete(first)
    assert await desk.status(parent) == "ON_HOLD"
    await desk.complete(second)
    assert await desk.status(parent) == "ASSIGNED"


async def test_a_new_child_ends_the_hold_of_its_parent_which_stays_on_hold(desk: Desk) -> None:
    parent = await desk.create(desk.ann)
    hold_id = await desk.place(parent)
    child = await desk.create(desk.ben, below=parent)
    hold = await desk.hold(hold_id)
    assert (hold.status, hold.end_reason, hold.timer_cancelled_at) == ("CANCELLED", "CHILD_CREATED", hold.closed_at)
    assert await desk.history(parent) == [(None, "ASSIGNED"), ("ASSIGNED", "ON_HOLD")]
    await desk.complete(child)
    assert await desk.status(parent) == "ASSIGNED"


async def test_a_hold_beside_an_open_child_must_close_too(desk: Desk) -> None:
    parent = await desk.create(desk.ann)
    child = await desk.create(desk.ben, below=parent)
    await desk.place(parent)
    await desk.end(parent)
    assert await desk.status(parent) == "ON_HOLD"
    hold_id = await desk.place(parent)
    await desk.complete(child)
    assert (await desk.status(parent), await desk.status(hold_id)) == ("ON_HOLD", "ASSIGNED")
    await desk.end(parent)
    assert await desk.status(parent) == "ASSIGNED"


@pytest.mark.parametrize(("last", "above"), [("complete", "COMPLETED"), ("cancel", "CANCELLED")])
async def test_a_teams_task_ends_with_its_last_child_of_its_own_type(desk: Desk, last: str, above: str) -> None:
    parent = await desk.create(desk.team)
    children = [(await desk.assign(parent, whom)).new_task_id for whom in (desk.ann, desk.ben)]
    await desk.cancel(children[0])
    assert await desk.status(parent) == "ON_HOLD"
    await getattr(desk, last)(children[1])
    row = await desk.row(parent)
    assert (row.status, row.closed_at) == (above, (await desk.row(children[1])).closed_at)


async def test_holds_are_left_out_when_a_teams_task_ends_with_its_children(desk: Desk) -> None:
    """A hold that was completed is no child that was done."""
    parent = await desk.create(desk.team)
    await desk.place(parent, 1)
    desk.later(days=1)
    await desk.sweep()
    child = (await desk.assign(parent, desk.ann)).new_task_id
    await desk.cancel(child)
    assert await desk.status(parent) == "CANCELLED"


async def test_a_teams_task_goes_on_after_a_child_of_another_type_or_a_hold(desk: Desk) -> None:
    parent = await desk.create(desk.team)
    child = await desk.create(desk.ann, type_name="decision", below=parent)
    await desk.complete(child)
    assert await desk.status(parent) == "ASSIGNED"
    await desk.place(parent)
    await desk.end(parent)
    assert await desk.status(parent) == "ASSIGNED"


async def test_closing_climbs_through_teams_and_stops_at_a_person(desk: Desk) -> None:
    top = await desk.create(desk.ann)
    middle = await desk.create(desk.team, below=top)
    lower = await desk.create(desk.other_team, below=middle)
    leaf = (await desk.assign(lower, desk.ben)).new_task_id
    assert (await desk.row(leaf)).root_id == top
    await desk.complete(leaf)
    assert [await desk.status(each) for each in (leaf, lower, middle, top)] == [
        "COMPLETED",
        "COMPLETED",
        "COMPLETED",
        "ASSIGNED",
    ]


async def test_what_the_status_does_not_allow_is_refused(desk: Desk) -> None:
    parent = await desk.create(desk.ann)
    await desk.start(parent)
    async with desk.refused(Code.INVALID_TRANSITION, "taskId"):
        await desk.start(parent)
    child = await desk.create(desk.ben, below=parent)
    async with desk.refused(Code.TASK_ON_HOLD, "taskId"):
        await desk.start(parent)
    for close in (desk.complete, desk.cancel):
        async with desk.refused(Code.OPEN_CHILDREN, "taskId"):
            await close(parent)
    await desk.complete(child)
    await desk.complete(parent)
    for command in (desk.start, desk.complete, desk.cancel, desk.place, desk.end):
        async with desk.refused(Code.TASK_CLOSED, "taskId"):
            await command(parent)
    async with desk.refused(Code.TASK_CLOSED, "taskId"):
        await desk.reassign(parent, desk.ben)
    async with desk.refused(Code.TASK_CLOSED, "taskId"):
        await desk.update(parent, {"title": "Other"})
    async with desk.refused(Code.TASK_CLOSED, "parentId"):
        await desk.create(desk.ben, below=parent)


async def test_a_task_that_only_a_hold_holds_may_be_closed(desk: Desk) -> None:
    for close, status in ((desk.complete, "COMPLETED"), (desk.cancel, "CANCELLED")):
        task_id = await desk.create(desk.ann)
        await desk.place(task_id)
        await close(task_id)
        assert await desk.status(task_id) == status


async def test_a_cascade_cancels_what_is_open_below_and_nothing_beside_or_above(desk: Desk) -> None:
    top = await desk.create(desk.lead)
    beside = await desk.create(desk.ben, below=top)
    task_id = await desk.create(desk.ann, below=top)
    done = await desk.create(desk.ben, below=task_id)
    await desk.complete(done)
    below = await desk.create(desk.ben, below=task_id)
    deep = await desk.create(desk.ann, below=below)
    hold_id = await desk.place(deep)
    own_hold = await desk.place(task_id)
    before = await desk.row(done)
    assert await desk.cancel(task_id, cascade=True, reason="Not any more") == 2
    for each in (task_id, below, deep):
        row = await desk.row(each)
        assert (row.status, row.cancelled_by_id) == ("CANCELLED", desk.boss.user_id)
        assert await desk.notes(each) == ["Not any more"]
        assert (await desk.history(each))[-1] == ("ON_HOLD", "CANCELLED")
    for each in (hold_id, own_hold):
        hold = await desk.hold(each)
        assert (hold.status, hold.end_reason, hold.timer_cancelled_at) == ("CANCELLED", "TASK_CLOSED", hold.closed_at)
        assert await desk.history(each) == [(None, "ASSIGNED"), ("ASSIGNED", "CANCELLED")]
    assert await desk.row(done) == before
    assert (await desk.status(beside), await desk.status(top)) == ("ASSIGNED", "ON_HOLD")
    await desk.complete(beside)
    assert await desk.status(top) == "ASSIGNED"


async def test_assigning_a_teams_task_makes_a_child_for_the_person(desk: Desk) -> None:
    team_task = await desk.create(desk.team, title="Answer the letter")
    hold_id = await desk.place(team_task)
    made = await desk.assign(team_task, desk.ann, by=desk.lead, instructions="Please")
    child = await desk.row(made.new_task_id)
    assert (child.type_name, child.title, child.parent_id, child.status) == (
        "general",
        "Answer the letter",
        team_task,
        "ASSIGNED",
    )
    assert (child.assignee_user_id, child.assigned_by_id) == (desk.ann.user_id, desk.lead.user_id)
    assert await desk.notes(child.id) == ["Please"]
    assert (await desk.hold(hold_id)).end_reason == "CHILD_CREATED"
    assert await desk.status(team_task) == "ON_HOLD"


async def test_a_hold_goes_along_where_the_type_says_so(desk: Desk) -> None:
    team_task = await desk.create(desk.team, type_name="response_window")
    hold_id = await desk.place(team_task, 45)
    before = await desk.hold(hold_id)
    desk.later(days=5)
    made = await desk.assign(team_task, desk.ann)
    hold, child = await desk.hold(hold_id), await desk.row(made.new_task_id)
    assert (hold.parent_id, hold.root_id, hold.assignee_user_id, hold.assignee_team_id) == (
        child.id,
        team_task,
        desk.ann.user_id,
        None,
    )
    assert (hold.status, hold.ends_at, hold.timer_due_at) == ("ASSIGNED", before.ends_at, before.ends_at)
    assert [await desk.status(each) for each in (child.id, team_task)] == ["ON_HOLD", "ON_HOLD"]
    assert await desk.history(child.id) == [(None, "ASSIGNED"), ("ASSIGNED", "ON_HOLD")]
    desk.later(days=40)
    assert await desk.sweep() == 1
    assert [await desk.status(each) for each in (child.id, team_task)] == ["ASSIGNED", "ON_HOLD"]


async def test_only_a_teams_task_is_assigned_and_only_to_a_person(desk: Desk) -> None:
    own, team_task = await desk.create(desk.ann), await desk.create(desk.team)
    async with desk.refused(Code.BAD_USER_INPUT, "taskId"):
        await desk.assign(own, desk.ben)
    async with desk.refused(Code.BAD_USER_INPUT, "assigneeId"):
        await desk.assign(team_task, desk.other_team)


async def test_reassigning_puts_a_sibling_in_the_old_ones_place(desk: Desk) -> None:
    top = await desk.create(desk.lead)
    task_id = await desk.create(desk.ann, below=top, instructions="First")
    await desk.start(task_id)
    done = await desk.create(desk.ben, below=task_id)
    await desk.complete(done)
    child = await desk.create(desk.ben, below=task_id)
    hold_id = await desk.place(task_id, instructions="Second")
    ends_at = (await desk.hold(hold_id)).ends_at
    old = await desk.row(task_id)
    desk.later(days=1)
    made = await desk.reassign(task_id, desk.ben, by=desk.editor, instructions="Third")
    new, after = await desk.row(made.new_task_id), await desk.row(task_id)
    assert (new.status, new.parent_id, new.root_id, new.replaces_id) == ("ON_HOLD", top, top, task_id)
    assert (new.title, new.type_name, new.started_at, new.placed_on_hold_at) == (
        old.title,
        old.type_name,
        old.started_at,
        old.placed_on_hold_at,
    )
    assert (new.assignee_user_id, new.assigned_by_id) == (desk.ben.user_id, desk.editor.user_id)
    assert (after.status, after.cancelled_by_id) == ("CANCELLED", desk.editor.user_id)
    assert (await desk.row(child)).parent_id == new.id
    assert (await desk.row(done)).parent_id == task_id
    hold = await desk.hold(hold_id)
    assert (hold.parent_id, hold.assignee_user_id, hold.status, hold.ends_at) == (
        new.id,
        desk.ben.user_id,
        "ASSIGNED",
        ends_at,
    )
    assert await desk.notes(new.id) == ["First", "Second", "Third"]
    assert await desk.history(new.id) == [(None, "ON_HOLD")]
    assert await desk.status(top) == "ON_HOLD"


async def test_a_root_that_is_reassigned_takes_its_tree_along(desk: Desk) -> None:
    root = await desk.create(desk.ann)
    child = await desk.create(desk.ben, below=root)
    deep = await desk.create(desk.ann, below=child)
    hold_id = await desk.place(deep, 1)
    new = (await desk.reassign(root, desk.team)).new_task_id
    rows = [await desk.row(each) for each in (child, deep, hold_id)]
    assert [(row.root_id, row.parent_id) for row in rows] == [(new, new), (new, child), (new, deep)]
    desk.later(days=1)
    assert await desk.sweep() == 1
    await desk.complete(deep)
    await desk.complete(child)
    assert await desk.status(new) == "COMPLETED"


async def test_one_open_task_of_a_type_for_an_assignee_below_a_task(desk: Desk) -> None:
    parent = await desk.create(desk.team)
    child = await desk.create(desk.ann, below=parent)
    async with desk.refused(Code.DUPLICATE_TASK, "assigneeId"):
        await desk.create(desk.ann, below=parent)
    async with desk.refused(Code.DUPLICATE_TASK, "assigneeId"):
        await desk.assign(parent, desk.ann)
    other = await desk.create(desk.ben, below=parent)
    async with desk.refused(Code.DUPLICATE_TASK, "assigneeId"):
        await desk.reassign(other, desk.ann)
    async with desk.refused(Code.DUPLICATE_TASK, "assigneeId"):
        await desk.reassign(other, desk.ben)
    await desk.create(desk.ann, below=parent, type_name="decision")
    await desk.complete(child)
    await desk.create(desk.ann, below=parent)


async def test_nobody_gets_a_task_who_is_inactive_or_unknown(desk: Desk) -> None:
    gone = await person(desk.database, "Gone", is_active=False)
    task_id, team_task = await desk.create(desk.ann), await desk.create(desk.team)
    async with desk.refused(Code.ASSIGNEE_INACTIVE, "assigneeId"):
        await desk.create(gone)
    async with desk.refused(Code.ASSIGNEE_INACTIVE, "assigneeId"):
        await desk.assign(team_task, gone)
    async with desk.refused(Code.ASSIGNEE_INACTIVE, "assigneeId"):
        await desk.reassign(task_id, gone)
    async with desk.refused(Code.NOT_FOUND, "assigneeId"):
        await desk.create(task_id)


async def test_a_new_task_has_a_known_type_a_title_and_dates_in_order(desk: Desk) -> None:
    (now,) = await desk.rows("SELECT now() AS at")
    day = timedelta(days=1)
    async with desk.refused(Code.BAD_USER_INPUT, "type"):
        await desk.create(desk.ann, type_name="timed_hold")
    async with desk.refused(Code.BAD_USER_INPUT, "type"):
        await desk.create(desk.ann, type_name="unheard_of")
    async with desk.refused(Code.BAD_USER_INPUT, "title"):
        await desk.create(desk.ann, title="  ")
    async with desk.refused(Code.DATES_OUT_OF_ORDER, "closesAt"):
        await desk.create(desk.ann, opens_at=now.at + day, closes_at=now.at)
    task_id = await desk.create(desk.ann, opens_at=now.at + day, due_at=now.at + day, closes_at=now.at + day)
    async with desk.refused(Code.TASK_NOT_OPEN, "taskId"):
        await desk.start(task_id)


async def test_a_tree_has_a_depth_that_it_does_not_exceed(desk: Desk) -> None:
    deepest = await desk.create(desk.ann)
    for _ in range(MOST_LEVELS - 1):
        deepest = await desk.create(desk.ann, below=deepest)
    async with desk.refused(Code.INVALID_PARENT, "parentId"):
        await desk.create(desk.ann, below=deepest)


async def test_title_and_dates_change_and_notes_are_only_added(desk: Desk) -> None:
    (now,) = await desk.rows("SELECT now() AS at")
    task_id = await desk.create(desk.ann, instructions="One", due_at=now.at)
    before = await desk.row(task_id)
    await desk.update(task_id, {"title": " Other ", "due_at": None}, instructions="Two")
    await desk.update(task_id, {}, by=desk.ann, instructions="  ")
    row = await desk.row(task_id)
    assert (row.title, row.due_at, row.status, row.version) == ("Other", None, before.status, before.version + 1)
    assert await desk.notes(task_id) == ["One", "Two"]
    async with desk.refused(Code.BAD_USER_INPUT, "title"):
        await desk.update(task_id, {"title": None})
    async with desk.refused(Code.DATES_OUT_OF_ORDER, "dueAt"):
        await desk.update(task_id, {"opens_at": now.at, "due_at": now.at - timedelta(days=1)})
    async with desk.refused(Code.FORBIDDEN, "title"):
        await desk.update(task_id, {"title": "Mine"}, by=desk.ann)
