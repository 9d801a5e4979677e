"""Jobs for tests: asked for, looked at, and put into a state."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from db.ledger import commands as ledger
from db.ledger.jobs import Subject, Work
from db.ledger.rules import JobState
from db.session import Database
from tests.support.kinds import KINDS, Empty

WORKER = ledger.WorkerCard(id=uuid4(), name="a worker", queues=("default",), kinds=tuple(KINDS), slots=10)


EVER = timedelta(days=36_500)


async def ask(
    database: Database,
    work: Work | None = None,
    *,
    actor_id: UUID | None = None,
    subject: Subject | None = None,
    scheduled_at: datetime | None = None,
) -> UUID:
    """Ask for work in a transaction of its own. The job's id."""
    async with database.transaction() as tx:
        asked = await ledger.enqueue(
            tx, work=work or Empty(), actor_id=actor_id, subject=subject, scheduled_at=scheduled_at
        )
    return asked.job_id


async def row_of(database: Database, job_id: UUID) -> Mapping[str, Any]:
    """The job's row."""
    rows = await database.reader.fetch("SELECT * FROM jobs WHERE id = $1", [job_id])
    return dict(rows[0])


async def events_of(database: Database, job_id: UUID) -> list[Mapping[str, Any]]:
    """The job's history, in order."""
    rows = await database.reader.fetch("SELECT * FROM job_events WHERE job_id = $1 ORDER BY seq", [job_id])
    return [dict(row) for row in rows]


async def story_of(database: Database, job_id: UUID) -> list[tuple[str, str, int]]:
    """The job's history in short: (type, state, progress). Asserts that its numbers have no gap."""
    events = await events_of(database, job_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (await row_of(database, job_id))["last_seq"] == len(events)
    return [(event["type"], event["state"], event["progress"]) for event in events]


async def attempts_of(database: Database, job_id: UUID) -> list[tuple[int, str | None]]:
    """The job's attempts and how they ended."""
    rows = await database.reader.fetch(
        "SELECT number, outcome FROM job_attempts WHERE job_id = $1 ORDER BY number", [job_id]
    )
    return [(row["number"], row["outcome"]) for row in rows]


async def dispatched(database: Database, *, limit: int = 100) -> list[ledger.Ticket]:
    """Dispatch what is due, of queues without limits: for WORKER, where no worker has ever been seen."""
    async with database.transaction() as tx:
        if not (await tx.execute(text("SELECT EXISTS (SELECT FROM workers)"))).scalar_one():
            await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
        return list((await ledger.dispatch(tx, lease=EVER, limit=limit)).tickets)


async def claimed(
    database: Database, ticket: ledger.Ticket, *, worker: ledger.WorkerCard = WORKER
) -> ledger.Claimed | None:
    """Claim one ticket for a worker that lives."""
    async with database.transaction() as tx:
        await ledger.beat(tx, card=worker, is_draining=False, now=tx.now)
        found = await ledger.claim(
            tx, tickets=[ticket], worker_id=worker.id, worker_name=worker.name, kinds=worker.kinds
        )
    return found[0] if found else None


async def running(database: Database, work: Work | None = None, **asked: Any) -> ledger.Claimed:
    """A job that runs, held by WORKER."""
    job_id = await ask(database, work, **asked)
    await dispatched(database)
    found = await claimed(database, ledger.Ticket(job_id, 0))
    assert found is not None
    return found


async def execute(database: Database, statement: str, **values: Any) -> None:
    """Change the tables by hand."""
    async with database.transaction() as tx:
        await tx.execute(text(statement), values)


async def lose_sight_of(database: Database, worker: ledger.WorkerCard = WORKER, *, seconds: float = 60) -> None:
    """The worker was last seen so long ago."""
    await execute(
        database,
        "UPDATE workers SET seen_at = seen_at - make_interval(secs => :seconds) WHERE id = :id",
        seconds=seconds,
        id=worker.id,
    )


# What a row of each state has, besides what every row has.
_FACTS: dict[JobState, str] = {
    JobState.SCHEDULED: "scheduled_at = now() + interval '1 hour'",
    JobState.QUEUED: "scheduled_at = now()",
    JobState.DISPATCHED: "dispatched_at = now()",
    JobState.RUNNING: "worker_id = uuidv7(), timeout_at = now() + interval '1 hour', started_at = now(), attempt = 1",
    JobState.COMPLETED: "finished_at = now(), started_at = now(), progress = 100, attempt = 1",
    JobState.FAILED: 'finished_at = now(), error = \'{"code": "X", "message": "x"}\'',
    JobState.QUARANTINED: 'finished_at = now(), error = \'{"code": "X", "message": "x"}\'',
    JobState.CANCELLED: "finished_at = now()",
}


async def in_state(database: Database, state: JobState, work: Work | None = None, **asked: Any) -> UUID:
    """A job in this state, put there by hand."""
    job_id = await ask(database, work, **asked)
    await execute(database, f"UPDATE jobs SET state = :state, {_FACTS[state]} WHERE id = :id", state=state, id=job_id)
    return job_id


async def snapshot(database: Database) -> list[Mapping[str, Any]]:
    """Everything in the ledger, to show that nothing changed."""
    rows: list[Mapping[str, Any]] = []
    for table, order in (("jobs", "id"), ("job_events", "job_id, seq"), ("job_attempts", "job_id, number")):
        rows += [dict(row) for row in await database.reader.fetch(f"SELECT * FROM {table} ORDER BY {order}")]
    return rows


def later(database: Database, **by: float) -> None:
    """Move the clock: `later(database, minutes=10)`."""
    database.clock.shift += timedelta(**by)
