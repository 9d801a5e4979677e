"""`jobs`: everything that moves among the jobs that the viewer may see, for a console."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from db import endings
from db.accounts.rules import Viewer
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.commands import Claimed, Line
from db.ledger.jobs import Subject
from db.ledger.queries import JobsWanted
from db.ledger.rules import EventType, LogLevel
from db.reading import want
from db.session import Database
from resolvers.context import Context
from resolvers.ledger.subscriptions.console import Console, Seat, console_of
from resolvers.ledger.subscriptions.views import JobViews
from resolvers.watching import FellBehind
from tests.support.drain import drain
from tests.support.facts import PATIENCE_SECONDS
from tests.support.kinds import KINDS, Empty, Fails
from tests.support.ledger import ask, execute, later, running
from tests.support.people import admin, person
from tests.support.plans import a_world
from tests.support.streams import Stream, stream
from tests.support.workers import until

QUERY = """
subscription ($filter: JobFilter) {
  jobs(filter: $filter) { seq type status progress log { message } job { uuid status lastSeq } }
}
"""


@pytest.fixture
async def boss(database: Database) -> Viewer:
    return await admin(database)


def _context(database: Database, feed: Feed, viewer: Viewer | None = None) -> Context:
    return Context(database=database, feed=feed, request_id="test", viewer=viewer)


def consoles(database: Database, feed: Feed) -> int:
    return console_of(_context(database, feed)).taken


class Opened:
    """A console that looks already: nothing that is committed from now on is before its time."""

    def __init__(self, events: Stream, first: "asyncio.Task[Any]") -> None:
        self._events = events
        self._first: asyncio.Task[Any] | None = first

    async def next(self) -> Any:
        first, self._first = self._first, None
        return await (self._events.next() if first is None else first)

    async def error(self) -> Any:
        """The one error that comes next."""
        (error,) = (await anext(self._events.results)).errors
        return error

    async def until(self, job_id: UUID, status: str) -> list[tuple[str, int, str, str]]:
        """What comes up to a job's STATUS."""
        seen = []
        while True:
            event = await self.next()
            seen.append((event["job"]["uuid"], event["seq"], event["type"], event["status"]))
            if seen[-1][0] == str(job_id) and seen[-1][2:] == ("STATUS", status):
                return seen

    def drop(self) -> None:
        if self._first is not None:
            self._first.cancel()


@asynccontextmanager
async def console(
    database: Database, feed: Feed, viewer: Viewer, query: str = QUERY, **filter_: Any
) -> AsyncIterator[Opened]:
    before = consoles(database, feed)
    async with stream(database, feed, viewer, query, filter=filter_ or None) as events:
        first = asyncio.create_task(events.next())

        async def open_() -> bool:
            assert not first.done(), first
            return consoles(database, feed) > before

        await until(open_, seconds=PATIENCE_SECONDS)
        opened = Opened(events, first)
        try:
            yield opened
        finally:
            opened.drop()
            await asyncio.wait([first])


async def tell(database: Database, claim: Claimed, *lines: Line) -> None:
    async with database.transaction() as tx:
        await ledger.note(tx, lines={(claim.job_id, claim.fence): lines})


def percent(value: int) -> Line:
    return Line(EventType.PROGRESS, value, None, None, None)


def said(text: str) -> Line:
    return Line(EventType.LOG, 0, None, None, None, LogLevel.INFO, text)


async def test_everything_that_moves_is_seen_from_the_first_status_to_the_last(
    database: Database, feed: Feed, boss: Viewer
) -> None:
    before = await ask(database)
    async with console(database, feed, boss) as events:
        job_id = await ask(database, Fails(1))
        await drain(database, kinds=KINDS)
        later(database, minutes=1)
        await drain(database, kinds=KINDS)
        seen = await events.until(job_id, "COMPLETED")
    # The older job's first event was there before the console; it is seen from where it was.
    assert [each[1:] for each in seen if each[0] == str(before)] == [
        (2, "STATUS", "RUNNING"),
        (3, "STATUS", "COMPLETED"),
    ]
    assert [each[1:] for each in seen if each[0] == str(job_id)] == [
        (1, "STATUS", "QUEUED"),
        (2, "STATUS", "RUNNING"),
        (3, "STATUS", "QUEUED"),
        (4, "STATUS", "RUNNING"),
        (5, "STATUS", "COMPLETED"),
    ]


async def test_progress_and_lines_are_coalesced_to_the_newest_and_a_status_never_is(
    database: Database, feed: Feed, boss: Viewer
) -> None:
    claim = await running(database)
    async with console(database, feed, boss) as events:
        await tell(database, claim, percent(1), said("a"), percent(2), said("b"), percent(3))
        got = [await events.next(), await events.next()]
        assert [(event["seq"], event["type"], event["progress"], event["log"]) for event in got] == [
            (6, "LOG", 0, {"message": "b"}),
            (7, "PROGRESS", 3, None),
        ]
        assert all(event["job"]["lastSeq"] >= event["seq"] for event in got)
        async with database.transaction() as tx:
            await ledger.note(tx, lines={(claim.job_id, claim.fence): [percent(4), percent(5)]})
            await endings.cancel_job(tx, job_id=claim.job_id, actor_id=None, reason=None, now=tx.now)
        got = [await events.next(), await events.next()]
        assert [(event["seq"], event["type"]) for event in got] == [(9, "PROGRESS"), (10, "STATUS")]


