"""Reads of tasks: what a task shows, who sees it, and a person's queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Text,
    and_,
    cast,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    union_all,
)

from db.accounts.queries import SYSTEM, TEAM, USER
from db.accounts.rules import Viewer
from db.base import table_of
from db.reading import Batch, Derived, Either, Entity, Filter, Listing, Many, One, Order, Reading, Want, bind
from db.reading.entity import NOW, VIEWER, Relation
from db.tasks.models import StepCompletion, StepTemplate, Task, TaskNote, TaskTransition
from db.tasks.models import TaskType as TaskTypeModel
from db.tasks.queries.access import (
    allows_holds,
    has_open_hold,
    is_assigner,
    is_team_admin,
    is_team_member,
    is_withdrawn,
    is_work,
    open_child_count,
    teaches_plan,
    visible,
)
from db.tasks.rules import (
    HoldExpiry,
    HoldOnAssign,
    HoldPolicy,
    Standing,
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
_TRANSITIONS = table_of(TaskTransition)


# --- types ------------------------------------------------------------------------------------------------------------


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
TASK_TYPES = Listing(
    orders={"NAME": Order((lambda source: source.c.name,), (str,), (False,))},
    filters={"name": Filter(lambda source: source.c.name == bind("name", Text))},
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


_WINDOW = ("status", "opens_at", "closes_at", "is_withdrawn", "open_step_count", "completed_step_count")
_FACTS = (
    *_WINDOW,
    "open_child_count",
    "has_open_hold",
    "allows_holds",
    "assignee_team_id",
    "plan_id",
)
_STANDING = ("assignee_user_id", "is_team_member", "is_team_admin", "is_assigner", "teaches_plan")


def facts_of(  # noqa: PLR0917 - the columns, in their order
    status: str,
    opens_at: datetime | None,
    closes_at: datetime | None,
    is_withdrawn: bool,
    open_steps: int,
    completed_steps: int,
    open_children: int = 0,
    has_hold: bool = False,
    has_policy: bool = False,
    team_id: UUID | None = None,
    plan_id: UUID | None = None,
) -> TaskFacts:
    """A task's columns as the rules take them."""
    return TaskFacts(
        status=TaskStatus(status),
        opens_at=opens_at,
        closes_at=closes_at,
        is_withdrawn=is_withdrawn,
        step_count=open_steps + completed_steps,
        completed_steps=completed_steps,
        open_children=open_children,
        has_open_hold=has_hold,
        allows_holds=has_policy,
        is_team_task=team_id is not None,
        is_of_plan=plan_id is not None,
    )


def _ready(now: datetime, *columns: Any) -> bool:
    return is_ready(facts_of(*columns), now=now)


def _actions(now: datetime, viewer: Viewer, *columns: Any) -> Sequence[TaskAction]:
    assignee, is_member, is_admin_of_team, is_giver, is_teacher = columns[: len(_STANDING)]
    standing = Standing(
        is_admin=viewer.is_admin,
        is_editor=viewer.is_editor,
        is_assignee=assignee == viewer.user_id,
        is_team_member=is_member,
        is_team_admin=is_admin_of_team,
        is_assigner=is_giver,
        teaches=is_teacher,
    )
    return available_actions(facts_of(*columns[len(_STANDING) :]), standing, now=now)


def _overdue(now: datetime, status: str, due_at: datetime | None, is_withdrawn: bool) -> bool:
    return is_overdue(status=TaskStatus(status), due_at=due_at, is_withdrawn=is_withdrawn, now=now)


WORK_TASK = Entity(
    "WorkTask",
    _TASKS,
    columns={
        "completed_step_count": _completed_steps,
        "open_step_count": _open_steps,
        "is_withdrawn": is_withdrawn,
        "root_key": lambda task: func.coalesce(task.c.root_id, task.c.id),
        "open_child_count": open_child_count,
        "has_open_hold": has_open_hold,
        "allows_holds": allows_holds,
        "is_team_member": is_team_member,
        "is_team_admin": is_team_admin,
        "is_assigner": is_assigner,
        "teaches_plan": teaches_plan,
    },
    # A hold is another type, whatever type its id was written down with.
    visible=lambda task, viewer: and_(is_work(task), visible(task, viewer)),
)
NOTE = Entity("TaskNote", _NOTES)


_TRANSITION_COLUMNS = ("id", "task_id", "at", "actor_id", "from_status", "to_status", "reason")


def _timeline() -> Any:
    """What is stored of changes, and before it the creation of each of a plan's tasks, which its row tells."""
    made = select(
        _TASKS.c.id,
        _TASKS.c.id.label("task_id"),
        _TASKS.c.created_at.label("at"),
        _TASKS.c.assigned_by_id.label("actor_id"),
        cast(null(), Text).label("from_status"),
        literal_column("'ASSIGNED'", Text).label("to_status"),
        cast(null(), Text).label("reason"),
    ).where(_TASKS.c.plan_id.is_not(None), _TASKS.c.replaces_id.is_(None))
    stored = select(*[_TRANSITIONS.c[name] for name in _TRANSITION_COLUMNS])
    return union_all(stored, made).subquery("timeline")


TRANSITION = Entity("TaskTransition", _timeline())

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


async def _instructions(reading: Reading, ids: Sequence[UUID], _: Want) -> Mapping[UUID, list[str]]:
    sql = "SELECT task_id, text FROM task_notes WHERE task_id = ANY($1) ORDER BY id"
    found: dict[UUID, list[str]] = {}
    for record in await reading.reader.fetch(sql, (list(ids),)):
        found.setdefault(record["task_id"], []).append(record["text"])
    return found


async def _roots(reading: Reading, ids: Sequence[UUID], wanted: Want) -> Mapping[UUID, Any]:
    return await reading.by_ids(WORK_TASK, wanted, ids)


# What a task and a hold show alike.
SHARED: Mapping[str, Relation] = {
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
    "instructions": Batch(_instructions, default=list),
    "timeline": Many(
        lambda: TRANSITION,
        key=lambda row: row.c.task_id,
        listing=Listing(orders={"AT_DESC": _BY_AGE}),
    ),
}

WORK_TASK.relations.update(
    {
        **SHARED,
        "root": Batch(_roots, parent="root_key"),
        "children": Many(
            lambda: WORK_TASK,
            key=lambda task: task.c.parent_id,
            listing=Listing(orders={"CREATED_DESC": _BY_AGE}),
            where=is_work,
        ),
        "steps": Batch(_steps, default=list),
        "step_count": Derived(("open_step_count", "completed_step_count"), lambda left, done: left + done),
        "is_ready": Derived((NOW, *_WINDOW), _ready),
        "is_overdue": Derived((NOW, "status", "due_at", "is_withdrawn"), _overdue),
        "available_actions": Derived((NOW, VIEWER, *_STANDING, *_FACTS), _actions),
    }
)
