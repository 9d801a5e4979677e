"""Reads of plans: what a plan shows to those who teach it, and what of it to those who learn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    FromClause,
    Text,
    and_,
    any_,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from db.accounts.queries import SYSTEM, USER
from db.accounts.rules import Viewer
from db.base import table_of
from db.clock import sql_now
from db.courses.models import Course, CourseClass, CourseTeacher, Enrollment
from db.courses.queries import COURSE, COURSE_CLASS
from db.ledger.queries import JOB, JOBS_OF_SUBJECT, SUBJECTS, SubjectAccess
from db.plans.jobs import PublishPlan
from db.plans.models import Plan, PlanExtension, TaskingPlan
from db.plans.queries.stats import plan_stats
from db.plans.queries.tasks import TASKS_OF_PLAN
from db.plans.rules import PlanFacts, PlanState, available_actions, is_open, locked_fields
from db.reading import Batch, Derived, Either, Entity, Filter, Listing, Many, One, Order, Reading, Want, bind
from db.reading.entity import NOW, Expression, Relation
from db.tasks.models import Task
from db.tasks.queries import WORK_TASK, teaches

_PLANS = table_of(Plan)
_TASKINGS = table_of(TaskingPlan)
_TASKS = table_of(Task)
_COURSES = table_of(Course)
_CLASSES = table_of(CourseClass)
_TEACHERS = table_of(CourseTeacher)
_ENROLLMENTS = table_of(Enrollment)


# --- who sees a plan --------------------------------------------------------------------------------------------------


def _own_task(plan_id: ColumnElement[Any]) -> ColumnElement[bool]:
    # The generation and the status are said, so that the index of a generation's tasks answers.
    own = _TASKS.alias("own")
    live = _PLANS.alias("of_own")
    return exists().where(
        live.c.id == plan_id,
        own.c.plan_id == live.c.id,
        own.c.generation == live.c.live_generation,
        own.c.assignee_user_id == bind("viewer_id"),
        own.c.status != literal_column("'CANCELLED'"),
        live.c.first_published_at.is_not(None),
        own.c.opens_at <= sql_now(),
    )


def _visible(plan: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    if viewer.is_editor:
        return None
    return or_(teaches(plan.c.course_id), _own_task(plan.c.id))


def _sees_everybody(plan: FromClause) -> ColumnElement[bool]:
    return or_(bind("viewer_is_editor", Boolean), teaches(plan.c.course_id))


def _may_write(plan: FromClause) -> ColumnElement[bool]:
    own = exists().where(_TEACHERS.c.course_id == plan.c.course_id, _TEACHERS.c.user_id == bind("viewer_id"))
    return or_(bind("viewer_is_editor", Boolean), own)


def _tasking_visible(tasking: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    """A learner sees the tasking plans that reach them: their own, their class's, their course's."""
    if viewer.is_editor:
        return None
    plan = _PLANS.alias("of")
    attended = (
        select(_CLASSES.c.id, _CLASSES.c.course_id)
        .join(_ENROLLMENTS, _ENROLLMENTS.c.class_id == _CLASSES.c.id)
        .where(_ENROLLMENTS.c.user_id == bind("viewer_id"), _ENROLLMENTS.c.status == "ACTIVE")
        .subquery("attended")
    )
    reached = exists().where(or_(attended.c.id == tasking.c.class_id, attended.c.course_id == tasking.c.course_id))
    taught = exists().where(plan.c.id == tasking.c.plan_id, teaches(plan.c.course_id))
    return or_(tasking.c.user_id == bind("viewer_id"), reached, taught)


# --- what a plan shows ------------------------------------------------------------------------------------------------


def _course_ends(plan: FromClause) -> ColumnElement[Any]:
    return select(_COURSES.c.ends_at).where(_COURSES.c.id == plan.c.course_id).scalar_subquery()


_FACTS = ("state", "live_opens_at", "first_published_at", "publish_last_requested_at", "course_ends_at")


def _facts(now: datetime, *columns: Any) -> PlanFacts:
    state, opens_at, first_published_at, requested_at, ends_at = columns
    return PlanFacts(
        PlanState(state), opens_at, first_published_at, requested_at, ends_at is not None and ends_at < now
    )


def _is_open(now: datetime, opens_at: datetime | None) -> bool:
    return is_open(PlanFacts(PlanState.PUBLISHED, live_opens_at=opens_at), now=now)


def _locked(now: datetime, *columns: Any) -> Sequence[str]:
    return locked_fields(_facts(now, *columns), now=now)


def _actions(may_write: bool, now: datetime, *columns: Any) -> Sequence[Any]:
    return available_actions(_facts(now, *columns), may_write=may_write)


PLAN = Entity(
    "TaskPlan",
    _PLANS,
    columns={"may_write": _may_write, "sees_everybody": _sees_everybody, "course_ends_at": _course_ends},
    visible=_visible,
)


def _target_name(tasking: FromClause) -> ColumnElement[Any]:
    course = select(_COURSES.c.title).where(_COURSES.c.id == tasking.c.course_id).scalar_subquery()
    class_ = select(_CLASSES.c.name).where(_CLASSES.c.id == tasking.c.class_id).scalar_subquery()
    users = USER.table
    user = select(users.c.name).where(users.c.id == tasking.c.user_id).scalar_subquery()
    return func.coalesce(course, class_, user)


# Who sees a tasking plan sees whom it reaches.
_TARGET: Mapping[str, Relation] = {
    "target_course": One(lambda: COURSE, on=lambda tasking, course: course.c.id == tasking.c.course_id),
    "target_class": One(lambda: COURSE_CLASS, on=lambda tasking, class_: class_.c.id == tasking.c.class_id),
    "target_user": One(lambda: USER, on=lambda tasking, user: user.c.id == tasking.c.user_id),
    "target": Either(("target_course", "target_class", "target_user")),
}
TASKING_PLAN = Entity(
    "TaskingPlan",
    _TASKINGS,
    columns={"target_name": _target_name},
    relations={**_TARGET},
    visible=_tasking_visible,
)
EXTENSION = Entity(
    "PlanExtension",
    table_of(PlanExtension),
    columns={"target_name": _target_name},
    relations={
        **_TARGET,
        "by": One(lambda: USER, on=lambda extension, user: user.c.id == extension.c.actor_id),
    },
)


PLAN.relations.update(
    {
        "course": One(lambda: COURSE, on=lambda plan, course: course.c.id == plan.c.course_id),
        "creator": One(lambda: USER, on=lambda plan, user: user.c.id == plan.c.created_by_id),
        "created_by": Either(("creator",), default=SYSTEM),
        "tasking_plans": Many(
            lambda: TASKING_PLAN,
            key=lambda tasking: tasking.c.plan_id,
            order=lambda tasking: (tasking.c.due_at, tasking.c.id),
        ),
        "publish_job": One(lambda: JOB, on=lambda plan, job: job.c.id == plan.c.publish_job_id, is_guarded=True),
        "publications": JOBS_OF_SUBJECT,
        "tasks": TASKS_OF_PLAN,
        "extensions": Many(
            lambda: EXTENSION,
            key=lambda extension: extension.c.plan_id,
            listing=Listing(orders={"AT_DESC": Order((lambda extension: extension.c.id,), (UUID,), (True,))}),
        ),
        "stats": Batch(plan_stats),
        "is_open": Derived((NOW, "live_opens_at"), _is_open),
        "locked_fields": Derived((NOW, *_FACTS), _locked),
        "available_actions": Derived(("may_write", NOW, *_FACTS), _actions),
    }
)
WORK_TASK.relations["plan"] = One(lambda: PLAN, on=lambda task, plan: plan.c.id == task.c.plan_id, is_guarded=True)


def _plan_where(
    rule: Callable[[FromClause], ColumnElement[bool]],
) -> Callable[[ColumnElement[Any]], ColumnElement[bool]]:
    def holds(plan_id: ColumnElement[Any]) -> ColumnElement[bool]:
        plan = _PLANS.alias("worked_on")
        return exists().where(plan.c.id == plan_id, rule(plan))

    return holds


def _takes_another_try(job: FromClause) -> ColumnElement[bool]:
    """What `follow_retry` asks: of the newest publication only, and of one that replaces tasks before any opening."""
    plan, course, tasking = _PLANS.alias("retried"), _COURSES.alias("of_retried"), _TASKINGS.alias("opening")
    keeps_tasks = job.c.args["keeps_tasks"].astext == literal_column("'true'")
    has_passed = exists().where(tasking.c.plan_id == plan.c.id, tasking.c.opens_at < sql_now())
    takes = exists().where(
        plan.c.id == job.c.subject_id,
        plan.c.publish_job_id == job.c.id,
        plan.c.state != literal_column(f"'{PlanState.WITHDRAWN.value}'"),
        course.c.id == plan.c.course_id,
        or_(course.c.ends_at.is_(None), course.c.ends_at >= sql_now()),
        or_(keeps_tasks, and_(or_(plan.c.live_opens_at.is_(None), plan.c.live_opens_at > sql_now()), ~has_passed)),
    )
    return or_(job.c.kind != literal_column(f"'{PublishPlan.kind}'"), takes)


# Jobs name classmates in their errors: those who learn only see none of a plan's.
SUBJECTS["TaskPlan"] = SubjectAccess(
    entity=lambda: PLAN,
    readable=_plan_where(_sees_everybody),
    writable=_plan_where(_may_write),
    retryable=_takes_another_try,
)


# --- a course's plans -------------------------------------------------------------------------------------------------


def _last_due_at(plan: FromClause) -> ColumnElement[Any]:
    return select(func.max(_TASKINGS.c.due_at)).where(_TASKINGS.c.plan_id == plan.c.id).scalar_subquery()


def _due_at(plan: FromClause) -> ColumnElement[Any]:
    first = select(func.min(_TASKINGS.c.due_at)).where(_TASKINGS.c.plan_id == plan.c.id).scalar_subquery()
    return func.coalesce(first, literal_column("'infinity'::timestamptz", DateTime(timezone=True)))


_BY_DUE: tuple[Expression, ...] = (_due_at, lambda plan: plan.c.id)
_BY_CREATION: tuple[Expression, ...] = (lambda plan: plan.c.created_at, lambda plan: plan.c.id)
_BY_TITLE: tuple[Expression, ...] = (lambda plan: func.lower(plan.c.title), lambda plan: plan.c.id)

PLANS_OF_COURSE = Many(
    lambda: PLAN,
    key=lambda plan: plan.c.course_id,
    listing=Listing(
        orders={
            "DUE_ASC": Order(_BY_DUE, (datetime, UUID), (False, False)),
            "DUE_DESC": Order(_BY_DUE, (datetime, UUID), (True, True)),
            "CREATED_DESC": Order(_BY_CREATION, (datetime, UUID), (True, True)),
            "TITLE_ASC": Order(_BY_TITLE, (str, UUID), (False, False)),
        },
        filters={
            "states": Filter(
                lambda plan: plan.c.state == any_(bind("states", Text, many=True)),
                absent=lambda plan: plan.c.state != PlanState.WITHDRAWN.value,
            ),
            # Between the two: what is due for some before and for others after it is in the range, too.
            "due_from": Filter(lambda plan: _last_due_at(plan) >= bind("due_from", DateTime(timezone=True))),
            "due_to": Filter(lambda plan: _due_at(plan) <= bind("due_to", DateTime(timezone=True))),
        },
        default="DUE_ASC",
    ),
)
COURSE.relations["plans"] = PLANS_OF_COURSE


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """What differs where a plan has changed: its own version, and the status of its newest job."""

    version: int
    job_id: UUID | None
    job_state: str | None


_VERSION = Want("", (Want("version"), Want("publish_job", (Want("state"),))))


async def plan_version(reading: Reading, plan_id: UUID) -> PlanVersion | None:
    """A plan's version; None where the viewer may not see it (any more)."""
    found = await reading.one(PLAN, _VERSION, plan_id)
    if found is None:
        return None
    job = found.publish_job
    return PlanVersion(found.version, job and job.id, job and job.state)
