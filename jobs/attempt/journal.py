"""What running jobs tell of themselves: gathered in memory, written in groups, in order, and only while they are ours.

Progress is coalesced here, before it gets a number: of one job at most ten progress events a second are stored, and of
those that came meanwhile only the newest. Logs are all kept.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson

from db.ledger.commands import Line, note, note_many
from db.ledger.rules import EventType, LogLevel, percent
from db.session import STORE_ERRORS, Database, is_data_error
from db.telemetry import get_logger

log = get_logger(__name__)

# Of one job at most so many progress events are stored in any second; the first ones of a burst at once.
MOST_PROGRESS_A_SECOND = 10
# How long the first line waits for company, so that a burst is one write.
GATHER_SECONDS = 0.003
# A handler that logs faster than Postgres takes it waits here.
MOST_LINES_WAITING = 1_000
LONGEST_MESSAGE = 8_000
MOST_UNITS = 2**31 - 1


def plain_text(value: str) -> str:
    """Text that Postgres takes: it has no NUL and no half of a pair of surrogates."""
    return value.encode(errors="replace").decode().replace("\x00", "\ufffd")[:LONGEST_MESSAGE]


def plain_json(value: object) -> Any:
    """JSON that Postgres takes. Raises TypeError for what is no JSON."""
    if value is None:
        return None
    return orjson.loads(orjson.dumps(value).replace(b"\\u0000", b"\\ufffd"))


class Notes:
    """What one attempt has told and is not yet written. `lock` is held by whoever writes it."""

    def __init__(self, journal: "Journal", *, job_id: UUID, fence: int, progress: int) -> None:
        self.job_id = job_id
        self.fence = fence
        self.percent = progress
        self.step: str | None = None
        self.done: int | None = None
        self.total: int | None = None
        self.lock = asyncio.Lock()
        self.has_room = asyncio.Event()
        self.has_room.set()
        self._journal = journal
        self._lines: list[tuple[float, Line]] = []
        self._progress_stored_at: deque[float] = deque(maxlen=MOST_PROGRESS_A_SECOND)

    def progress(self, *, done: int | None, total: int | None, step: str | None) -> None:
        """The job is so far. What is not given stays as it was."""
        self.done = self.done if done is None else min(max(done, 0), MOST_UNITS)
        self.total = self.total if total is None else min(max(total, 0), MOST_UNITS)
        self.step = self.step if step is None else plain_text(step)
        if self.done is not None:
            self.percent = percent(done=self.done, total=self.total, before=self.percent)
        self._lines = [(at, line) for at, line in self._lines if line.type is not EventType.PROGRESS]
        self._add(self._line(EventType.PROGRESS))

    def log(self, message: str, *, level: LogLevel, data: object) -> None:
        """A line of the job's log. Raises TypeError where `data` is no JSON."""
        self._add(self._line(EventType.LOG, level=level, message=plain_text(message), data=plain_json(data)))

    def _line(
        self,
        type: EventType,
        *,
        level: LogLevel | None = None,
        message: str | None = None,
        data: object = None,
    ) -> Line:
        return Line(type, self.percent, self.step, self.done, self.total, level, message, data)

    def _add(self, line: Line) -> None:
        self._lines.append((time.monotonic(), line))
        if len(self._lines) >= MOST_LINES_WAITING:
            self.has_room.clear()
        self._journal.wake(self)

    def due_in(self) -> float | None:
        """Seconds until something is to be written; None: there is nothing."""
        if not self._lines:
            return None
        if any(line.type is not EventType.PROGRESS for _, line in self._lines):
            return 0.0
        return self._progress_due_in(time.monotonic())

    def _progress_due_in(self, now: float) -> float:
        stored = self._progress_stored_at
        if len(stored) < MOST_PROGRESS_A_SECOND:
            return 0.0
        # After the first ones evenly, or a long job would be seen to move in jerks, once a second.
        return max(0.0, stored[0] + 1.0 - now, stored[-1] + 1.0 / MOST_PROGRESS_A_SECOND - now)

    def take(self) -> list[tuple[float, Line]]:
        """What may be written now, oldest first. Progress that comes too soon after the last stays."""
        now = time.monotonic()
        is_progress_due = self._progress_due_in(now) == 0.0
        taken = [each for each in self._lines if is_progress_due or each[1].type is not EventType.PROGRESS]
        self._lines = [each for each in self._lines if not is_progress_due and each[1].type is EventType.PROGRESS]
        if is_progress_due and any(line.type is EventType.PROGRESS for _, line in taken):
            self._progress_stored_at.append(now)
        self.has_room.set()
        return taken

    def put_back(self, taken: Sequence[tuple[float, Line]]) -> None:
        """What was taken could not be written: it comes first next time."""
        newer = [each for each in self._lines if each[1].type is EventType.PROGRESS]
        older = [each for each in taken if not newer or each[1].type is not EventType.PROGRESS]
        self._lines = [*older, *self._lines]
        self._journal.wake(self)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[list[Line]]:
        """What is to be written now, for whoever writes it in a transaction of their own; back again if that fails."""
        async with self.lock:
            taken = self.take()
            try:
                yield aged(taken)
            except BaseException:
                self.put_back(taken)
                raise


