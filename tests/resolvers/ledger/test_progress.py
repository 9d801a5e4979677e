"""`jobProgress`: a snapshot, then every event in order, without gap or repeat, to the terminal one."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from db import endings
from db.accounts.rules import Viewer
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.commands import Claimed, Ending, Line
from db.ledger.rules import EventType, JobState, LogLevel, decide_crash
from db.session import Database
from jobs.attempt import COMPLETED
from tests.support.api import id_of
from tests.support.drain import drain
from tests.support.kinds import KINDS, Fails, Steps, Talks, make_effects
from tests.support.ledger import ask, events_of, execute, in_state, later, running
from tests.support.people import admin, person
from tests.support.streams import Stream, stream

QUERY = """
subscription ($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) {
  seq type status progress step done total attempt message at log { seq level message data }
  job { uuid status progress lastSeq }
} }
"""


@pytest.fixture
async def boss(database: Database) -> Viewer:
    return await admin(database)


async def tell(database: Database, claim: Claimed, *percents: int, log: str | None = None) -> None:
    """The job tells something, in one write."""
    lines = [Line(EventType.PROGRESS, percent, f"at {percent}", percent, 100) for percent in percents]
    if log is not None:
        lines.append(Line(EventType.LOG, 0, None, None, None, LogLevel.INFO, log, {"n": 1}))
    async with database.transaction() as tx:
        await ledger.note(tx, lines={(claim.job_id, claim.fence): lines})


async def complete(database: Database, claim: Claimed) -> None:
    async with database.transaction() as tx:
        await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, COMPLETED)])


def short(events: list[Any]) -> list[tuple[int, str, str, int]]:
    return [(event["seq"], event["type"], event["status"], event["progress"]) for event in events]


def watch(
    database: Database, feed: Feed, viewer: Viewer | None, job_id: UUID, after: int | None = None, **more: Any
) -> Any:
    return stream(database, feed, viewer, QUERY, id=id_of("Job", job_id), after=after, **more)


async def test_a_job_is_watched_from_its_snapshot_to_its_end(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    async with watch(database, feed, boss, claim.job_id) as events:
        assert short([await events.next()]) == [(2, "SNAPSHOT", "RUNNING", 0)]
        await tell(database, claim, 10, 20, log="hello")
        await complete(database, claim)
        assert short(await events.rest()) == [
            (3, "PROGRESS", "RUNNING", 10),
            (4, "PROGRESS", "RUNNING", 20),
            (5, "LOG", "RUNNING", 0),
            (6, "STATUS", "COMPLETED", 100),
        ]
    stored = await events_of(database, claim.job_id)
    assert events.seen[3]["log"] == {"seq": 5, "level": "INFO", "message": "hello", "data": {"n": 1}}
    assert events.seen[1]["log"] is None
    assert [(event["step"], event["done"], event["total"]) for event in events.seen[1:3]] == [
        ("at 10", 10, 100),
        ("at 20", 20, 100),
    ]
    assert events.seen[-1]["message"] == "Completed."
    assert events.seen[-1]["at"] == stored[-1]["at"].isoformat().replace("+00:00", "Z")


async def test_the_job_in_an_event_is_never_older_than_the_event(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    await tell(database, claim, 10, 20, 30)
    async with watch(database, feed, boss, claim.job_id, after=0) as events:
        for _ in range(6):
            await events.next()
        await complete(database, claim)
        await events.rest()
    for event in events.seen:
        assert event["job"]["lastSeq"] >= event["seq"]
        assert event["job"]["progress"] >= event["progress"]
    assert [event["job"]["status"] for event in events.seen] == ["RUNNING"] * 6 + ["COMPLETED"]


@pytest.mark.parametrize("after", range(8))
async def test_from_any_cursor_each_event_comes_once_and_in_order(
    database: Database, feed: Feed, boss: Viewer, after: int
) -> None:
    claim = await running(database)
    await tell(database, claim, 10, 20, 30)
    await tell(database, claim, 40)
    await complete(database, claim)
    async with watch(database, feed, boss, claim.job_id, after=after) as events:
        seen = short(await events.rest())
    assert seen[0] == (after, "SNAPSHOT", "COMPLETED", 100)
    assert [seq for seq, *_ in seen[1:]] == list(range(after + 1, 8))


async def test_without_a_cursor_only_news_follow(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    await tell(database, claim, 10, 20)
    async with watch(database, feed, boss, claim.job_id) as events:
        assert short([await events.next()]) == [(4, "SNAPSHOT", "RUNNING", 20)]
        await tell(database, claim, 30)
        assert short([await events.next()]) == [(5, "PROGRESS", "RUNNING", 30)]


async def test_a_job_that_had_ended_is_a_snapshot_and_the_end(database: Database, feed: Feed, boss: Viewer) -> None:
    job_id = await ask(database)
    await drain(database, kinds=KINDS)
    async with watch(database, feed, boss, job_id) as events:
        assert short(await events.rest()) == [(3, "SNAPSHOT", "COMPLETED", 100)]


async def test_a_history_that_is_gone_is_a_snapshot_and_the_end(database: Database, feed: Feed, boss: Viewer) -> None:
    job_id = await ask(database)
    await drain(database, kinds=KINDS)
    await execute(database, "DELETE FROM job_events")
    async with watch(database, feed, boss, job_id, after=0) as events:
        assert short(await events.rest()) == [(0, "SNAPSHOT", "COMPLETED", 100)]


@pytest.mark.parametrize("after", [-1, 3, 1_000_000])
async def test_a_cursor_that_cannot_be_is_refused(database: Database, feed: Feed, boss: Viewer, after: int) -> None:
    claim = await running(database)
    async with watch(database, feed, boss, claim.job_id, after=after) as events:
        error = await events.refusal()
    assert error["extensions"] == {
        "code": "BAD_USER_INPUT",
        "argument": ["after"],
        "details": {"min": 0, "max": 2},
    }


async def test_the_header_of_a_reconnect_counts_as_the_cursor(database: Database, feed: Feed, boss: Viewer) -> None:
    """A library that reconnects by itself repeats its first `after`; the header says how far it really came."""
    claim = await running(database)
    await tell(database, claim, 10, 20, 30)
    async with watch(database, feed, boss, claim.job_id, last_event_id=4) as events:
        assert short([await events.next(), await events.next()]) == [
            (4, "SNAPSHOT", "RUNNING", 30),
            (5, "PROGRESS", "RUNNING", 30),
        ]
    async with watch(database, feed, boss, claim.job_id, after=0, last_event_id=4) as events:
        assert (await events.next())["seq"] == 4


async def test_a_real_job_is_seen_from_beginning_to_end(database: Database, feed: Feed, boss: Viewer) -> None:
    await make_effects(database)
    job_id = await ask(database, Steps(8, 0.02))
    async with watch(database, feed, boss, job_id, after=0) as events:
        working = asyncio.create_task(drain(database, kinds=KINDS))
        seen = await events.rest()
        await working
    assert [event["seq"] for event in seen] == [0, *range(1, len(seen))]
    stored = await events_of(database, job_id)
    assert [(event["type"], event["progress"]) for event in seen[1:]] == [
        (event["type"], event["progress"]) for event in stored
    ]
    percents = [event["progress"] for event in seen[1:]]
    assert percents == sorted(percents)
    assert percents[-1] == 100


async def test_a_wait_for_another_attempt_is_seen_and_the_stream_goes_on(
    database: Database, feed: Feed, boss: Viewer
) -> None:
    job_id = await ask(database, Fails(1))
    async with watch(database, feed, boss, job_id, after=1) as events:
        await events.next()
        await drain(database, kinds=KINDS)
        later(database, minutes=1)
        await drain(database, kinds=KINDS)
        seen = await events.rest()
    assert [(event["status"], event["attempt"]) for event in seen] == [
        ("RUNNING", 1),
        ("QUEUED", 1),
        ("RUNNING", 2),
        ("COMPLETED", 2),
    ]


async def test_a_request_to_cancel_is_an_event_and_so_is_the_end(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    async with watch(database, feed, boss, claim.job_id) as events:
        await events.next()
        async with database.transaction() as tx:
            await endings.cancel_job(tx, job_id=claim.job_id, actor_id=None, reason="Enough.", now=tx.now)
        asked = await events.next()
        async with database.transaction() as tx:
            verdict = decide_crash(crash_count=0, is_cancel_requested=True)
            await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, verdict)])
        (end,) = await events.rest()
    assert (asked["type"], asked["status"], asked["message"]) == ("STATUS", "RUNNING", "It is asked to stop: Enough.")
    assert (end["type"], end["status"]) == ("STATUS", "CANCELLED")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.QUARANTINED])
async def test_a_failed_job_ends_its_stream(database: Database, feed: Feed, boss: Viewer, state: JobState) -> None:
    job_id = await in_state(database, state)
    async with watch(database, feed, boss, job_id) as events:
        assert [event["status"] for event in await events.rest()] == ["FAILED"]


async def test_without_redis_events_come_by_the_poll(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    async with watch(database, feed, boss, claim.job_id) as events:
        await events.next()
        database.feed = None
        await tell(database, claim, 10)
        await complete(database, claim)
        assert short(await events.rest()) == [(3, "PROGRESS", "RUNNING", 10), (4, "STATUS", "COMPLETED", 100)]


async def test_many_watch_one_job_and_its_events_are_read_once(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    watching = [watch(database, feed, boss, claim.job_id) for _ in range(20)]
    streams: list[Stream] = [await each.__aenter__() for each in watching]
    for each in streams:
        await each.next()
    reads = database.reader.statements
    await tell(database, claim, 10)
    await asyncio.gather(*[each.next() for each in streams])
    # One reads the events; each reads the job as it may see it.
    assert database.reader.statements - reads <= 20 + 3
    await complete(database, claim)
    seen = await asyncio.gather(*[each.rest() for each in streams])
    assert {tuple(short(each)) for each in seen} == {((4, "STATUS", "COMPLETED", 100),)}
    for open_stream in watching:
        await open_stream.__aexit__(None, None, None)


async def test_a_late_comer_reads_a_long_history_while_others_are_at_its_end(
    database: Database, feed: Feed, boss: Viewer
) -> None:
    job_id = await ask(database, Talks(lines=400))
    async with watch(database, feed, boss, job_id, after=0) as early:
        await early.next()
        await drain(database, kinds=KINDS)
        async with watch(database, feed, boss, job_id, after=0) as late:
            first, second = await asyncio.gather(early.rest(), late.rest())
    assert [event["seq"] for event in first] == list(range(1, 404))
    assert [event["seq"] for event in second] == list(range(404))


async def test_what_may_not_be_seen_is_not_found(database: Database, feed: Feed) -> None:
    job_id = await ask(database)
    somebody = await person(database)
    for id_ in (id_of("Job", job_id), id_of("Job", uuid4()), id_of("TaskPlan", job_id), "nonsense"):
        async with stream(database, feed, somebody, QUERY, id=id_, after=None) as events:
            assert (await events.refusal())["extensions"]["code"] == "NOT_FOUND"


async def test_nobody_signed_in_watches_nothing(database: Database, feed: Feed) -> None:
    job_id = await ask(database)
    async with watch(database, feed, None, job_id) as events:
        assert (await events.refusal())["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_right_that_is_lost_ends_the_stream(database: Database, feed: Feed) -> None:
    ada = await person(database)
    claim = await running(database, actor_id=ada.user_id)
    async with watch(database, feed, ada, claim.job_id) as events:
        await events.next()
        await execute(database, "UPDATE jobs SET actor_id = NULL")
        await tell(database, claim, 10)
        assert (await events.refusal())["extensions"]["code"] == "NOT_FOUND"
