"""/metrics tells what the tables say of queues and workers: exactly, rarely, and also while the database is away."""

from prometheus_client.parser import text_string_to_metric_families

from db.ledger.rules import JobState
from db.session import Database, PoolUse
from server.gauges import Gauges
from tests.server.support.serving import Running, serving
from tests.server.support.stage import Stage, schema
from tests.support.ledger import execute, in_state, running

Samples = dict[tuple[str, ...], float]


def samples(page: str, prefix: str = "holdfast_") -> Samples:
    """Each number by its name and the values of its labels."""
    return {
        (sample.name.removeprefix("holdfast_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith(prefix)
    }


async def gauges_of(database: Database, *, kept_seconds: float = 0.0) -> Samples:
    return samples((await Gauges(database, kept_seconds=kept_seconds).page()).decode())


async def test_every_queue_is_told_exactly(database: Database) -> None:
    await running(database)
    await in_state(database, JobState.QUARANTINED)
    for _ in range(3):
        await in_state(database, JobState.QUEUED)
    late = [await in_state(database, state) for state in (JobState.SCHEDULED, JobState.DISPATCHED)]
    await execute(
        database,
        "UPDATE jobs SET scheduled_at = now() - interval '90 seconds',"
        " dispatched_at = CASE WHEN state = 'dispatched' THEN now() - interval '7 seconds' END WHERE id = ANY (:ids)",
        ids=late,
    )
    await in_state(database, JobState.SCHEDULED)
    await execute(database, "INSERT INTO queues (name, max_running, paused_at) VALUES ('bulk', 4, now())")
    found = await gauges_of(database)
    assert 90 <= found.pop(("queue_oldest_wait_seconds", "default")) < 120
    assert 90 <= found.pop(("dispatch_lag_seconds", "promote")) < 120
    assert 7 <= found.pop(("dispatch_lag_seconds", "claim")) < 37
    assert {key: value for key, value in found.items() if not key[0].startswith("pool_")} == {
        ("ledger_up",): 1,
        ("queue_jobs", "default", "queued"): 5,
        ("queue_jobs", "default", "scheduled"): 1,
        ("queue_jobs", "default", "running"): 1,
        ("queue_workers", "default"): 1,
        ("queue_paused", "default"): 0,
        ("queue_jobs", "bulk", "queued"): 0,
        ("queue_jobs", "bulk", "scheduled"): 0,
        ("queue_jobs", "bulk", "running"): 0,
        ("queue_oldest_wait_seconds", "bulk"): 0,
        ("queue_workers", "bulk"): 0,
        ("queue_paused", "bulk"): 1,
        ("queue_limit", "bulk"): 4,
        ("workers", "working"): 1,
        ("workers", "draining"): 0,
        ("worker_slots",): 10,
        ("jobs_quarantined",): 1,
    }


async def test_the_tables_are_read_rarely_however_often_somebody_asks(database: Database) -> None:
    gauges = Gauges(database, kept_seconds=60)
    first = await gauges.page()
    before = database.reader.statements
    assert [await gauges.page() for _ in range(5)] == [first] * 5
    assert database.reader.statements == before
    await gauges_of(database)
    assert database.reader.statements == before + 2


async def test_the_pools_are_told_as_they_are_used(database: Database) -> None:
    sizes = database.pool_sizes()
    assert (sizes["read"], sizes["write"]) == (PoolUse(most=10, used=0), PoolUse(most=10, used=0))
    async with database.transaction():
        assert database.pool_sizes()["write"].used == 1
        found = await gauges_of(database)
    assert (found["pool_used", "write"], found["pool_most", "write"]) == (1, 10)
    assert (found["pool_used", "read"], found["pool_most", "read"]) == (0, 10)


async def test_the_page_of_a_server_has_both_what_it_counts_and_what_the_tables_say(
    server: Running, database: Database
) -> None:
    await in_state(database, JobState.QUEUED)
    await server.post("{ hello }")
    page = await server.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=")
    found = samples(page.text)
    assert found["queue_jobs", "default", "queued"] == 1
    assert found["requests_total", "query", "hello", "ok"] >= 1


async def test_without_a_database_the_page_says_so_and_tells_no_old_numbers(redis_url: str, stage: Stage) -> None:
    nowhere = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"
    async with serving(nowhere, redis_url, schema=schema) as server:
        page = await server.client.get("/metrics")
    assert page.status_code == 200
    found = samples(page.text)
    assert found[("ledger_up",)] == 0
    assert [key for key in found if key[0].startswith(("queue_", "workers", "jobs_"))] == []
    assert found["pool_most", "read"] == 4


async def test_numbers_from_before_an_outage_are_not_told_as_those_of_now(database: Database) -> None:
    gauges = Gauges(database, kept_seconds=0)
    assert samples((await gauges.page()).decode())[("ledger_up",)] == 1
    await execute(database, "ALTER TABLE workers RENAME TO gone")
    found = samples((await gauges.page()).decode())
    assert found[("ledger_up",)] == 0
    assert ("queue_jobs", "default", "queued") not in found
