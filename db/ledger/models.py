"""The tables of the ledger.

Rows of `jobs` are written often while they run, so nothing is indexed that changes with progress (progress, step, done,
total, last_seq) and pages keep room for the new versions: such an update touches no index. The same holds for
`workers.seen_at`.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Integer, LargeBinary, SmallInteger, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Big, Key, enum_column, one_of
from db.ledger.rules import LIVE, RETRYABLE, TERMINAL, AttemptOutcome, EventType, JobState, LogLevel


def _among(states: frozenset[JobState]) -> str:
    values = ", ".join(f"'{state.value}'" for state in JobState if state in states)
    return f"state IN ({values})"


def _exactly_while(states: frozenset[JobState], column: str) -> str:
    """A CHECK: the column is filled if and only if the job is in one of these states."""
    return f"({_among(states)}) = ({column} IS NOT NULL)"


_QUEUED, _SCHEDULED = frozenset({JobState.QUEUED}), frozenset({JobState.SCHEDULED})
_DISPATCHED, _RUNNING = frozenset({JobState.DISPATCHED}), frozenset({JobState.RUNNING})
_FAILED = RETRYABLE - {JobState.CANCELLED}
_QUARANTINED, _CANCELLED = frozenset({JobState.QUARANTINED}), frozenset({JobState.CANCELLED})


class Job(Base):
    """One piece of work that somebody asked for: it exists if and only if the transaction that asked committed."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(one_of("state", JobState), name="state"),
        CheckConstraint(_exactly_while(_DISPATCHED, "dispatched_at"), name="dispatched_at"),
        CheckConstraint(_exactly_while(_RUNNING, "worker_id"), name="worker_id"),
        CheckConstraint(_exactly_while(_RUNNING, "timeout_at"), name="timeout_at"),
        CheckConstraint(_exactly_while(TERMINAL, "finished_at"), name="finished_at"),
        CheckConstraint(_exactly_while(_FAILED, "error"), name="error"),
        CheckConstraint("state NOT IN ('running', 'completed') OR started_at IS NOT NULL", name="started_at"),
        CheckConstraint("state = 'completed' OR result IS NULL", name="result"),
        CheckConstraint("(state = 'completed') = (progress = 100) AND progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint(
            "cancel_requested_at IS NOT NULL OR (cancel_reason IS NULL AND cancel_requested_by IS NULL)", name="cancel"
        ),
        CheckConstraint("(subject_type IS NULL) = (subject_id IS NULL)", name="subject"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint("max_attempts > 0 AND timeout_seconds > 0", name="limits"),
        CheckConstraint("attempt >= failures + interruptions", name="counts"),
        Index(
            "ix_jobs_waiting", "queue", "kind", "priority", "scheduled_at", "id", postgresql_where=text(_among(_QUEUED))
        ),
        Index(
            "ix_jobs_waiting_by_key",
            "queue",
            "concurrency_key",
            "priority",
            "scheduled_at",
            "id",
            postgresql_where=text(f"{_among(_QUEUED)} AND concurrency_key IS NOT NULL"),
        ),
        Index("ix_jobs_scheduled", "scheduled_at", postgresql_where=text(_among(_SCHEDULED))),
        Index("ix_jobs_dispatched", "dispatched_at", postgresql_where=text(_among(_DISPATCHED))),
        Index("ix_jobs_running", "worker_id", postgresql_where=text(_among(_RUNNING))),
        # What makes "at most one" true under any interleaving.
        Index(
            "uq_jobs_unique_key",
            "kind",
            "unique_key",
            unique=True,
            postgresql_where=text(f"unique_key IS NOT NULL AND {_among(LIVE)}"),
        ),
        # Holds every live job, so it also answers what lists ask of those.
        Index("uq_jobs_live_retry", "retry_of", unique=True, postgresql_where=text(_among(LIVE))),
        Index("ix_jobs_retry_of", "retry_of", "id", postgresql_where=text("retry_of IS NOT NULL")),
        # What a job does not have takes no place: each change of its state would write it anew.
        Index("ix_jobs_subject_id", "subject_id", "id", postgresql_where=text("subject_id IS NOT NULL")),
        Index("ix_jobs_actor_id", "actor_id", "id", postgresql_where=text("actor_id IS NOT NULL")),
        Index("ix_jobs_finished", "finished_at", "id", postgresql_where=text("finished_at IS NOT NULL")),
        # Operators' lists, newest first. None of these is touched before a job ends, and most never.
        Index("ix_jobs_ended_kind", "kind", "queue", "id", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_jobs_failed", "id", postgresql_where=text(_among(_FAILED))),
        Index("ix_jobs_quarantined", "id", postgresql_where=text(_among(_QUARANTINED))),
        Index("ix_jobs_cancelled", "id", postgresql_where=text(_among(_CANCELLED))),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: Mapped[Key]
    kind: Mapped[str]
    queue: Mapped[str]
    state: Mapped[JobState] = enum_column(JobState)
    priority: Mapped[int] = mapped_column(SmallInteger)
    args: Mapped[dict[str, Any]]
    args_version: Mapped[int] = mapped_column(Integer)
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]

    # Grows with every claim and whenever the job is taken from somebody; whoever writes for an attempt names its own.
    fence: Mapped[Big] = mapped_column(server_default=text("0"))
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    crash_count: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    interruptions: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    max_attempts: Mapped[int] = mapped_column(Integer)
    timeout_seconds: Mapped[int] = mapped_column(Integer)
    worker_id: Mapped[uuid.UUID | None]

    enqueued_at: Mapped[datetime]
    scheduled_at: Mapped[datetime]
    dispatched_at: Mapped[datetime | None]
    # The start of its first attempt.
    started_at: Mapped[datetime | None]
    timeout_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    cancel_requested_by: Mapped[uuid.UUID | None]
    cancel_reason: Mapped[str | None]

    progress: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    step: Mapped[str | None]
    done: Mapped[int | None] = mapped_column(Integer)
    total: Mapped[int | None] = mapped_column(Integer)
    last_seq: Mapped[int] = mapped_column(Integer)

    unique_key: Mapped[str | None]
    concurrency_key: Mapped[str | None]
    subject_type: Mapped[str | None]
    subject_id: Mapped[uuid.UUID | None]
    subject_label: Mapped[str | None]
    # Without a foreign key: users are never deleted, and the check would lock the user's row with every job.
    actor_id: Mapped[uuid.UUID | None]
    retry_of: Mapped[uuid.UUID | None]
    trace_context: Mapped[str | None]


class JobEvent(Base):
    """One line of a job's history, with the facts of its own moment. Partitioned by the time that is in the job's id.

    The partitions are made ahead (`prepare_partitions`) and live in a schema of their own.
    """

    __tablename__ = "job_events"
    __table_args__ = (
        CheckConstraint("type IN ('PROGRESS', 'LOG', 'STATUS')", name="type"),
        CheckConstraint(one_of("state", JobState), name="state"),
        CheckConstraint("(type = 'LOG') = (level IS NOT NULL)", name="level"),
        CheckConstraint(one_of("level", LogLevel), name="level_known"),
        Index(None, "written_by"),
        {"postgresql_partition_by": "RANGE (job_id)"},
    )

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime]
    type: Mapped[EventType] = enum_column(EventType)
    state: Mapped[JobState] = enum_column(JobState)
    progress: Mapped[int] = mapped_column(SmallInteger)
    step: Mapped[str | None]
    done: Mapped[int | None] = mapped_column(Integer)
    total: Mapped[int | None] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    level: Mapped[LogLevel | None] = enum_column(LogLevel)
    message: Mapped[str | None]
    data: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    # The number of the transaction that wrote it: with a snapshot it says what has been committed since (see
    # `queries/moves.py`). Null where it was written before this was kept.
    written_by: Mapped[Big | None] = mapped_column(server_default=text("pg_current_xact_id()::text::bigint"))


