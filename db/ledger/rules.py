"""What a job may become, and what follows from the way an attempt ended. Values in, decisions out.

A job's *state* is the machine below; its *status* is the shorter list that people see (`status_of`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from db.errors import Code, Refused, refuse
from db.machine import Machine

QUARANTINED_AFTER_CRASHES = 3
# From then on no two such jobs share a worker: the one that kills it is to go, and not those that ran beside it.
SUSPECT_AFTER_CRASHES = QUARANTINED_AFTER_CRASHES - 1
FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 600.0
# Progress that is not the end stays below 100: a bar that is full says "done".
MOST_BEFORE_COMPLETED = 99
REASON_LIMIT = 500


class JobState(StrEnum):
    """Where a job is. Stored; people see `JobStatus`."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


class JobStatus(StrEnum):
    """What people see of a job's state."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class AttemptOutcome(StrEnum):
    """How one attempt ended."""

    COMPLETED = "COMPLETED"
    RETRY = "RETRY"
    SNOOZED = "SNOOZED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    LOST = "LOST"
    INTERRUPTED = "INTERRUPTED"


class EventType(StrEnum):
    """What a line of a job's history tells. A SNAPSHOT is made for a stream and never stored."""

    SNAPSHOT = "SNAPSHOT"
    PROGRESS = "PROGRESS"
    LOG = "LOG"
    STATUS = "STATUS"


class LogLevel(StrEnum):
    """How much a line of a job's log matters."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


_S = JobState

JOB = Machine(
    name="job",
    states=JobState,
    initial=_S.QUEUED,
    edges={
        (_S.SCHEDULED, _S.QUEUED): "its time has come",
        (_S.SCHEDULED, _S.CANCELLED): "cancelled before it began",
        (_S.QUEUED, _S.DISPATCHED): "a ticket is pushed",
        (_S.QUEUED, _S.RUNNING): "claimed straight from the table",
        (_S.QUEUED, _S.CANCELLED): "cancelled before it began",
        (_S.DISPATCHED, _S.RUNNING): "claimed with its ticket",
        (_S.DISPATCHED, _S.QUEUED): "nobody came for the ticket, or its queue was paused",
        (_S.DISPATCHED, _S.CANCELLED): "cancelled before it began",
        (_S.RUNNING, _S.COMPLETED): "done",
        (_S.RUNNING, _S.SCHEDULED): "waits to be tried again, or snoozes",
        (_S.RUNNING, _S.QUEUED): "its worker is lost, or lets it go",
        (_S.RUNNING, _S.FAILED): "refused, or its attempts are used up",
        (_S.RUNNING, _S.QUARANTINED): "its workers died of it",
        (_S.RUNNING, _S.CANCELLED): "stopped on request",
    },
)

TERMINAL = JOB.terminal
LIVE = frozenset(JobState) - TERMINAL
WAITING = frozenset({_S.SCHEDULED, _S.QUEUED, _S.DISPATCHED})
RETRYABLE = frozenset({_S.FAILED, _S.QUARANTINED, _S.CANCELLED})

_STATUS = {
    _S.SCHEDULED: JobStatus.QUEUED,
    _S.QUEUED: JobStatus.QUEUED,
    _S.DISPATCHED: JobStatus.QUEUED,
    _S.RUNNING: JobStatus.RUNNING,
    _S.COMPLETED: JobStatus.COMPLETED,
    _S.FAILED: JobStatus.FAILED,
    _S.QUARANTINED: JobStatus.FAILED,
    _S.CANCELLED: JobStatus.CANCELLED,
}


def status_of(state: JobState) -> JobStatus:
    """What people see of this state."""
    return _STATUS[state]


def states_of(status: JobStatus) -> frozenset[JobState]:
    """The states that are shown as this status: for filters."""
    return frozenset(state for state, shown in _STATUS.items() if shown == status)


# Topics of hints. Whoever listens looks at the tables again; a hint that is lost costs a poll's wait.
WORK_IS_DUE = "ledger.due"


# The family of all job topics.
JOB_TOPICS = "job"


def job_topic(job_id: UUID) -> str:
    """Something happened to this job."""
    return f"{JOB_TOPICS}.{job_id}"


def job_of_topic(topic: str) -> UUID | None:
    """The job of a topic; None for the family's name."""
    key = topic.partition(".")[2]
    return UUID(key) if key else None


def worker_topic(worker_id: UUID) -> str:
    """This worker is to ask what has become of its jobs: one of them is to stop."""
    return f"worker.{worker_id}"


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job or an attempt failed: a Code or a code of the kind's own, words for a person, the values in them."""

    code: str
    message: str
    details: Mapping[str, Any] | None = None

    def stored(self) -> dict[str, Any]:
        """The form it has in the table."""
        return {"code": self.code, "message": self.message, "details": self.details and dict(self.details)}

    @classmethod
    def from_refusal(cls, refusal: Refused) -> "JobError":
        """A refusal's reasons as one error: the first gives the code, all of them the words."""
        first = refusal.problems[0]
        return cls(str(first.code), str(refusal), first.details)


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that has just ended, as the hooks of its kind get it (`db/endings.py`)."""

    id: UUID
    kind: str
    state: JobState
    args: Mapping[str, Any]
    subject_type: str | None
    subject_id: UUID | None
    actor_id: UUID | None
    error: Mapping[str, Any] | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt's end means for its job. The attempt's row keeps `error`; the job's keeps `job_error`.

    `wait_seconds` is given where the job is to run again later.
    """

    state: JobState
    outcome: AttemptOutcome
    message: str
    error: JobError | None = None
    wait_seconds: float | None = None
    failures: int = 0
    crashes: int = 0
    interruptions: int = 0

    @property
    def job_error(self) -> JobError | None:
        """What the job's row keeps: only an error that ended it."""
        return self.error if self.state in {JobState.FAILED, JobState.QUARANTINED} else None


