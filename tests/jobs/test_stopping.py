"""Attempts that are stopped: asked to, interrupted, taken away, let go."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text

from db import endings
from db.ledger.jobs import Work
from db.session import Database
from jobs.attempt import Attempt, Declared, LeaseLost, Stop
from jobs.runner import Runner
from jobs.settings import WorkerSettings
from tests.support.drain import runner_for
from tests.support.facts import PATIENCE_SECONDS
from tests.support.kinds import (
    KINDS,
    Empty,
    Waits,
    effects_of,
    make_effects,
)
from tests.support.ledger import (
    ask,
    attempts_of,
    dispatched,
    events_of,
    execute,
    row_of,
)
from tests.support.workers import until

_INSERT = text("INSERT INTO effects VALUES (:id, 0, 0)")


async def start(runner: Runner, database: Database, work: Work) -> tuple[UUID, "asyncio.Task[bool]"]:
    """A job that this runner is running."""
    job_id = await ask(database, work)
    (ticket,) = await dispatched(database)
    task = asyncio.create_task(runner.run(ticket))

    async def is_running() -> bool:
        return job_id in runner.running

    await until(is_running)
    return job_id, task


def fence_of(runner: Runner, job_id: UUID) -> int:
    return runner.held()[job_id]


async def test_a_polite_handler_stops_at_its_next_safe_point(database: Database) -> None:
    runner = runner_for(database, kinds=KINDS, settings=WorkerSettings(cancel_grace_seconds=60))
    job_id, task = await start(runner, database, Waits())
    await cancel(database, job_id, "Not needed.")
    runner.stop(job_id, fence_of(runner, job_id), Stop.CANCEL, "Not needed.")
    assert await task
    row = await row_of(database, job_id)
    assert (row["state"], row["cancel_reason"]) == ("cancelled", "Not needed.")
    assert [event["message"] for event in await events_of(database, job_id)][2:] == [
        "It is asked to stop: Not needed.",
        "Not needed.",
    ]
    assert await attempts_of(database, job_id) == [(1, "CANCELLED")]


async def test_a_handler_that_does_not_look_is_interrupted_after_the_grace(database: Database) -> None:
    runner = runner_for(database, kinds=KINDS, settings=WorkerSettings(cancel_grace_seconds=0.1))
    job_id, task = await start(runner, database, Waits(is_polite=False))
    await cancel(database, job_id)
    runner.stop(job_id, fence_of(runner, job_id), Stop.CANCEL)
    assert await task
    assert (await row_of(database, job_id))["state"] == "cancelled"


async def test_a_completion_that_commits_first_wins_over_a_request_to_cancel(database: Database) -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def finish(attempt: Attempt, work: Empty) -> None:
        async with attempt.completing():
            entered.set()
            await go.wait()

    runner = runner_for(database, kinds={Empty.kind: Declared(Empty, finish)})
    job_id, task = await start(runner, database, Empty())
    await entered.wait()
    await cancel(database, job_id)
    runner.stop(job_id, fence_of(runner, job_id), Stop.CANCEL)
    go.set()
    assert await task
    assert (await row_of(database, job_id))["state"] == "completed"


async def test_a_fault_after_a_request_to_cancel_that_was_not_heard_ends_the_job(database: Database) -> None:
    """The row knows of the request before the worker does: what was to be tried again is cancelled."""
    go = asyncio.Event()

    async def fail(attempt: Attempt, work: Empty) -> None:
        await go.wait()
        raise RuntimeError

    runner = runner_for(database, kinds={Empty.kind: Declared(Empty, fail)})
    job_id, task = await start(runner, database, Empty())
    await cancel(database, job_id, "Enough.")
    go.set()
    assert await task
    assert (await row_of(database, job_id))["state"] == "cancelled"
    assert (await events_of(database, job_id))[-1]["message"] == "Enough."


async def test_a_job_that_was_taken_away_writes_nothing_more(database: Database) -> None:
    await make_effects(database)
    go = asyncio.Event()
    raised: list[str] = []

    async def write(attempt: Attempt, work: Empty) -> None:
        await go.wait()
        try:
            async with attempt.completing() as end:
                await end.tx.execute(_INSERT, {"id": attempt.job_id})
        except BaseException as error:
            raised.append(type(error).__name__)
            raise

    runner = runner_for(database, kinds={Empty.kind: Declared(Empty, write)})
    job_id, task = await start(runner, database, Empty())
    await execute(database, "UPDATE jobs SET fence = fence + 1")
    before = await row_of(database, job_id)
    go.set()
    assert await task
    assert raised == ["LeaseLost"]
    assert await effects_of(database, job_id) == []
    assert await row_of(database, job_id) == before


async def test_every_transaction_of_a_handler_is_fenced(database: Database) -> None:
    await make_effects(database)
    go = asyncio.Event()

    async def write(attempt: Attempt, work: Empty) -> None:
        async with attempt.transaction() as tx:
            await tx.execute(_INSERT, {"id": attempt.job_id})
            await go.wait()

    runner = runner_for(database, kinds={Empty.kind: Declared(Empty, write)})
    job_id, task = await start(runner, database, Empty())
    await execute(database, "UPDATE jobs SET fence = fence + 1")
    go.set()
    assert await task
    assert await effects_of(database, job_id) == []


async def test_a_lost_job_is_interrupted_and_a_handler_that_does_not_end_is_left_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.runner.supervision.GIVE_UP_SECONDS", 0.1)
    await make_effects(database)
    go, interrupted, refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def swallow(attempt: Attempt, work: Empty) -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                interrupted.set()
        try:
            async with attempt.completing() as end:
                await end.tx.execute(_INSERT, {"id": attempt.job_id})
        except LeaseLost:
            refused.set()

    runner = runner_for(database, kinds={Empty.kind: Declared(Empty, swallow)})
    job_id, task = await start(runner, database, Empty())
    await execute(database, "UPDATE jobs SET fence = fence + 1")
    runner.stop(job_id, fence_of(runner, job_id), Stop.LOST)
    assert await task
    assert interrupted.is_set()
    assert runner.running == {}
    go.set()
    await asyncio.wait_for(refused.wait(), PATIENCE_SECONDS)
    assert await effects_of(database, job_id) == []
    assert (await row_of(database, job_id))["state"] == "running"


async def test_what_is_said_of_an_earlier_attempt_stops_no_later_one(database: Database) -> None:
    """The answer was on its way while the job was rescued and claimed here again."""
    runner = runner_for(database, kinds=KINDS, settings=WorkerSettings(cancel_grace_seconds=0))
    job_id, task = await start(runner, database, Waits())
    fence = fence_of(runner, job_id)
    for why in (Stop.LOST, Stop.CANCEL):
        runner.stop(job_id, fence - 1, why)
        assert runner.running[job_id].attempt.stop is None
    await cancel(database, job_id)
    runner.stop(job_id, fence, Stop.CANCEL)
    assert await task
    assert await attempts_of(database, job_id) == [(1, "CANCELLED")]


async def test_a_released_job_is_queued_again_at_no_cost(database: Database) -> None:
    runner = runner_for(database, kinds=KINDS)
    job_id, task = await start(runner, database, Waits(is_polite=False))
    runner.stop_all(Stop.RELEASE)
    assert await task
    row = await row_of(database, job_id)
    assert (row["state"], row["interruptions"], row["failures"], row["crash_count"]) == ("queued", 1, 0, 0)
    assert await attempts_of(database, job_id) == [(1, "INTERRUPTED")]


async def cancel(database: Database, job_id: UUID, reason: str | None = None) -> None:
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=reason, now=tx.now)
