"""Jobs as the subscribers of one process see them: read once for all who select the same and may see the same.

An event shows its job as it is when the event is sent. So after each event, or burst of them, the job is read again,
with the rule of who may see it. Subscribers who select the same of it share that read, and with it the object that the
event becomes: the edge executes and encodes it once for all of them.
"""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from uuid import UUID
from weakref import WeakValueDictionary

from db.accounts.rules import Viewer
from db.ledger.queries import JOB, EventRow, is_same_for_all, jobs_unguarded, who_sees
from db.ledger.rules import EventType
from db.reading import Reading, Want, merged
from db.session import Reader
from resolvers.gathering import Gathered
from resolvers.ledger.types import JobEvent, JobLog
from resolvers.scalars import JSON

# A job and who asks for it.
Asked: TypeAlias = tuple[UUID, Viewer]


def asking(viewer: Viewer) -> Viewer:
    """What of a viewer decides what they see: two tokens of one person with the same roles are the same."""
    return Viewer(viewer.user_id, "", viewer.roles)


@dataclass(eq=False)
class Shown:
    """A job as one read found it, who may see it so, and the events that are shown with it.

    `number` orders the reads of a view: a subscriber who has seen one is never shown an earlier one.
    """

    job: Any
    number: int
    seen_by: set[Viewer] = field(default_factory=set)
    _events: dict[int, JobEvent] = field(default_factory=dict)

    def suits(self, viewer: Viewer, *, seq: int, after: "Shown") -> bool:
        """Whether this viewer may be shown it: the job after this event or later, and not before what was shown."""
        return self.number >= after.number and self.job.last_seq >= seq and viewer in self.seen_by

    def event(self, row: EventRow) -> JobEvent:
        """A stored event with this job: one object for all subscribers."""
        made = self._events.get(row.seq)
        if made is None:
            made = self._events[row.seq] = event_with(row, self.job)
        return made


class JobView:
    """One selection of jobs, in the eyes of everybody, or of one viewer where the selection depends on who asks."""

    def __init__(self, reader: Reader, wanted: Want) -> None:
        self._reader = reader
        self._is_same_for_all = is_same_for_all(wanted)
        self._wanted = replace(wanted, wants=merged([*wanted.wants, Want("last_seq")]))
        self._latest: WeakValueDictionary[UUID, Shown] = WeakValueDictionary()
        self._numbers = itertools.count(1)
        self._gathered: Gathered[Asked, Shown] = Gathered(self.read)

    async def now(self, job_id: UUID, viewer: Viewer) -> Shown | None:
        """The job as it is from now on; None where there is none, or this viewer may not see it."""
        return await self._gathered.get((job_id, viewer))

    async def at_least(self, job_id: UUID, viewer: Viewer, *, seq: int, after: Shown) -> Shown | None:
        """The job as it was after this event or later, and not before what was shown already; None as above."""
        latest = self._latest.get(job_id)
        if latest is not None and latest.suits(viewer, seq=seq, after=after):
            return latest
        return await self.now(job_id, viewer)

    async def read(self, asked: Collection[Asked]) -> Mapping[Asked, Shown]:
        """Read jobs for viewers: what is missing is not there, or not for that viewer.

        One statement for one viewer, two for any number of them, and those of the relations that are selected.
        """
        number = next(self._numbers)
        job_ids = {job_id for job_id, _ in asked}
        viewers = {viewer for _, viewer in asked}
        reading = Reading(self._reader, next(iter(viewers)))
        if len(viewers) == 1 or not self._is_same_for_all:
            rows: Mapping[UUID, Any] = await reading.by_ids(JOB, self._wanted, list(job_ids))
            seen = {(viewer, job_id) for viewer in viewers for job_id in rows}
        else:
            # First what they are, then who sees them: nobody is shown what was written after a right was lost.
            rows = await jobs_unguarded(reading, self._wanted, job_ids)
            seen = await who_sees(reading, viewers=viewers, job_ids=rows.keys())
        shown = {job_id: Shown(row, number) for job_id, row in rows.items()}
        for viewer, job_id in seen:
            shown[job_id].seen_by.add(viewer)
        for job_id, one in shown.items():
            latest = self._latest.get(job_id)
            if latest is None or latest.number < number:
                self._latest[job_id] = one
        return {(job_id, viewer): shown[job_id] for viewer, job_id in seen}


class JobViews:
    """The views in use in one process."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._used: WeakValueDictionary[tuple[Viewer | None, str], JobView] = WeakValueDictionary()

    def of(self, wanted: Want, viewer: Viewer) -> JobView:
        """The view of a selection: the same for all who may share it."""
        key = (None if is_same_for_all(wanted) else viewer, repr(wanted))
        view = self._used.get(key)
        if view is None:
            view = self._used[key] = JobView(self._reader, wanted)
        return view


def event_with(row: EventRow, job: Any) -> JobEvent:
    """An event of a job, with the job as it is shown."""
    return JobEvent(
        seq=row.seq,
        at=row.at,
        job=job,
        type=row.type,
        message=row.message,
        status=row.status,
        progress=row.progress,
        step=row.step,
        done=row.done,
        total=row.total,
        attempt=row.attempt,
        log=_log(row),
    )


def _log(row: EventRow) -> JobLog | None:
    if row.type is not EventType.LOG or row.level is None:
        return None
    data = None if row.data is None else JSON(row.data)
    return JobLog(seq=row.seq, at=row.at, level=row.level, message=row.message or "", data=data)
