"""Reads of tasks: what a task shows, who sees it, and a person's queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Text,
    and_,
    column,
    exists,
    func,
    or_,
    select,
    table,
)

from db.accounts.models import TeamMember
from db.accounts.queries import SYSTEM, TEAM, USER
from db.accounts.rules import Viewer
from db.base import table_of
from db.clock import sql_now
from db.courses.models import ClassCoTeacher, CourseClass, CourseTeacher
from db.reading import Batch, Derived, Either, Entity, Listing, Many, One, Order, Reading, Want, bind
from db.reading.entity import NOW, VIEWER
from db.tasks.models import StepCompletion, StepTemplate, Task, TaskNote, TaskTransition
from db.tasks.models import TaskType as TaskTypeModel
from db.tasks.rules import (
    HoldExpiry,
    HoldOnAssign,
    TaskAction,
    TaskFacts,
    TaskStatus,
    available_actions,
    is_overdue,
    is_ready,
)

_TASKS = table_of(Task)
_TEMPLATES = table_of(StepTemplate)
_COMPLETIONS = table_of(StepCompletion)
_NOTES = table_of(TaskNote)
_TEACHERS = table_of(CourseTeacher)
_CLASSES = table_of(CourseClass)
_CO_TEACHERS = table_of(ClassCoTeacher)
_MEMBERS = table_of(TeamMember)

# Of plans, which is the domain above, just what decides whether a plan's task is seen: part of each task's statement.
_PLANS = table(
    "plans",
    column("id"),
    column("course_id"),
    column("live_generation", Integer),
    column("first_published_at", DateTime(timezone=True)),
    column("state", Text),
)

COMPLETED_TAB_DAYS = timedelta(days=7)


# --- types ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HoldPolicy:
    """What holds a task type allows."""

    min_days: int
    max_days: int
    presets: Sequence[int]
    on_expiry: HoldExpiry
    on_assign: HoldOnAssign
    note_required: bool


def _policy(  # noqa: PLR0917 - the columns, in their order
    min_days: int | None, max_days: int, presets: list[int], on_expiry: str, on_assign: str, note_required: bool
) -> HoldPolicy | None:
    if min_days is None:
        return None
    expiry, assign = HoldExpiry(on_expiry), HoldOnAssign(on_assign)
    return HoldPolicy(min_days, max_days, presets, expiry, assign, note_required)


TASK_TYPE = Entity(
    "TaskType",
    table_of(TaskTypeModel),
    relations={
        "hold": Derived(
            (
                "hold_min_days",
                "hold_max_days",
                "hold_presets",
                "hold_on_expiry",
                "hold_on_assign",
                "hold_note_required",
            ),
            _policy,
        )
    },
)
TASK_TYPES = Listing(orders={"NAME": Order((lambda source: source.c.name,), (str,), (False,))})


# --- who sees a task --------------------------------------------------------------------------------------------------


def is_live(task: FromClause) -> ColumnElement[bool]:
    """Whether a task is one that anybody sees: of no plan, or of the generation that is live."""
    live = exists().where(_PLANS.c.id == task.c.plan_id, _PLANS.c.live_generation == task.c.generation)
    return or_(task.c.plan_id.is_(None), live)


def is_seen_by_learner(task: FromClause) -> ColumnElement[bool]:
    """Whether the assignee sees their own task: a plan's only once it is published and has opened."""
    seen = exists().where(
        _PLANS.c.id == task.c.plan_id,
        _PLANS.c.live_generation == task.c.generation,
        _PLANS.c.first_published_at.is_not(None),
        task.c.opens_at <= sql_now(),
    )
    return or_(task.c.plan_id.is_(None), seen)


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


