"""The questions of the dispatcher: is anything due?"""

from datetime import timedelta
from typing import Any

from sqlalchemy import Select, func, literal_column, select, text

from db.base import table_of
from db.clock import sql_now
from db.leases import DueSource
from db.ledger.models import Job, Worker

_JOB = table_of(Job)
_WORKER = table_of(Worker)


def due_sources(*, unclaimed: timedelta, lease: timedelta, abandon: timedelta) -> list[DueSource]:
    """The ledger's rows that fall due, in the order in which they are taken care of.

    The states are written out in the text: with parameters, Postgres would not see that a partial index answers.
    """
    is_seen: Select[Any] = select(literal_column("1")).where(
        _WORKER.c.id == _JOB.c.worker_id, _WORKER.c.seen_at > sql_now() - lease
    )
    one: Select[Any] = select(literal_column("1")).select_from(_JOB)
    running = one.where(text("jobs.state = 'running'"))
    return [
        DueSource("jobs.lost", running.where(~is_seen.exists())),
        DueSource("jobs.deaf", running.where(_JOB.c.cancel_requested_at <= sql_now() - abandon)),
        DueSource("jobs.overdue", running.where(_JOB.c.timeout_at <= sql_now() - abandon)),
        DueSource(
            "jobs.unclaimed",
            one.where(text("jobs.state = 'dispatched'"), _JOB.c.dispatched_at <= sql_now() - unclaimed),
        ),
        DueSource("jobs.scheduled", one.where(text("jobs.state = 'scheduled'"), _JOB.c.scheduled_at <= sql_now())),
        DueSource("jobs.queued", select(literal_column("1")).select_from(func.open_lanes(sql_now() - lease))),
    ]
