"""Who sees a task, and what the viewer is to it: part of each statement, so that no row is asked about by itself."""

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    table,
)

from db.accounts.models import TeamMember
from db.accounts.rules import Viewer
from db.base import table_of
from db.clock import sql_now
from db.courses.models import ClassCoTeacher, CourseClass, CourseTeacher
from db.reading import bind
from db.tasks.models import Task, TaskType

_TASKS = table_of(Task)
_TYPES = table_of(TaskType)
_TEACHERS = table_of(CourseTeacher)
_CLASSES = table_of(CourseClass)
_CO_TEACHERS = table_of(ClassCoTeacher)
_MEMBERS = table_of(TeamMember)

# Of plans, which is the domain above, just what decides whether a plan's task is seen: part of each task's statement.
PLANS = table(
    "plans",
    column("id"),
    column("course_id"),
    column("live_generation", Integer),
    column("first_published_at", DateTime(timezone=True)),
    column("state", Text),
)


def is_live(task: FromClause) -> ColumnElement[bool]:
    """Whether a task is one that anybody sees: of no plan, or of the generation that is live."""
    live = exists().where(PLANS.c.id == task.c.plan_id, PLANS.c.live_generation == task.c.generation)
    return or_(task.c.plan_id.is_(None), live)


def is_seen_by_learner(task: FromClause) -> ColumnElement[bool]:
    """Whether the assignee sees their own task: a plan's only once it is published and has opened."""
    return or_(task.c.plan_id.is_(None), _has_opened(task))


def is_wanted_of_learner(task: FromClause) -> ColumnElement[bool]:
    """Whether they see it, and its plan was not withdrawn: for counts of many, so with one look at each plan."""
    return or_(task.c.plan_id.is_(None), _has_opened(task, PLANS.c.state != literal_column("'WITHDRAWN'")))


def _has_opened(task: FromClause, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        PLANS.c.id == task.c.plan_id,
        PLANS.c.live_generation == task.c.generation,
        PLANS.c.first_published_at.is_not(None),
        task.c.opens_at <= sql_now(),
        *more,
    )


def is_withdrawn(task: FromClause) -> ColumnElement[bool]:
    """Whether the plan of a task was withdrawn; false where it has none."""
    state = select(PLANS.c.state == literal_column("'WITHDRAWN'")).where(PLANS.c.id == task.c.plan_id)
    return func.coalesce(state.scalar_subquery(), literal_column("false"))


