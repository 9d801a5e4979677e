"""Numbers that are all zero where tasks, holds and timers fit together."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, exists, func, select

from db.base import table_of
from db.clock import sql_now
from db.reading import Reading
from db.tasks.models import Task, TaskTimer
from db.tasks.queries.lists import has_status
from db.tasks.rules import OPEN, TaskStatus

_TASKS = table_of(Task)
_TIMERS = table_of(TaskTimer)

# A worker that lives ends a hold within two seconds of its instant.
OVERDUE_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """How often something is not as it should be: now, over all tasks."""

    overdue_timers: int
    on_hold_without_open_child: int
    open_child_of_task_not_on_hold: int
    failing_timers: int


def _count(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count()).where(*conditions).scalar_subquery()


async def task_health(reading: Reading) -> TaskHealth:
    """The numbers, in one statement. Whether the viewer may see them is the caller's to ask."""
    task, child, parent, timer = _TASKS.alias("held"), _TASKS.alias("child"), _TASKS.alias("parent"), _TIMERS
    pending = (timer.c.processed_at.is_(None), timer.c.cancelled_at.is_(None))
    is_open = has_status(child, OPEN)
    counted = select(
        _count(*pending, func.coalesce(timer.c.next_attempt_at, timer.c.due_at) <= sql_now() - OVERDUE_AFTER).label(
            "overdue_timers"
        ),
        _count(has_status(task, [TaskStatus.ON_HOLD]), ~exists().where(child.c.parent_id == task.c.id, is_open)).label(
            "on_hold_without_open_child"
        ),
        _count(
            child.c.parent_id.is_not(None),
            is_open,
            parent.c.id == child.c.parent_id,
            parent.c.status != TaskStatus.ON_HOLD,
        ).label("open_child_of_task_not_on_hold"),
        _count(*pending, timer.c.last_error.is_not(None)).label("failing_timers"),
    )
    (record,) = await reading.records(counted, {}, name="tasks.health")
    return TaskHealth(
        record["overdue_timers"],
        record["on_hold_without_open_child"],
        record["open_child_of_task_not_on_hold"],
        record["failing_timers"],
    )
