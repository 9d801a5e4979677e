"""How lists of tasks are narrowed and ordered; the list of all that a viewer may see."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    FromClause,
    Text,
    and_,
    any_,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
)

from db.accounts.queries import pattern
from db.accounts.rules import Viewer
from db.base import table_of
from db.clock import sql_now
from db.courses.models import CourseClass, Enrollment
from db.paging import Page
from db.reading import Entity, Filter, Listing, Order, Reading, Want, bind
from db.tasks.models import Task, TaskHold, TaskTimer
from db.tasks.queries.access import PLANS, hold_visible, is_hold, is_open_hold_of, is_withdrawn, is_work, visible
from db.tasks.queries.holds import TIMED_HOLD
from db.tasks.queries.tasks import WORK_TASK
from db.tasks.rules import HOLD_TYPE, OPEN, TaskStatus

_TASKS = table_of(Task)
_HOLDS = table_of(TaskHold)
_TIMERS = table_of(TaskTimer)
_CLASSES = table_of(CourseClass)
_ENROLLMENTS = table_of(Enrollment)
_INSTANT = DateTime(timezone=True)
# Instants that no task has, for those that have none. Infinity is none that a cursor could carry.
_LAST = literal_column("'9000-01-01T00:00:00Z'::timestamptz", _INSTANT)
_FIRST = literal_column("'0002-01-01T00:00:00Z'::timestamptz", _INSTANT)


def has_status(task: FromClause, statuses: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a task is in one of these statuses, written out: from literal values the planner sees that the partial
    index of open (or closed) tasks answers; from parameters it cannot.
    """
    # In the order of the declaration, which is that of the indexes' conditions.
    named = {TaskStatus(getattr(status, "value", status)) for status in statuses}
    literals = [literal_column(f"'{status.value}'", Text) for status in TaskStatus if status in named]
    return task.c.status.in_(literals) if literals else false()


# --- orders -----------------------------------------------------------------------------------------------------------


def _hold_ends_at(task: FromClause) -> ColumnElement[Any]:
    """When a task's open hold ends, or a hold itself; after all others where there is none."""
    hold = _TASKS.alias("ending")
    own = select(_HOLDS.c.ends_at).where(_HOLDS.c.task_id == task.c.id).scalar_subquery()
    below = (
        select(_HOLDS.c.ends_at)
        .join(hold, hold.c.id == _HOLDS.c.task_id)
        .where(is_open_hold_of(hold, task))
        .scalar_subquery()
    )
    return func.coalesce(below, own, _LAST)


def _order(column: Any, *, down: bool) -> Order:
    return Order((column, lambda task: task.c.id), (datetime, UUID), (down, down))


# By TaskOrder. Where a date is missing the task comes last, whichever way.
ORDERS: Mapping[str, Order] = {
    "CREATED_DESC": Order((lambda task: task.c.id,), (UUID,), (True,)),
    "CREATED_ASC": Order((lambda task: task.c.id,), (UUID,), (False,)),
    "DUE_ASC": _order(lambda task: func.coalesce(task.c.due_at, _LAST), down=False),
    "DUE_DESC": _order(lambda task: func.coalesce(task.c.due_at, _FIRST), down=True),
    "HOLD_ENDS_ASC": _order(_hold_ends_at, down=False),
    "ASSIGNED_ASC": _order(lambda task: task.c.assigned_at, down=False),
    "ASSIGNED_DESC": _order(lambda task: task.c.assigned_at, down=True),
    "CLOSED_DESC": _order(lambda task: func.coalesce(task.c.closed_at, _FIRST), down=True),
}


# --- filters ----------------------------------------------------------------------------------------------------------


def _has_overdue_timer(hold_id: ColumnElement[Any]) -> ColumnElement[bool]:
    return exists().where(
        _TIMERS.c.task_id == hold_id,
        _TIMERS.c.processed_at.is_(None),
        _TIMERS.c.cancelled_at.is_(None),
        _TIMERS.c.due_at <= sql_now(),
    )


