"""Two at once, with real transactions: whoever comes second finds what the first has done."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest

from db import endings
from db.errors import Code, Refused
from db.ledger import commands as ledger
from db.ledger.commands import Ending, Line, Ticket
from db.ledger.rules import EventType, JobState, LogLevel
from db.session import Database
from jobs.attempt import COMPLETED
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from tests.support.drain import drain, runner_for
from tests.support.kinds import KINDS, Steps, Unique, effects_of, make_effects
from tests.support.ledger import (
    EVER,
    WORKER,
    ask,
    attempts_of,
    claimed,
    dispatched,
    events_of,
    execute,
    in_state,
    lose_sight_of,
    row_of,
    running,
    story_of,
)
from tests.support.workers import until_waiting

_LINE = Line(EventType.LOG, 0, None, None, None, LogLevel.INFO, "x")


async def test_of_two_claims_of_one_ticket_one_gets_the_job(database: Database) -> None:
    for _ in range(10):
        job_id = await ask(database)
        (ticket,) = await dispatched(database)
        got = await asyncio.gather(*[claimed(database, ticket) for _ in range(4)])
        assert sum(each is not None for each in got) == 1
        assert await attempts_of(database, job_id) == [(1, None)]
        assert len(await story_of(database, job_id)) == 2


async def test_of_two_who_ask_for_the_same_work_the_second_gets_the_firsts_job(database: Database) -> None:
    asked = asyncio.Event()
    go = asyncio.Event()

    async def first() -> ledger.Enqueued:
        async with database.transaction() as tx:
            made = await ledger.enqueue(tx, work=Unique(), actor_id=None)
            asked.set()
            await go.wait()
        return made

    async def second() -> ledger.Enqueued:
        await asked.wait()
        async with database.transaction() as tx:
            return await ledger.enqueue(tx, work=Unique(), actor_id=None)

    both = asyncio.gather(first(), second())
    await until_waiting(database)
    go.set()
    one, two = await both
    assert (one.created, two.created) == (True, False)
    assert one.job_id == two.job_id


async def test_when_the_first_rolls_back_the_second_makes_the_job(database: Database) -> None:
    asked = asyncio.Event()
    go = asyncio.Event()

    async def first() -> None:
        async with database.transaction() as tx:
            await ledger.enqueue(tx, work=Unique(), actor_id=None)
            asked.set()
            await go.wait()
            raise RuntimeError

    async def second() -> ledger.Enqueued:
        await asked.wait()
        async with database.transaction() as tx:
            return await ledger.enqueue(tx, work=Unique(), actor_id=None)

    both = asyncio.gather(first(), second(), return_exceptions=True)
    await until_waiting(database)
    go.set()
    failed, made = await both
    assert isinstance(failed, RuntimeError)
    assert isinstance(made, ledger.Enqueued)
    assert made.created
    assert len(await database.reader.fetch("SELECT 1 FROM jobs")) == 1


async def test_of_a_claim_and_a_cancel_one_wins(database: Database) -> None:
    outcomes: Counter[str] = Counter()
    for _ in range(10):
        job_id = await ask(database)
        (ticket,) = await dispatched(database)

        async def cancel(job_id: UUID = job_id) -> None:
            async with database.transaction() as tx:
                await ledger.request_cancel(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)

        claim, _ = await asyncio.gather(claimed(database, ticket), cancel())
        row = await row_of(database, job_id)
        assert row["state"] == ("running" if claim else "cancelled")
        assert row["cancel_requested_at"] is not None
        outcomes[row["state"]] += 1
        await story_of(database, job_id)
    assert sum(outcomes.values()) == 10


async def test_of_a_completion_and_a_rescue_one_wins_and_effects_happen_once(database: Database) -> None:
    await make_effects(database)
    sweeper = Sweeper(database=database, settings=WorkerSettings())
    for _ in range(8):
        claim = await running(database, Steps(1))
        await lose_sight_of(database)

        async def complete(claim: ledger.Claimed = claim) -> bool:
            async with database.transaction() as tx:
                ended = await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, COMPLETED)])
            return claim.job_id in ended

        is_completed, _ = await asyncio.gather(complete(), sweeper.rescue())
        row = await row_of(database, claim.job_id)
        assert row["state"] == ("completed" if is_completed else "queued")
        assert row["fence"] == claim.fence + (0 if is_completed else 1)
        await story_of(database, claim.job_id)
        await execute(database, "DELETE FROM jobs")


async def test_whoever_takes_a_job_away_waits_for_the_commit_that_has_begun(database: Database) -> None:
    """The fence is checked under a lock that is held to the commit: there is no gap between the two."""
    claim = await running(database)
    held = asyncio.Event()
    go = asyncio.Event()

    async def write() -> None:
        async with database.transaction() as tx:
            assert await ledger.hold(tx, job_id=claim.job_id, fence=claim.fence)
            held.set()
            await go.wait()

    async def take_away() -> None:
        await held.wait()
        await execute(database, "UPDATE jobs SET fence = fence + 1")

    both = asyncio.gather(write(), take_away())
    await until_waiting(database)
    assert (await row_of(database, claim.job_id))["fence"] == claim.fence
    go.set()
    await both
    assert (await row_of(database, claim.job_id))["fence"] == claim.fence + 1


async def test_many_dispatchers_dispatch_each_job_once(database: Database) -> None:
    ids = {await ask(database) for _ in range(60)}
    tickets: list[ledger.Ticket] = []

    async def dispatcher() -> None:
        """What is left to do after a round in which others took some of the same jobs."""
        is_contended = True
        while is_contended:
            async with database.transaction() as tx:
                found = await ledger.dispatch(tx, lease=EVER, limit=10)
            tickets.extend(found.tickets)
            is_contended = found.is_contended

    await dispatched(database, limit=0)
    await asyncio.gather(*[dispatcher() for _ in range(6)])
    tickets += await dispatched(database)
    assert Counter(ticket.job_id for ticket in tickets) == Counter(ids)
    assert await dispatched(database) == []


async def test_many_sweeps_count_a_crash_once(database: Database) -> None:
    sweeper = Sweeper(database=database, settings=WorkerSettings())
    claims = [await running(database) for _ in range(10)]
    await lose_sight_of(database)
    found = await asyncio.gather(*[sweeper.rescue() for _ in range(4)])
    assert sum(found) == 10
    for claim in claims:
        row = await row_of(database, claim.job_id)
        assert (row["crash_count"], row["fence"]) == (1, claim.fence + 1)
        assert len(await story_of(database, claim.job_id)) == 3


async def test_of_two_retries_one_is_refused(database: Database) -> None:
    old = await in_state(database, JobState.FAILED)

    async def retry() -> UUID:
        async with database.transaction() as tx:
            return await endings.retry_job(tx, job_id=old, actor_id=None, now=tx.now)

    made = await asyncio.gather(*[retry() for _ in range(4)], return_exceptions=True)
    refused = [each for each in made if isinstance(each, Refused)]
    assert [each.code for each in refused] == [Code.JOB_NOT_RETRYABLE] * 3
    assert len(await database.reader.fetch("SELECT 1 FROM jobs")) == 2


async def test_of_two_cancels_one_changes_the_job(database: Database) -> None:
    claim = await running(database)

    async def cancel() -> None:
        async with database.transaction() as tx:
            await endings.cancel_job(tx, job_id=claim.job_id, actor_id=None, reason=None, now=tx.now)

    await asyncio.gather(*[cancel() for _ in range(4)])
    assert [event["message"] for event in await events_of(database, claim.job_id)][2:] == ["It is asked to stop."]


async def test_lines_and_ends_of_many_jobs_at_once_never_wait_for_each_other_for_ever(database: Database) -> None:
    """Groups that share jobs, in opposite orders: both lock in the order of the ids."""
    claims = [await running(database) for _ in range(20)]

    async def tell(turn: int) -> None:
        ordered = claims if turn % 2 else list(reversed(claims))
        async with database.transaction() as tx:
            await ledger.note(tx, lines={(claim.job_id, claim.fence): [_LINE] for claim in ordered})

    await asyncio.gather(*[tell(turn) for turn in range(8)])
    for claim in claims:
        assert len(await story_of(database, claim.job_id)) == 10


async def test_two_processes_that_run_everything_do_each_job_once(database: Database) -> None:
    await make_effects(database)
    ids = [await ask(database, Steps(3)) for _ in range(20)]
    await asyncio.gather(*[drain(database, kinds=KINDS, at_once=4) for _ in range(2)])
    for job_id in ids:
        assert await effects_of(database, job_id) == [0, 1, 2]
        assert (await row_of(database, job_id))["state"] == "completed"


async def test_a_job_whose_answer_was_lost_is_found_and_given_back(database: Database) -> None:
    """The claim committed, and its worker never heard of it."""
    claim = await running(database)
    runner = runner_for(database, kinds=KINDS)
    async with database.transaction() as tx:
        answer = await ledger.standing(tx, worker_id=WORKER.id, held={})
    assert answer.unknown == {(claim.job_id, claim.fence)}
    await runner.give_back(claim.job_id, claim.fence)
    row = await row_of(database, claim.job_id)
    assert (row["state"], row["interruptions"], row["crash_count"]) == ("queued", 1, 0)
    assert await claimed(database, Ticket(claim.job_id, claim.fence + 1)) is not None


@pytest.fixture(autouse=True)
def _no_retries_hide_a_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.runner.runner.is_retryable", lambda _: False)