def teaches(course_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the viewer teaches a course, or a class of it."""
    viewer = bind("viewer_id")
    own = exists().where(_TEACHERS.c.course_id == course_id, _TEACHERS.c.user_id == viewer)
    classes = _CLASSES.outerjoin(
        _CO_TEACHERS, and_(_CO_TEACHERS.c.class_id == _CLASSES.c.id, _CO_TEACHERS.c.user_id == viewer)
    )
    in_class = (
        exists()
        .select_from(classes)
        .where(
            _CLASSES.c.course_id == course_id, or_(_CLASSES.c.teacher_id == viewer, _CO_TEACHERS.c.user_id == viewer)
        )
    )
    return or_(own, in_class)


def teaches_plan(task: FromClause) -> ColumnElement[bool]:
    """Whether the viewer teaches the course of a task's plan."""
    taught = select(teaches(PLANS.c.course_id)).where(
        PLANS.c.id == task.c.plan_id, PLANS.c.live_generation == task.c.generation
    )
    return func.coalesce(taught.scalar_subquery(), literal_column("false"))


def own_teams(*, as_admin: bool = False) -> Select[Any]:
    """The keys of the viewer's teams."""
    own = _MEMBERS.alias("own")
    teams = select(own.c.team_id).where(own.c.user_id == bind("viewer_id"))
    return teams.where(own.c.is_admin) if as_admin else teams


def _colleagues() -> Select[Any]:
    theirs = _MEMBERS.alias("theirs")
    return select(theirs.c.user_id).where(theirs.c.team_id.in_(own_teams(as_admin=True)))


def is_team_member(task: FromClause) -> ColumnElement[bool]:
    """Whether the viewer is in the team that has a task."""
    return func.coalesce(task.c.assignee_team_id.in_(own_teams()), literal_column("false"))


def is_team_admin(task: FromClause) -> ColumnElement[bool]:
    """Whether the viewer administers the team that has a task, or one that its assignee is in; never of a plan's."""
    theirs = or_(
        func.coalesce(task.c.assignee_team_id.in_(own_teams(as_admin=True)), literal_column("false")),
        func.coalesce(task.c.assignee_user_id.in_(_colleagues()), literal_column("false")),
    )
    return and_(task.c.plan_id.is_(None), theirs)


def is_assigner(task: FromClause) -> ColumnElement[bool]:
    """Whether the viewer gave a task to its assignee; a plan's is its teachers', whoever published it."""
    return and_(task.c.plan_id.is_(None), task.c.assigned_by_id.is_not_distinct_from(bind("viewer_id")))


def sees_everything() -> ColumnElement[bool]:
    """Whether the viewer is EDITOR or ADMIN."""
    return bind("viewer_is_editor", Boolean)


def visible(task: FromClause, viewer: Viewer) -> ColumnElement[bool]:
    """Whether the viewer sees a task. The same as `Standing.may_read`, as SQL."""
    if viewer.is_editor:
        return is_live(task)
    own = bind("viewer_id")
    return or_(
        and_(task.c.assignee_user_id == own, is_seen_by_learner(task)),
        and_(task.c.assigned_by_id == own, task.c.plan_id.is_(None)),
        task.c.assignee_team_id.in_(own_teams()),
        and_(task.c.plan_id.is_(None), task.c.assignee_user_id.in_(_colleagues())),
        teaches_plan(task),
    )


def hold_visible(hold: FromClause, viewer: Viewer) -> ColumnElement[bool]:
    """A hold is seen by whoever sees its task."""
    held = _TASKS.alias("held")
    return exists().where(held.c.id == hold.c.parent_id, visible(held, viewer))


# --- what stands below a task -----------------------------------------------------------------------------------------


def is_hold(task: FromClause) -> ColumnElement[bool]:
    """Whether a row is a hold, written out so that partial indexes are seen to answer."""
    condition: ColumnElement[bool] = task.c.type_name == literal_column("'timed_hold'")
    return condition


def is_work(task: FromClause) -> ColumnElement[bool]:
    """Whether a row is a task and no hold."""
    condition: ColumnElement[bool] = task.c.type_name != literal_column("'timed_hold'")
    return condition


def is_open_hold_of(hold: FromClause, task: FromClause) -> ColumnElement[bool]:
    """Whether `hold` is the open hold of `task`: at most one row, by a unique index."""
    return and_(hold.c.parent_id == task.c.id, is_hold(hold), hold.c.status == literal_column("'ASSIGNED'"))


def has_open_hold(task: FromClause) -> ColumnElement[bool]:
    """Whether a task has an open hold.

    No EXISTS: where many rows may ask, the planner would first read the holds of everybody into a hash.
    """
    hold = _TASKS.alias("open_hold")
    return select(hold.c.id).where(is_open_hold_of(hold, task)).scalar_subquery().is_not(None)


def open_child_count(task: FromClause) -> ColumnElement[int]:
    """How many open tasks are directly below a task, holds left out."""
    child = _TASKS.alias("open_child")
    is_open = child.c.status.in_([literal_column(f"'{status}'") for status in ("ASSIGNED", "IN_PROGRESS", "ON_HOLD")])
    counted = select(func.count()).where(child.c.parent_id == task.c.id, is_open, is_work(child))
    return counted.scalar_subquery()


def allows_holds(task: FromClause) -> ColumnElement[bool]:
    """Whether the type of a task allows holds."""
    found = select(_TYPES.c.hold_min_days.is_not(None)).where(_TYPES.c.name == task.c.type_name)
    return found.scalar_subquery()
