"""What is read of the ledger."""

from db.ledger.queries.due import due_sources
from db.ledger.queries.events import EventRow, last_seqs, read_events, read_snapshot
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

__all__ = [
    "JOB",
    "JOBS",
    "JOBS_OF_SUBJECT",
    "JOB_ATTEMPT",
    "JOB_LOG",
    "SUBJECTS",
    "EventRow",
    "SubjectAccess",
    "due_sources",
    "jobs_of_subject",
    "last_seqs",
    "may_write_job",
    "narrowing",
    "read_events",
    "read_snapshot",
]
