"""What the subscribers of a process share: reads that do not grow with them, and answers that are made once."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import pytest
from redis.asyncio import Redis

from db.accounts.rules import Viewer
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.commands import Claimed, Ending, Line
from db.ledger.rules import EventType, LogLevel
from db.session import Database, Publisher
from jobs.attempt import COMPLETED
from tests.support.api import id_of
from tests.support.ledger import execute, running
from tests.support.people import admin, person
from tests.support.streams import Stream, stream

SAME = (
    "subscription ($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) { seq type job { uuid lastSeq } } }"
)
OWN = (
    "subscription ($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) { seq job { canCancel lastSeq } } }"
)


@pytest.fixture
async def boss(database: Database) -> Viewer:
    return await admin(database)


@pytest.fixture
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements are counted: those that come by the clock are left out."""
    monkeypatch.setattr("resolvers.ledger.subscriptions.hub.POLL_SECONDS", 600)


@pytest.fixture
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the poll does not wait long."""
    monkeypatch.setattr("resolvers.ledger.subscriptions.hub.POLL_SECONDS", 0.2)


async def tell(database: Database, *claims: Claimed, lines: int = 1) -> None:
    """Each job tells so many lines, all in one write."""
    line = Line(EventType.LOG, 0, None, None, None, LogLevel.INFO, "a line")
    async with database.transaction() as tx:
        await ledger.note(tx, lines={(claim.job_id, claim.fence): [line] * lines for claim in claims})


async def complete(database: Database, claim: Claimed) -> None:
    async with database.transaction() as tx:
        await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, COMPLETED)])


@asynccontextmanager
async def watching(
    database: Database, feed: Feed, viewers: Sequence[Viewer], job_ids: Sequence[UUID], query: str = SAME
) -> AsyncIterator[list[Stream]]:
    """Everybody watches every job, from its SNAPSHOT on; they all come at once."""
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(stream(database, feed, viewer, query, id=id_of("Job", job_id), after=None))
            for viewer in viewers
            for job_id in job_ids
        ]
        await asyncio.gather(*[each.next() for each in streams])
        yield streams


@pytest.mark.usefixtures("no_polls")
@pytest.mark.parametrize("query", [SAME, OWN])
async def test_any_number_of_subscribers_cost_what_one_costs(
    database: Database, feed: Feed, boss: Viewer, query: str
) -> None:
    async def cost(viewers: Sequence[Viewer], jobs: int) -> tuple[int, int]:
        """Statements to begin with, and for each event."""
        claims = [await running(database, actor_id=ada.user_id) for _ in range(jobs)]
        before = database.reader.statements
        async with watching(database, feed, viewers, [claim.job_id for claim in claims], query) as streams:
            began = database.reader.statements - before
            # What was read when nobody watched before may still be asked for once more.
            await tell(database, *claims)
            await asyncio.gather(*[each.next() for each in streams])
            before = database.reader.statements
            for _ in range(3):
                await tell(database, *claims)
                await asyncio.gather(*[each.next() for each in streams])
            assert {each.seen[-1]["job"]["lastSeq"] for each in streams} == {6}
            return began, (database.reader.statements - before) // 3

    ada = await person(database)
    alone = await cost([boss], 1)
    assert alone[1] == 2  # the events, and the job
    assert await cost([boss] * 30, 1) == alone
    assert (await cost([boss], 10))[1] == alone[1]
    assert (await cost([boss, ada] * 5, 4))[1] == alone[1] + 1  # and who may see it, or the job of each of the two


@pytest.mark.usefixtures("quick_polls")
async def test_subscribers_at_their_own_pace_each_see_everything(database: Database, feed: Feed, boss: Viewer) -> None:
    """One who does not come for its events holds up nobody, and misses nothing that is no longer kept."""
    claim = await running(database)
    async with watching(database, feed, [boss, boss], [claim.job_id]) as (quick, slow):
        for number in range(4):
            await tell(database, claim, lines=100)
            for _ in range(100):
                await quick.next()
            assert quick.seen[-1]["seq"] == 2 + 100 * (number + 1)
        await complete(database, claim)
        await quick.rest()
        assert [event["seq"] for event in await slow.rest()] == list(range(3, 404))
    # A cache keyed by the job never goes back.
    for each in (quick, slow):
        shown = [event["job"]["lastSeq"] for event in each.seen]
        assert shown == sorted(shown)
        assert all(event["job"]["lastSeq"] >= event["seq"] for event in each.seen)


async def follow(database: Database, feed: Feed, viewer: Viewer, job_id: UUID, chance: random.Random) -> list[int]:
    """The numbers of a job's events from a cursor to its end, breaking off and resuming on the way."""
    seen = [chance.randrange(3)]
    while True:
        patience = chance.choice([1, 3, 10, 1_000])
        async with stream(database, feed, viewer, SAME, id=id_of("Job", job_id), after=seen[-1]) as events:
            first = await events.next()
            assert (first["seq"], first["type"]) == (seen[-1], "SNAPSHOT")
            for _ in range(patience):
                try:
                    seen.append((await events.next())["seq"])
                except StopAsyncIteration:
                    assert seen == list(range(seen[0], seen[-1] + 1))
                    return seen


