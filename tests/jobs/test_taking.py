"""Tickets in bulk: no more jobs run at once than there are slots, and a claim that is under way is waited for."""

import asyncio

from db.ledger.commands import Ticket
from db.ledger.jobs import Work
from db.session import Database
from jobs.attempt import Attempt, Declared
from jobs.runner import Runner
from jobs.settings import WorkerSettings
from tests.support.drain import runner_for
from tests.support.kinds import Empty
from tests.support.ledger import ask, dispatched, row_of


class Gate:
    """A kind of work that waits until it is let go, and counts how many of it run."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.running = 0

    async def handle(self, attempt: Attempt, work: Work) -> None:
        self.running += 1
        await self.open.wait()

    def runner(self, database: Database, *, slots: int) -> Runner:
        return runner_for(
            database, kinds={Empty.kind: Declared(Empty, self.handle)}, settings=WorkerSettings(slots=slots)
        )


async def tickets_of(database: Database, count: int) -> list[Ticket]:
    for _ in range(count):
        await ask(database)
    return await dispatched(database, limit=count)


async def test_what_has_been_taken_counts_at_once(database: Database) -> None:
    """Whoever asks for free slots right after a claim, before anything else had its turn, gets the new number."""
    gate = Gate()
    runner = gate.runner(database, slots=4)
    tickets = await tickets_of(database, 3)
    await runner.take(tickets)
    assert runner.free_slots == 1
    assert len(runner.held()) == 3
    gate.open.set()
    await runner.until_idle()
    assert runner.free_slots == 4


async def test_a_runner_with_a_claim_under_way_is_not_idle(database: Database) -> None:
    gate = Gate()
    runner = gate.runner(database, slots=4)
    (ticket,) = await tickets_of(database, 1)
    claiming = asyncio.create_task(runner.take([ticket]))
    await asyncio.sleep(0)
    idle = asyncio.create_task(runner.until_idle())
    await asyncio.sleep(0)
    assert not idle.done()
    await claiming
    await asyncio.sleep(0)
    assert not idle.done()
    gate.open.set()
    await idle
    assert (await row_of(database, ticket.job_id))["state"] == "completed"
