"""Many do something to one task at once: exactly one outcome, one transition for it, and nobody waits in a circle."""

import asyncio
from collections.abc import Awaitable
from uuid import UUID

import pytest

from db.errors import Code, Refused
from db.session import Database
from jobs.settings import WorkerSettings
from jobs.timers import Timers
from tests.support.tasks import Desk, a_desk
from tests.support.trees import violations


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await a_desk(database)


async def outcome(work: Awaitable[object]) -> Code | None:
    """The code of a refusal, None where it was done."""
    try:
        await work
    except Refused as refused:
        return refused.code
    return None


def timers(desk: Desk) -> Timers:
    return Timers(database=desk.database, settings=WorkerSettings())


async def test_of_twenty_holds_placed_at_once_one_is_open_and_the_others_gave_way(desk: Desk) -> None:
    task_id = await desk.create(desk.ann)
    placed = await asyncio.gather(*[desk.place(task_id, days) for days in range(10, 30)])
    holds = [await desk.hold(hold_id) for hold_id in placed]
    (last,) = [hold for hold in holds if hold.status == "ASSIGNED"]
    assert (last.end_reason, last.timer_cancelled_at) == (None, None)
    others = [hold for hold in holds if hold.id != last.id]
    assert {(hold.status, hold.end_reason) for hold in others} == {("CANCELLED", "SUPERSEDED")}
    assert all(hold.timer_cancelled_at == hold.closed_at for hold in others)
    assert await desk.history(task_id) == [(None, "ASSIGNED"), ("ASSIGNED", "ON_HOLD")]
    assert await violations(desk) == []


@pytest.mark.parametrize("_", range(5))
async def test_a_hold_that_is_ended_while_its_timer_runs_ends_once(desk: Desk, _: int) -> None:
    task_ids = [await desk.create(desk.ann) for _ in range(8)]
    holds = [await desk.place(task_id, 1) for task_id in task_ids]
    desk.later(days=1)
    *ended, _done = await asyncio.gather(*[outcome(desk.end(task_id)) for task_id in task_ids], timers(desk)())
    assert set(ended) <= {None, Code.NO_ACTIVE_HOLD}
    while await timers(desk)():
        pass
    for task_id, hold_id, code in zip(task_ids, holds, ended, strict=True):
        reason = "EXPIRED" if code is Code.NO_ACTIVE_HOLD else "ENDED_EARLY"
        assert (await desk.hold(hold_id)).end_reason == reason
        assert await desk.history(task_id) == [(None, "ASSIGNED"), ("ASSIGNED", "ON_HOLD"), ("ON_HOLD", "ASSIGNED")]
        assert len(await desk.history(hold_id)) == 2
    assert await violations(desk) == []


async def test_two_sweepers_over_fifty_due_holds_end_each_once(desk: Desk) -> None:
    await desk.crowd(50)
    desk.later(days=1)
    await asyncio.gather(timers(desk)(), timers(desk)())
    while await timers(desk)():
        pass
    rows = await desk.rows("SELECT to_status, count(*) AS n FROM task_transitions WHERE actor_id IS NULL GROUP BY 1")
    assert {row.to_status: row.n for row in rows} == {"COMPLETED": 50, "ASSIGNED": 50}
    (row,) = await desk.rows(
        "SELECT sum(attempts) AS attempts, count(*) AS n FROM task_timers WHERE processed_at IS NOT NULL"
    )
    assert (row.attempts, row.n) == (50, 50)


async def test_the_last_two_children_completed_at_once_give_the_parent_back_once(desk: Desk) -> None:
    for assignee, last in ((desk.lead, "ASSIGNED"), (desk.team, "COMPLETED")):
        parent = await desk.create(assignee)
        children = [await desk.create(whom, below=parent) for whom in (desk.ann, desk.ben)]
        done = await asyncio.gather(*[outcome(desk.complete(child)) for child in children])
        assert set(done) == {None}
        assert await desk.history(parent) == [(None, "ASSIGNED"), ("ASSIGNED", "ON_HOLD"), ("ON_HOLD", last)]


async def test_a_child_made_while_the_task_is_completed_is_either_below_an_open_task_or_not_there(desk: Desk) -> None:
    for _ in range(10):
        task_id = await desk.create(desk.ann)
        made, done = await asyncio.gather(
            outcome(desk.create(desk.ben, below=task_id)), outcome(desk.complete(task_id, by=desk.ann))
        )
        assert (made, done) in {(None, Code.OPEN_CHILDREN), (Code.TASK_CLOSED, None)}
    assert await violations(desk) == []


async def test_the_same_child_made_twice_at_once_is_made_once(desk: Desk) -> None:
    parent = await desk.create(desk.team)
    codes = await asyncio.gather(*[outcome(desk.assign(parent, desk.ann)) for _ in range(5)])
    assert sorted(codes, key=str) == [Code.DUPLICATE_TASK] * 4 + [None]


async def test_a_root_that_is_reassigned_while_others_work_below_it_loses_nobody(desk: Desk) -> None:
    """Whoever waited for the old root finds the new one."""
    for _ in range(5):
        root = await desk.create(desk.ann)
        children = [await desk.create(desk.ben, below=root, type_name=name) for name in ("general", "no_show")]
        held = await desk.place(children[0], 1)
        desk.later(days=1)

        async def sweep() -> None:
            await timers(desk)()

        codes = await asyncio.gather(
            outcome(desk.reassign(root, desk.lead)),
            outcome(desk.complete(children[1])),
            outcome(desk.create(desk.ann, below=children[0])),
            outcome(sweep()),
        )
        assert set(codes) == {None}
        while await timers(desk)():
            pass
        assert (await desk.hold(held)).status in {"COMPLETED", "CANCELLED"}
        (new,) = await desk.rows("SELECT id FROM tasks WHERE replaces_id = :id", id=root)
        # The other child stays with the old root where it was completed before.
        assert (await desk.row(children[0])).root_id == new.id
    assert await violations(desk) == []


async def test_everything_at_once_in_one_tree_ends_well(desk: Desk) -> None:
    root = await desk.create(desk.team)
    people = [desk.ann, desk.ben, desk.lead, desk.editor]
    children: list[UUID] = [(await desk.assign(root, whom)).new_task_id for whom in people]
    for child in children:
        await desk.place(child, 1)
    desk.later(days=1)

    async def sweep() -> None:
        await timers(desk)()

    works: list[Awaitable[object]] = [sweep(), sweep(), desk.place(root, 20), desk.cancel(children[0], cascade=True)]
    works += [desk.complete(child) for child in children[1:]]
    works += [desk.create(desk.stranger, below=child) for child in children]
    works += [desk.end(child) for child in children]
    codes = await asyncio.gather(*[outcome(work) for work in works])
    assert Code.CONFLICT not in codes
    while await timers(desk)():
        pass
    assert await violations(desk) == []