def _is_overdue_hold(task: FromClause) -> ColumnElement[bool]:
    """A hold whose timer should have run, or (in a queue, which has no holds) the task that it holds."""
    hold = _TASKS.alias("late")
    below = select(hold.c.id).where(is_open_hold_of(hold, task)).scalar_subquery()
    return or_(_has_overdue_timer(task.c.id), _has_overdue_timer(below))


def _is_overdue(task: FromClause) -> ColumnElement[bool]:
    return and_(has_status(task, OPEN), task.c.due_at < sql_now(), ~is_withdrawn(task))


def _of_course(task: FromClause) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = task.c.plan_id.in_(
        select(PLANS.c.id).where(PLANS.c.course_id == bind("course_id"))
    )
    return condition


def _of_class(task: FromClause) -> ColumnElement[bool]:
    """A plan's task of somebody who is in the class, of a plan of its course."""
    plans = select(PLANS.c.id).join(_CLASSES, _CLASSES.c.course_id == PLANS.c.course_id)
    learners = select(_ENROLLMENTS.c.user_id).where(
        _ENROLLMENTS.c.class_id == bind("class_id"),
        _ENROLLMENTS.c.status == literal_column("'ACTIVE'"),
        _ENROLLMENTS.c.user_id.is_not(None),
    )
    return and_(
        task.c.plan_id.in_(plans.where(_CLASSES.c.id == bind("class_id"))), task.c.assignee_user_id.in_(learners)
    )


FILTERS: Mapping[str, Filter] = {
    "statuses": Filter(has_status, is_written=True),
    "types": Filter(lambda task: task.c.type_name == any_(bind("types", Text, many=True))),
    "assignee_id": Filter(
        lambda task: or_(task.c.assignee_user_id == bind("assignee_id"), task.c.assignee_team_id == bind("assignee_id"))
    ),
    "plan_id": Filter(lambda task: task.c.plan_id == bind("plan_id")),
    "root_id": Filter(lambda task: or_(task.c.id == bind("root_id"), task.c.root_id == bind("root_id"))),
    "course_id": Filter(_of_course),
    "class_id": Filter(_of_class),
    "due_from": Filter(lambda task: task.c.due_at >= bind("due_from", _INSTANT)),
    "due_before": Filter(lambda task: task.c.due_at < bind("due_before", _INSTANT)),
    "overdue_only": Filter(_is_overdue, is_flag=True),
    "overdue_timers_only": Filter(_is_overdue_hold, is_flag=True),
    "search": Filter(lambda task: task.c.title.ilike(bind("search", Text)), convert=pattern),
}
TASKS = Listing(orders=ORDERS, filters=FILTERS, default="CREATED_DESC")


# --- all that a viewer may see ----------------------------------------------------------------------------------------


def _any_visible(task: FromClause, viewer: Viewer) -> ColumnElement[bool]:
    return or_(and_(is_work(task), visible(task, viewer)), and_(is_hold(task), hold_visible(task, viewer)))


ANY_TASK = Entity(
    "Task",
    _TASKS,
    columns={"is_hold": is_hold},
    visible=_any_visible,
    which="is_hold",
    variants={False: WORK_TASK, True: TIMED_HOLD},
)


async def tasks_page(reading: Reading, wanted: Want) -> Page:
    """Tasks that the viewer may see, by `TASKS`: `wanted.args` may have `first`, `after`, `order_by` and the filters.

    Holds are only among them where `types` names theirs, or with `overdue_timers_only`. Raises Refused as pages do.
    """
    types: Sequence[str] = wanted.args.get("types") or ()
    if wanted.args.get("overdue_timers_only") or set(types) == {HOLD_TYPE}:
        return await reading.page(TIMED_HOLD, wanted, TASKS, name="tasks.holds", where=is_hold)
    if HOLD_TYPE in types:
        return await reading.page(ANY_TASK, wanted, TASKS, name="tasks.any")
    return await reading.page(WORK_TASK, wanted, TASKS, name="tasks.work", where=is_work)
