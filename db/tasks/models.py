"""The tables of tasks: their types, the tasks themselves, what happened to them, and notes."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.accounts.models import Team, User
from db.base import Base, Big, Key, enum_column, one_of
from db.tasks.rules import HoldEndReason, HoldExpiry, HoldOnAssign, TaskStatus

_USER = User.__table__.c.id
_TEAM = Team.__table__.c.id

# The planner takes a partial index only where the statement says the same, word for word.
_ACTIVE = "status IN ('ASSIGNED', 'IN_PROGRESS')"
_CLOSED = "status IN ('COMPLETED', 'CANCELLED')"
_OPEN = "status IN ('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD')"
_NO_HOLD = "type_name <> 'timed_hold'"


class TaskType(Base):
    """A kind of task and what holds it allows: the only place where those limits live."""

    __tablename__ = "task_types"
    __table_args__ = (
        CheckConstraint(
            "(hold_min_days IS NULL) = (hold_max_days IS NULL)"
            " AND (hold_min_days IS NULL) = (hold_on_expiry IS NULL)"
            " AND (hold_min_days IS NULL) = (hold_on_assign IS NULL)",
            name="hold_is_whole",
        ),
        CheckConstraint("hold_min_days BETWEEN 1 AND hold_max_days", name="hold_range"),
        CheckConstraint(one_of("hold_on_expiry", HoldExpiry), name="hold_on_expiry"),
        CheckConstraint(one_of("hold_on_assign", HoldOnAssign), name="hold_on_assign"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str]
    hold_min_days: Mapped[int | None] = mapped_column(SmallInteger)
    hold_max_days: Mapped[int | None] = mapped_column(SmallInteger)
    hold_presets: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), server_default=text("'{}'"))
    hold_on_expiry: Mapped[HoldExpiry | None] = enum_column(HoldExpiry)
    hold_on_assign: Mapped[HoldOnAssign | None] = enum_column(HoldOnAssign)
    hold_note_required: Mapped[bool] = mapped_column(server_default=text("false"))


class Task(Base):
    """One piece of work, or (of the type `timed_hold`) a hold on the one above it.

    `root_id` is the topmost task of its tree, whose row is the lock of the whole tree; null at the root itself.
    `replaces_id`: the task that was given to somebody else by making this one. Neither has a foreign key, for the tasks
    of a publication would pay for it by the hundred thousand: commands write both under the tree's lock.
    A plan's task belongs to a `generation` of its plan and is seen while that is the plan's live one. `is_touched`:
    somebody has worked on it, so a republication keeps it. `selection`: the positions of the dynamic steps that were
    picked for this learner. `version` grows with every change that a stream must tell.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint(one_of("status", TaskStatus), name="status"),
        CheckConstraint("(assignee_user_id IS NULL) <> (assignee_team_id IS NULL)", name="one_assignee"),
        CheckConstraint("(status IN ('COMPLETED', 'CANCELLED')) = (closed_at IS NOT NULL)", name="closed_has_instant"),
        CheckConstraint("status <> 'ON_HOLD' OR placed_on_hold_at IS NOT NULL", name="on_hold_has_instant"),
        CheckConstraint("status <> 'IN_PROGRESS' OR started_at IS NOT NULL", name="in_progress_has_instant"),
        CheckConstraint("(plan_id IS NULL) = (generation IS NULL)", name="plan_has_generation"),
        CheckConstraint("opens_at <= due_at AND due_at <= closes_at", name="dates"),
        CheckConstraint("id <> parent_id", name="not_its_own_parent"),
        Index(
            "uq_tasks_plan_generation_assignee",
            "plan_id",
            "generation",
            "assignee_user_id",
            unique=True,
            postgresql_where=text("plan_id IS NOT NULL AND status <> 'CANCELLED'"),
        ),
        CheckConstraint("(root_id IS NULL) = (parent_id IS NULL)", name="below_a_root"),
        CheckConstraint("plan_id IS NULL OR parent_id IS NULL", name="plan_task_is_root"),
        CheckConstraint(
            "type_name <> 'timed_hold' OR (parent_id IS NOT NULL AND status IN ('ASSIGNED', 'COMPLETED', 'CANCELLED'))",
            name="hold",
        ),
        # One index for each tab, so that a page of one never reads through the others.
        Index(
            "ix_tasks_active_by_user",
            "assignee_user_id",
            text("assigned_at DESC"),
            text("id DESC"),
            postgresql_where=text(f"{_ACTIVE} AND {_NO_HOLD}"),
        ),
        Index("ix_tasks_on_hold_by_user", "assignee_user_id", postgresql_where=text("status = 'ON_HOLD'")),
        Index(
            "ix_tasks_closed_by_user",
            "assignee_user_id",
            text("closed_at DESC"),
            text("id DESC"),
            postgresql_where=text(f"{_CLOSED} AND {_NO_HOLD}"),
        ),
        Index(
            "ix_tasks_active_by_team",
            "assignee_team_id",
            text("assigned_at DESC"),
            text("id DESC"),
            postgresql_where=text(f"{_ACTIVE} AND {_NO_HOLD} AND assignee_team_id IS NOT NULL"),
        ),
        Index(
            "ix_tasks_on_hold_by_team",
            "assignee_team_id",
            text("assigned_at DESC"),
            text("id DESC"),
            postgresql_where=text("status = 'ON_HOLD' AND assignee_team_id IS NOT NULL"),
        ),
        Index(
            "ix_tasks_closed_by_team",
            "assignee_team_id",
            text("closed_at DESC"),
            text("id DESC"),
            postgresql_where=text(f"{_CLOSED} AND {_NO_HOLD} AND assignee_team_id IS NOT NULL"),
        ),
        Index("ix_tasks_by_parent", "parent_id", "id", postgresql_where=text("parent_id IS NOT NULL")),
        Index(
            "ix_tasks_open_by_parent",
            "parent_id",
            "type_name",
            postgresql_where=text(f"parent_id IS NOT NULL AND {_OPEN}"),
        ),
        Index(
            "uq_tasks_open_hold",
            "parent_id",
            unique=True,
            postgresql_where=text("type_name = 'timed_hold' AND status = 'ASSIGNED'"),
        ),
        Index("ix_tasks_by_root", "root_id", "id", postgresql_where=text("root_id IS NOT NULL")),
        Index("ix_tasks_by_assigner", "assigned_by_id", "id", postgresql_where=text("plan_id IS NULL")),
        Index(
            "ix_tasks_cancelled_of_plan",
            "plan_id",
            "generation",
            "assignee_user_id",
            postgresql_where=text("plan_id IS NOT NULL AND status = 'CANCELLED'"),
        ),
        # For the check that nothing refers to a plan that is deleted, which names no status. A publication writes its
        # tasks one after the other, so this is a line for each few hundred of them, and costs it nothing.
        Index(
            "ix_tasks_of_plan",
            "plan_id",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
        ),
        Index("ix_tasks_touched", "plan_id", "generation", postgresql_where=text("plan_id IS NOT NULL AND is_touched")),
    )

    id: Mapped[Key]
    type_name: Mapped[str] = mapped_column(ForeignKey("task_types.name"))
    title: Mapped[str]
    status: Mapped[TaskStatus] = enum_column(TaskStatus, server_default=text("'ASSIGNED'"))
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("tasks.id"))
    root_id: Mapped[uuid.UUID | None]
    replaces_id: Mapped[uuid.UUID | None]
    assignee_user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    assignee_team_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_TEAM))
    assigned_by_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    cancelled_by_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    assigned_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    placed_on_hold_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    # The key of `plans` is added by the migration of plans: a lower domain does not know an upper one's tables.
    plan_id: Mapped[uuid.UUID | None]
    generation: Mapped[int | None] = mapped_column(Integer)
    opens_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    selection: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))
    is_touched: Mapped[bool] = mapped_column(server_default=text("false"))
    version: Mapped[Big] = mapped_column(server_default=text("0"))


