"""`taskChanged` and `queueChanged`: what they tell, to whom, and that a lost hint costs time only."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from db.accounts.rules import Role, Viewer
from db.feed import Feed
from db.session import Database
from db.settings import DatabaseSettings
from db.tasks.queries import MOST_WATCHED
from db.tasks.rules import task_topic
from resolvers import watching
from resolvers.context import Context
from resolvers.tasks.subscriptions.queues import QueueChangeType, Seat, differences, joined, queue_of
from tests.support.api import id_of
from tests.support.facts import PATIENCE_SECONDS
from tests.support.outages import far_away
from tests.support.people import person
from tests.support.plans import a_world
from tests.support.streams import Stream, stream
from tests.support.tasks import Desk
from tests.support.workers import until

TASK = """
subscription ($id: ID!) {
  taskChanged(taskId: $id) {
    status
    ... on WorkTask { activeHold { durationDays } children { nodes { status } } }
    ... on TimedHoldTask { endReason }
  }
}
"""
QUEUE = """
subscription ($team: ID) { queueChanged(teamId: $team) { type taskId task { title status } } }
"""
ENTERED, CHANGED, LEFT = QueueChangeType
NOT_SEEN = "NOT_FOUND"


def task_id(key: UUID) -> str:
    return id_of("WorkTask", key)


@asynccontextmanager
async def queue(desk: Desk, feed: Feed, viewer: Viewer, *, team: UUID | None = None) -> AsyncIterator[Stream]:
    """A stream of a queue that is looked at already: nothing that is committed from now on is before its time."""
    context = Context(database=desk.database, feed=feed, request_id="test", viewer=viewer)
    looked_at = queue_of(context, team)
    before = looked_at.taken
    shown = None if team is None else id_of("Team", team)
    async with stream(desk.database, feed, viewer, QUEUE, team=shown) as events:
        first = asyncio.ensure_future(anext(events.results))
        given, events.results = events.results, _after(first, events.results)
        try:

            async def is_open() -> bool:
                assert not first.done(), first
                return looked_at.taken > before

            await until(is_open, seconds=PATIENCE_SECONDS)
            yield events
        finally:
            first.cancel()
            await asyncio.wait([first])
            await events.results.aclose()
            events.results = given


async def _after(first: "asyncio.Future[Any]", rest: Any) -> AsyncIterator[Any]:
    yield await first
    async for event in rest:
        yield event


async def seen(events: Stream, count: int) -> set[tuple[str, str, str | None]]:
    """The next so many changes: what happened, to which task, and its status where it is shown."""
    found = [await events.next() for _ in range(count)]
    return {(each["type"], each["taskId"], each["task"] and each["task"]["status"]) for each in found}


# --- one task ---------------------------------------------------------------------------------------------------------


async def test_a_task_is_shown_as_it_is_and_after_every_change(desk: Desk, feed: Feed) -> None:
    key = await desk.create(desk.ann)
    async with stream(desk.database, feed, desk.ann, TASK, id=task_id(key)) as events:
        shown: dict[str, Any] = {"status": "ASSIGNED", "activeHold": None, "children": {"nodes": []}}
        assert await events.next() == shown
        await desk.place(key, 30)
        assert await events.next() == {**shown, "status": "ON_HOLD", "activeHold": {"durationDays": 30}}
        await desk.place(key, 45)
        assert await events.next() == {**shown, "status": "ON_HOLD", "activeHold": {"durationDays": 45}}
        await desk.end(key)
        assert await events.next() == shown
        child = await desk.create(desk.ann, below=key)
        below = {"nodes": [{"status": "ASSIGNED"}]}
        assert await events.next() == {**shown, "status": "ON_HOLD", "children": below}
        await desk.cancel(child)
        assert await events.next() == {**shown, "children": {"nodes": [{"status": "CANCELLED"}]}}


async def test_a_hold_is_watched_to_its_end(desk: Desk, feed: Feed) -> None:
    hold = await desk.place(await desk.create(desk.ann), 30)
    async with stream(desk.database, feed, desk.ann, TASK, id=id_of("TimedHoldTask", hold)) as events:
        assert await events.next() == {"status": "ASSIGNED", "endReason": None}
        desk.later(days=30)
        await desk.sweep()
        assert await events.next() == {"status": "COMPLETED", "endReason": "EXPIRED"}


async def test_what_may_not_be_seen_cannot_be_watched(desk: Desk, feed: Feed) -> None:
    key = await desk.create(desk.ann)
    for viewer, id_ in ((desk.stranger, task_id(key)), (desk.boss, task_id(uuid4())), (desk.boss, "nonsense")):
        async with stream(desk.database, feed, viewer, TASK, id=id_) as events:
            assert (await events.refusal())["extensions"]["code"] == NOT_SEEN
    async with stream(desk.database, feed, None, TASK, id=task_id(key)) as events:
        assert (await events.refusal())["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_right_that_is_lost_ends_the_stream(desk: Desk, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RECHECK_SECONDS", 0.5)
    key = await desk.create(desk.team)
    async with stream(desk.database, feed, desk.ann, TASK, id=task_id(key)) as events:
        await events.next()
        await desk.rows_of("DELETE FROM team_members WHERE user_id = :id", id=desk.ann.user_id)
        assert (await events.refusal())["extensions"]["code"] == NOT_SEEN


async def test_fifty_who_watch_cost_one_statement_a_poll_while_nothing_happens(
    desk: Desk, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.2)
    keys = [await desk.create(desk.ann) for _ in range(10)]
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(stream(desk.database, feed, viewer, TASK, id=task_id(key)))
            for key in keys
            for viewer in (desk.ann, desk.boss) * 2 + (desk.ann,)
        ]
        for events in streams:
            await events.next()
        nexts = [asyncio.ensure_future(events.next()) for events in streams]

        # Each looks once more by itself after the first poll; from then on there is but the poll.
        await until_idle(desk)
        assert not any(each.done() for each in nexts)
        # Without a hint all who watch it hear of a change, and nobody else.
        await desk.rows_of("UPDATE tasks SET version = version + 1 WHERE id = :id", id=keys[3])
        await asyncio.wait(nexts[15:20], timeout=PATIENCE_SECONDS)
        assert [each.done() for each in nexts] == [15 <= place < 20 for place in range(50)]
        for waiting in nexts:
            waiting.cancel()
        await asyncio.wait(nexts)


async def until_idle(desk: Desk) -> None:
    """Until there are no more statements than a poll every 0.2 s makes."""

    async def idle() -> bool:
        before, began = desk.database.reader.statements, time.monotonic()
        # A count of statements that are a second's, so it takes a second.
        while time.monotonic() - began < 1.0:
            await asyncio.sleep(0.05)
        return desk.database.reader.statements - before <= 6

    await until(idle, what="few statements")


# --- queues -----------------------------------------------------------------------------------------------------------


async def test_a_persons_queue_tells_what_enters_changes_and_leaves(desk: Desk, feed: Feed) -> None:
    async with queue(desk, feed, desk.ann) as events:
        key = await desk.create(desk.ann)
        assert await seen(events, 1) == {("ENTERED", task_id(key), "ASSIGNED")}
        await desk.place(key)
        assert await seen(events, 1) == {("CHANGED", task_id(key), "ON_HOLD")}
        await desk.end(key)
        assert await seen(events, 1) == {("CHANGED", task_id(key), "ASSIGNED")}
        await desk.create(desk.ben)
        await desk.reassign(key, desk.ben)
        # Now cancelled and in the tab COMPLETED; that of Ben is none of Ann's business.
        assert await seen(events, 1) == {("CHANGED", task_id(key), "CANCELLED")}
        desk.later(days=8)
        assert await seen(events, 1) == {("LEFT", task_id(key), "CANCELLED")}


async def test_a_teams_queue_tells_each_of_its_members(desk: Desk, feed: Feed) -> None:
    async with (
        queue(desk, feed, desk.ann, team=desk.team) as members,
        queue(desk, feed, desk.editor, team=desk.team) as editors,
    ):
        key = await desk.create(desk.team)
        for events in (members, editors):
            assert await seen(events, 1) == {("ENTERED", task_id(key), "ASSIGNED")}
        await desk.assign(key, desk.ben)
        for events in (members, editors):
            assert await seen(events, 1) == {("CHANGED", task_id(key), "ON_HOLD")}


async def test_a_queue_is_looked_at_once_for_all_who_watch_it(desk: Desk, feed: Feed) -> None:
    context = Context(database=desk.database, feed=feed, request_id="test", viewer=desk.ann)
    looked_at = queue_of(context, desk.team)
    async with queue(desk, feed, desk.ann, team=desk.team), queue(desk, feed, desk.ben, team=desk.team):
        assert looked_at.taken == 2
        before = desk.database.reader.statements
        await looked_at.look()
        assert desk.database.reader.statements - before == 1
    assert looked_at.taken == 0


async def test_all_queues_that_are_watched_cost_one_statement_a_poll_while_nothing_happens(
    desk: Desk, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.2)
    people = [await person(desk.database) for _ in range(20)]
    keys = [await desk.create(each) for each in people[:10]]
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(queue(desk, feed, each)) for each in people]
        await until_idle(desk)
        # Without a hint each hears of their own task, and nobody of another's.
        await desk.rows_of("UPDATE tasks SET version = version + 1 WHERE id = ANY(:ids)", ids=keys[:3])
        await desk.rows_of(
            "UPDATE tasks SET assignee_user_id = :id WHERE id = :key", id=people[15].user_id, key=keys[9]
        )
        for place, events in enumerate(streams[:3]):
            assert await seen(events, 1) == {("CHANGED", task_id(keys[place]), "ASSIGNED")}
        assert await seen(streams[9], 1) == {("LEFT", task_id(keys[9]), None)}
        assert await seen(streams[15], 1) == {("ENTERED", task_id(keys[9]), "ASSIGNED")}
        await until_idle(desk)
        assert [len(events.seen) for events in streams] == [1] * 3 + [0] * 6 + [1] + [0] * 5 + [1] + [0] * 4


async def test_a_hint_that_is_lost_costs_the_time_of_a_poll(desk: Desk, feed: Feed, database_url: str) -> None:
    silent = await Database.open(DatabaseSettings(url=database_url))
    try:
        quiet = Desk(**{**vars(desk), "database": silent})
        key = await desk.create(desk.ann)
        task = stream(desk.database, feed, desk.ann, TASK, id=task_id(key))
        async with (
            task as one,
            queue(desk, feed, desk.ann) as events,
            queue(desk, feed, desk.ann, team=desk.team) as team,
        ):
            await one.next()
            await quiet.place(key)
            other = await quiet.create(desk.team)
            assert (await one.next())["status"] == "ON_HOLD"
            assert await seen(events, 1) == {("CHANGED", task_id(key), "ON_HOLD")}
            assert await seen(team, 1) == {("ENTERED", task_id(other), "ASSIGNED")}
    finally:
        await silent.close()


async def test_a_plans_task_enters_by_the_clock(desk: Desk, feed: Feed) -> None:
    world = await a_world(desk.database, learners=1)
    plan_id = await world.published()
    (row,) = await world.live_tasks(plan_id)
    learner = Viewer(row.assignee_user_id, "Lea", frozenset({Role.MEMBER}))
    async with queue(desk, feed, learner) as events:
        desk.later(days=1, minutes=1)
        assert await seen(events, 1) == {("ENTERED", task_id(row.id), "ASSIGNED")}


@pytest.mark.parametrize("team", ["other", "unknown", "a person", "nonsense"])
async def test_a_team_that_is_not_seen_cannot_be_watched(desk: Desk, feed: Feed, team: str) -> None:
    ids = {
        "other": id_of("Team", desk.other_team),
        "unknown": id_of("Team", uuid4()),
        "a person": id_of("User", desk.ann.user_id),
        "nonsense": "x",
    }
    async with stream(desk.database, feed, desk.ann, QUEUE, team=ids[team]) as events:
        assert (await events.refusal())["extensions"]["code"] == NOT_SEEN


async def test_who_has_left_a_team_is_told_nothing_more_of_its_queue(
    desk: Desk, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queue(desk, feed, desk.ann, team=desk.team) as events, queue(desk, feed, desk.ben, team=desk.team) as on:
        await desk.rows_of("DELETE FROM team_members WHERE user_id = :id", id=desk.ann.user_id)
        key = await desk.create(desk.team)
        assert await seen(on, 1) == {("ENTERED", task_id(key), "ASSIGNED")}
        assert (await events.refusal())["extensions"]["code"] == NOT_SEEN
    # Where nothing happens, the stream ends all the same.
    monkeypatch.setattr("resolvers.tasks.subscriptions.queues.RECHECK_SECONDS", 0.1)
    async with queue(desk, feed, desk.ben, team=desk.team) as events:
        await desk.rows_of("DELETE FROM team_members WHERE user_id = :id", id=desk.ben.user_id)
        assert (await events.refusal())["extensions"]["code"] == NOT_SEEN


# --- outages ----------------------------------------------------------------------------------------------------------


async def test_an_outage_ends_no_stream_and_what_changed_meanwhile_is_told(
    desk: Desk, feed: Feed, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody who watches a team's queue is looked at anew now and then: that too is a read.
    monkeypatch.setattr("resolvers.tasks.subscriptions.queues.RECHECK_SECONDS", 0.1)
    key = await desk.create(desk.ann)
    async with far_away(database_url) as far:
        there = Desk(**{**vars(desk), "database": far.database})
        async with (
            stream(far.database, feed, desk.ann, TASK, id=task_id(key)) as task,
            queue(there, feed, desk.ann) as own,
            queue(there, feed, desk.ann, team=desk.team) as team,
        ):
            await task.next()
            told = asyncio.ensure_future(task.next())
            far.wire.freeze()
            await desk.place(key)
            # A look has just been at it; the task that it tells of cannot be read any more.
            waiting = queue_of(Context(far.database, feed, "test", desk.ann), None)
            for seat in waiting._seats:
                seat.give({key: CHANGED})
            await far.until_waiting(3)
            other = await desk.create(desk.team)
            far.wire.mend()
            assert (await told)["status"] == "ON_HOLD"
            assert await seen(own, 1) == {("CHANGED", task_id(key), "ON_HOLD")}
            assert await seen(team, 1) == {("ENTERED", task_id(other), "ASSIGNED")}
            await desk.end(key)
            assert (await task.next())["status"] == "ASSIGNED"


async def test_a_fault_ends_the_streams(desk: Desk, feed: Feed) -> None:
    key = await desk.create(desk.ann)
    async with stream(desk.database, feed, desk.ann, TASK, id=task_id(key)) as task, queue(desk, feed, desk.ann) as own:
        await task.next()
        await desk.rows_of("ALTER TABLE tasks RENAME TO others")
        await feed.publish([task_topic(key)])
        for seat in queue_of(Context(desk.database, feed, "test", desk.ann), None)._seats:
            seat.give({key: CHANGED})
        for events in (task, own):
            assert (await events.refusal())["extensions"]["code"] == "INTERNAL"


# --- two looks --------------------------------------------------------------------------------------------------------


def test_two_looks_differ_by_what_happened_in_between() -> None:
    a, b, c, d = sorted(uuid4() for _ in range(4))
    assert differences({a: 1, b: 1, c: 1}, {a: 1, b: 2, d: 1}) == {b: CHANGED, c: LEFT, d: ENTERED}
    assert differences({}, {a: 1}) == {a: ENTERED}


def test_a_queue_that_is_too_long_to_be_seen_whole_loses_nothing_at_its_end() -> None:
    keys = [UUID(int=number) for number in range(1, MOST_WATCHED + 2)]
    full, newer = dict.fromkeys(keys[:-1], 1), dict.fromkeys(keys[1:], 1)
    assert differences(full, newer) == {keys[-1]: ENTERED}
    assert differences(newer, full) == {keys[-1]: LEFT}


@pytest.mark.parametrize(
    ("first", "then", "both"),
    [
        (None, ENTERED, ENTERED),
        (ENTERED, CHANGED, ENTERED),
        (ENTERED, LEFT, None),
        (CHANGED, CHANGED, CHANGED),
        (CHANGED, LEFT, LEFT),
        (LEFT, ENTERED, CHANGED),
    ],
)
async def test_two_changes_of_a_task_are_told_as_one(
    first: QueueChangeType | None, then: QueueChangeType, both: QueueChangeType | None
) -> None:
    assert joined(first, then) is both
    seat, key = Seat(), uuid4()
    for change in (first, then):
        if change is not None:
            seat.give({key: change})
    assert await seat.take(1) == ({} if both is None else {key: both})
    assert await seat.take(0.01) == {}
