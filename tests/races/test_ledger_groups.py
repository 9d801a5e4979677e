"""Groups: one job of a group that is locked, taken away or cannot be written never keeps the others from theirs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from db.cancelling import end_tasks
from db.errors import Code, refuse
from db.ledger import commands as ledger
from db.ledger.commands import Ending, Line, Ticket, WorkerCard, sweeping
from db.ledger.jobs import Work
from db.ledger.rules import EventType, JobError, LogLevel, decide_crash, decide_refusal
from db.session import Database
from jobs.attempt import COMPLETED, Attempt, Cancelled, Declared
from jobs.dispatcher import Dispatching
from jobs.settings import WorkerSettings
from tests.support.drain import drain, runner_for
from tests.support.facts import PATIENCE_SECONDS
from tests.support.kinds import KINDS, Empty, Talks
from tests.support.ledger import (
    EVER,
    WORKER,
    ask,
    attempts_of,
    claimed,
    dispatched,
    events_of,
    execute,
    lose_sight_of,
    row_of,
    running,
    story_of,
)
from tests.support.workers import until, until_state, until_waiting


@asynccontextmanager
async def idle_in_transaction(database: Database, job_id: UUID) -> AsyncIterator[None]:
    """Somebody has locked the job's row, and does nothing."""
    async with database.transaction() as tx:
        await tx.execute(text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        yield


def said(message: str) -> Line:
    return Line(EventType.LOG, 0, None, None, None, LogLevel.INFO, message)


async def test_a_locked_job_is_left_out_of_a_claim_and_the_others_are_claimed(database: Database) -> None:
    ids = [await ask(database) for _ in range(3)]
    tickets = await dispatched(database)
    async with idle_in_transaction(database, ids[1]), asyncio.timeout(PATIENCE_SECONDS), database.single() as single:
        got = await ledger.claim(
            single, tickets=tickets, worker_id=WORKER.id, worker_name=WORKER.name, kinds=WORKER.kinds
        )
    assert [job.job_id for job in got] == [ids[0], ids[2]]
    assert (await row_of(database, ids[1]))["state"] == "dispatched"


async def test_a_locked_jobs_end_keeps_no_other_from_ending(database: Database) -> None:
    go = asyncio.Event()

    async def wait(attempt: Attempt, work: Work) -> None:
        await go.wait()

    runner = runner_for(database, kinds={Empty.kind: Declared(Empty, wait)})
    ids = [await ask(database) for _ in range(5)]
    await runner.take(await dispatched(database))
    async with idle_in_transaction(database, ids[2]), asyncio.timeout(PATIENCE_SECONDS):
        go.set()
        for job_id in ids[:2] + ids[3:]:
            await until_state(database, job_id, "completed")
        assert (await row_of(database, ids[2]))["state"] == "running"
    await runner.until_idle()
    for job_id in ids:
        assert await story_of(database, job_id) == [
            ("STATUS", "queued", 0),
            ("STATUS", "running", 0),
            ("STATUS", "completed", 100),
        ]


async def test_a_locked_jobs_lines_keep_no_other_from_telling(database: Database) -> None:
    talk, end = asyncio.Event(), asyncio.Event()

    async def handle(attempt: Attempt, work: Work) -> None:
        await talk.wait()
        await attempt.log("one")
        await attempt.log("two")
        await end.wait()

    runner = runner_for(database, kinds={Empty.kind: Declared(Empty, handle)})
    journal = asyncio.create_task(runner.journal.run())
    ids = [await ask(database) for _ in range(3)]
    await runner.take(await dispatched(database))

    async def told(job_id: UUID) -> bool:
        return [each["message"] for each in await events_of(database, job_id)][2:] == ["one", "two"]

    async with idle_in_transaction(database, ids[0]), asyncio.timeout(PATIENCE_SECONDS):
        talk.set()
        await until(lambda: told(ids[1]))
        await until(lambda: told(ids[2]))
        assert not await told(ids[0])
    await until(lambda: told(ids[0]))
    end.set()
    await runner.until_idle()
    await end_tasks([journal])
    for job_id in ids:
        assert (await story_of(database, job_id))[-1] == ("STATUS", "completed", 100)


async def test_lines_of_an_older_attempt_in_the_same_group_are_not_told(database: Database) -> None:
    """A worker that lost a job may have it again, while the older handler has not ended."""
    claim = await running(database)
    async with database.transaction() as tx:
        ending = Ending(claim.job_id, claim.fence, decide_crash(crash_count=0, is_cancel_requested=False))
        await ledger.end_attempts(tx, endings=[ending])
    await dispatched(database)
    again = await claimed(database, Ticket(claim.job_id, claim.fence))
    assert again is not None
    before = len(await story_of(database, claim.job_id))
    async with database.single() as single:
        lines = {
            (claim.job_id, claim.fence): [said("old"), said("older")],
            (claim.job_id, again.fence): [said("new")],
        }
        assert await ledger.note_many(single, lines=lines) == set()
    assert [each["message"] for each in await events_of(database, claim.job_id)][before:] == ["new"]
    await story_of(database, claim.job_id)
    refused = decide_refusal(error=JobError("OLD", "The older attempt says no."))
    async with database.single() as single:
        endings = [Ending(claim.job_id, claim.fence, refused), Ending(claim.job_id, again.fence, COMPLETED)]
        await ledger.end_attempts(single, endings=endings)
    assert await attempts_of(database, claim.job_id) == [(1, "LOST"), (2, "COMPLETED")]


async def test_an_end_that_cannot_be_written_keeps_no_other_from_ending(database: Database) -> None:
    """Words of handlers may hold what Postgres does not take: NUL, half a surrogate pair, values that are no JSON."""
    gate = asyncio.Event()

    async def say_nothing(attempt: Attempt, work: Work) -> None:
        await gate.wait()

    async def say_something(attempt: Attempt, work: Talks) -> None:
        await gate.wait()
        if work.lines == 1:
            raise Cancelled("half \ud800 and NUL \x00")
        raise refuse(Code.EMPTY_TASKS, "NUL \x00", "planId", strange=object())

    kinds = {Empty.kind: Declared(Empty, say_nothing), Talks.kind: Declared(Talks, say_something)}
    runner = runner_for(database, kinds=kinds)
    plain = [await ask(database) for _ in range(3)]
    words, details = await ask(database, Talks(1)), await ask(database, Talks(2))
    await runner.take(await dispatched(database))
    gate.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await runner.until_idle()
    assert {(await row_of(database, job_id))["state"] for job_id in plain} == {"completed"}
    assert (await events_of(database, words))[-1]["message"] == "half ? and NUL \ufffd"
    row = await row_of(database, details)
    assert (row["state"], row["error"]["code"], row["error"]["details"]) == ("failed", "EMPTY_TASKS", None)


async def test_a_job_dispatched_while_its_queue_was_being_paused_does_not_begin(database: Database) -> None:
    """The dispatcher had looked before the pause, and committed after it."""
    await execute(database, "INSERT INTO queues (name) VALUES ('default')")
    job_id = await ask(database)
    async with database.transaction() as dispatching:
        await ledger.beat(dispatching, card=WORKER, is_draining=False, now=dispatching.now)
        (ticket,) = (await ledger.dispatch(dispatching, lease=EVER, limit=10)).tickets
        async with database.transaction() as tx:
            await ledger.pause_queue(tx, name="default", actor_id=None, reason=None, now=tx.now)
    assert (await row_of(database, job_id))["state"] == "dispatched"
    assert await claimed(database, ticket) is None
    row = await row_of(database, job_id)
    assert (row["state"], row["fence"], row["attempt"]) == ("queued", ticket.fence + 1, 0)
    async with database.transaction() as tx:
        await ledger.resume_queue(tx, name="default")
    await drain(database, kinds=KINDS)
    assert (await row_of(database, job_id))["state"] == "completed"


async def test_what_was_handed_out_before_a_limit_was_set_waits_for_it(database: Database) -> None:
    for _ in range(4):
        await ask(database)
    tickets = await dispatched(database)
    async with database.transaction() as tx:
        await ledger.limit_queue(tx, name="default", max_running=1, max_running_per_key=None)
    assert [await claimed(database, ticket) for ticket in tickets] == [None] * 4
    async with database.transaction() as tx:
        assert len((await ledger.dispatch_limited(tx, lease=EVER, limit=10)).tickets) == 1


class Hands:
    """A carrier that takes every ticket."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []

    def room(self) -> int | None:
        return 100

    async def carry(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        self.tickets += tickets
        return ()


def dispatching(database: Database) -> tuple[Dispatching, Hands, list[float]]:
    """A dispatcher's turn, what it has handed out, and when it wants to be called again."""
    hands, again = Hands(), list[float]()
    settings = WorkerSettings(poll_seconds=0.5)
    return Dispatching(database=database, carrier=hands, settings=settings, ask_again=again.append), hands, again


async def test_a_waiting_job_that_somebody_has_locked_is_asked_for_less_and_less_often(database: Database) -> None:
    turn, hands, again = dispatching(database)
    ids = [await ask(database) for _ in range(3)]
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
    async with idle_in_transaction(database, ids[0]):
        for _ in range(12):
            await turn()
        assert [ticket.job_id for ticket in hands.tickets] == ids[1:]
        assert again[0] == 0
        assert again == sorted(again)
        assert again[-1] == 0.5
    await turn()
    assert [ticket.job_id for ticket in hands.tickets] == [*ids[1:], ids[0]]
    assert len(again) == 12


async def test_what_changes_while_another_dispatcher_looks_after_a_queue_is_looked_at_again(database: Database) -> None:
    turn, hands, again = dispatching(database)
    await ask(database)
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
        await ledger.limit_queue(tx, name="default", max_running=1, max_running_per_key=None)
    async with database.transaction() as other:
        assert len((await ledger.dispatch_limited(other, lease=EVER, limit=0)).tickets) == 0
        await turn()
        assert (hands.tickets, again) == ([], [0.0])
    await turn()
    assert len(hands.tickets) == 1


async def test_a_sweep_that_comes_late_leaves_the_new_worker_its_job(database: Database) -> None:
    """Between a sweep's look and its lock, the lost job was rescued by another sweep and begun by another worker."""
    claim = await running(database)
    await lose_sight_of(database)
    other = WorkerCard(id=uuid4(), name="another", queues=("default",), kinds=tuple(KINDS), slots=1)
    async with database.transaction() as tx:
        await ledger.beat(tx, card=other, is_draining=False, now=tx.now)
    async with database.transaction() as keeper, database.transaction() as late:
        await keeper.execute(text("SELECT pg_advisory_xact_lock(1)"))
        # The statement sees what is committed when it begins; then it waits.
        looking = asyncio.create_task(
            late.execute(
                text(f"SELECT id FROM (SELECT pg_advisory_xact_lock(1)) AS waits, LATERAL ({sweeping._LOST}) AS lost"),
                {"before": late.now - timedelta(seconds=10), "limit": 10},
            )
        )
        await until_waiting(database)
        async with database.transaction() as tx:
            verdict = decide_crash(crash_count=0, is_cancel_requested=False)
            await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, verdict, is_taken_away=True)])
        await dispatched(database)
        assert await claimed(database, Ticket(claim.job_id, claim.fence + 1), worker=other) is not None
        await keeper.commit()
        assert (await looking).all() == []
