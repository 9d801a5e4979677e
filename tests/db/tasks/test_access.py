"""Who may do what with a task: everybody else is refused, and whoever may not read it is told that there is none."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from db.accounts import commands as accounts
from db.accounts.rules import TeamChanges, Viewer
from db.errors import Code
from db.session import Database
from db.tasks import commands as tasks
from db.tasks.rules import HoldExpiry, HoldOnAssign, HoldPolicy
from tests.support.tasks import Desk, a_desk

Command = Callable[[Desk, UUID, Viewer], Awaitable[object]]

WORK: dict[str, Command] = {
    "start": lambda desk, task_id, by: desk.start(task_id, by=by),
    "place": lambda desk, task_id, by: desk.place(task_id, by=by),
    "end": lambda desk, task_id, by: desk.end(task_id, by=by),
    "complete": lambda desk, task_id, by: desk.complete(task_id, by=by),
}
GIVE: dict[str, Command] = {
    "create": lambda desk, task_id, by: desk.create(desk.ben, below=task_id, by=by),
    "reassign": lambda desk, task_id, by: desk.reassign(task_id, desk.ben, by=by),
}
NOTE: dict[str, Command] = {
    "update": lambda desk, task_id, by: desk.update(task_id, {}, by=by, instructions="So"),
    "cancel": lambda desk, task_id, by: desk.cancel(task_id, by=by),
}
EVERY = WORK | GIVE | NOTE


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await a_desk(database)


async def works(desk: Desk, task_id: UUID, by: Viewer) -> None:
    """Everything that whoever works on a task does with it."""
    await desk.start(task_id, by=by)
    await desk.place(task_id, by=by)
    await desk.end(task_id, by=by)
    await desk.complete(task_id, by=by, note="Done")


async def test_assignees_members_team_admins_and_admins_work_on_a_task(desk: Desk) -> None:
    for assignee, workers in (
        (desk.ann, (desk.ann, desk.lead, desk.boss)),
        (desk.team, (desk.ann, desk.ben, desk.lead, desk.boss)),
    ):
        for by in workers:
            await works(desk, await desk.create(assignee), by)


@pytest.mark.parametrize("name", EVERY)
async def test_a_stranger_is_told_that_there_is_no_such_task(desk: Desk, name: str) -> None:
    for assignee in (desk.ann, desk.team):
        task_id = await desk.create(assignee)
        path = "parentId" if name == "create" else "taskId"
        async with desk.refused(Code.NOT_FOUND, path):
            await EVERY[name](desk, task_id, desk.stranger)


@pytest.mark.parametrize("name", WORK)
async def test_whoever_may_only_read_a_task_does_not_work_on_it(desk: Desk, name: str) -> None:
    task_id = await desk.create(desk.ann, by=desk.editor)
    async with desk.refused(Code.FORBIDDEN, "taskId"):
        await WORK[name](desk, task_id, desk.editor)


@pytest.mark.parametrize("name", GIVE)
async def test_an_assignee_does_not_give_tasks_to_others(desk: Desk, name: str) -> None:
    task_id = await desk.create(desk.ann)
    async with desk.refused(Code.FORBIDDEN, "parentId" if name == "create" else "taskId"):
        await GIVE[name](desk, task_id, desk.ann)
    team_task = await desk.create(desk.team)
    async with desk.refused(Code.FORBIDDEN, "taskId"):
        await desk.assign(team_task, desk.ben, by=desk.ann)


async def test_a_teams_admins_give_tasks_inside_their_team_only(desk: Desk) -> None:
    for whom in (desk.ann, desk.team):
        task_id = await desk.create(whom, by=desk.lead)
        child = await desk.create(desk.ben, below=task_id, by=desk.lead)
        async with desk.refused(Code.FORBIDDEN, "assigneeId"):
            await desk.reassign(child, desk.stranger, by=desk.lead)
        await desk.reassign(child, desk.lead, by=desk.lead)
    team_task = await desk.create(desk.team)
    async with desk.refused(Code.FORBIDDEN, "assigneeId"):
        await desk.assign(team_task, desk.stranger, by=desk.lead)
    for whom in (desk.stranger, desk.other_team):
        async with desk.refused(Code.FORBIDDEN, "assigneeId"):
            await desk.create(whom, by=desk.lead)
    theirs = await desk.create(desk.stranger)
    async with desk.refused(Code.NOT_FOUND, "taskId"):
        await desk.cancel(theirs, by=desk.lead)


async def test_a_member_makes_no_tasks(desk: Desk) -> None:
    for whom in (desk.ann, desk.team, desk.stranger):
        async with desk.refused(Code.FORBIDDEN, "assigneeId"):
            await desk.create(whom, by=desk.ann)


async def test_whoever_gave_a_task_may_cancel_and_correct_it(desk: Desk) -> None:
    task_id = await desk.create(desk.ann, by=desk.editor)
    await desk.update(task_id, {"title": "Better"}, by=desk.editor)
    await desk.cancel(task_id, by=desk.editor)
    for by in (desk.ann, desk.lead, desk.boss):
        await desk.cancel(await desk.create(desk.ann), by=by)


async def test_rights_end_with_the_membership(desk: Desk) -> None:
    task_id = await desk.create(desk.team)
    async with desk.database.transaction() as tx:
        changes = TeamChanges(remove_members=[desk.ann.user_id])
        await accounts.update_team(
            tx, actor=desk.boss, team_id=desk.team, name=None, is_named=False, changes=changes, now=tx.now
        )
    async with desk.refused(Code.NOT_FOUND, "taskId"):
        await desk.start(task_id, by=desk.ann)


# --- types of tasks ---------------------------------------------------------------------------------------------------

POLICY = HoldPolicy(2, 10, [5, 3], HoldExpiry.COMPLETE, HoldOnAssign.MOVE, note_required=True)


async def upsert(desk: Desk, name: str, label: str, hold: HoldPolicy | None, *, by: Viewer | None = None) -> bool:
    async with desk.database.transaction() as tx:
        return await tasks.upsert_task_type(tx, actor=by or desk.boss, name=name, label=label, hold=hold)


async def test_a_type_is_made_and_changed_and_its_running_holds_stay(desk: Desk) -> None:
    assert await upsert(desk, "callback", "Call back", POLICY)
    task_id = await desk.create(desk.ann, type_name="callback")
    async with desk.refused(Code.BAD_USER_INPUT, "instructions"):
        await desk.place(task_id, 5, instructions=" ")
    hold_id = await desk.place(task_id, 5, instructions="They are away")
    assert not await upsert(desk, "callback", "Ring back", None)
    assert (await desk.hold(hold_id)).status == "ASSIGNED"
    async with desk.refused(Code.HOLD_NOT_ALLOWED, "taskId"):
        await desk.place(task_id, 5, instructions="Again")
    desk.later(days=5)
    await desk.sweep()
    assert await desk.status(task_id) == "ASSIGNED", "without a policy a hold that runs out resumes its task"


async def test_types_are_an_admins_to_change(desk: Desk) -> None:
    async with desk.refused(Code.FORBIDDEN):
        await upsert(desk, "callback", "Call back", None, by=desk.editor)


@pytest.mark.parametrize(
    ("name", "label", "hold", "path"),
    [
        ("Call back", "Call back", None, ("name",)),
        ("callback", " ", None, ("label",)),
        ("timed_hold", "Hold", POLICY, ("hold",)),
        ("x", "X", HoldPolicy(0, 10, [], HoldExpiry.RESUME, HoldOnAssign.CANCEL, False), ("hold", "minDays")),
        ("x", "X", HoldPolicy(5, 4, [], HoldExpiry.RESUME, HoldOnAssign.CANCEL, False), ("hold", "maxDays")),
        ("x", "X", HoldPolicy(1, 9, [3, 10], HoldExpiry.RESUME, HoldOnAssign.CANCEL, False), ("hold", "presets", "1")),
        ("x", "X", HoldPolicy(1, 9, [3, 3], HoldExpiry.RESUME, HoldOnAssign.CANCEL, False), ("hold", "presets", "1")),
    ],
)
async def test_a_type_that_makes_no_sense_is_refused(
    desk: Desk, name: str, label: str, hold: HoldPolicy | None, path: tuple[str, ...]
) -> None:
    async with desk.refused(Code.BAD_USER_INPUT, *path):
        await upsert(desk, name, label, hold)
