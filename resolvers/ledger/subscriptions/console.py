"""`jobs`: everything that moves, for a console.

One task looks for all consoles of a process: what has been committed since its last look, whoever wrote it and whether
or not a hint has come. It looks when there are hints, at most five times a second, and every second or so without. A
look is one statement; another few read the moved jobs, once for all consoles who select the same.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID
from weakref import WeakKeyDictionary

from db.accounts.rules import Viewer
from db.feed import Feed
from db.ledger.queries import JobsWanted, Move, read_moves
from db.ledger.rules import JOB_TOPICS
from db.reading import Want
from db.session import Reader
from db.telemetry import get_logger
from resolvers.context import Context, Info
from resolvers.fields import subscription
from resolvers.ids import NOTHING, decode_any
from resolvers.ledger.subscriptions.hub import POLL_SECONDS, REST_SECONDS, hub_of
from resolvers.ledger.subscriptions.views import Asked, JobView, JobViews, Shown, asking
from resolvers.ledger.types import JobEvent, JobFilter
from resolvers.paging import described
from resolvers.selection import wanted
from resolvers.watching import AWAY, FellBehind

log = get_logger(__name__)

# A look gives at most two events of a job that may be coalesced: ten a second.
LEAST_GAP_SECONDS = 0.2
# The statements of busy looks, with many selections that depend on who asks, are spread out: so many a second.
STATEMENTS_A_SECOND = 100
# Events that wait for a console which has not yet taken what came before.
MOST_WAITING = 2_048


@subscription
async def jobs(
    info: Info,
    filter: Annotated[JobFilter | None, described("Which jobs; absent: all that the viewer may see.")] = None,
) -> AsyncGenerator[JobEvent, None]:
    """Everything that moves among the jobs that the viewer may see, for a console: news only, from now on.

    Subscribe first, then query the list; after a reconnect again, for this stream cannot be resumed. At most 10 events
    a second come of each job: progress and lines of the log are coalesced to the newest, a STATUS never is. A new job
    begins with a STATUS. A job that stops matching the filter sends one last event.
    """
    context = info.context
    seat = Seat(context, _wanted(filter), wanted(info).child("job") or Want("job"))
    async with console_of(context).seated(seat):
        while True:
            for event in await seat.take():
                yield event


def _wanted(filter_: JobFilter | None) -> JobsWanted:
    if filter_ is None:
        return JobsWanted()
    return JobsWanted(
        kinds=None if filter_.kinds is None else frozenset(filter_.kinds),
        statuses=None if filter_.statuses is None else frozenset(filter_.statuses),
        subject_id=_key(filter_.subject_id),
        requested_by_id=_key(filter_.requested_by_id),
        queue=filter_.queue,
        uuid=_uuid(filter_.uuid),
        is_quarantined=filter_.is_quarantined,
        enqueued_from=filter_.enqueued_from,
        enqueued_to=filter_.enqueued_to,
    )


def _key(id_: str | None) -> UUID | None:
    if id_ is None:
        return None
    decoded = decode_any(id_)
    return NOTHING if decoded is None else decoded[1]


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return NOTHING


@dataclass(eq=False)
class Seat:
    """One console: what it wants, and what waits for it."""

    context: Context
    wanted: JobsWanted
    selected: Want
    _waiting: list[JobEvent] = field(default_factory=list)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)
    _fell_behind: bool = False

    @property
    def viewer(self) -> Viewer:
        """Who looks, with the roles of now."""
        return asking(self.context.signed_in)

    def give(self, events: Collection[JobEvent]) -> None:
        """These have happened."""
        if len(self._waiting) > MOST_WAITING:
            self._fell_behind = True
            self._waiting.clear()
        if not self._fell_behind:
            self._waiting += events
        self._bell.set()

    async def take(self) -> list[JobEvent]:
        """What has happened since the last time, once there is something. Raises FellBehind."""
        await self._bell.wait()
        self._bell.clear()
        if self._fell_behind:
            raise FellBehind
        taken, self._waiting = self._waiting, []
        return taken


class Console:
    """The consoles of one process."""

    def __init__(self, reader: Reader, feed: Feed, views: JobViews) -> None:
        self._reader = reader
        self._feed = feed
        self._views = views
        self.seats: set[Seat] = set()
        self._task: asyncio.Task[None] | None = None
        self._place: str | None = None
        self._looking = asyncio.Event()
        self._left = asyncio.Event()

    @property
    def taken(self) -> int:
        """How many consoles are looked for."""
        return len(self.seats) if self._looking.is_set() else 0

    @asynccontextmanager
    async def seated(self, seat: Seat) -> AsyncIterator[None]:
        """From here on the seat is given what happens."""
        self.seats.add(seat)
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run(), name="jobs.console")
            await self._looking.wait()
            yield
        finally:
            self.seats.discard(seat)
            if not self.seats and self._task is not None:
                # Nobody looks on: the next one begins anew, from where things stand then.
                self._task.cancel()
                self._task, self._place = None, None
                self._looking.clear()

    async def _run(self) -> None:
        # First where things stand, then the hints: they only make it quick.
        await self._look_at_last()
        self._looking.set()
        async with self._feed.listen(JOB_TOPICS) as listener:
            while True:
                before = self._reader.statements
                await self._look_at_last()
                spent = (self._reader.statements - before) / STATEMENTS_A_SECOND
                await asyncio.sleep(min(max(LEAST_GAP_SECONDS, spent), POLL_SECONDS))
                await listener.wait(POLL_SECONDS)

    async def _look_at_last(self) -> None:
        """Look, again and again until it succeeds: each time from the same place."""
        while True:
            try:
                await self.look()
            except AWAY as error:
                log.warning("console.not_read", error=type(error).__name__)
            except Exception:
                log.exception("console.failed")
            else:
                return
            await asyncio.sleep(REST_SECONDS)

    async def look(self) -> None:
        """Look once, and give every seat what is new for it; nothing where that cannot be read."""
        found = await read_moves(self._reader, since=self._place)
        if found.moves:
            chosen = self._chosen(found.moves)
            asked: dict[JobView, set[Asked]] = {}
            for _, view, viewer, moves in chosen:
                asked.setdefault(view, set()).update((move.event.job_id, viewer) for move in moves)
            read = await asyncio.gather(*[view.read(each) for view, each in asked.items()])
            shown = dict(zip(asked, read, strict=True))
            for seat, view, viewer, moves in chosen:
                seat.give(_events(shown[view], viewer, moves))
        self._place = found.place

    def _chosen(self, moves: Collection[Move]) -> list[tuple[Seat, JobView, Viewer, list[Move]]]:
        """What each seat wants, those left out who want none of it."""
        fitting: dict[JobsWanted, list[Move]] = {}
        for seat in self.seats:
            if seat.wanted not in fitting:
                fitting[seat.wanted] = [move for move in moves if seat.wanted.fits(move)]
        return [
            (seat, self._views.of(seat.selected, seat.viewer), seat.viewer, fitting[seat.wanted])
            for seat in self.seats
            if fitting[seat.wanted]
        ]


def _events(shown: Mapping[Asked, Shown], viewer: Viewer, moves: Collection[Move]) -> list[JobEvent]:
    """The events of jobs that the viewer may see."""
    return [one.event(move.event) for move in moves if (one := shown.get((move.event.job_id, viewer))) is not None]


_CONSOLES: WeakKeyDictionary[Feed, Console] = WeakKeyDictionary()


def console_of(context: Context) -> Console:
    """The consoles of this process: one for each feed."""
    console = _CONSOLES.get(context.feed)
    if console is None:
        reader, views = context.database.reader, hub_of(context).views
        console = _CONSOLES[context.feed] = Console(reader, context.feed, views)
    return console
