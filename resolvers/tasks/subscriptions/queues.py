"""`queueChanged`: what enters a queue, changes in it and leaves it.

Each watched queue is looked at once for all who watch it in a process: when there are hints, and when its mark has
become another. The marks of all of them are read together every now and then, for hints may be lost and a plan's tasks
enter by the clock. A look is one statement, which reads the versions of the queue's tasks; what differs from the look
before is what has happened. Whoever is told reads those tasks with their own rights, so nothing is shown that they may
not see.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Annotated
from uuid import UUID
from weakref import WeakKeyDictionary, WeakValueDictionary

import strawberry

from db.accounts.queries import TEAM
from db.feed import Feed
from db.reading import Reading, Want
from db.tasks.queries import MOST_WATCHED, WORK_TASK, queue_marks, queue_versions
from db.tasks.rules import queue_topic
from db.telemetry import get_logger
from resolvers.context import Context, Info
from resolvers.fields import attr, enum_type, subscription
from resolvers.ids import encode_id, not_found, require_id
from resolvers.paging import described
from resolvers.selection import wanted
from resolvers.tasks.types import WorkTask
from resolvers.watching import AWAY, Watched, patiently, poll_of

log = get_logger(__name__)

# At most so often is a queue looked at, however much happens in it.
LEAST_GAP_SECONDS = 0.25
REST_SECONDS = 0.5
# How long somebody who has left a team may go on to hear nothing of its queue before the stream ends.
RECHECK_SECONDS = 5.0

_ID = Want("", (Want("id"),))


class QueueChangeType(StrEnum):
    """What happened to a task in a queue."""

    ENTERED = "ENTERED"
    CHANGED = "CHANGED"
    LEFT = "LEFT"


enum_type(
    QueueChangeType,
    name="QueueChangeType",
    description="What happened to a task in a queue, which is all of its tabs together.",
    values={
        "ENTERED": "It is in the queue now: made, given to its owner, or opened.",
        "CHANGED": "It is another than before, and perhaps in another tab: query what is shown of it anew.",
        "LEFT": "It is in none of its tabs any more: given to somebody else, or closed for more than 7 days.",
    },
)
_ENTERED, _CHANGED, _LEFT = QueueChangeType


@strawberry.type(description="A task that entered a queue, changed in it or left it.")
class QueueChange:
    """A change of a queue."""

    type: QueueChangeType = attr("What happened.")
    task_id: strawberry.ID = attr("The task's id.")
    task: WorkTask | None = attr(
        "The task as it is now; null where it LEFT and the viewer may no longer read it. For counts and the place in a "
        "list, query again once a burst is over."
    )


@subscription
async def queue_changed(
    info: Info,
    team_id: Annotated[strawberry.ID | None, described("A team that the viewer sees; absent: their own queue.")] = None,
) -> AsyncGenerator[QueueChange, None]:
    """What happens in the viewer's own queue, or with `teamId` in that of a team: one event for each task that entered
    it, changed in it or left it.

    News only: subscribe first, then query the queue; after a reconnect again. Changes that follow each other at once
    are told as one. A team's queue ends with NOT_FOUND for whoever may no longer see the team.
    """
    context = info.context
    key = None if team_id is None else require_id(team_id, "teamId", types=("Team",), thing="team")
    selected = wanted(info).child("task")
    await _require_sight(context, key)
    async with queue_of(context, key).watched() as seat:
        while True:
            changes = await seat.take(RECHECK_SECONDS)
            shown = await patiently(partial(_seen, context, key, selected, changes))
            for task_id, type_ in changes.items():
                # One that has gone on since the look is told by the next one.
                if selected is None or type_ is _LEFT or task_id in shown:
                    task = shown.get(task_id)
                    yield QueueChange(type=type_, task_id=strawberry.ID(encode_id("WorkTask", task_id)), task=task)


async def _seen(
    context: Context, team_id: UUID | None, selected: Want | None, changes: Collection[UUID]
) -> Mapping[UUID, WorkTask]:
    """These tasks as they are now, as far as they are to be shown and may be seen. Raises where the team may not be."""
    await _require_sight(context, team_id)
    if selected is None or not changes:
        return {}
    return await context.reading_now.by_ids(WORK_TASK, selected, list(changes))


async def _require_sight(context: Context, team_id: UUID | None) -> None:
    if team_id is not None and await context.reading_now.one(TEAM, _ID, team_id) is None:
        raise not_found("team", "teamId")


# --- one queue for all who watch it -----------------------------------------------------------------------------------

Changes = dict[UUID, QueueChangeType]


def differences(before: Mapping[UUID, int], after: Mapping[UUID, int]) -> Changes:
    """What has happened between two looks, each of which has the versions of at most the MOST_WATCHED newest tasks."""
    oldest = _oldest_known(before, after)
    changes = {}
    for task_id in before.keys() | after.keys():
        if task_id < oldest:
            continue
        if task_id not in before:
            changes[task_id] = _ENTERED
        elif task_id not in after:
            changes[task_id] = _LEFT
        elif before[task_id] != after[task_id]:
            changes[task_id] = _CHANGED
    return changes


def _oldest_known(*looks: Mapping[UUID, int]) -> UUID:
    # A look that is full does not say what is older than what it has. Keys are in the order of creation.
    return max((min(look) for look in looks if len(look) >= MOST_WATCHED), default=UUID(int=0))


def joined(first: QueueChangeType | None, then: QueueChangeType) -> QueueChangeType | None:
    """Two changes of one task as one; None where together they are none."""
    match first, then:
        case QueueChangeType.ENTERED, QueueChangeType.LEFT:
            return None
        case QueueChangeType.ENTERED, _:
            return _ENTERED
        case QueueChangeType.LEFT, _:
            return _CHANGED
        case _:
            return then


@dataclass(eq=False)
class Seat:
    """Somebody who watches a queue, and what they have not been told yet: one change for each task."""

    _waiting: Changes = field(default_factory=dict)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, changes: Changes) -> None:
        """These have happened."""
        for task_id, then in changes.items():
            both = joined(self._waiting.pop(task_id, None), then)
            if both is not None:
                self._waiting[task_id] = both
        self._bell.set()

    async def take(self, seconds: float) -> Changes:
        """What has happened since the last time, once there is something; nothing after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return {}
        self._bell.clear()
        taken, self._waiting = self._waiting, {}
        return taken


