"""Progress and logs: gathered, coalesced before they get a number, written in groups, lost by nobody."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from db.feed import Feed
from db.ledger.commands import Claimed
from db.ledger.rules import EventType, LogLevel, job_topic
from db.session import Database
from jobs.attempt import Attempt, Journal, Notes
from jobs.attempt.journal import LONGEST_MESSAGE, MOST_LINES_WAITING, MOST_PROGRESS_A_SECOND
from tests.support.drain import drain
from tests.support.facts import PATIENCE_SECONDS
from tests.support.hints import heard, listening
from tests.support.kinds import KINDS, Talks
from tests.support.ledger import ask, events_of, execute, row_of, running, story_of
from tests.support.workers import until


@dataclass
class Frozen:
    """The journal's time, which stands still however long the machine takes."""

    seconds: float = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Frozen:
    clock = Frozen()
    monkeypatch.setattr("jobs.attempt.journal.time", clock)
    return clock


@pytest.fixture
async def journal(database: Database) -> AsyncIterator[Journal]:
    journal = Journal(database)
    writing = asyncio.create_task(journal.run())
    yield journal
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


def open_for(journal: Journal, claim: Claimed) -> Notes:
    return journal.open(job_id=claim.job_id, fence=claim.fence, progress=claim.progress)


async def until_events(database: Database, job_id: UUID, count: int) -> None:
    async def there() -> bool:
        return len(await events_of(database, job_id)) >= count

    await until(there, what=f"{count} events")


async def test_logs_are_all_kept_and_in_order(database: Database) -> None:
    job_id = await ask(database, Talks(lines=50))
    await drain(database, kinds=KINDS)
    logs = [event for event in await events_of(database, job_id) if event["type"] == "LOG"]
    assert [event["data"] for event in logs] == [{"number": number} for number in range(50)]
    assert [event["message"] for event in logs] == [f"line {number}" for number in range(50)]
    assert len(await story_of(database, job_id)) == 53


async def test_of_one_job_at_most_ten_progress_events_a_second_are_stored(database: Database) -> None:
    job_id = await ask(database, Talks(lines=0, progress=300, pause_seconds=0.005))
    await drain(database, kinds=KINDS)
    events = await events_of(database, job_id)
    told = [event for event in events if event["type"] == "PROGRESS"]
    seconds = (events[-1]["at"] - events[1]["at"]).total_seconds()
    assert 0 < len(told) <= MOST_PROGRESS_A_SECOND * (seconds + 1)
    percents = [event["progress"] for event in told]
    assert percents == sorted(percents)
    assert max(percents) <= 99
    row = await row_of(database, job_id)
    assert (row["done"], row["total"], row["step"]) == (300, 300, "step 300")


async def test_the_first_steps_of_a_job_are_seen_at_once_and_a_log_does_not_wait_for_those_that_have_to(
    database: Database, journal: Journal, frozen: Frozen
) -> None:
    claim = await running(database)
    notes = open_for(journal, claim)
    for done in range(MOST_PROGRESS_A_SECOND):
        notes.progress(done=done, total=100, step=None)
        await until_events(database, claim.job_id, 3 + done)
    told = [event["done"] for event in await events_of(database, claim.job_id) if event["type"] == "PROGRESS"]
    assert told == list(range(MOST_PROGRESS_A_SECOND))
    notes.progress(done=50, total=100, step=None)
    notes.log("urgent", level=LogLevel.WARNING, data=None)
    await until_events(database, claim.job_id, 3 + MOST_PROGRESS_A_SECOND)
    assert (await events_of(database, claim.job_id))[-1]["message"] == "urgent"
    frozen.seconds += 1
    await until_events(database, claim.job_id, 4 + MOST_PROGRESS_A_SECOND)
    assert (await events_of(database, claim.job_id))[-1]["done"] == 50


async def test_whoever_watches_gets_a_hint_for_what_is_written(
    database: Database, feed: Feed, journal: Journal
) -> None:
    claim = await running(database)
    notes = open_for(journal, claim)
    async with listening(feed, job_topic(claim.job_id)) as hints:
        notes.log("hello", level=LogLevel.INFO, data=None)
        assert await heard(hints, {job_topic(claim.job_id)}) == {job_topic(claim.job_id)}
    assert (await events_of(database, claim.job_id))[-1]["message"] == "hello"


