"""Jobs that grew old, for tests of what is kept of them."""

from uuid import UUID

from db.session import Database
from tests.support.ledger import execute

WEEKS_BACK = 12


async def prepare_old_weeks(database: Database) -> None:
    """Make partitions for the weeks behind us, as they would be there had the ledger run then."""
    await execute(
        database,
        "SELECT prepare_job_event_partitions(now() - make_interval(weeks => :weeks), :weeks)",
        weeks=WEEKS_BACK,
    )


async def age(database: Database, job_id: UUID, *, days: float, ended_days: float | None = None) -> UUID:
    """Let a job have been asked for so many days ago, and have ended `ended_days` ago. Its id, which is another now."""
    (row,) = await database.reader.fetch("SELECT uuidv7(make_interval(secs => $1)) AS id", [-days * 86_400.0])
    new: UUID = row["id"]
    await execute(
        database,
        "UPDATE jobs SET id = :new, enqueued_at = enqueued_at - make_interval(secs => :seconds),"
        " finished_at = finished_at - make_interval(secs => :ended) WHERE id = :old",
        new=new,
        old=job_id,
        seconds=days * 86_400.0,
        ended=(days if ended_days is None else ended_days) * 86_400.0,
    )
    for table in ("job_events", "job_attempts"):
        await execute(database, f"UPDATE {table} SET job_id = :new WHERE job_id = :old", new=new, old=job_id)
    return new


async def partition_of(database: Database, job_id: UUID) -> str | None:
    """Where the job's events are; None: it has none."""
    rows = await database.reader.fetch(
        "SELECT DISTINCT tableoid::regclass::text AS part FROM job_events WHERE job_id = $1", [job_id]
    )
    assert len(rows) < 2
    return rows[0]["part"].removeprefix("partitions.") if rows else None


async def partitions_of(database: Database) -> set[str]:
    """All partitions that there are."""
    rows = await database.reader.fetch(
        "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = 'partitions' AND relkind = 'r'"
    )
    return {row["relname"] for row in rows}


async def left_of(database: Database, job_id: UUID) -> tuple[int, int, int]:
    """How many rows there are of a job: itself, its attempts, its events."""
    (row,) = await database.reader.fetch(
        "SELECT (SELECT count(*) FROM jobs WHERE id = $1) AS jobs,"
        " (SELECT count(*) FROM job_attempts WHERE job_id = $1) AS attempts,"
        " (SELECT count(*) FROM job_events WHERE job_id = $1) AS events",
        [job_id],
    )
    return row["jobs"], row["attempts"], row["events"]