def _visible(task: FromClause, viewer: Viewer) -> ColumnElement[bool]:
    if viewer.is_editor:
        return is_live(task)
    own = bind("viewer_id")
    teams = select(_MEMBERS.c.team_id).where(_MEMBERS.c.user_id == own)
    taught = exists().where(
        _PLANS.c.id == task.c.plan_id,
        _PLANS.c.live_generation == task.c.generation,
        teaches(_PLANS.c.course_id),
    )
    return or_(
        and_(task.c.assignee_user_id == own, is_seen_by_learner(task)),
        and_(task.c.assigned_by_id == own, task.c.plan_id.is_(None)),
        task.c.assignee_team_id.in_(teams),
        taught,
    )


# --- what a task shows ------------------------------------------------------------------------------------------------


def _completed_steps(task: FromClause) -> ColumnElement[int]:
    return select(func.count()).where(_COMPLETIONS.c.task_id == task.c.id).scalar_subquery()


def _open_steps(task: FromClause) -> ColumnElement[int]:
    done = exists().where(_COMPLETIONS.c.task_id == task.c.id, _COMPLETIONS.c.key == _TEMPLATES.c.key)
    own = (
        select(func.count())
        .select_from(_TEMPLATES)
        .where(_TEMPLATES.c.plan_id == task.c.plan_id, _TEMPLATES.c.generation == task.c.generation, ~done)
    )
    picked = or_(~_TEMPLATES.c.is_dynamic, _TEMPLATES.c.position == func.any(task.c.selection))
    return own.where(picked).scalar_subquery()


def _is_withdrawn(task: FromClause) -> ColumnElement[bool]:
    return exists().where(_PLANS.c.id == task.c.plan_id, _PLANS.c.state == "WITHDRAWN")


_FACTS = ("status", "opens_at", "closes_at", "is_withdrawn", "open_step_count", "completed_step_count")


def facts_of(  # noqa: PLR0917 - the columns, in their order
    status: str,
    opens_at: datetime | None,
    closes_at: datetime | None,
    is_withdrawn: bool,
    open_steps: int,
    completed_steps: int,
) -> TaskFacts:
    """A task's columns as the rules take them."""
    return TaskFacts(
        TaskStatus(status), opens_at, closes_at, is_withdrawn, open_steps + completed_steps, completed_steps
    )


def _ready(now: datetime, *columns: Any) -> bool:
    return is_ready(facts_of(*columns), now=now)


def _actions(now: datetime, viewer: Viewer, assignee: UUID | None, *columns: Any) -> Sequence[TaskAction]:
    return available_actions(
        facts_of(*columns), is_assignee=assignee == viewer.user_id, is_admin=viewer.is_admin, now=now
    )


def _overdue(now: datetime, status: str, due_at: datetime | None) -> bool:
    return is_overdue(status=TaskStatus(status), due_at=due_at, now=now)


WORK_TASK = Entity(
    "WorkTask",
    _TASKS,
    columns={
        "completed_step_count": _completed_steps,
        "open_step_count": _open_steps,
        "is_withdrawn": _is_withdrawn,
    },
    visible=_visible,
)
NOTE = Entity("TaskNote", _NOTES)
TRANSITION = Entity("TaskTransition", table_of(TaskTransition))

for _entity in (NOTE, TRANSITION):
    _entity.relations["actor_user"] = One(lambda: USER, on=lambda row, user: user.c.id == row.c.actor_id)
    _entity.relations["actor"] = Either(("actor_user",), default=SYSTEM)

_BY_AGE = Order((lambda source: source.c.id,), (UUID,), (True,))


@dataclass(frozen=True, slots=True)
class Step:
    """A learner's step: a template of their task's generation, or one that they completed in an earlier one."""

    task_id: UUID
    template_id: UUID
    position: int
    kind: str
    title: str
    content: Mapping[str, Any]
    completed_at: datetime | None


