"""What a hold shows, and its timer."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Boolean, ColumnElement, FromClause, and_, case, null, select

from db.base import table_of
from db.reading import Derived, Entity, Many, One, bind
from db.reading.entity import NOW
from db.tasks.models import Task, TaskHold, TaskTimer
from db.tasks.queries.access import hold_visible, is_hold, is_open_hold_of
from db.tasks.queries.tasks import SHARED, WORK_TASK

_TASKS = table_of(Task)
_FACTS = table_of(TaskHold)
DAY = timedelta(hours=24)


def _fact(name: str) -> Any:
    def read(hold: FromClause) -> ColumnElement[Any]:
        return select(_FACTS.c[name]).where(_FACTS.c.task_id == hold.c.id).scalar_subquery()

    return read


def _last_error(timer: FromClause) -> ColumnElement[Any]:
    # What a database says of a failure is for whoever operates it.
    return case((bind("viewer_is_admin", Boolean), timer.c.last_error), else_=null())


def _days_elapsed(now: datetime, starts_at: datetime, closed_at: datetime | None) -> int:
    return max((closed_at or now) - starts_at, timedelta(0)) // DAY


TIMER = Entity("TaskTimer", table_of(TaskTimer), columns={"last_error": _last_error})

TIMED_HOLD = Entity(
    "TimedHoldTask",
    _TASKS,
    columns={name: _fact(name) for name in ("duration_days", "starts_at", "ends_at", "end_reason")},
    visible=lambda hold, viewer: and_(is_hold(hold), hold_visible(hold, viewer)),
)
TIMED_HOLD.relations.update(
    {
        **SHARED,
        "timer": One(lambda: TIMER, on=lambda hold, timer: timer.c.task_id == hold.c.id),
        "days_elapsed": Derived((NOW, "starts_at", "closed_at"), _days_elapsed),
    }
)

# Whoever sees a task sees its holds.
WORK_TASK.relations.update(
    {
        "active_hold": One(lambda: TIMED_HOLD, on=lambda task, hold: is_open_hold_of(hold, task)),
        "holds": Many(
            lambda: TIMED_HOLD,
            key=lambda hold: hold.c.parent_id,
            order=lambda hold: (hold.c.id.desc(),),
            where=is_hold,
            is_guarded=False,
        ),
    }
)
