"""Retention in any order with everything else: a job that lives keeps its row and all of its events."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, FromClause, false
from sqlalchemy.exc import DBAPIError

from db.ledger.commands import retaining
from db.ledger.rules import LIVE, JobState
from db.session import Database, sqlstate
from tests.support.ledger import events_of, execute, in_state, later
from tests.support.retention import age, left_of, partitions_of, prepare_old_weeks

# Within the partitions, on their borders, and far outside of them.
AGES = st.sampled_from([0.0, 0.1, 6.9, 7.0, 13.9, 14.1, 20.0, 29.9, 30.1, 55.0, 83.0, 120.0])
DAYS = st.sampled_from([1, 14, 30])


@dataclass
class Known:
    """What is expected of a job."""

    state: JobState
    # When it ended, in days of the shifted clock.
    ended: float | None
    events: int = 1


@dataclass
class Ledger:
    """The tables, and what is expected of them."""

    database: Database
    day: float = 0.0
    jobs: dict[UUID, Known] = field(default_factory=dict)

    async def ask(self, state: JobState, asked: float, lasted: float) -> None:
        """A job of this age, which ended so much later if its state is an end."""
        ended = None if state in LIVE else max(0.0, asked - lasted)
        made = await in_state(self.database, state)
        job_id = await age(
            self.database, made, days=asked - self.day, ended_days=(0.0 if ended is None else ended) - self.day
        )
        self.jobs[job_id] = Known(state, None if ended is None else self.day - ended)

    async def end(self, which: int) -> None:
        """One that lives ends now, and says so."""
        alive = [job_id for job_id, known in self.jobs.items() if known.ended is None]
        if not alive:
            return
        job_id = alive[which % len(alive)]
        await execute(
            self.database,
            "UPDATE jobs SET state = 'cancelled', worker_id = NULL, timeout_at = NULL, dispatched_at = NULL,"
            " finished_at = now() + make_interval(secs => :shift) WHERE id = :id",
            id=job_id,
            shift=self.database.clock.shift.total_seconds(),
        )
        await execute(
            self.database,
            "INSERT INTO job_events (job_id, seq, at, type, state, progress, attempt)"
            " VALUES (:id, 2, now(), 'STATUS', 'cancelled', 0, 0)",
            id=job_id,
        )
        self.jobs[job_id] = Known(JobState.CANCELLED, self.day, events=2)

    def sleep(self, days: int) -> None:
        self.day += days
        later(self.database, days=days)

    async def retain(self, jobs_days: int, events_days: int) -> None:
        """Everything at once, as two workers would do it in the worst case."""
        await asyncio.gather(
            self._drop(events_days), self._drop(events_days), self._strays(events_days), self._forget(jobs_days)
        )
        await self._forget(jobs_days)
        for job_id, known in list(self.jobs.items()):
            row, _, events = await left_of(self.database, job_id)
            if known.ended is None or self.day - known.ended < min(jobs_days, events_days):
                assert (row, events) == (1, known.events)
            elif self.day - known.ended < jobs_days:
                assert row == 1
                assert events in {0, known.events}
            else:
                assert row == events == 0
                del self.jobs[job_id]
            known.events = events

    async def _drop(self, days: int) -> None:
        async with self.database.transaction() as tx:
            before = tx.now - timedelta(days=days)
            old = await retaining.partitions(tx, before=before)
        for partition in old:
            try:
                async with self.database.transaction() as tx:
                    await retaining.drop_partition(tx, partition=partition, before=before)
            except DBAPIError as error:
                if sqlstate(error) not in {"55P03", "42P01"}:  # busy, or gone before we came
                    raise

    async def _strays(self, days: int) -> None:
        reached: UUID | None = UUID(int=0)
        while reached is not None:
            async with self.database.transaction() as tx:
                before = tx.now - timedelta(days=days)
                reached, _ = await retaining.forget_strays(tx, before=before, after=reached, limit=2)

    async def _forget(self, days: int) -> None:
        reached: retaining.Place | None = retaining.FROM_THE_FIRST
        while reached is not None:
            async with self.database.transaction() as tx:
                before = tx.now - timedelta(days=days)
                batch = await retaining.forget_jobs(tx, before=before, after=reached, limit=2, is_shown=nothing_shown)
            reached = batch.reached


def nothing_shown(job: FromClause) -> ColumnElement[bool]:
    return false()


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(list(JobState)), AGES, AGES),
    st.tuples(st.just("ask"), st.sampled_from(sorted(LIVE)), AGES, AGES),
    st.tuples(st.just("end"), st.integers(0, 20)),
    st.tuples(st.just("sleep"), st.integers(1, 20)),
    st.tuples(st.just("retain"), DAYS, DAYS),
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(STEPS, min_size=4, max_size=10))
async def test_whatever_the_order_nothing_that_lives_is_touched(
    database: Database, steps: list[tuple[object, ...]]
) -> None:
    database.clock.shift = timedelta(0)
    await execute(database, "TRUNCATE jobs, job_events, job_attempts")
    await prepare_old_weeks(database)
    ledger = Ledger(database)
    for name, *arguments in [*steps, ("retain", 30, 14)]:
        done = getattr(ledger, str(name))(*arguments)
        if done is not None:
            await done
        for job_id, known in ledger.jobs.items():
            if known.ended is None:
                assert len(await events_of(database, job_id)) == 1
    assert "job_events_default" in await partitions_of(database)
