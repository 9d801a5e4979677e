"""The life of a worker process: start, work, drain, go."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from db import tracing
from db.cancelling import end_tasks
from db.clock import Clock
from db.environment import load
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.queries import due_sources
from db.ledger.rules import worker_topic
from db.session import STORE_ERRORS, Database
from db.settings import DatabaseSettings, RedisSettings
from db.tasks.queries import timer_source
from db.telemetry import configure_logging, get_logger
from jobs import registry
from jobs.attempt import Declared, Stop
from jobs.dispatcher import Dispatcher, Dispatching, Duty, Work
from jobs.probes import Page
from jobs.runner import Runner
from jobs.schedule import Scheduler
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from jobs.timers import Timers
from jobs.worker.bus import Bus
from jobs.worker.heartbeat import Heartbeat

log = get_logger(__name__)

RESTART_SECONDS = 1.0
# After the drain's end, what was interrupted has so long to write that it was.
RELEASE_SECONDS = 7.0


class WorkerProcess:
    """Everything that one worker process has, put together."""

    def __init__(
        self,
        *,
        database: Database,
        feed: Feed,
        database_settings: DatabaseSettings,
        redis_settings: RedisSettings,
        settings: WorkerSettings,
        kinds: Mapping[str, Declared],
    ) -> None:
        name = settings.name or f"{socket.gethostname()}:{os.getpid()}"
        queues = sorted({each.work.queue for each in kinds.values()} | {"default"})
        self.card = ledger.WorkerCard(id=uuid4(), name=name, queues=queues, kinds=sorted(kinds), slots=settings.slots)
        self.runner = Runner(database=database, card=self.card, kinds=kinds, settings=settings, on_free=self._on_free)
        self._database = database
        self._feed = feed
        self._settings = settings
        self._sweeper = Sweeper(
            database=database,
            settings=settings,
            still_waiting=self._still_waiting,
            may_rescue=lambda: self._heartbeat.is_steady,
        )
        self._bus = Bus(
            redis=redis_settings,
            feed=feed,
            settings=settings,
            take=self.runner.take,
            run=self.runner.run,
            free_slots=self._free_slots,
        )
        self._dispatching = Dispatching(
            database=database,
            carrier=self._bus,
            settings=settings,
            ask_again=self._dispatch_again,
        )
        self._dispatcher = Dispatcher(
            database=database, feed=feed, duties=self._duties(), hinted=self._dispatching, settings=settings
        )
        self._heartbeat = Heartbeat(
            database=database_settings,
            clock=database.clock,
            card=self.card,
            settings=settings,
            held=self.runner.held,
            on_answer=self._hear,
            on_deadline=self._stand_still,
        )
        self.page = Page(
            settings=settings, heartbeat=self._heartbeat, database=database, running=lambda: len(self.runner.running)
        )
        self._scheduler = Scheduler(
            database=database, database_settings=database_settings, card=self.card, settings=settings, kinds=kinds
        )
        self._finished_since = 0
        # Half of this worker's share of the tickets: early enough that no slot waits, late enough to dispatch many.
        # Each job says so twice: when its handler ends, and when its end is written.
        self._low_water = max(1, settings.slots * settings.tickets_per_slot)
        self._unknown: frozenset[ledger.Held] = frozenset()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain and go. Raises SetupError where the page's port cannot be had."""
        self.page.start()
        async with self._database.transaction() as tx:
            await ledger.beat(tx, card=self.card, is_draining=False, now=tx.now)
        self._heartbeat.start()
        tasks = [
            asyncio.create_task(_for_ever(name, work), name=name)
            for name, work in {
                "journal": self.runner.journal.run,
                "dispatcher": self._dispatcher.run,
                "bus": self._bus.run,
                "requests": self._listen_for_requests,
                "house": self._keep_house,
                "schedules": self._scheduler.run,
            }.items()
        ]
        log.info("worker.started", worker=self.card.name, worker_id=str(self.card.id), slots=self.card.slots)
        try:
            await stop.wait()
            await self._drain()
        finally:
            await end_tasks(tasks)
            await self._heartbeat.stop()
            await self._bus.close()
            await self.page.stop()
        await self._retire()

    # ------------------------------------------------------------------------------------------- working

    def _duties(self) -> list[Duty]:
        work: dict[str, Work] = {**self._sweeper.duties, "jobs.queued": self._dispatching}
        sources = due_sources(
            unclaimed=timedelta(seconds=self._settings.unclaimed_seconds),
            lease=timedelta(seconds=self._settings.lease_seconds),
            abandon=timedelta(seconds=self._settings.abandon_seconds),
        )
        timers = Duty(timer_source(), Timers(database=self._database, settings=self._settings))
        return [*(Duty(source, work[source.name]) for source in sources), timers]

    async def _still_waiting(self, tickets: Sequence[ledger.Ticket]) -> Sequence[ledger.Ticket]:
        return await self._bus.still_waiting(tickets)

    def _dispatch_again(self, seconds: float) -> None:
        self._dispatcher.wake_in(seconds)

    def _free_slots(self) -> int:
        # Whoever has not been seen for long is about to be taken for dead: what it claimed now would be taken away.
        return 0 if self._heartbeat.is_late else self.runner.free_slots

    def _on_free(self) -> None:
        """A handler has ended, or the end of its job is written."""
        self._bus.wake()
        # Jobs that found no room in the bus, or in their queue's limit, are waiting for this.
        self._finished_since += 1
        if self._finished_since >= self._dispatching.asks_again_after(self._low_water):
            self._finished_since = 0
            self._dispatcher.wake()

    async def _listen_for_requests(self) -> None:
        async with self._feed.listen(worker_topic(self.card.id)) as hints:
            while True:
                await hints.wait()
                self._heartbeat.ask()

    async def _keep_house(self) -> None:
        while True:
            await self._sweeper.keep_house()
            await asyncio.sleep(self._settings.house_seconds)

    def _hear(self, answer: ledger.Answer) -> None:
        """What has become of our jobs."""
        for job_id, fence in answer.lost:
            self.runner.stop(job_id, fence, Stop.LOST)
        for (job_id, fence), reason in answer.cancelled.items():
            self.runner.stop(job_id, fence, Stop.CANCEL, reason)
        # A claim whose answer never reached us: the row says that we run it, and we know nothing of it.
        unknown = answer.unknown - self.runner.held().items()
        for job_id, fence in unknown & self._unknown:
            self._give_back(job_id, fence)
        self._unknown = unknown

    def _give_back(self, job_id: UUID, fence: int) -> None:
        task = asyncio.create_task(self.runner.give_back(job_id, fence))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _stand_still(self) -> None:
        """We could not say that we live: others are about to take our jobs."""
        self.runner.stop_all(Stop.LOST)

    # ------------------------------------------------------------------------------------------- leaving

    async def _drain(self) -> None:
        log.info("worker.draining", running=len(self.runner.running))
        self._bus.stop_picking()
        self.runner.is_claiming = False
        self._heartbeat.is_draining = True
        self._heartbeat.ask()
        await self._until_idle(self._settings.drain_seconds)
        self.runner.stop_all(Stop.RELEASE)
        await self._until_idle(RELEASE_SECONDS)

    async def _until_idle(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.runner.until_idle()

    async def _retire(self) -> None:
        left = len(self.runner.running)
        if not left:
            try:
                async with self._database.transaction() as tx:
                    await ledger.retire(tx, worker_id=self.card.id)
            except STORE_ERRORS as error:
                # Its row is forgotten with time; it holds nothing.
                log.warning("worker.not_retired", error=type(error).__name__)
        log.info("worker.stopped", worker_id=str(self.card.id), left_behind=left)


async def run_worker(
    *,
    database_settings: DatabaseSettings | None = None,
    redis_settings: RedisSettings | None = None,
    settings: WorkerSettings | None = None,
    kinds: Mapping[str, Declared] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Be a worker until SIGTERM or SIGINT (or `stop`), then drain and return.

    Settings that are not given come from the environment, and the kinds from jobs/handlers/. Raises WrongSettingError.
    """
    database_settings = database_settings or load(DatabaseSettings)
    redis_settings = redis_settings or load(RedisSettings)
    settings = settings or load(WorkerSettings)
    configure_logging(level=settings.log_level)
    tracing.start("holdfast-worker")
    stop = stop or _stop_on_signals()
    feed = Feed.open(redis_settings)
    database = await Database.open(database_settings, clock=Clock(), feed=feed)
    try:
        worker = WorkerProcess(
            database=database,
            feed=feed,
            database_settings=database_settings,
            redis_settings=redis_settings,
            settings=settings,
            kinds=registry.load() if kinds is None else kinds,
        )
        await worker.run(stop)
    finally:
        await feed.close()
        await database.close()
        tracing.stop()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run one of the loops; begin it again where it fails, for a worker without it would be half alive."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("worker.loop_failed", loop=name)
        await asyncio.sleep(RESTART_SECONDS)
