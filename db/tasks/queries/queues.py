"""A person's queue: its tabs and their counts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, func, literal_column, or_, select

from db.base import table_of
from db.clock import sql_now
from db.reading import Listing, Many, Order, Reading, bind
from db.tasks.models import Task
from db.tasks.queries.access import is_seen_by_learner
from db.tasks.queries.tasks import WORK_TASK
from db.tasks.rules import ACTIVE, CLOSED, OPEN, QueueTab, TaskStatus

_TASKS = table_of(Task)

COMPLETED_TAB_DAYS = timedelta(days=7)


def _newest(name: str) -> Order:
    return Order((lambda task: task.c[name], lambda task: task.c.id), (datetime, UUID), (True, True))


def has_status(task: FromClause, statuses: Iterable[TaskStatus]) -> ColumnElement[bool]:
    """Whether a task is in one of these statuses, written out: from literal values the planner sees that the partial
    index of open (or closed) tasks answers; from parameters it cannot.
    """
    literals: list[ColumnElement[str]] = [literal_column(f"'{status.value}'") for status in sorted(statuses)]
    condition: ColumnElement[bool] = task.c.status.in_(literals)
    return condition


def _own_in(statuses: Iterable[TaskStatus]) -> Callable[[FromClause], ColumnElement[bool]]:
    def narrowed(task: FromClause) -> ColumnElement[bool]:
        is_task = task.c.type_name != literal_column("'timed_hold'")
        return and_(has_status(task, statuses), is_task, is_seen_by_learner(task))

    return narrowed


def _recently_closed(task: FromClause) -> ColumnElement[bool]:
    return and_(_own_in(CLOSED)(task), task.c.closed_at > sql_now() - COMPLETED_TAB_DAYS)


def _queue(order: Order, where: Any) -> Many:
    return Many(
        lambda: WORK_TASK,
        key=lambda task: task.c.assignee_user_id,
        listing=Listing(orders={"DEFAULT": order}),
        where=where,
        is_guarded=False,
    )


QUEUES: Mapping[QueueTab, Many] = {
    QueueTab.ASSIGNED: _queue(_newest("assigned_at"), _own_in(ACTIVE)),
    QueueTab.ON_HOLD: _queue(_newest("assigned_at"), _own_in([TaskStatus.ON_HOLD])),
    QueueTab.COMPLETED: _queue(_newest("closed_at"), _recently_closed),
}


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """How many tasks each tab of a queue has."""

    unassigned: int
    assigned: int
    on_hold: int
    completed: int
    overdue: int


async def own_counts(reading: Reading) -> TaskCounts:
    """The counts of the viewer's own queue: one statement."""
    task = _TASKS.alias("t")
    now = sql_now()
    is_open, is_closed = has_status(task, OPEN), has_status(task, CLOSED)
    counted = select(
        func.count().filter(has_status(task, ACTIVE)).label("assigned"),
        func.count().filter(task.c.status == TaskStatus.ON_HOLD).label("on_hold"),
        func.count().filter(is_closed).label("completed"),
        func.count().filter(and_(is_open, task.c.due_at < now)).label("overdue"),
    ).where(
        task.c.assignee_user_id == bind("viewer_id"),
        task.c.type_name != "timed_hold",
        or_(is_open, and_(is_closed, task.c.closed_at > now - COMPLETED_TAB_DAYS)),
        is_seen_by_learner(task),
    )
    (record,) = await reading.records(counted, {}, name="tasks.own_counts")
    return TaskCounts(0, record["assigned"], record["on_hold"], record["completed"], record["overdue"])