class JobAttempt(Base):
    """One run of a job by one worker."""

    __tablename__ = "job_attempts"
    __table_args__ = (
        CheckConstraint(one_of("outcome", AttemptOutcome), name="outcome"),
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="finished_at"),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    fence: Mapped[Big]
    worker_id: Mapped[uuid.UUID]
    worker_name: Mapped[str]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[AttemptOutcome | None] = enum_column(AttemptOutcome)
    error: Mapped[dict[str, Any] | None]


class Worker(Base):
    """A worker process that lives, or has just died. Its id is new at every start and never used again."""

    __tablename__ = "workers"
    __table_args__ = (
        CheckConstraint("slots > 0", name="slots"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    id: Mapped[Key]
    name: Mapped[str]
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    slots: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    is_draining: Mapped[bool] = mapped_column(server_default=text("false"))


class Queue(Base):
    """What is set for a queue. A queue without a row has no limit and is not paused."""

    __tablename__ = "queues"
    __table_args__ = (
        CheckConstraint("max_running > 0", name="max_running"),
        CheckConstraint("max_running_per_key > 0", name="max_running_per_key"),
        CheckConstraint("paused_at IS NOT NULL OR (paused_by IS NULL AND pause_reason IS NULL)", name="paused"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    max_running: Mapped[int | None] = mapped_column(Integer)
    max_running_per_key: Mapped[int | None] = mapped_column(Integer)
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[uuid.UUID | None]
    pause_reason: Mapped[str | None]


class Schedule(Base):
    """Work that comes again and again: its rule, and when it is due next."""

    __tablename__ = "schedules"
    __table_args__ = (Index("ix_schedules_due", "next_tick_at", postgresql_where=text("next_tick_at IS NOT NULL")),)

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    args: Mapped[dict[str, Any]]
    rule: Mapped[str]
    time_zone: Mapped[str] = mapped_column(server_default=text("'UTC'"))
    last_tick_at: Mapped[datetime | None]
    next_tick_at: Mapped[datetime | None]


class ScheduleTick(Base):
    """One tick of a schedule and the job that it made: the key makes it one job, whoever ticks."""

    __tablename__ = "schedule_ticks"

    schedule_name: Mapped[str] = mapped_column(primary_key=True)
    tick_at: Mapped[datetime] = mapped_column(primary_key=True)
    job_id: Mapped[uuid.UUID]


class Leader(Base):
    """Who does what only one worker is to do. The epoch grows with every change, so that one who was it knows."""

    __tablename__ = "leaders"

    role: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[Big]
    worker_id: Mapped[uuid.UUID]
    worker_name: Mapped[str]
    since: Mapped[datetime]


class IdempotencyKey(Base):
    """The outcome of a request that its caller may send again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    caller_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    mutation: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    # Null only inside the transaction that does the work.
    outcome: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
