"""What is read of tasks: queues, lists, holds, and what a viewer may do; in how many statements."""

from typing import Any
from uuid import UUID

import pytest

from db.accounts.queries import TEAM
from db.accounts.rules import Viewer
from db.reading import Entity, Reading, Want, want
from db.session import Database
from db.tasks.queries import (
    QUEUES,
    TEAM_QUEUES,
    TIMED_HOLD,
    WORK_TASK,
    TaskCounts,
    TaskHealth,
    own_counts,
    queue_versions,
    task_health,
    task_version,
    tasks_page,
)
from db.tasks.rules import QueueTab, TaskAction, TeamTab
from tests.support.tasks import Desk, a_desk

A = TaskAction
NAME = want("name").wants
SCREEN = (
    Want("title"),
    Want("status"),
    Want("available_actions"),
    Want("is_overdue"),
    Want("type", want("name", "hold").wants),
    Want("assigned_to", NAME),
    Want("assigned_by", NAME),
    Want("parent", want("title").wants),
    Want("active_hold", (Want("ends_at"), Want("days_elapsed"), Want("timer", want("due_at", "last_error").wants))),
    Want("plan", want("title").wants),
)

# What a list of tasks and holds asks of each.
LISTED = (
    Want("title"),
    Want("assigned_to", NAME),
    Want("available_actions", on=frozenset({"WorkTask"})),
    Want("ends_at", on=frozenset({"TimedHoldTask"})),
)


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await a_desk(database)


def reading(desk: Desk, viewer: Viewer) -> Reading:
    return Reading(desk.database.reader, viewer)


async def one(desk: Desk, viewer: Viewer, entity: Entity, wanted: Want, key: UUID) -> Any:
    return await reading(desk, viewer).one(entity, wanted, key)


async def queue(desk: Desk, viewer: Viewer, tab: QueueTab, *wants: Want, **args: Any) -> Any:
    wanted = Want("", wants or SCREEN, args)
    found = await reading(desk, viewer).below(WORK_TASK, wanted, QUEUES[tab], [viewer.user_id], name=f"q.{tab}")
    return found[viewer.user_id]


async def team_queue(desk: Desk, viewer: Viewer, tab: TeamTab, **args: Any) -> list[UUID]:
    wanted = Want("", SCREEN, args)
    found = await reading(desk, viewer).below(WORK_TASK, wanted, TEAM_QUEUES[tab], [desk.team], name=f"t.{tab}")
    return [row.id for row in found[desk.team].nodes]


async def listed(desk: Desk, viewer: Viewer, **args: Any) -> list[UUID]:
    page = await tasks_page(reading(desk, viewer), Want("", LISTED, args))
    return [row.id for row in page.nodes]


async def actions(desk: Desk, viewer: Viewer, task_id: UUID) -> list[TaskAction]:
    row = await one(desk, viewer, WORK_TASK, want("available_actions"), task_id)
    return list(row.available_actions)


async def test_a_persons_queue_has_its_tabs_in_their_orders(desk: Desk) -> None:
    first, second = await desk.create(desk.ann), await desk.create(desk.ann)
    long, short, waiting, done = [await desk.create(desk.ann) for _ in range(4)]
    await desk.place(long, 60)
    await desk.place(short, 30)
    await desk.create(desk.ben, below=waiting)
    await desk.complete(done)

    async def ids(tab: QueueTab, **args: Any) -> list[UUID]:
        return [row.id for row in (await queue(desk, desk.ann, tab, **args)).nodes]

    assert await ids(QueueTab.ASSIGNED) == [second, first]
    assert await ids(QueueTab.ON_HOLD) == [short, long, waiting]
    assert await ids(QueueTab.COMPLETED) == [done]
    assert await ids(QueueTab.ON_HOLD, order_by="CREATED_DESC") == [waiting, short, long]
    assert await own_counts(reading(desk, desk.ann)) == TaskCounts(0, 2, 3, 1, 0)
    desk.later(days=8)
    assert await ids(QueueTab.COMPLETED) == []
    assert (await own_counts(reading(desk, desk.ann))).completed == 0


