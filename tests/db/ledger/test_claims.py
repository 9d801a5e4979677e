"""A claim is a compare-and-set on the fence: one worker gets the job, and every other ticket is worth nothing."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from db.ledger import commands as ledger
from db.ledger.commands import Ending, Ticket
from db.ledger.rules import JobState, decide_release
from db.session import Database
from jobs.attempt import COMPLETED
from tests.support.kinds import KINDS, Empty, Waits
from tests.support.ledger import (
    WORKER,
    ask,
    attempts_of,
    claimed,
    dispatched,
    execute,
    in_state,
    later,
    row_of,
    running,
    snapshot,
    story_of,
)


async def test_a_claim_takes_the_job_and_tells_it(database: Database) -> None:
    job_id = await ask(database)
    (ticket,) = await dispatched(database)
    assert ticket == Ticket(job_id, 0)
    later(database, seconds=3)
    claim = await claimed(database, ticket)
    assert claim is not None
    assert (claim.job_id, claim.fence, claim.number, claim.kind) == (job_id, 1, 1, "test.empty")
    assert claim.waited_seconds == pytest.approx(3, abs=1)
    row = await row_of(database, job_id)
    assert (row["state"], row["fence"], row["attempt"], row["worker_id"]) == ("running", 1, 1, WORKER.id)
    assert row["timeout_at"] == row["started_at"] + timedelta(seconds=Empty.timeout_seconds)
    assert await story_of(database, job_id) == [("STATUS", "queued", 0), ("STATUS", "running", 0)]
    assert await attempts_of(database, job_id) == [(1, None)]


async def test_a_ticket_is_good_once(database: Database) -> None:
    await ask(database)
    (ticket,) = await dispatched(database)
    assert await claimed(database, ticket) is not None
    before = await snapshot(database)
    assert await claimed(database, ticket) is None
    assert await snapshot(database) == before


@pytest.mark.parametrize("fence", [-1, 1, 7])
async def test_a_ticket_of_another_fence_gives_nothing(database: Database, fence: int) -> None:
    job_id = await ask(database)
    await dispatched(database)
    before = await snapshot(database)
    assert await claimed(database, Ticket(job_id, fence)) is None
    assert await snapshot(database) == before


async def test_a_job_that_was_cancelled_before_it_began_never_runs(database: Database) -> None:
    job_id = await ask(database)
    (ticket,) = await dispatched(database)
    async with database.transaction() as tx:
        await ledger.request_cancel(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
    assert await claimed(database, ticket) is None
    assert (await row_of(database, job_id))["state"] == "cancelled"
    assert await attempts_of(database, job_id) == []


async def test_a_worker_lets_a_kind_go_that_it_does_not_know_and_it_costs_no_attempt(database: Database) -> None:
    job_id = await ask(database)
    (ticket,) = await dispatched(database)
    other = ledger.WorkerCard(
        WORKER.id, WORKER.name, WORKER.queues, [kind for kind in KINDS if kind != "test.empty"], 1
    )
    assert await claimed(database, ticket, worker=other) is None
    row = await row_of(database, job_id)
    assert (row["state"], row["fence"], row["attempt"], row["last_seq"]) == ("queued", ticket.fence + 1, 0, 1)
    assert await claimed(database, ticket) is None
    knowing = ledger.WorkerCard(uuid4(), WORKER.name, WORKER.queues, WORKER.kinds, 1)
    await claimed(database, ledger.Ticket(job_id, 99), worker=knowing)
    (again,) = await dispatched(database)
    assert await claimed(database, again) is not None


async def test_a_kind_that_no_live_worker_knows_waits_and_keeps_nobody_from_their_turn(database: Database) -> None:
    unknown = await ask(database, Empty())
    known = await ask(database, Waits())
    await claimed(
        database,
        ledger.Ticket(unknown, 99),
        worker=ledger.WorkerCard(WORKER.id, WORKER.name, WORKER.queues, ["test.waits"], 1),
    )
    assert [ticket.job_id for ticket in await dispatched(database)] == [known]
    assert (await row_of(database, unknown))["state"] == "queued"
    await claimed(
        database,
        ledger.Ticket(unknown, 99),
        worker=ledger.WorkerCard(uuid4(), WORKER.name, WORKER.queues, ["test.empty"], 1),
    )
    assert [ticket.job_id for ticket in await dispatched(database)] == [unknown]


async def test_nothing_begins_in_a_paused_queue_though_its_ticket_was_under_way(database: Database) -> None:
    job_id = await ask(database)
    (ticket,) = await dispatched(database)
    await execute(database, "INSERT INTO queues (name, paused_at) VALUES ('default', now())")
    assert await claimed(database, ticket) is None
    row = await row_of(database, job_id)
    assert (row["state"], row["fence"], row["attempt"]) == ("queued", ticket.fence + 1, 0)


async def test_many_claims_are_one_statement_and_each_gets_its_own(database: Database) -> None:
    ids = {await ask(database) for _ in range(5)}
    tickets = await dispatched(database)
    stale = [Ticket(tickets[0].job_id, 9)]
    async with database.transaction() as tx:
        found = await ledger.claim(
            tx, tickets=[*tickets, *stale], worker_id=WORKER.id, worker_name="w", kinds=WORKER.kinds
        )
    assert {each.job_id for each in found} == ids
    assert {each.fence for each in found} == {1}


async def test_a_second_attempt_has_its_own_number_and_keeps_the_first_start(database: Database) -> None:
    first = await running(database)
    started_at = (await row_of(database, first.job_id))["started_at"]
    async with database.transaction() as tx:
        await ledger.end_attempts(
            tx, endings=[Ending(first.job_id, first.fence, decide_release(is_cancel_requested=False))]
        )
    later(database, minutes=1)
    (ticket,) = await dispatched(database)
    second = await claimed(database, ticket)
    assert second is not None
    assert (second.number, second.fence) == (2, 2)
    assert (await row_of(database, first.job_id))["started_at"] == started_at
    assert await attempts_of(database, first.job_id) == [(1, "INTERRUPTED"), (2, None)]


async def test_the_end_of_an_attempt_that_is_not_ours_any_more_is_not_written(database: Database) -> None:
    claim = await running(database)
    before = await snapshot(database)
    async with database.transaction() as tx:
        written = await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence - 1, COMPLETED)])
    assert written == {}
    assert await snapshot(database) == before


async def test_holding_a_job_says_whether_it_is_ours(database: Database) -> None:
    claim = await running(database)
    ended = await in_state(database, JobState.COMPLETED)
    async with database.transaction() as tx:
        assert await ledger.hold(tx, job_id=claim.job_id, fence=claim.fence)
        assert not await ledger.hold(tx, job_id=claim.job_id, fence=claim.fence + 1)
        assert not await ledger.hold(tx, job_id=ended, fence=0)


async def test_a_worker_is_told_what_became_of_its_jobs(database: Database) -> None:
    kept, lost, asked, unnamed = [await running(database) for _ in range(4)]
    async with database.transaction() as tx:
        await ledger.end_attempts(
            tx, endings=[Ending(lost.job_id, lost.fence, decide_release(is_cancel_requested=False))]
        )
        await ledger.request_cancel(tx, job_id=asked.job_id, actor_id=None, reason="Not needed.", now=tx.now)
        answer = await ledger.standing(
            tx, worker_id=WORKER.id, held={each.job_id: each.fence for each in (kept, lost, asked)}
        )
    assert answer == ledger.Answer(
        lost=frozenset({(lost.job_id, lost.fence)}),
        cancelled={(asked.job_id, asked.fence): "Not needed."},
        unknown=frozenset({(unnamed.job_id, unnamed.fence)}),
    )


async def test_of_jobs_that_have_one_crash_left_a_worker_takes_one(database: Database) -> None:
    """Two in one worker would both be put aside for what one of them does."""
    fresh, *suspects = [await ask(database) for _ in range(4)]
    await execute(database, "UPDATE jobs SET crash_count = 2, attempt = 2 WHERE id <> :id", id=fresh)
    tickets = await dispatched(database)

    async def take(*, takes_suspect: bool) -> list[UUID]:
        async with database.transaction() as tx:
            got = await ledger.claim(
                tx,
                tickets=[*tickets, *tickets],
                worker_id=WORKER.id,
                worker_name=WORKER.name,
                kinds=WORKER.kinds,
                takes_suspect=takes_suspect,
            )
        return [job.job_id for job in got]

    assert await take(takes_suspect=True) == [fresh, suspects[0]]
    for job_id in suspects[1:]:
        row = await row_of(database, job_id)
        assert (row["state"], row["fence"], row["attempt"]) == ("queued", 1, 2)
    tickets = await dispatched(database)
    assert await take(takes_suspect=False) == []
    assert [(await row_of(database, job_id))["state"] for job_id in suspects] == ["running", "queued", "queued"]
