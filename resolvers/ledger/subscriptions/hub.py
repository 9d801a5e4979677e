"""What the subscribers of one process share: the events of all watched jobs, read once and together.

One task listens to the hints of all jobs. Those of watched ones wake it; it reads what is new of all of them in one
statement, has each view of them read its jobs once, and then wakes the subscribers, who find everything ready. While it
reads, hints gather for the next time. Whoever is further behind than what is kept reads for itself.

Every second or so one statement looks at the numbers of all watched jobs, so that hints that were lost cost only that.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakKeyDictionary

from db.accounts.rules import Viewer
from db.feed import Feed, Listener
from db.ledger.queries import Cursor, EventRow, last_seqs, read_events, read_snapshots
from db.ledger.rules import JOB_TOPICS, job_of_topic, job_topic
from db.reading import Want
from db.session import Reader
from db.telemetry import get_logger
from resolvers.context import Context
from resolvers.gathering import Gathered
from resolvers.ledger.subscriptions.views import JobView, JobViews, Shown, asking
from resolvers.watching import AWAY

log = get_logger(__name__)

POLL_SECONDS = 1.5
# How long the database is left alone after a failure.
REST_SECONDS = 0.5
KEPT_EVENTS = 256
# So many of a job at a time: whoever sends them gets its turn in between.
READ_AT_ONCE = 100


@dataclass(eq=False)
class _Watched:
    """A job that somebody watches: who, and its newest events in order, without gap."""

    job_id: UUID
    watches: set["Watch"] = field(default_factory=set)
    kept: list[EventRow] = field(default_factory=list)
    # The number up to which its events are known here; None before the first subscriber has seen where it stands.
    newest: int | None = None

    def after(self, seq: int) -> list[EventRow] | None:
        """The kept events after this one; None where some may be missing."""
        if self.newest is None or seq >= self.newest:
            return []
        if not self.kept or self.kept[0].seq > seq + 1:
            return None
        return self.kept[seq + 1 - self.kept[0].seq :][:READ_AT_ONCE]

    def keep(self, events: Sequence[EventRow]) -> None:
        """These events follow on the newest."""
        if self.kept and events[0].seq != self.kept[-1].seq + 1:
            self.kept = []
        self.kept = [*self.kept, *events][-KEPT_EVENTS:]
        self.newest = events[-1].seq


class Watch:
    """One subscriber's view of one job."""

    def __init__(self, hub: "JobHub", watched: _Watched, context: Context, wanted: Want) -> None:
        self._hub = hub
        self._watched = watched
        self._context = context
        self._wanted = wanted
        self._bell = asyncio.Event()
        self._ready: Shown | None = None
        self.viewer = asking(context.signed_in)
        self.view = hub.views.of(wanted, self.viewer)

    async def begin(self) -> tuple[EventRow | None, Shown | None]:
        """The job as it is now: as an event of its newest number, and as this subscriber may see it."""
        now = await self.snapshot()
        return now, await self.view.now(self._watched.job_id, self._look())

    async def snapshot(self) -> EventRow | None:
        """The job as it is now, as an event of its newest number."""
        return await self._hub.snapshot(self._watched)

    async def events(self, *, after: int, known: int) -> list[EventRow]:
        """The next events after this one, in order; empty where there are none yet.

        `known` is a number that this subscriber knows to be there: it may know more than what is kept.
        """
        self._bell.clear()
        return await self._hub.events(self._watched, after=after, known=known)

    async def shown(self, *, seq: int, after: Shown) -> Shown | None:
        """The job as it was after an event or later; None where this subscriber may not see it any more."""
        viewer, ready, self._ready = self._look(), self._ready, None
        if ready is not None and ready.suits(viewer, seq=seq, after=after):
            return ready
        return await self.view.at_least(self._watched.job_id, viewer, seq=seq, after=after)

    def is_behind(self, seq: int) -> bool:
        """Whether there is, or was, something after this event."""
        return self._watched.newest is not None and seq < self._watched.newest

    async def wait(self) -> None:
        """Until something has happened since the events were last asked for."""
        await self._bell.wait()

    def ring(self, shown: Shown | None) -> None:
        """Something has happened. The job as it was read then is kept until this subscriber comes for it."""
        self._ready = shown
        self._bell.set()

    def _look(self) -> Viewer:
        # Roles may have changed: from then on it is somebody else who looks.
        viewer = asking(self._context.signed_in)
        if viewer != self.viewer:
            self.viewer, self.view = viewer, self._hub.views.of(self._wanted, viewer)
        return viewer