def aged(taken: Sequence[tuple[float, Line]]) -> list[Line]:
    """The lines, each saying how long ago it happened: the database's clock says when that was."""
    now = time.monotonic()
    return [line.aged(now - at) for at, line in taken]


class Journal:
    """The one writer of a process's notes, for all of its running jobs together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[tuple[UUID, int], Notes] = {}
        self._awake = asyncio.Event()
        # What writes lines that have to wait for a lock.
        self._patient: set[asyncio.Task[None]] = set()

    def open(self, *, job_id: UUID, fence: int, progress: int) -> Notes:
        """Notes for an attempt that begins."""
        notes = Notes(self, job_id=job_id, fence=fence, progress=progress)
        self._open[job_id, fence] = notes
        return notes

    def close(self, notes: Notes) -> None:
        """The attempt has ended; what is not written is dropped."""
        self._open.pop((notes.job_id, notes.fence), None)

    def wake(self, notes: Notes) -> None:
        """Something is to be written."""
        if (notes.job_id, notes.fence) in self._open:
            self._awake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            waits = [wait for notes in self._free() if (wait := notes.due_in()) is not None]
            if not waits:
                continue
            await self._sleep(max(min(waits), GATHER_SECONDS))
            try:
                await self.flush()
            except STORE_ERRORS as error:
                log.warning("journal.not_written", error=type(error).__name__)
                await asyncio.sleep(0.2)
            self._awake.set()

    async def _sleep(self, seconds: float) -> None:
        # A log line that comes meanwhile does not wait for progress that has to.
        if seconds > GATHER_SECONDS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._awake.wait()
        else:
            await asyncio.sleep(seconds)

    def _free(self) -> list[Notes]:
        # Notes that somebody else writes at this moment come back by themselves if that fails.
        return [notes for notes in self._open.values() if not notes.lock.locked()]

    async def flush(self) -> None:
        """Write what is due. Raises what the database raises, having put everything back."""
        due = [notes for notes in self._free() if notes.due_in() == 0.0]
        for notes in due:
            await notes.lock.acquire()
        waiting: set[Notes] = set()
        try:
            taken = {notes: lines for notes in due if (lines := notes.take())}
            if taken and not await self._write(taken, waiting):
                # One of them has something that Postgres does not take: find it, and let the others through.
                for notes, lines in taken.items():
                    if not await self._write({notes: lines}, waiting):
                        log.error("journal.dropped", job_id=str(notes.job_id), lines=len(lines))
        finally:
            for notes in due:
                if notes not in waiting:
                    notes.lock.release()

    async def _write(self, taken: Mapping[Notes, Sequence[tuple[float, Line]]], waiting: set[Notes]) -> bool:
        """Write these lines. False where the data is at fault; raises, having put them back, where anything else is.

        Those of jobs that somebody else has locked are left to tasks of their own, and their notes added to `waiting`.
        """
        try:
            async with self._database.single() as single:
                lines = {(notes.job_id, notes.fence): aged(each) for notes, each in taken.items()}
                locked = await note_many(single, lines=lines)
        except BaseException as error:
            if is_data_error(error):
                return False
            for notes, each in taken.items():
                notes.put_back(each)
            raise
        for notes, each in taken.items():
            if (notes.job_id, notes.fence) in locked:
                waiting.add(notes)
                task = asyncio.create_task(self._write_patiently(notes, each))
                self._patient.add(task)
                task.add_done_callback(self._patient.discard)
        return True

    async def _write_patiently(self, notes: Notes, taken: Sequence[tuple[float, Line]]) -> None:
        """Write the lines of a job whose row is locked, while the others' go on. Its notes stay locked meanwhile."""
        try:
            async with self._database.transaction() as tx:
                await note(tx, lines={(notes.job_id, notes.fence): aged(taken)})
        except STORE_ERRORS as error:
            log.warning("journal.not_written", error=type(error).__name__)
            notes.put_back(taken)
        except BaseException:
            notes.put_back(taken)
            raise
        finally:
            notes.lock.release()
            self._awake.set()
