"""What the subscribers of one process share: each job's newest events are read once, not once for each of them.

A hint wakes the subscribers of a job, and the first of them reads. Whoever is further behind than what is kept reads
for itself. Every second or so one statement looks at all watched jobs, so that hints that were lost cost only that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakKeyDictionary

import asyncpg

from db.feed import Feed, Listener
from db.ledger.queries import EventRow, last_seqs, read_events
from db.ledger.rules import job_topic
from db.session import Reader
from db.telemetry import get_logger
from resolvers.context import Context

log = get_logger(__name__)

POLL_SECONDS = 1.5
KEPT_EVENTS = 256
# So many at a time: whoever sends them gets its turn in between.
READ_AT_ONCE = 100


@dataclass(eq=False)
class _Watched:
    """A job that somebody watches: who, and its newest events in order, without gap."""

    listeners: set[Listener] = field(default_factory=set)
    kept: list[EventRow] = field(default_factory=list)
    newest: int = 0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def after(self, seq: int) -> list[EventRow] | None:
        """The kept events after this one; None where some may be missing."""
        if seq >= self.newest:
            return []
        if not self.kept or self.kept[0].seq > seq + 1:
            return None
        return self.kept[seq + 1 - self.kept[0].seq :][:READ_AT_ONCE]

    def keep(self, events: Sequence[EventRow]) -> None:
        """These events follow on what is kept, or on nothing."""
        if self.kept and events and events[0].seq != self.kept[-1].seq + 1:
            self.kept = []
        self.kept = [*self.kept, *events][-KEPT_EVENTS:]
        self.newest = self.kept[-1].seq if self.kept else self.newest


class Watch:
    """One subscriber's view of one job."""

    def __init__(self, hub: "JobHub", job_id: UUID, listener: Listener) -> None:
        self._hub = hub
        self._job_id = job_id
        self._listener = listener

    async def wait(self) -> None:
        """Until something may have happened."""
        await self._listener.wait()

    async def events(self, *, after: int) -> list[EventRow]:
        """The next events after this one, in order; empty where there are none yet."""
        return await self._hub.read(self._job_id, after=after)


class JobHub:
    """The watched jobs of one process."""

    def __init__(self, reader: Reader, feed: Feed) -> None:
        self._reader = reader
        self._feed = feed
        self._watched: dict[UUID, _Watched] = {}
        self._polling: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watch(self, job_id: UUID) -> AsyncIterator[Watch]:
        """Watch a job: from here on nothing that happens to it goes unnoticed."""
        async with self._feed.listen(job_topic(job_id)) as listener:
            watched = self._watched.setdefault(job_id, _Watched())
            watched.listeners.add(listener)
            if self._polling is None or self._polling.done():
                self._polling = asyncio.create_task(self._poll(), name="jobs.hub")
            try:
                yield Watch(self, job_id, listener)
            finally:
                watched.listeners.discard(listener)
                if not watched.listeners:
                    self._watched.pop(job_id, None)

    async def read(self, job_id: UUID, *, after: int) -> list[EventRow]:
        """The next events of a job after this one: from what is kept, or from the table."""
        watched = self._watched[job_id]
        kept = watched.after(after)
        if kept:
            return kept
        if kept is None or after < watched.newest:
            # Behind what is kept: a late comer, or a slow one. The others need not wait for it.
            return await self._read(job_id, after)
        async with watched.reading:
            # Somebody may have read while we waited.
            if after >= watched.newest:
                watched.newest = max(watched.newest, after)
                watched.keep(await self._read(job_id, after))
        return watched.after(after) or []

    async def _read(self, job_id: UUID, after: int) -> list[EventRow]:
        found = await read_events(self._reader, after={job_id: after}, limit=READ_AT_ONCE)
        return found.get(job_id, [])

    async def _poll(self) -> None:
        while self._watched:
            await asyncio.sleep(POLL_SECONDS)
            # A database that is away is asked again; its own readers say so where it matters.
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                newest = await last_seqs(self._reader, job_ids=list(self._watched))
                for job_id, seq in newest.items():
                    watched = self._watched.get(job_id)
                    if watched is not None and seq > watched.newest:
                        for listener in watched.listeners:
                            listener.hear(job_topic(job_id))


_HUBS: WeakKeyDictionary[Feed, JobHub] = WeakKeyDictionary()


def hub_of(context: Context) -> JobHub:
    """The hub of this process: one for each feed."""
    hub = _HUBS.get(context.feed)
    if hub is None:
        hub = _HUBS[context.feed] = JobHub(context.database.reader, context.feed)
    return hub
