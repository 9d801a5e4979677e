"""What a worker counts, for Prometheus. Labels hold kinds and outcomes, of which there are few.

Each attempt is counted once, by whoever writes its end: the worker that ran it, or the one that took it away.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector

from db.ledger.commands import Claimed, Stranded
from db.ledger.rules import AttemptOutcome, JobState, Verdict

# Not Prometheus' own: a process that is a server too, as in tests, has pages of its own for each.
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_WAIT = Histogram(
    "holdfast_job_wait_seconds",
    "From when a job could run to when a worker claimed it",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
    registry=REGISTRY,
)
_RUN = Histogram(
    "holdfast_job_run_seconds",
    "How long handlers ran, attempt by attempt",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
    registry=REGISTRY,
)
_ATTEMPTS = Counter("holdfast_job_attempts", "Attempts that ended, by how", ["kind", "outcome"], registry=REGISTRY)
_QUARANTINED = Counter("holdfast_job_quarantines", "Jobs put aside: workers died of them", ["kind"], registry=REGISTRY)
_RESCUED = Counter("holdfast_job_rescues", "Jobs taken from workers that were not seen for a lease", registry=REGISTRY)
_RECALLED = Counter("holdfast_job_recalls", "Tickets made anew, since nobody claimed them in time", registry=REGISTRY)
_CLAIM_GROUP = Histogram(
    "holdfast_claim_group_size",
    "Tickets claimed by one statement",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200),
    registry=REGISTRY,
)

# Looking a child up by its labels costs more than counting; what there is of kinds and outcomes is soon all there.
_wait_of = cache(_WAIT.labels)
_run_of = cache(_RUN.labels)
_attempts_of = cache(_ATTEMPTS.labels)


def claimed(tickets: int, jobs: Sequence[Claimed]) -> None:
    """One statement has claimed these jobs with so many tickets."""
    _CLAIM_GROUP.observe(tickets)
    for job in jobs:
        _wait_of(job.kind).observe(max(0.0, job.waited_seconds))


@contextmanager
def handling(kind: str) -> Iterator[None]:
    """A handler runs in this block, to whatever end."""
    began = time.perf_counter()
    try:
        yield
    finally:
        _run_of(kind).observe(time.perf_counter() - began)


def ended(kind: str, outcome: AttemptOutcome) -> None:
    """The end of an attempt has been written."""
    _attempts_of(kind, outcome.value).inc()


def taken_away(job: Stranded, verdict: Verdict) -> None:
    """An attempt was ended for a worker that did not do so itself."""
    ended(job.kind, verdict.outcome)
    if verdict.state is JobState.QUARANTINED:
        _QUARANTINED.labels(job.kind).inc()


def rescued(found: Sequence[Stranded], doomed: Sequence[Stranded]) -> None:
    """The jobs of lost workers were found; those that are not doomed run again."""
    _RESCUED.inc(len(found))
    for job in found:
        if job not in doomed:
            ended(job.kind, AttemptOutcome.LOST)


def recalled(tickets: int) -> None:
    """So many tickets were made anew."""
    _RECALLED.inc(tickets)