async def test_a_commit_that_comes_late_is_seen_and_nothing_twice(database: Database, feed: Feed, boss: Viewer) -> None:
    """A transaction that took its numbers first and commits last: what is new is what has been committed since."""
    async with console(database, feed, boss) as events:
        async with database.transaction() as tx:
            slow = (await ledger.enqueue(tx, work=Empty(), actor_id=None)).job_id
            quick = await ask(database)
            assert (await events.next())["job"]["uuid"] == str(quick)
            another = await ask(database)
            assert (await events.next())["job"]["uuid"] == str(another)
        assert (await events.next())["job"]["uuid"] == str(slow)
        last = await ask(database)
        assert (await events.next())["job"]["uuid"] == str(last)


async def test_without_redis_it_takes_a_poll(database: Database, feed: Feed, boss: Viewer) -> None:
    async with console(database, feed, boss) as events:
        database.feed = None
        for _ in range(2):
            job_id = await ask(database)
            assert (await events.next())["job"]["uuid"] == str(job_id)


async def test_a_job_that_stops_matching_sends_one_last_event(database: Database, feed: Feed, boss: Viewer) -> None:
    waiting = await ask(database)
    async with console(database, feed, boss, statuses=["QUEUED"]) as events:
        # It was there before the console, and has not moved since: yet it leaves.
        await drain(database, kinds=KINDS)
        event = await events.next()
        assert (event["job"]["uuid"], event["seq"], event["status"]) == (str(waiting), 2, "RUNNING")
        again = await ask(database)
        assert (await events.next())["job"]["uuid"] == str(again)


async def test_a_job_that_begins_to_match_is_seen_from_there(database: Database, feed: Feed, boss: Viewer) -> None:
    async with console(database, feed, boss, statuses=["COMPLETED"]) as events:
        job_id = await ask(database)
        await drain(database, kinds=KINDS)
        event = await events.next()
        assert (event["job"]["uuid"], event["seq"], event["status"]) == (str(job_id), 3, "COMPLETED")


async def test_consoles_see_what_their_viewers_may_see(database: Database, feed: Feed, boss: Viewer) -> None:
    world = await a_world(database)
    ada, eve = await person(database), await person(database)
    subject = Subject("CourseClass", world.class_id, "First")
    async with (
        console(database, feed, boss) as all_,
        console(database, feed, ada) as own,
        console(database, feed, world.teacher) as teaching,
        console(database, feed, eve) as none,
    ):
        asked = [await ask(database), await ask(database, actor_id=ada.user_id), await ask(database, subject=subject)]
        last = await ask(database, actor_id=eve.user_id)
        assert {(await all_.next())["job"]["uuid"] for _ in range(4)} == {str(each) for each in [*asked, last]}
        assert (await own.next())["job"]["uuid"] == str(asked[1])
        assert (await teaching.next())["job"]["uuid"] == str(asked[2])
        assert (await none.next())["job"]["uuid"] == str(last)


async def test_a_right_that_is_lost_is_lost_at_once(database: Database, feed: Feed) -> None:
    ada = await person(database)
    claim = await running(database, actor_id=ada.user_id)
    async with console(database, feed, ada) as events:
        await tell(database, claim, percent(10))
        assert (await events.next())["progress"] == 10
        await execute(database, "UPDATE jobs SET actor_id = NULL")
        await tell(database, claim, percent(20))
        mine = await ask(database, actor_id=ada.user_id)
        assert (await events.next())["job"]["uuid"] == str(mine)


async def test_a_look_costs_the_same_for_one_job_and_console_as_for_many(
    database: Database, feed: Feed, boss: Viewer
) -> None:
    ada = await person(database)

    async def cost(viewers: list[Viewer], jobs: int, *selected: str) -> int:
        looking = Console(database.reader, feed, JobViews(database.reader))
        seats = [Seat(_context(database, feed, viewer), JobsWanted(), want(*selected)) for viewer in viewers]
        looking.seats.update(seats)
        await looking.look()
        async with database.transaction() as tx:
            for _ in range(jobs):
                await ledger.enqueue(tx, work=Empty(), actor_id=ada.user_id)
        before = database.reader.statements
        await looking.look()
        spent = database.reader.statements - before
        for seat in seats:
            assert len(await seat.take()) == jobs
        return spent

    assert await cost([boss], 1, "uuid") == 2  # what has moved, and the jobs
    assert await cost([boss] * 10, 20, "uuid") == 2
    assert await cost([boss, ada], 1, "uuid") == 3  # and who may see them
    assert await cost([boss, *[ada] * 5], 20, "uuid") == 3
    assert await cost([boss, *[ada] * 5], 20, "uuid", "can_cancel") == 3  # what depends on who asks: once for each


async def test_a_console_that_takes_nothing_is_told_to_come_again(
    database: Database, feed: Feed, boss: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.ledger.subscriptions.console.MOST_WAITING", 3)
    seat = console_of(_context(database, feed))
    async with console(database, feed, boss) as slow, console(database, feed, boss) as quick:
        await ask(database)
        await slow.next()
        await quick.next()
        for _ in range(6):
            job_id = await ask(database)
            assert (await quick.next())["job"]["uuid"] == str(job_id)
        assert seat.taken == 2
        assert isinstance((await slow.error()).original_error, FellBehind)


async def test_nobody_signed_in_sees_nothing(database: Database, feed: Feed) -> None:
    async with stream(database, feed, None, QUERY, filter=None) as events:
        assert (await events.refusal())["extensions"]["code"] == "UNAUTHENTICATED"