async def test_many_jobs_are_written_together(database: Database, journal: Journal) -> None:
    claims = [await running(database) for _ in range(20)]
    for claim in claims:
        open_for(journal, claim).log("hello", level=LogLevel.INFO, data=None)
    await until_events(database, claims[-1].job_id, 3)
    written = {(await events_of(database, claim.job_id))[-1]["at"] for claim in claims}
    xids = await database.reader.fetch("SELECT DISTINCT xmin FROM job_events WHERE type = 'LOG'")
    assert len(written) <= 20
    assert len(xids) == 1


async def test_what_postgres_does_not_take_is_made_fit(database: Database, journal: Journal) -> None:
    claim = await running(database)
    notes = open_for(journal, claim)
    notes.log("a\x00b", level=LogLevel.INFO, data={"x": "\x00"})
    notes.log("x" * 10_000, level=LogLevel.INFO, data=None)
    notes.progress(done=2**40, total=2**41, step="\x00")
    await until_events(database, claim.job_id, 5)
    first, second, third = (await events_of(database, claim.job_id))[2:]
    assert (first["message"], first["data"]) == ("a\ufffdb", {"x": "\ufffd"})
    assert len(second["message"]) == LONGEST_MESSAGE
    assert (third["done"], third["step"]) == (2**31 - 1, "\ufffd")


async def test_data_that_is_no_json_is_refused_where_it_is_given(database: Database, journal: Journal) -> None:
    claim = await running(database)
    notes = open_for(journal, claim)
    with pytest.raises(TypeError):
        notes.log("x", level=LogLevel.INFO, data=object())
    assert notes.take() == []


async def test_a_line_that_cannot_be_stored_does_not_keep_the_others(database: Database) -> None:
    journal = Journal(database)
    good, bad = await running(database), await running(database)
    open_for(journal, good).log("fine", level=LogLevel.INFO, data=None)
    notes = open_for(journal, bad)
    notes.log("x", level=LogLevel.INFO, data=None)
    notes.total = 2**40
    notes.log("y", level=LogLevel.INFO, data=None)
    await journal.flush()
    assert (await events_of(database, good.job_id))[-1]["message"] == "fine"
    assert len(await story_of(database, bad.job_id)) == 2


async def test_what_could_not_be_written_is_written_later_in_its_order(database: Database) -> None:
    journal = Journal(database)
    claim = await running(database)
    notes = open_for(journal, claim)
    notes.log("first", level=LogLevel.INFO, data=None)
    await execute(database, "ALTER TABLE job_events RENAME TO away")
    with pytest.raises(Exception, match="job_events"):
        await journal.flush()
    notes.log("second", level=LogLevel.INFO, data=None)
    await execute(database, "ALTER TABLE away RENAME TO job_events")
    await journal.flush()
    assert [event["message"] for event in await events_of(database, claim.job_id)][2:] == ["first", "second"]


async def test_progress_that_was_overtaken_while_it_could_not_be_written_is_left_out(database: Database) -> None:
    journal = Journal(database)
    notes = open_for(journal, await running(database))
    notes.progress(done=1, total=10, step=None)
    taken = notes.take()
    notes.progress(done=2, total=10, step=None)
    notes.put_back(taken)
    assert [(line.type, line.done) for _, line in notes.take()] == [(EventType.PROGRESS, 2)]


async def test_a_handler_that_logs_faster_than_postgres_writes_waits(database: Database) -> None:
    journal = Journal(database)
    claim = await running(database)
    notes = open_for(journal, claim)
    attempt = Attempt(claimed=claim, database=database, notes=notes)

    async def talk() -> None:
        for _ in range(MOST_LINES_WAITING + 1):
            await attempt.log("x")

    talking = asyncio.create_task(talk())
    done, _ = await asyncio.wait({talking}, timeout=0.2)
    assert done == set()
    assert not notes.has_room.is_set()
    await journal.flush()
    await asyncio.wait_for(talking, PATIENCE_SECONDS)


async def test_a_closed_attempt_writes_nothing_more(database: Database, journal: Journal) -> None:
    claim, other = await running(database), await running(database)
    notes, others = open_for(journal, claim), open_for(journal, other)
    journal.close(notes)
    notes.log("late", level=LogLevel.INFO, data=None)
    others.log("hello", level=LogLevel.INFO, data=None)
    await until_events(database, other.job_id, 3)
    assert len(await story_of(database, claim.job_id)) == 2
