"""What the tables say of queues and workers, for Prometheus: read when it asks, and at most every few seconds.

Every server process tells the same, since all of them read the same tables: take the maximum over instances, not the
sum. While the database is away the page says just that: numbers from before would look like numbers of now.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from db.ledger.queries import Backlog, QueueRow, read_backlog, read_queues
from db.session import Database, PoolUse
from db.telemetry import get_logger
from server.auth import AWAY

log = get_logger(__name__)

# Several servers of Prometheus may ask, and each of their requests would cost the database two statements.
KEPT_SECONDS = 5.0
READ_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: all at one moment."""

    queues: list[QueueRow]
    backlog: Backlog


class Gauges:
    """The tables' numbers, kept for a few seconds."""

    def __init__(self, database: Database, *, kept_seconds: float = KEPT_SECONDS) -> None:
        self._database = database
        self._kept_seconds = kept_seconds
        self._read: Reading | None = None
        self._read_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def page(self) -> bytes:
        """Prometheus' text. Never raises because the database is away."""
        async with self._one_at_a_time:
            if time.monotonic() - self._read_at >= self._kept_seconds:
                self._read = await self._look()
                self._read_at = time.monotonic()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page(self._read, self._database.pool_sizes()))
        return generate_latest(registry)

    async def _look(self) -> Reading | None:
        reader = self._database.reader
        try:
            async with asyncio.timeout(READ_SECONDS):
                return Reading(await read_queues(reader, with_ended=False), await read_backlog(reader))
        except AWAY as error:
            log.warning("metrics.not_read", error=type(error).__name__)
            return None


class _Page(Collector):
    def __init__(self, reading: Reading | None, pools: Mapping[str, PoolUse]) -> None:
        self._reading = reading
        self._pools = pools

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The numbers as Prometheus' client wants them."""
        up = "Whether the ledger's tables could be read for this page"
        yield GaugeMetricFamily("holdfast_ledger_up", up, value=float(self._reading is not None))
        yield from _of_pools(self._pools)
        if self._reading is not None:
            yield from _of_queues(self._reading.queues)
            yield from _of_backlog(self._reading.backlog)


def _of_pools(pools: Mapping[str, PoolUse]) -> Iterable[GaugeMetricFamily]:
    used = GaugeMetricFamily("holdfast_pool_used", "Connections to the database in use, by pool", labels=["pool"])
    most = GaugeMetricFamily("holdfast_pool_most", "Connections that a pool may have", labels=["pool"])
    for name, pool in pools.items():
        used.add_metric([name], pool.used)
        most.add_metric([name], pool.most)
    return used, most


def _of_queues(queues: list[QueueRow]) -> Iterable[GaugeMetricFamily]:
    def by_queue(name: str, text: str, *more: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"holdfast_queue_{name}", text, labels=["queue", *more])

    jobs = by_queue("jobs", "Jobs that wait (queued: now, scheduled: for their time) or run", "state")
    oldest = by_queue("oldest_wait_seconds", "For how long the oldest queued job could have run")
    workers = by_queue("workers", "Live workers that take jobs from the queue")
    paused = by_queue("paused", "1 where nothing new is begun")
    limit = by_queue("limit", "How many of its jobs run at once, where there is a limit")
    for row in queues:
        for state, count in (("queued", row.queued), ("scheduled", row.scheduled), ("running", row.running)):
            jobs.add_metric([row.queue, state], count)
        oldest.add_metric([row.queue], row.oldest_queued_seconds or 0.0)
        workers.add_metric([row.queue], row.workers)
        paused.add_metric([row.queue], float(row.is_paused))
        if row.limit is not None:
            limit.add_metric([row.queue], row.limit)
    return jobs, oldest, workers, paused, limit


def _of_backlog(backlog: Backlog) -> Iterable[GaugeMetricFamily]:
    workers = GaugeMetricFamily("holdfast_workers", "Live workers", labels=["state"])
    workers.add_metric(["working"], backlog.workers)
    workers.add_metric(["draining"], backlog.draining)
    lag = GaugeMetricFamily(
        "holdfast_dispatch_lag_seconds",
        "How late: of a scheduled job whose time has come (promote), of a ticket that no worker has claimed (claim)",
        labels=["step"],
    )
    lag.add_metric(["promote"], backlog.late_seconds)
    lag.add_metric(["claim"], backlog.ticket_seconds)
    return (
        workers,
        GaugeMetricFamily("holdfast_worker_slots", "How many jobs live workers can run at once", value=backlog.slots),
        GaugeMetricFamily(
            "holdfast_jobs_quarantined", "Jobs put aside, for workers died of them", value=backlog.quarantined
        ),
        lag,
    )
