"""What a worker counts: each attempt once, by whoever writes its end."""

from collections.abc import Callable

import pytest

from db.ledger.rules import JobState
from db.session import Database
from jobs.metrics import REGISTRY
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from tests.support.drain import drain
from tests.support.kinds import KINDS, Empty, Fails, Refuses, Steps, make_effects
from tests.support.ledger import ask, execute, in_state, later, lose_sight_of, running

Counted = Callable[..., float]


@pytest.fixture
def counted() -> Counted:
    """By how much a number has grown since the test began; other tests of this process count into it too."""
    before = {(s.name, *sorted(s.labels.items())): s.value for family in REGISTRY.collect() for s in family.samples}

    def grown(name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(f"holdfast_{name}", labels) or 0.0
        return now - before.get((f"holdfast_{name}", *sorted(labels.items())), 0.0)

    return grown


@pytest.fixture
def sweeper(database: Database) -> Sweeper:
    return Sweeper(database=database, settings=WorkerSettings())


async def test_attempts_are_counted_by_kind_and_outcome_with_how_long_they_waited_and_ran(
    database: Database, counted: Counted
) -> None:
    await make_effects(database)
    for work in (Empty(), Empty(), Steps(2), Refuses(), Fails(1)):
        await ask(database, work)
    later(database, seconds=20)
    await drain(database, kinds=KINDS)
    assert counted("job_attempts_total", kind="test.empty", outcome="COMPLETED") == 2
    # It completed in its own transaction, with its effects.
    assert counted("job_attempts_total", kind="test.steps", outcome="COMPLETED") == 1
    assert counted("job_attempts_total", kind="test.refuses", outcome="FAILED") == 1
    assert counted("job_attempts_total", kind="test.fails", outcome="RETRY") == 1
    for kind, attempts in (("test.empty", 2), ("test.steps", 1), ("test.refuses", 1), ("test.fails", 1)):
        assert counted("job_wait_seconds_count", kind=kind) == attempts
        assert counted("job_run_seconds_count", kind=kind) == attempts
    assert 40 <= counted("job_wait_seconds_sum", kind="test.empty") < 100
    assert 0 < counted("job_run_seconds_sum", kind="test.empty") < 10


async def test_the_sizes_of_claims_are_counted(database: Database, counted: Counted) -> None:
    for _ in range(7):
        await ask(database)
    await drain(database, kinds=KINDS)
    assert counted("claim_group_size_sum") == 7
    assert 1 <= counted("claim_group_size_count") <= 7


async def test_rescues_are_counted_and_the_third_crash_as_a_quarantine(
    database: Database, sweeper: Sweeper, counted: Counted
) -> None:
    for crashes in (0, 2):
        claim = await running(database)
        await execute(database, "UPDATE jobs SET crash_count = :n WHERE id = :id", n=crashes, id=claim.job_id)
    await lose_sight_of(database)
    assert await sweeper.rescue() == 2
    assert counted("job_rescues_total") == 2
    assert counted("job_quarantines_total", kind="test.empty") == 1
    assert counted("job_attempts_total", kind="test.empty", outcome="LOST") == 2


async def test_recalled_tickets_are_counted(database: Database, sweeper: Sweeper, counted: Counted) -> None:
    for _ in range(3):
        await in_state(database, JobState.DISPATCHED)
    assert await sweeper.recall() == 0
    assert counted("job_recalls_total") == 0
    later(database, seconds=6)
    assert await sweeper.recall() == 3
    assert counted("job_recalls_total") == 3


async def test_what_is_taken_from_a_handler_that_does_not_stop_is_counted_as_cancelled(
    database: Database, sweeper: Sweeper, counted: Counted
) -> None:
    claim = await running(database)
    await execute(database, "UPDATE jobs SET cancel_requested_at = now() WHERE id = :id", id=claim.job_id)
    later(database, seconds=31)
    assert await sweeper.abandon() == 1
    assert counted("job_attempts_total", kind="test.empty", outcome="CANCELLED") == 1
    assert counted("job_quarantines_total", kind="test.empty") == 0