async def test_pages_of_every_order_follow_each_other_without_gap_or_repeat(desk: Desk) -> None:
    (now,) = await desk.rows("SELECT now() AS at")
    task_ids = {await desk.create(desk.ann, due_at=now.at if number % 2 else None) for number in range(7)}
    for task_id in list(task_ids)[:4]:
        await desk.place(task_id, 30)
    orders = ["CREATED_ASC", "CREATED_DESC", "DUE_ASC", "DUE_DESC", "HOLD_ENDS_ASC", "ASSIGNED_ASC", "ASSIGNED_DESC"]
    for order in [*orders, "CLOSED_DESC"]:
        whole = await listed(desk, desk.boss, order_by=order, assignee_id=desk.ann.user_id)
        seen: list[UUID] = []
        after = None
        while True:
            args = {"order_by": order, "first": 2, "after": after, "assignee_id": desk.ann.user_id}
            page = await tasks_page(reading(desk, desk.boss), Want("", LISTED, args))
            seen += [row.id for row in page.nodes]
            if not page.has_next_page:
                break
            after = page.cursors[-1]
        assert seen == whole
        assert set(seen) == task_ids


async def test_the_tabs_of_a_team_never_overlap_and_their_counts_add_up(desk: Desk) -> None:
    free, started, held, both, given, done = [await desk.create(desk.team) for _ in range(6)]
    await desk.start(started)
    await desk.place(held)
    await desk.assign(given, desk.ann)
    await desk.create(desk.ben, below=both)
    await desk.place(both)
    await desk.cancel(done)
    assert await team_queue(desk, desk.ann, TeamTab.UNASSIGNED) == [started, free]
    assert await team_queue(desk, desk.ann, TeamTab.ASSIGNED) == [given]
    assert await team_queue(desk, desk.ann, TeamTab.ON_HOLD) == [held, both]
    assert await team_queue(desk, desk.ann, TeamTab.COMPLETED) == [done]
    wanted = want("task_counts")
    for viewer, counts in ((desk.ann, TaskCounts(2, 1, 2, 1, 0)), (desk.editor, TaskCounts(2, 1, 2, 1, 0))):
        assert (await one(desk, viewer, TEAM, wanted, desk.team)).task_counts == counts
    (other,) = (await reading(desk, desk.boss).by_ids(TEAM, wanted, [desk.other_team])).values()
    assert other.task_counts == TaskCounts(0, 0, 0, 0, 0)


@pytest.mark.parametrize("count", [1, 4])
async def test_a_queue_costs_the_same_statements_whatever_its_length(desk: Desk, count: int) -> None:
    parent = await desk.create(desk.lead)
    for number in range(count):
        task_id = await desk.create(desk.ann, below=parent, type_name="general" if number == 0 else "decision")
        await desk.complete(task_id)
        await desk.place(await desk.create(desk.ann))
        await desk.create(desk.ann)
    for tab in QueueTab:
        before = desk.database.reader.statements
        assert (await queue(desk, desk.ann, tab)).nodes
        assert desk.database.reader.statements - before == 1