class TaskHold(Base):
    """What a hold has that other tasks have not. `ends_at` is stored once, when it is placed, and never moves.

    Days are of 24 hours, whatever clocks do meanwhile.
    """

    __tablename__ = "task_holds"
    __table_args__ = (
        CheckConstraint("duration_days >= 1", name="duration"),
        CheckConstraint("ends_at - starts_at = duration_days * interval '24 hours'", name="ends_after_duration"),
        CheckConstraint(one_of("end_reason", HoldEndReason), name="end_reason"),
    )

    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    duration_days: Mapped[int] = mapped_column(SmallInteger)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    end_reason: Mapped[HoldEndReason | None] = enum_column(HoldEndReason)


class TaskTimer(Base):
    """When a hold runs out. Pending until it is processed or cancelled; `next_attempt_at` after a failure.

    The index has the pending ones only, by the instant at which each is due: a sweep costs what is due.
    """

    __tablename__ = "task_timers"
    __table_args__ = (
        CheckConstraint("processed_at IS NULL OR cancelled_at IS NULL", name="one_end"),
        CheckConstraint("attempts >= 0", name="attempts"),
        Index(
            "ix_task_timers_due",
            text("(coalesce(next_attempt_at, due_at))"),
            "task_id",
            postgresql_where=text("processed_at IS NULL AND cancelled_at IS NULL"),
        ),
        Index(
            "ix_task_timers_failing",
            "task_id",
            postgresql_where=text("last_error IS NOT NULL AND processed_at IS NULL AND cancelled_at IS NULL"),
        ),
    )

    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("task_holds.task_id"), primary_key=True)
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_attempt_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    processed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]


