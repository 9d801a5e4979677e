"""The tables of plans: the plans, whom they target and when."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.accounts.models import User
from db.base import Base, Big, Key, enum_column, one_of, table_of
from db.courses.models import Course, CourseClass
from db.plans.rules import PlanState, PlanType
from db.tasks.models import StepTemplate, Task

_USER = User.__table__.c.id
_COURSE = Course.__table__.c.id
_CLASS = CourseClass.__table__.c.id


class Plan(Base):
    """What a teacher gives out.

    `publish_generation` counts the requests to publish; only the newest may go live. `live_generation` is the one whose
    tasks learners see, 0 before the first; `live_opens_at` is when the first of them opens. `state_before_publish` is
    what a cancelled publication goes back to.
    """

    __tablename__ = "plans"
    __table_args__ = (
        CheckConstraint(one_of("state", PlanState), name="state"),
        CheckConstraint(one_of("type", PlanType), name="type"),
        CheckConstraint(one_of("state_before_publish", PlanState), name="state_before_publish"),
        CheckConstraint("length(title) BETWEEN 1 AND 255", name="title"),
        CheckConstraint("(state = 'WITHDRAWN') = (withdrawn_at IS NOT NULL)", name="withdrawn_has_instant"),
        CheckConstraint("state <> 'PUBLISHED' OR first_published_at IS NOT NULL", name="published_has_instant"),
        CheckConstraint("state <> 'DRAFT' OR first_published_at IS NULL", name="draft_was_never_published"),
        CheckConstraint(
            "state NOT IN ('PUBLISHING', 'PUBLISH_FAILED') OR publish_last_requested_at IS NOT NULL",
            name="publishing_was_requested",
        ),
        CheckConstraint("state <> 'PUBLISHING' OR state_before_publish IS NOT NULL", name="publishing_has_a_way_back"),
        CheckConstraint("(first_published_at IS NULL) = (last_published_at IS NULL)", name="published_instants"),
        CheckConstraint("first_published_at <= last_published_at", name="published_order"),
        CheckConstraint("live_generation BETWEEN 0 AND publish_generation", name="live_was_requested"),
        CheckConstraint("(live_generation = 0) = (live_opens_at IS NULL)", name="live_has_opening"),
        Index(None, "course_id"),
        # Whoever joins or leaves asks for these, of one course.
        Index("ix_plans_publishing", "course_id", postgresql_where=text("state = 'PUBLISHING'")),
    )

    id: Mapped[Key]
    course_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(_COURSE))
    type: Mapped[PlanType] = enum_column(PlanType)
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[PlanState] = enum_column(PlanState, server_default=text("'DRAFT'"))
    state_before_publish: Mapped[PlanState | None] = enum_column(PlanState)
    publish_last_requested_at: Mapped[datetime | None]
    first_published_at: Mapped[datetime | None]
    last_published_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    publish_generation: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    live_generation: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    live_opens_at: Mapped[datetime | None]
    # A publication that was asked for makes a new generation, and none has gone live since. While it is under way, one
    # asked for meanwhile makes a new one too, even if the plan has opened.
    is_replacing: Mapped[bool] = mapped_column(server_default=text("false"))
    # What the live generation was made of: settings, and tasking plans as lists of course, class, user and dates.
    live_content: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # No key to `jobs`: the ledger forgets old jobs, the plan stays.
    publish_job_id: Mapped[uuid.UUID | None]
    revision: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    # Grows with every change of the row (a trigger): streams that have lost their hints see it by this.
    version: Mapped[Big] = mapped_column(server_default=text("0"))
    created_by_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TaskingPlan(Base):
    """Who gets a plan's task, and when: a course, a class or one learner."""

    __tablename__ = "tasking_plans"
    __table_args__ = (
        CheckConstraint("num_nonnulls(course_id, class_id, user_id) = 1", name="one_target"),
        CheckConstraint("opens_at <= due_at AND due_at <= closes_at", name="dates"),
        Index(
            "uq_tasking_plans_target",
            "plan_id",
            text("coalesce(course_id, class_id, user_id)"),
            unique=True,
        ),
        Index("ix_tasking_plans_by_due", "plan_id", "due_at"),
        Index("ix_tasking_plans_by_class", "class_id", postgresql_where=text("class_id IS NOT NULL")),
        Index("ix_tasking_plans_by_user", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    )

    id: Mapped[Key]
    plan_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("plans.id", ondelete="CASCADE"))
    course_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_COURSE))
    class_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_CLASS))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    opens_at: Mapped[datetime]
    due_at: Mapped[datetime]
    closes_at: Mapped[datetime]


class PlanExtension(Base):
    """More time that somebody gave to a target of a plan. Append-only: the record of what was promised, and by whom."""

    __tablename__ = "plan_extensions"
    __table_args__ = (
        CheckConstraint("num_nonnulls(course_id, class_id, user_id) = 1", name="one_target"),
        CheckConstraint(
            "due_at >= due_before AND closes_at >= closes_before"
            " AND (due_at > due_before OR closes_at > closes_before)",
            name="only_later",
        ),
        Index(None, "plan_id", "id"),
    )

    id: Mapped[Key]
    plan_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("plans.id", ondelete="CASCADE"))
    course_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_COURSE))
    class_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_CLASS))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    actor_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(_USER))
    at: Mapped[datetime]
    due_before: Mapped[datetime]
    due_at: Mapped[datetime]
    closes_before: Mapped[datetime]
    closes_at: Mapped[datetime]


class RosterChange(Base):
    """Somebody who joined or left a class of the plan's course while the plan was being published.

    The publication looks at them once more when it goes live: its batches may have been written before they came, or
    after we looked whom they had.
    """

    __tablename__ = "plan_roster_changes"

    plan_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("plans.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(_USER), primary_key=True)


# What belongs to a plan in the tables of tasks. The lower domain does not know this one, so its keys are named here.
for _owned in (Task, StepTemplate):
    table_of(_owned).append_constraint(ForeignKeyConstraint(["plan_id"], [Plan.id]))