async def test_a_hold_shows_its_days_its_timer_and_why_it_ended(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    first = await desk.place(task_id, 30, instructions="Wait")
    desk.later(days=3, hours=5)
    second = await desk.place(task_id, 60, by=desk.ann)
    desk.later(days=2)
    hold = want(
        "duration_days", "starts_at", "ends_at", "end_reason", "days_elapsed", "status", "instructions", "is_root"
    )
    timer = Want(
        "timer", want("due_at", "attempts", "next_attempt_at", "last_error", "processed_at", "cancelled_at").wants
    )
    wanted = Want("", (Want("holds", (*hold.wants, timer)), Want("active_hold", (*hold.wants, timer))))
    row = await one(desk, desk.ann, WORK_TASK, wanted, task_id)
    assert [(each.id, each.end_reason, each.days_elapsed, each.status) for each in row.holds] == [
        (second, None, 2, "ASSIGNED"),
        (first, "SUPERSEDED", 3, "CANCELLED"),
    ]
    assert row.active_hold == row.holds[0]
    assert row.active_hold.timer.due_at == row.active_hold.ends_at
    assert row.holds[1].timer.cancelled_at is not None
    assert row.holds[1].instructions == ["Wait"]
    own = await one(desk, desk.ann, TIMED_HOLD, Want("", (Want("parent", want("title").wants),)), second)
    assert own.parent.title == "Write it"
    assert await one(desk, desk.stranger, TIMED_HOLD, hold, second) is None


async def test_what_failed_is_told_to_operators_only(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    await desk.place(task_id)
    await desk.rows_of("UPDATE task_timers SET last_error = 'boom', attempts = 1, next_attempt_at = now()")
    wanted = Want("", (Want("active_hold", (Want("timer", want("last_error", "attempts").wants),)),))
    for viewer, told in ((desk.ann, None), (desk.boss, "boom")):
        row = await one(desk, viewer, WORK_TASK, wanted, task_id)
        assert (row.active_hold.timer.last_error, row.active_hold.timer.attempts) == (told, 1)


async def test_actions_are_those_that_this_viewer_may_take_now(desk: Desk) -> None:
    task_id = await desk.create(desk.ann, by=desk.editor)
    assert await actions(desk, desk.ann, task_id) == [A.START, A.COMPLETE, A.PLACE_HOLD, A.ADD_NOTE, A.CANCEL]
    assert await actions(desk, desk.editor, task_id) == [A.CREATE_CHILD, A.REASSIGN, A.UPDATE, A.CANCEL]
    await desk.place(task_id)
    assert await actions(desk, desk.ann, task_id) == [A.COMPLETE, A.END_HOLD, A.ADD_NOTE, A.CANCEL]
    child = await desk.create(desk.ben, below=task_id)
    assert await actions(desk, desk.ann, task_id) == [A.PLACE_HOLD, A.ADD_NOTE, A.CANCEL]
    await desk.complete(child)
    await desk.complete(task_id)
    assert await actions(desk, desk.boss, task_id) == []
    team_task = await desk.create(desk.team)
    assert A.ASSIGN in await actions(desk, desk.lead, team_task)
    assert A.ASSIGN not in await actions(desk, desk.ben, team_task)
    decision = await desk.create(desk.ann, type_name="decision")
    assert A.PLACE_HOLD not in await actions(desk, desk.ann, decision)


async def test_holds_are_listed_only_where_they_are_asked_for(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    hold_id = await desk.place(task_id, 1)
    assert await listed(desk, desk.boss) == [task_id]
    assert await listed(desk, desk.boss, types=["timed_hold"]) == [hold_id]
    assert await listed(desk, desk.boss, types=["timed_hold", "general"]) == [hold_id, task_id]
    assert await listed(desk, desk.ann, types=["timed_hold", "general"], order_by="CREATED_ASC") == [task_id, hold_id]
    assert await listed(desk, desk.stranger, types=["timed_hold", "general"]) == []
    assert await listed(desk, desk.boss, overdue_timers_only=True) == []
    desk.later(days=1)
    assert await listed(desk, desk.boss, overdue_timers_only=True) == [hold_id]
    page = await tasks_page(reading(desk, desk.boss), Want("", LISTED, {"types": ["timed_hold", "general"]}))
    assert [row.type_name for row in page.nodes] == ["TimedHoldTask", "WorkTask"]
    assert [row.id for row in (await queue(desk, desk.ann, QueueTab.ON_HOLD, overdue_timers_only=True)).nodes] == [
        task_id
    ]


async def test_filters_are_joined_by_and(desk: Desk) -> None:
    (now,) = await desk.rows("SELECT now() AS at")
    root = await desk.create(desk.team, title="Alpha")
    child = await desk.create(desk.ann, below=root, title="Beta 100%", due_at=now.at)
    deep = await desk.create(desk.ben, below=child, title="Gamma", type_name="decision")
    await desk.create(desk.ben, title="Delta")
    desk.later(hours=1)
    assert await listed(desk, desk.boss, root_id=root) == [deep, child, root]
    assert await listed(desk, desk.boss, root_id=root, statuses=["ON_HOLD"]) == [child, root]
    assert await listed(desk, desk.boss, root_id=root, types=["decision"]) == [deep]
    assert await listed(desk, desk.boss, search="100%") == [child]
    assert await listed(desk, desk.boss, overdue_only=True) == [child]
    assert await listed(desk, desk.boss, due_before=now.at) == []
    assert await listed(desk, desk.boss, due_from=now.at, assignee_id=desk.ann.user_id) == [child]
    assert await listed(desk, desk.boss, assignee_id=desk.team) == [root]
    assert await listed(desk, desk.boss, plan_id=root) == []


async def test_everybody_sees_the_tasks_that_concern_them(desk: Desk) -> None:
    team_task = await desk.create(desk.team)
    own = await desk.create(desk.ann, by=desk.editor)
    given = await desk.create(desk.ben, by=desk.lead)
    assert await listed(desk, desk.boss) == await listed(desk, desk.editor) == [given, own, team_task]
    assert await listed(desk, desk.lead) == [given, own, team_task]
    assert await listed(desk, desk.ann) == [own, team_task]
    assert await listed(desk, desk.ben) == [given, team_task]
    assert await listed(desk, desk.stranger) == []


async def test_a_task_knows_the_root_of_its_tree(desk: Desk) -> None:
    root = await desk.create(desk.ann, title="Top")
    child = await desk.create(desk.ben, below=root)
    deep = await desk.create(desk.ann, below=child)
    wanted = Want("", (Want("root", want("title").wants), Want("is_root")))
    rows = await reading(desk, desk.ann).by_ids(WORK_TASK, wanted, [root, deep])
    assert [(rows[each].root.id, rows[each].root.title, rows[each].is_root) for each in (root, deep)] == [
        (root, "Top", True),
        (root, "Top", False),
    ]
    assert (await one(desk, desk.ben, WORK_TASK, wanted, child)).root is None


async def test_two_looks_at_a_queue_tell_what_entered_changed_and_left(desk: Desk) -> None:
    first, second, third = [await desk.create(desk.ann) for _ in range(3)]
    before = await queue_versions(reading(desk, desk.ann))
    assert set(before) == {first, second, third}
    await desk.start(first)
    await desk.rows_of("UPDATE tasks SET assignee_user_id = :id WHERE id = :task", id=desk.ben.user_id, task=second)
    fourth = await desk.create(desk.ann)
    after = await queue_versions(reading(desk, desk.ann))
    assert set(after) - set(before) == {fourth}
    assert set(before) - set(after) == {second}
    assert [key for key in before if after.get(key, before[key]) != before[key]] == [first]
    assert await queue_versions(reading(desk, desk.lead), team_id=desk.team) == {}
    version = await task_version(reading(desk, desk.ann), first)
    await desk.place(first)
    await desk.place(first)
    assert await task_version(reading(desk, desk.ann), first) == (version or 0) + 2
    assert await task_version(reading(desk, desk.stranger), first) is None


async def test_health_counts_what_does_not_fit_together(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    await desk.place(task_id, 1)
    assert await task_health(reading(desk, desk.boss)) == TaskHealth(0, 0, 0, 0)
    desk.later(days=1, seconds=11)
    await desk.rows_of("UPDATE task_timers SET last_error = 'boom'")
    assert await task_health(reading(desk, desk.boss)) == TaskHealth(1, 0, 0, 1)
    await desk.rows_of("UPDATE tasks SET status = 'ASSIGNED' WHERE id = :id", id=task_id)
    lost = await desk.create(desk.ann)
    await desk.rows_of("UPDATE tasks SET status = 'ON_HOLD', placed_on_hold_at = now() WHERE id = :id", id=lost)
    assert await task_health(reading(desk, desk.boss)) == TaskHealth(1, 1, 1, 1)