class TaskTransition(Base):
    """One change of a task's status; the first is its creation.

    A plan's task has none of that: its row says it, and a hundred thousand of them are made in seconds.
    """

    __tablename__ = "task_transitions"
    __table_args__ = (
        CheckConstraint(one_of("from_status", TaskStatus), name="from_status"),
        CheckConstraint(one_of("to_status", TaskStatus), name="to_status"),
        Index(None, "task_id", "id"),
    )

    id: Mapped[Key]
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    actor_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    from_status: Mapped[TaskStatus | None] = enum_column(TaskStatus)
    to_status: Mapped[TaskStatus] = enum_column(TaskStatus)
    reason: Mapped[str | None]


class TaskNote(Base):
    """What somebody wrote to a task: append-only."""

    __tablename__ = "task_notes"
    __table_args__ = (Index(None, "task_id", "id"), CheckConstraint("text <> ''", name="not_blank"))

    id: Mapped[Key]
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    actor_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    text: Mapped[str]


class StepTemplate(Base):
    """A step as all learners of one generation of a plan share it: ten rows for the plan, not ten for each learner.

    `key` is what the step is about (`page:…`), the same over generations. `is_dynamic`: only for learners whose
    `selection` names its position. `content` may hold `{{learner_id}}`, which is filled in when it is read.
    """

    __tablename__ = "task_step_templates"
    __table_args__ = (
        Index("uq_task_step_templates_place", "plan_id", "generation", "position", unique=True),
        Index("uq_task_step_templates_key", "plan_id", "generation", "key", unique=True),
    )

    id: Mapped[Key]
    plan_id: Mapped[uuid.UUID]
    generation: Mapped[int]
    position: Mapped[int] = mapped_column(SmallInteger)
    key: Mapped[str]
    kind: Mapped[str]
    title: Mapped[str]
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    is_dynamic: Mapped[bool] = mapped_column(server_default=text("false"))


class StepCompletion(Base):
    """One learner's completed step. `key` is its template's: it stays completed when the plan is published again."""

    __tablename__ = "task_step_completions"
    __table_args__ = (Index(None, "template_id"),)

    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    template_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("task_step_templates.id"))
    completed_at: Mapped[datetime]
