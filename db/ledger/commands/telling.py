"""How a job's row and its history change together: one statement, so neither is ever there without the other."""

from typing import Any

from sqlalchemy import BindParameter, bindparam
from sqlalchemy.dialects.postgresql import JSONB

from db.compiled import Write
from db.ledger.rules import EndedJob, JobState
from db.session import Row

# A change names its rows `moved` and says in `message` what happened; its last_seq is the new event's number.
_TELLING = """
WITH $change,
told AS (
    INSERT INTO job_events (job_id, seq, at, type, state, progress, step, done, total, attempt, message)
    SELECT id, last_seq, $now, 'STATUS', state, progress, step, done, total, attempt, message
    FROM moved
)
SELECT * FROM moved
"""


def telling(change: str, *parameters: BindParameter[Any]) -> Write:
    """The statement that makes the change and tells it as a STATUS event of the same instant."""
    return Write(_TELLING.replace("$change", change), *parameters)


def as_json(name: str) -> BindParameter[Any]:
    """A parameter that is given as a Python value and sent as JSON."""
    return bindparam(name, type_=JSONB(none_as_null=True))


def ended_job(row: Row) -> EndedJob:
    """The job of a row of `moved`, for the hooks of its kind."""
    return EndedJob(
        id=row["id"],
        kind=row["kind"],
        state=JobState(row["state"]),
        args=row["args"],
        subject_type=row["subject_type"],
        subject_id=row["subject_id"],
        actor_id=row["actor_id"],
        error=row["error"],
        finished_at=row["finished_at"],
    )