async def disturb(database: Database, hints: Publisher | None, redis_url: str, chance: random.Random) -> None:
    """Something happens to Redis: it is emptied, it drops who listens, it is away for who publishes, or nothing."""
    async with Redis.from_url(redis_url) as store:
        match chance.randrange(6):
            case 0:
                await store.flushall()
            case 1:
                await store.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            case 2:
                database.feed = None
            case _:
                database.feed = hints


@pytest.mark.usefixtures("quick_polls")
@pytest.mark.parametrize("seed", range(2))
async def test_whoever_resumes_sees_each_event_once_whatever_redis_does(
    database: Database, feed: Feed, boss: Viewer, redis_url: str, seed: int
) -> None:
    chance = random.Random(seed)
    claim = await running(database)
    following = [asyncio.create_task(follow(database, feed, boss, claim.job_id, chance)) for _ in range(5)]
    for _ in range(25):
        await disturb(database, feed, redis_url, chance)
        await tell(database, claim, lines=chance.choice([1, 2, 30]))
        await asyncio.sleep(chance.choice([0, 0, 0.01]))
    await complete(database, claim)
    (row,) = await database.reader.fetch("SELECT last_seq FROM jobs WHERE id = $1", [claim.job_id])
    for each in await asyncio.gather(*following):
        assert each[-1] == row["last_seq"]


@pytest.mark.usefixtures("no_polls")
async def test_who_comes_to_a_job_that_has_ended_unheard_sees_it_to_its_end(
    database: Database, feed: Feed, boss: Viewer
) -> None:
    """What the others know of a job is not all there is: no hint of its end has come yet."""
    claim = await running(database)
    async with watching(database, feed, [boss], [claim.job_id]):
        database.feed = None
        await tell(database, claim, lines=2)
        await complete(database, claim)
        async with stream(database, feed, boss, SAME, id=id_of("Job", claim.job_id), after=3) as events:
            assert [event["seq"] for event in await events.rest()] == [3, 4, 5]


@pytest.mark.usefixtures("quick_polls")
async def test_a_stream_outlives_its_connections_to_the_database(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    async with watching(database, feed, [boss] * 3, [claim.job_id]) as streams:
        await execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        await tell(database, claim)
        await complete(database, claim)
        for each in streams:
            assert [event["seq"] for event in await each.rest()] == [3, 4]


async def test_two_tokens_of_a_person_see_what_each_may_see(database: Database, feed: Feed, boss: Viewer) -> None:
    claim = await running(database)
    member = await person(database)
    narrower = Viewer(boss.user_id, boss.name, member.roles)
    async with watching(database, feed, [boss], [claim.job_id]) as (allowed,):
        async with stream(database, feed, narrower, SAME, id=id_of("Job", claim.job_id), after=None) as events:
            assert (await events.refusal())["extensions"]["code"] == "NOT_FOUND"
        await tell(database, claim)
        assert (await allowed.next())["seq"] == 3


async def test_what_one_may_no_longer_see_others_still_see(database: Database, feed: Feed, boss: Viewer) -> None:
    ada = await person(database)
    claim = await running(database, actor_id=ada.user_id)
    async with watching(database, feed, [boss, ada], [claim.job_id]) as (all_, own):
        await tell(database, claim)
        assert [(await each.next())["seq"] for each in (all_, own)] == [3, 3]
        await execute(database, "UPDATE jobs SET actor_id = NULL")
        await tell(database, claim)
        assert (await own.refusal())["extensions"]["code"] == "NOT_FOUND"
        assert (await all_.next())["seq"] == 4