class JobHub:
    """The watched jobs of one process."""

    def __init__(self, reader: Reader, feed: Feed) -> None:
        self._reader = reader
        self._feed = feed
        self.views = JobViews(reader)
        self._watched: dict[UUID, _Watched] = {}
        self._snapshots: Gathered[UUID, EventRow] = Gathered(lambda ids: read_snapshots(reader, job_ids=ids))
        self._earlier: Gathered[Cursor, list[EventRow]] = Gathered(
            lambda cursors: read_events(reader, after=cursors, limit=READ_AT_ONCE)
        )
        self._task: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._listening = asyncio.Event()
        self._telling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def watch(self, job_id: UUID, context: Context, wanted: Want) -> AsyncIterator[Watch]:
        """Watch a job: from here on nothing that happens to it goes unnoticed. `wanted` is what is shown of it."""
        watched = self._watched.setdefault(job_id, _Watched(job_id))
        watch = Watch(self, watched, context, wanted)
        watched.watches.add(watch)
        try:
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="jobs.hub")
            await self._listening.wait()
            yield watch
        finally:
            watched.watches.discard(watch)
            if not watched.watches and self._watched.get(job_id) is watched:
                del self._watched[job_id]
                if not self._watched:
                    self._stir()

    async def snapshot(self, watched: _Watched) -> EventRow | None:
        """The job as it is from now on, as an event; None where there is none."""
        now = await self._snapshots.get(watched.job_id)
        if now is not None and watched.newest is None:
            watched.newest = now.seq
            # A hint may have come before it was known what is new.
            self._stir(watched.job_id)
        return now

    async def events(self, watched: _Watched, *, after: int, known: int) -> list[EventRow]:
        """The next events of a job after this one: from what is kept, or from the table."""
        kept = watched.after(after)
        if kept is None or (not kept and after < known):
            # Behind what is kept, or ahead of it: a late comer, or a slow one. The others need not wait for it.
            return await self._earlier.get((watched.job_id, after)) or []
        return kept

    # ---------------------------------------------------------------------------------------- what runs

    def _stir(self, job_id: UUID | None = None) -> None:
        if self._listener is not None:
            self._listener.hear(JOB_TOPICS if job_id is None else job_topic(job_id))

    async def _run(self) -> None:
        """Listen for as long as anything is watched."""
        async with self._feed.listen(JOB_TOPICS) as listener:
            self._listener = listener
            self._listening.set()
            poll_at = 0.0
            clock = asyncio.get_running_loop().time
            while self._watched:
                heard = await listener.wait(max(0.0, poll_at - clock()))
                is_time = clock() >= poll_at
                try:
                    if is_time or JOB_TOPICS in heard:
                        poll_at = clock() + POLL_SECONDS
                        stirred = await self._behind()
                    else:
                        stirred = {job_id for topic in heard if (job_id := job_of_topic(topic)) in self._watched}
                    await self._advance(stirred)
                except AWAY as error:
                    log.warning("hub.not_read", error=type(error).__name__)
                    poll_at = 0.0
                    await asyncio.sleep(REST_SECONDS)
                except Exception:
                    log.exception("hub.failed")
                    poll_at = 0.0
                    await asyncio.sleep(REST_SECONDS)
            # In one step with the look at what is watched: whoever comes now makes a new task.
            self._task, self._listener = None, None
            self._listening.clear()

    async def _behind(self) -> set[UUID]:
        """The watched jobs of which there is more than is known here."""
        known = {job_id: one.newest for job_id, one in self._watched.items() if one.newest is not None}
        found = await last_seqs(self._reader, job_ids=known.keys()) if known else {}
        return {job_id for job_id, seq in found.items() if seq > (known[job_id] or 0)}

    async def _advance(self, stirred: Collection[UUID]) -> None:
        """Read what is new of these jobs, and tell their subscribers."""
        watched = [one for job_id in stirred if (one := self._watched.get(job_id)) is not None]
        cursors = {(one.job_id, one.newest): one for one in watched if one.newest is not None}
        found = await read_events(self._reader, after=cursors.keys(), limit=READ_AT_ONCE) if cursors else {}
        for cursor, events in found.items():
            one = cursors[cursor]
            one.keep(events)
            if len(events) == READ_AT_ONCE:
                self._stir(one.job_id)
            groups: dict[tuple[JobView, Viewer], list[Watch]] = {}
            for watch in one.watches:
                groups.setdefault((watch.view, watch.viewer), []).append(watch)
            for (view, viewer), watches in groups.items():
                task = asyncio.create_task(self._tell(view, one.job_id, viewer, watches))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)

    @staticmethod
    async def _tell(view: JobView, job_id: UUID, viewer: Viewer, watches: Sequence[Watch]) -> None:
        """Have the job read, once for these subscribers, then wake them: it is there when they ask for it."""
        shown = None
        try:
            shown = await view.now(job_id, viewer)
        except Exception as error:  # noqa: BLE001 - each of them asks again, and says what is wrong
            log.warning("hub.not_shown", error=type(error).__name__)
        for watch in watches:
            watch.ring(shown)


_HUBS: WeakKeyDictionary[Feed, JobHub] = WeakKeyDictionary()


def hub_of(context: Context) -> JobHub:
    """The hub of this process: one for each feed."""
    hub = _HUBS.get(context.feed)
    if hub is None:
        hub = _HUBS[context.feed] = JobHub(context.database.reader, context.feed)
    return hub