class Cancelling(StrEnum):
    """What a request to cancel does."""

    AT_ONCE = "at once"  # it had not begun
    ASKED = "asked"  # it runs: it is told, and ends at its next safe point
    ASKED_BEFORE = "asked before"


def wait_before_retry(failures: int, jitter: float) -> float:
    """Seconds until the next attempt after so many failures: 2 s doubling to 10 min, ±20 %.

    `jitter` is a random number in [0, 1): jobs that failed together do not come back together.
    """
    wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (failures - 1))
    return wait * (0.8 + 0.4 * jitter)


def decide_fault(
    *, error: JobError, failures: int, max_attempts: int, is_cancel_requested: bool, jitter: float
) -> Verdict:
    """A fault: tried again with growing waits until the attempts are used up. `failures` are those before this one."""
    if is_cancel_requested:
        return decide_stop(error=error)
    if failures + 1 >= max_attempts:
        message = f"Failed for good after {failures + 1} attempts: {error.message}"
        return Verdict(JobState.FAILED, AttemptOutcome.FAILED, message, error, failures=1)
    wait = wait_before_retry(failures + 1, jitter)
    message = f"{error.message} Next attempt in {wait:.0f} s."
    return Verdict(JobState.SCHEDULED, AttemptOutcome.RETRY, message, error, wait_seconds=wait, failures=1)


def decide_refusal(*, error: JobError) -> Verdict:
    """A rule said no: it will say no again, so the job fails at once."""
    return Verdict(JobState.FAILED, AttemptOutcome.FAILED, error.message, error, failures=1)


def decide_snooze(*, seconds: float, reason: str | None, is_cancel_requested: bool) -> Verdict:
    """The handler has nothing to do yet: again after so many seconds, at no cost."""
    if is_cancel_requested:
        return decide_stop()
    message = reason or f"Waits {seconds:.0f} s."
    return Verdict(JobState.SCHEDULED, AttemptOutcome.SNOOZED, message, wait_seconds=max(0.0, seconds))


def decide_stop(*, reason: str | None = None, error: JobError | None = None) -> Verdict:
    """The handler stopped because it was asked to, or because it found that nobody needs it any more."""
    return Verdict(JobState.CANCELLED, AttemptOutcome.CANCELLED, reason or "Cancelled.", error)


def decide_crash(*, crash_count: int, is_cancel_requested: bool) -> Verdict:
    """Its worker died or lost its lease. `crash_count` are the crashes before this one; the third is the last."""
    error = JobError("WORKER_LOST", "The worker that ran this attempt died or lost its lease.")
    if is_cancel_requested:
        return Verdict(JobState.CANCELLED, AttemptOutcome.LOST, "Cancelled.", error, crashes=1)
    if crash_count + 1 >= QUARANTINED_AFTER_CRASHES:
        error = JobError("QUARANTINED", f"{crash_count + 1} workers died or lost their lease while running this job.")
        return Verdict(JobState.QUARANTINED, AttemptOutcome.LOST, error.message, error, crashes=1)
    return Verdict(JobState.QUEUED, AttemptOutcome.LOST, error.message, error, crashes=1)


def decide_release(*, is_cancel_requested: bool) -> Verdict:
    """Its worker shuts down: another one takes it, and no attempt is counted."""
    if is_cancel_requested:
        return decide_stop()
    message = "Its worker shuts down; another one continues."
    return Verdict(JobState.QUEUED, AttemptOutcome.INTERRUPTED, message, interruptions=1)


def decide_cancel(*, state: JobState, is_cancel_requested: bool) -> Cancelling:
    """What cancelling a job in this state means.

    Raises Refused (JOB_NOT_CANCELLABLE) where it has ended.
    """
    if state in TERMINAL:
        raise refuse(
            Code.JOB_NOT_CANCELLABLE, f"The job has ended: it is {status_of(state)}.", "jobId", status=status_of(state)
        )
    if state in WAITING:
        return Cancelling.AT_ONCE
    return Cancelling.ASKED_BEFORE if is_cancel_requested else Cancelling.ASKED


def reason_of(text: str | None) -> str | None:
    """Why somebody stops a job or a queue, as it is stored; None where they do not say. Raises Refused at `reason`."""
    reason = (text or "").strip() or None
    if reason is not None and len(reason) > REASON_LIMIT:
        message = f"`reason` takes at most {REASON_LIMIT} characters; these are {len(reason)}."
        raise refuse(Code.BAD_USER_INPUT, message, "reason", max=REASON_LIMIT)
    return reason


def is_retryable(*, state: JobState, has_live_successor: bool) -> bool:
    """Whether a person may have the job done again, as a new job."""
    return state in RETRYABLE and not has_live_successor


def decide_retry(*, state: JobState, has_live_successor: bool) -> None:
    """Raises Refused (JOB_NOT_RETRYABLE) unless the job is FAILED or CANCELLED and no newer try of it is under way."""
    if is_retryable(state=state, has_live_successor=has_live_successor):
        return
    status = status_of(state)
    message = (
        "It is being tried again already."
        if state in RETRYABLE
        else f"Only a job that is FAILED or CANCELLED can be tried again; this one is {status}."
    )
    raise refuse(Code.JOB_NOT_RETRYABLE, message, "jobId", status=status)


def percent(*, done: int, total: int | None, before: int) -> int:
    """Progress in percent: never less than before, never 100 before the end."""
    if not total or total < 0:
        return before
    return max(before, min(MOST_BEFORE_COMPLETED, 100 * max(0, done) // total))
