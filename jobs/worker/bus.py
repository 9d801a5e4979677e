"""Tickets over ARQ, and the way to do without it.

A ticket is a job's id and a fence. Redis never holds anything else of ours, and what it loses is made anew: so the bus
may fail at any moment. While it is away, the jobs that are due are run by the worker that found them.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import orjson
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import serialize_job
from arq.worker import Worker as ArqWorker
from arq.worker import func
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from db.cancelling import end_tasks
from db.connecting import redis_options
from db.feed import Feed
from db.ledger.commands import Ticket
from db.settings import RedisSettings
from db.telemetry import get_logger
from jobs.settings import WorkerSettings
from jobs.worker.tickets import TicketWorker, name_of

log = get_logger(__name__)

QUEUE = "holdfast:tickets"
FUNCTION = "take_ticket"
# So many places there are between two milliseconds, as numbers of Redis go.
ORDERED = 1_000
# ARQ's own loop leaves alone what is for later: the clock of whoever pushes may be ahead of that of whoever picks.
BACKDATED_MS = 24 * 60 * 60 * 1000
TICKETS_WAIT = "ledger.tickets"
# A ticket that is older than this was made anew long ago.
TICKET_LIVES_MS = 15 * 60 * 1000
# ARQ must never end a job: the ledger's own time limits do. A week is longer than any of them.
ARQ_TIMEOUT_SECONDS = 7 * 24 * 3600
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 3.0
RESTART_SECONDS = 0.5
CLOSE_SECONDS = 2.0
# A bus that does not take tickets within this is away, and left alone for a while.
CARRY_SECONDS = 1.0
AWAY_SECONDS = 5.0
AWAY = (RedisError, OSError, TimeoutError)

Take = Callable[[Sequence[Ticket]], Awaitable[None]]
Run = Callable[[Ticket], Awaitable[bool]]


class Bus:
    """Carries tickets to the fleet, and brings this worker those that it picks.

    `take` starts the jobs of many tickets; `run`, for ARQ's own loop, runs the job of one to its end.
    """

    def __init__(
        self,
        *,
        redis: RedisSettings,
        feed: Feed,
        settings: WorkerSettings,
        take: Take,
        run: Run,
        free_slots: Callable[[], int],
    ) -> None:
        self._pool = _pool(redis)
        self._feed = feed
        self._settings = settings
        self._take_tickets = take
        self._run_ticket = run
        self._free_slots = free_slots
        self._worker: ArqWorker | None = None
        self._is_picking = True
        self._away_until = float("-inf")
        # Tickets that ARQ's own loop brought, and what it does around them.
        self._brought: set[asyncio.Task[Any]] = set()
        self._around: set[asyncio.Task[Any]] = set()
        # ARQ tells every start and end of a job, which the runner does already.
        logging.getLogger("arq.worker").setLevel(logging.WARNING)

    @property
    def is_away(self) -> bool:
        """Whether Redis failed a moment ago."""
        return time.monotonic() < self._away_until

    # ------------------------------------------------------------------------------------------- carrying

    def room(self) -> int | None:
        """While the bus is away, only what can run here at once; else the fleet decides."""
        if not self.is_away:
            return None
        return max(0, self._free_slots()) if self._is_picking else 0

    async def carry(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """Push the tickets, in one round trip. Where that fails, run here what there are slots for; leave the rest."""
        if not self.is_away:
            try:
                async with asyncio.timeout(CARRY_SECONDS):
                    await self._push(tickets)
            except AWAY as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning("bus.away", tickets=len(tickets), error=type(error).__name__)
            else:
                await self._feed.publish([TICKETS_WAIT])
                self.wake()
                return []
        room = self.room() or 0
        if room > 0:
            await self._take_tickets(tickets[:room])
        return tickets[room:]

    async def still_waiting(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """Those that lie in the list and will be picked up. None while Redis is away."""
        names = [name_of(ticket) for ticket in tickets]
        try:
            async with asyncio.timeout(CARRY_SECONDS), self._pool.pipeline(transaction=False) as pipe:
                pipe.zmscore(QUEUE, names)
                # One that ARQ's own loop was about to run stays in the list, and nobody else takes it.
                pipe.mget([in_progress_key_prefix + name for name in names])
                scores, taken = await pipe.execute()
        except AWAY:
            return ()
        found = zip(tickets, scores, taken, strict=True)
        return [ticket for ticket, score, marked in found if score is not None and marked is None]

    async def _push(self, tickets: Sequence[Ticket]) -> None:
        # What ARQ's enqueue_job writes, without its WATCH: the id of a ticket is never used again.
        now_ms = int(time.time() * 1000)
        names = [name_of(ticket) for ticket in tickets]
        async with self._pool.pipeline(transaction=False) as pipe:
            for ticket, name in zip(tickets, names, strict=True):
                arguments = (str(ticket.job_id), ticket.fence)
                sealed = serialize_job(FUNCTION, arguments, {}, None, now_ms, serializer=_seal)
                pipe.psetex(job_key_prefix + name, TICKET_LIVES_MS, sealed)
            # Fractions of a millisecond keep the order in which they were dispatched.
            since = now_ms - BACKDATED_MS
            pipe.zadd(QUEUE, {name: since + place / ORDERED for place, name in enumerate(names, 1 - len(names))})
            await pipe.execute()

    # -------------------------------------------------------------------------------------------- picking

    async def run(self) -> None:
        """Pick tickets and run them until cancelled. A bus that fails is tried again."""
        waking = asyncio.create_task(self._wake_on_hints())
        try:
            while True:
                self._worker = worker = self._arq_worker()
                try:
                    await worker.main()
                except AWAY as error:
                    log.warning("bus.interrupted", error=type(error).__name__)
                except Exception:
                    log.exception("bus.failed")
                finally:
                    # What it has under way goes on by itself.
                    for task in worker.tasks.values():
                        _keep(self._around, task)
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            waking.cancel()

    def stop_picking(self) -> None:
        """Leave the tickets to others."""
        self._is_picking = False
        if self._worker is not None:
            self._worker.allow_pick_jobs = False

    async def close(self) -> None:
        """End what is still under way, and let the connections go."""
        await end_tasks(self._brought)
        if self._around:
            # ARQ takes its tickets off the list by itself, in a task that nobody can wait for once it is cancelled.
            await asyncio.wait(self._around, timeout=CLOSE_SECONDS)
        await end_tasks(self._around)
        with contextlib.suppress(*AWAY):
            await self._pool.aclose(close_connection_pool=True)

    def wake(self) -> None:
        """Look for tickets now: some wait, or there are slots for more."""
        if isinstance(self._worker, TicketWorker):
            self._worker.woken.set()

    def _arq_worker(self) -> ArqWorker:
        options: dict[str, Any] = {
            "functions": [func(self._take, name=FUNCTION, timeout=ARQ_TIMEOUT_SECONDS, keep_result=0, max_tries=2**31)],
            "queue_name": QUEUE,
            "redis_pool": self._pool,
            "handle_signals": False,
            "max_jobs": self._settings.slots,
            "job_timeout": ARQ_TIMEOUT_SECONDS,
            "keep_result": 0,
            "poll_delay": self._settings.arq_poll_seconds,
            # Above all slots: tickets that others run stand in the same list until they are done.
            "queue_read_limit": max(100, self._settings.slots * 20),
            "max_tries": 2**31,
            "retry_jobs": False,
            "allow_abort_jobs": False,
            "job_serializer": _seal,
            "job_deserializer": _unseal,
            "log_results": False,
        }
        worker: ArqWorker
        if self._settings.stock_arq:
            worker = ArqWorker(**options)
        else:
            worker = TicketWorker(**options, take=self._take_tickets, free_slots=self._free_slots)
        worker.allow_pick_jobs = self._is_picking
        return worker

    async def _take(self, ctx: dict[Any, Any], job_id: str, fence: int) -> None:  # noqa: ARG002 - ARQ gives it
        # ARQ cancels what it runs when it ends; our jobs end by our own rules.
        await asyncio.shield(
            _keep(self._brought, asyncio.create_task(self._run_quietly(Ticket(UUID(job_id), int(fence)))))
        )

    async def _run_quietly(self, ticket: Ticket) -> bool:
        try:
            return await self._run_ticket(ticket)
        except Exception:
            # For ARQ an exception is nothing but a longer log; for the job, the sweep takes care.
            log.exception("bus.ticket_failed", job_id=str(ticket.job_id))
            return False

    async def _wake_on_hints(self) -> None:
        async with self._feed.listen(TICKETS_WAIT) as hints:
            while True:
                await hints.wait()
                self.wake()


def _pool(settings: RedisSettings) -> ArqRedis:
    # From the URL itself: ARQ's own settings do not decode what is percent-encoded in it, and print the password.
    connections = ConnectionPool.from_url(
        settings.url,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 2),
        **redis_options(settings),
    )
    return ArqRedis(connections, job_serializer=_seal, job_deserializer=_unseal, default_queue_name=QUEUE)


def _seal(message: dict[str, Any]) -> bytes:
    return orjson.dumps(message)


def _unseal(raw: bytes) -> dict[str, Any]:
    message: dict[str, Any] = orjson.loads(raw)
    return message


def _keep(kept: set["asyncio.Task[Any]"], task: "asyncio.Task[Any]") -> "asyncio.Task[Any]":
    """Remember the task until it is done, and look at what it raised, so that asyncio reports nothing as forgotten."""

    def forget(done: "asyncio.Task[Any]") -> None:
        kept.discard(done)
        if not done.cancelled():
            done.exception()

    kept.add(task)
    task.add_done_callback(forget)
    return task