_STEPS = """
    SELECT t.id AS task_id, s.id AS template_id, s.position, s.kind, s.title, s.content, c.completed_at,
        t.assignee_user_id
    FROM tasks t
    JOIN task_step_templates s ON s.plan_id = t.plan_id AND s.generation = t.generation
        AND (NOT s.is_dynamic OR s.position = ANY(t.selection))
    LEFT JOIN task_step_completions c ON c.task_id = t.id AND c.key = s.key
    WHERE t.id = ANY($1) AND (c.template_id IS NULL OR c.template_id = s.id)
    UNION ALL
    SELECT t.id, s.id, s.position, s.kind, s.title, s.content, c.completed_at, t.assignee_user_id
    FROM tasks t JOIN task_step_completions c ON c.task_id = t.id JOIN task_step_templates s ON s.id = c.template_id
    WHERE t.id = ANY($1) AND s.generation <> t.generation
    ORDER BY task_id, position, template_id
"""


async def _steps(reading: Reading, ids: Sequence[UUID], _: Want) -> Mapping[UUID, list[Step]]:
    found: dict[UUID, list[Step]] = {}
    for record in await reading.reader.fetch(_STEPS, (list(ids),)):
        content = _filled(record["content"], record["assignee_user_id"])
        # Positions of older generations may coincide with newer ones: what a learner sees is counted anew.
        steps = found.setdefault(record["task_id"], [])
        steps.append(
            Step(
                record["task_id"],
                record["template_id"],
                len(steps) + 1,
                record["kind"],
                record["title"],
                content,
                record["completed_at"],
            )
        )
    return found


def _filled(content: Mapping[str, Any], learner: UUID | None) -> Mapping[str, Any]:
    url = content.get("url")
    if not isinstance(url, str):
        return content
    return {**content, "url": url.replace("{{learner_id}}", str(learner or ""))}


WORK_TASK.relations.update(
    {
        "type": One(lambda: TASK_TYPE, on=lambda task, type_: type_.c.name == task.c.type_name),
        "assignee_user": One(lambda: USER, on=lambda task, user: user.c.id == task.c.assignee_user_id),
        # Whoever sees the task sees whose it is, also where the team itself is not theirs.
        "assignee_team": One(lambda: TEAM, on=lambda task, team: team.c.id == task.c.assignee_team_id),
        "assigned_to": Either(("assignee_user", "assignee_team")),
        "assigner": One(lambda: USER, on=lambda task, user: user.c.id == task.c.assigned_by_id),
        "assigned_by": Either(("assigner",), default=SYSTEM),
        "cancelled_by": One(lambda: USER, on=lambda task, user: user.c.id == task.c.cancelled_by_id),
        "parent": One(lambda: WORK_TASK, on=lambda task, parent: parent.c.id == task.c.parent_id, is_guarded=True),
        "is_root": Derived(("parent_id",), lambda parent: parent is None),
        "notes": Many(lambda: NOTE, key=lambda note: note.c.task_id, order=lambda note: (note.c.id,)),
        "children": Many(
            lambda: WORK_TASK,
            key=lambda task: task.c.parent_id,
            listing=Listing(orders={"CREATED_DESC": _BY_AGE}),
            where=lambda task: task.c.type_name != "timed_hold",
        ),
        "timeline": Many(
            lambda: TRANSITION,
            key=lambda row: row.c.task_id,
            listing=Listing(orders={"AT_DESC": _BY_AGE}),
        ),
        "steps": Batch(_steps, default=list),
        "step_count": Derived(("open_step_count", "completed_step_count"), lambda left, done: left + done),
        "is_ready": Derived((NOW, *_FACTS), _ready),
        "is_overdue": Derived((NOW, "status", "due_at"), _overdue),
        "available_actions": Derived((NOW, VIEWER, "assignee_user_id", *_FACTS), _actions),
    }
)


async def _instructions(reading: Reading, ids: Sequence[UUID], _: Want) -> Mapping[UUID, list[str]]:
    sql = "SELECT task_id, text FROM task_notes WHERE task_id = ANY($1) ORDER BY id"
    found: dict[UUID, list[str]] = {}
    for record in await reading.reader.fetch(sql, (list(ids),)):
        found.setdefault(record["task_id"], []).append(record["text"])
    return found


WORK_TASK.relations["instructions"] = Batch(_instructions, default=list)
