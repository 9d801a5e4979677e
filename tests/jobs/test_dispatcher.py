"""The one loop over everything that falls due."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Select, literal_column, select

from db.cancelling import end_tasks
from db.feed import Feed
from db.leases import DueSource
from db.ledger import commands as ledger
from db.ledger.queries import due_sources
from db.session import Database
from jobs.dispatcher import Dispatcher, Dispatching, Duty, Work
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from tests.support.kinds import Waits
from tests.support.ledger import WORKER, ask, execute, later, lose_sight_of, row_of, running
from tests.support.workers import until


@dataclass
class Pocket:
    """Carries tickets nowhere; takes at most `most`."""

    most: int = 100
    limit: int | None = None
    taken: list[ledger.Ticket] = field(default_factory=list)

    def room(self) -> int | None:
        return self.limit

    async def carry(self, tickets: Sequence[ledger.Ticket]) -> Sequence[ledger.Ticket]:
        self.taken += tickets[: self.most]
        return tickets[self.most :]


def dispatcher(database: Database, feed: Feed, pocket: Pocket, *, settings: WorkerSettings | None = None) -> Dispatcher:
    settings = settings or WorkerSettings(poll_seconds=60)
    work: dict[str, Work] = {
        **Sweeper(database=database, settings=settings).duties,
        "jobs.queued": Dispatching(database=database, carrier=pocket, settings=settings),
    }
    sources = due_sources(unclaimed=timedelta(seconds=5), lease=timedelta(seconds=10), abandon=timedelta(seconds=30))
    return Dispatcher(
        database=database, feed=feed, duties=[Duty(each, work[each.name]) for each in sources], settings=settings
    )


@pytest.fixture
async def fleet(database: Database) -> ledger.WorkerCard:
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
    return WORKER


async def due(database: Database) -> set[str]:
    """The sources that say that something is due."""
    names = set()
    for source in due_sources(
        unclaimed=timedelta(seconds=5), lease=timedelta(seconds=10), abandon=timedelta(seconds=30)
    ):
        async with database.transaction() as tx:
            found = await tx.execute(source.question.limit(1), database.clock.parameters)
            if found.first() is not None:
                names.add(source.name)
    return names


async def test_each_source_knows_its_due_rows(database: Database) -> None:
    assert await due(database) == set()
    job_id = await ask(database)
    # No worker is there that could run it.
    assert await due(database) == set()
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
    assert await due(database) == {"jobs.queued"}
    await execute(database, "INSERT INTO queues (name, paused_at) VALUES ('default', now())")
    assert await due(database) == set()
    await execute(database, "DELETE FROM queues")
    await execute(database, "UPDATE jobs SET state = 'dispatched', dispatched_at = now()")
    assert await due(database) == set()
    later(database, seconds=6)
    assert await due(database) == {"jobs.unclaimed"}
    await execute(
        database,
        "UPDATE jobs SET state = 'scheduled', dispatched_at = NULL, scheduled_at = now() + interval '1 hour'"
        " WHERE id = :id",
        id=job_id,
    )
    assert await due(database) == set()
    later(database, hours=2)
    assert await due(database) == {"jobs.scheduled"}


async def test_running_jobs_are_due_when_they_are_lost_deaf_or_overdue(database: Database) -> None:
    await running(database, Waits())
    assert await due(database) == set()
    await execute(database, "UPDATE jobs SET cancel_requested_at = now() - interval '31 s'")
    assert await due(database) == {"jobs.deaf"}
    await execute(database, "UPDATE jobs SET cancel_requested_at = NULL, timeout_at = now() - interval '31 s'")
    assert await due(database) == {"jobs.overdue"}
    await execute(database, "UPDATE jobs SET timeout_at = now() + interval '1 hour'")
    await lose_sight_of(database)
    assert await due(database) == {"jobs.lost"}


async def test_an_idle_round_is_one_statement(database: Database, feed: Feed) -> None:
    loop = dispatcher(database, feed, Pocket())
    before = database.reader.statements
    assert not await loop.round()
    assert database.reader.statements == before + 1


async def test_a_round_dispatches_no_more_than_the_fleet_can_use(
    database: Database, feed: Feed, fleet: ledger.WorkerCard
) -> None:
    for _ in range(40):
        await ask(database)
    pocket = Pocket()
    loop = dispatcher(database, feed, pocket)
    await loop.round()
    assert len(pocket.taken) == 3 * fleet.slots
    await loop.round()
    assert len(pocket.taken) == 3 * fleet.slots


async def test_a_ticket_that_could_not_be_carried_is_queued_again(
    database: Database, feed: Feed, fleet: ledger.WorkerCard
) -> None:
    first, second = await ask(database), await ask(database)
    pocket = Pocket(most=1)
    await dispatcher(database, feed, pocket).round()
    assert [ticket.job_id for ticket in pocket.taken] == [first]
    row = await row_of(database, second)
    assert (row["state"], row["fence"], row["attempt"]) == ("queued", 1, 0)


async def test_a_carrier_may_take_fewer_than_the_fleet(
    database: Database, feed: Feed, fleet: ledger.WorkerCard
) -> None:
    for _ in range(5):
        await ask(database)
    pocket = Pocket(limit=2)
    await dispatcher(database, feed, pocket).round()
    assert len(pocket.taken) == 2


async def test_a_hint_brings_the_next_round_forward(database: Database, feed: Feed, fleet: ledger.WorkerCard) -> None:
    pocket = Pocket()
    working = asyncio.create_task(dispatcher(database, feed, pocket).run())
    job_id = await ask(database)

    async def carried() -> bool:
        return [ticket.job_id for ticket in pocket.taken] == [job_id]

    await until(carried)
    working.cancel()


async def test_without_a_hint_the_next_round_comes_by_itself(
    database_url: str, database: Database, feed: Feed, fleet: ledger.WorkerCard
) -> None:
    pocket = Pocket()
    working = asyncio.create_task(dispatcher(database, feed, pocket, settings=WorkerSettings(poll_seconds=0.05)).run())
    database.feed = None
    job_id = await ask(database)

    async def carried() -> bool:
        return [ticket.job_id for ticket in pocket.taken] == [job_id]

    await until(carried)
    working.cancel()


async def test_a_duty_that_fails_does_not_keep_the_others_from_their_turn(database: Database, feed: Feed) -> None:
    done: list[str] = []

    async def fail() -> int:
        raise RuntimeError

    async def work() -> int:
        done.append("x")
        return 0

    always: Select[Any] = select(literal_column("1"))
    duties = [Duty(DueSource("fails", always), fail), Duty(DueSource("works", always), work)]
    loop = Dispatcher(database=database, feed=feed, duties=duties, settings=WorkerSettings())
    assert not await loop.round()
    assert done == ["x"]


async def test_a_source_with_more_than_a_batch_is_asked_again_at_once(database: Database, feed: Feed) -> None:
    async def work() -> int:
        return 10

    duties = [Duty(DueSource("full", select(literal_column("1"))), work)]
    assert await Dispatcher(database=database, feed=feed, duties=duties, settings=WorkerSettings(batch=10)).round()
    assert not await Dispatcher(database=database, feed=feed, duties=duties, settings=WorkerSettings(batch=11)).round()


async def test_the_loop_survives_a_database_that_fails(
    database: Database, feed: Feed, fleet: ledger.WorkerCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.dispatcher.AFTER_FAILURE_SECONDS", 0.05)
    pocket = Pocket()
    await execute(database, "ALTER TABLE jobs RENAME TO away")
    working = asyncio.create_task(dispatcher(database, feed, pocket, settings=WorkerSettings(poll_seconds=0.05)).run())
    asked = database.reader.statements

    async def failed() -> bool:
        return database.reader.statements > asked + 1

    await until(failed)
    await execute(database, "ALTER TABLE away RENAME TO jobs")
    job_id = await ask(database)

    async def carried() -> bool:
        return [ticket.job_id for ticket in pocket.taken] == [job_id]

    await until(carried)
    working.cancel()


async def test_a_hint_is_answered_while_a_round_has_hundreds_of_rows_to_do(
    database: Database, feed: Feed, fleet: ledger.WorkerCard
) -> None:
    """Holds that end by the hundred must not keep a job from its start."""
    go, has_begun = asyncio.Event(), asyncio.Event()

    async def slow() -> int:
        has_begun.set()
        await go.wait()
        return 0

    pocket = Pocket()
    settings = WorkerSettings(poll_seconds=60)
    always = DueSource("slow", select(literal_column("1")))
    dispatching = Dispatching(database=database, carrier=pocket, settings=settings)
    working = asyncio.create_task(
        Dispatcher(
            database=database, feed=feed, duties=[Duty(always, slow)], settings=settings, hinted=dispatching
        ).run()
    )
    await has_begun.wait()

    async def is_listening() -> bool:
        return "ledger" in feed._subscribed

    await until(is_listening)
    job_id = await ask(database)

    async def carried() -> bool:
        return [ticket.job_id for ticket in pocket.taken] == [job_id]

    await until(carried)
    go.set()
    await end_tasks([working])
