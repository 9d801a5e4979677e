"""Limits under several real workers: never exceeded, as the handlers see it, and nobody waits for a poll."""

import pytest

from db.ledger import commands as ledger
from db.session import Database
from tests.support.kinds import Crowd, make_crowd
from tests.support.ledger import ask, attempts_of
from tests.support.workers import Fleet, until, until_workers

pytestmark = pytest.mark.faults

JOBS = 40
# Whoever waits for the next poll, or for a job to be taken from somebody, waits for longer than these tests do.
SELDOM = {
    "poll_seconds": "600",
    "slots": "5",
    "heartbeat_seconds": "0.5",
    "deadline_seconds": "300",
    "lease_seconds": "600",
    "unclaimed_seconds": "600",
}


async def limit(database: Database, *, total: int | None, per_key: int | None) -> None:
    async with database.transaction() as tx:
        await ledger.limit_queue(tx, name="default", max_running=total, max_running_per_key=per_key)


async def until_all_done(database: Database) -> None:
    async def done() -> bool:
        rows = await database.reader.fetch("SELECT count(*) AS n FROM crowds")
        return bool(rows[0]["n"] == JOBS)

    await until(done, seconds=90, what="the end of all of them")


@pytest.mark.parametrize(
    ("total", "per_key", "expected"), [(2, 1, (2, 1)), (None, 1, (4, 1)), (3, None, (3, 3))], ids=["both", "key", "all"]
)
async def test_a_limit_is_reached_and_never_exceeded(
    database: Database, workers: Fleet, total: int | None, per_key: int | None, expected: tuple[int, int]
) -> None:
    await make_crowd(database)
    await limit(database, total=total, per_key=per_key)
    for _ in range(2):
        workers.start(**SELDOM)
    await until_workers(database, 2)
    ids = [await ask(database, Crowd(key="abcd"[number % 4])) for number in range(JOBS)]
    await until_all_done(database)
    (peak,) = await database.reader.fetch("SELECT max(of_all) AS of_all, max(of_key) AS of_key FROM crowds")
    assert peak["of_all"] <= expected[0]
    assert peak["of_key"] <= expected[1]
    # Slots that the limit leaves are used.
    assert peak["of_all"] == expected[0]
    for job_id in ids:
        assert len(await attempts_of(database, job_id)) == 1
