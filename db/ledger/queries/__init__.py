"""What is read of the ledger."""

from db.ledger.queries.due import due_sources
from db.ledger.queries.events import Cursor, EventRow, last_seqs, read_events, read_snapshots
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
from db.ledger.queries.moves import JobsWanted, Look, Move, read_moves
from db.ledger.queries.queues import QueueRow, queue_stats, read_queues
from db.ledger.queries.sight import SAME_FOR_ALL, is_same_for_all, jobs_unguarded, who_sees

__all__ = [
    "JOB",
    "JOBS",
    "JOBS_OF_SUBJECT",
    "JOB_ATTEMPT",
    "JOB_LOG",
    "SAME_FOR_ALL",
    "SILENT_AFTER",
    "SUBJECTS",
    "Backlog",
    "Cursor",
    "EventRow",
    "JobsWanted",
    "Look",
    "Move",
    "QueueRow",
    "Stuck",
    "SubjectAccess",
    "WorkerRow",
    "due_sources",
    "is_same_for_all",
    "jobs_of_subject",
    "jobs_unguarded",
    "last_seqs",
    "may_write_job",
    "narrowing",
    "queue_stats",
    "read_backlog",
    "read_events",
    "read_moves",
    "read_queues",
    "read_schedules",
    "read_snapshots",
    "read_stuck",
    "read_workers",
    "who_sees",
]
