"""What is read of the ledger."""

from db.ledger.queries.due import due_sources
from db.ledger.queries.events import EventRow, last_seqs, read_events, read_snapshot
from db.ledger.queries.fleet import (
    SILENT_AFTER,
    Backlog,
    Stuck,
    WorkerRow,
    read_backlog,
    read_schedules,
    read_stuck,
    read_workers,
)
from db.ledger.queries.jobs import (
    JOB,
    JOB_ATTEMPT,
    JOB_LOG,
    JOBS,
    JOBS_OF_SUBJECT,
    SUBJECTS,
    SubjectAccess,
    jobs_of_subject,
    may_write_job,
    narrowing,
)
from db.ledger.queries.queues import QueueRow, queue_stats, read_queues

__all__ = [
    "JOB",
    "JOBS",
    "JOBS_OF_SUBJECT",
    "JOB_ATTEMPT",
    "JOB_LOG",
    "SILENT_AFTER",
    "SUBJECTS",
    "Backlog",
    "EventRow",
    "QueueRow",
    "Stuck",
    "SubjectAccess",
    "WorkerRow",
    "due_sources",
    "jobs_of_subject",
    "last_seqs",
    "may_write_job",
    "narrowing",
    "queue_stats",
    "read_backlog",
    "read_events",
    "read_queues",
    "read_schedules",
    "read_snapshot",
    "read_stuck",
    "read_workers",
]