class Queue:
    """A queue, looked at for as long as somebody watches it."""

    def __init__(self, reading: Reading, feed: Feed, owner_id: UUID, *, is_team: bool) -> None:
        self._reading = reading
        self._feed = feed
        self._owner_id = owner_id
        self._is_team = is_team
        self._seats: set[Seat] = set()
        self._task: asyncio.Task[None] | None = None
        self._known: Mapping[UUID, int] = {}
        self._looking = asyncio.Event()

    @property
    def taken(self) -> int:
        """For how many it is looked at."""
        return len(self._seats) if self._looking.is_set() else 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Seat]:
        """From here on the seat is given what happens."""
        seat = Seat()
        self._seats.add(seat)
        try:
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="tasks.queue")
            await self._looking.wait()
            yield seat
        finally:
            self._seats.discard(seat)
            if not self._seats and self._task is not None:
                self._task.cancel()
                self._task, self._known = None, {}
                self._looking.clear()

    async def _run(self) -> None:
        owner_id, is_team = self._owner_id, self._is_team
        topic = queue_topic(user_id=None if is_team else owner_id, team_id=owner_id if is_team else None)
        async with self._feed.listen(topic) as listener:
            with poll_of(self._feed, self._reading.reader, _marked(owner_id, is_team)).told(listener, owner_id):
                while True:
                    await self._look_surely()
                    await asyncio.sleep(LEAST_GAP_SECONDS)
                    await listener.wait()

    async def _look_surely(self) -> None:
        while True:
            try:
                return await self.look()
            except AWAY as error:
                log.warning("queue.not_read", error=type(error).__name__)
            except Exception:
                log.exception("queue.failed")
            await asyncio.sleep(REST_SECONDS)

    async def look(self) -> None:
        """Look once. Of the first look nobody is told anything: it is where they begin."""
        found = await queue_versions(self._reading, team_id=self._owner_id if self._is_team else None)
        changes = differences(self._known, found) if self._looking.is_set() else {}
        self._known = found
        self._looking.set()
        if changes:
            for seat in self._seats:
                seat.give(changes)


def _marked(owner_id: UUID, is_team: bool) -> Watched:
    return Watched(("queue", is_team), owner_id, lambda reading, keys: queue_marks(reading, keys, are_teams=is_team))


# A queue is kept by those who watch it.
_QUEUES: WeakKeyDictionary[Feed, WeakValueDictionary[tuple[UUID, bool], Queue]] = WeakKeyDictionary()


def queue_of(context: Context, team_id: UUID | None) -> Queue:
    """The viewer's own queue, or a team's, as this process watches it: one for each feed."""
    owner_id, is_team = team_id or context.signed_in.user_id, team_id is not None
    queues = _QUEUES.setdefault(context.feed, WeakValueDictionary())
    queue = queues.get((owner_id, is_team))
    if queue is None:
        queue = queues[owner_id, is_team] = Queue(context.reading_now, context.feed, owner_id, is_team=is_team)
    return queue
