"""What a plan's rules need to know of the world around it, read and locked in the transaction that writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text

from db.accounts.rules import Viewer
from db.courses.commands import course_facts
from db.courses.rules import CourseFacts
from db.courses.rules.access import may_see, require_course_editor
from db.errors import Code, refuse
from db.plans.models import Plan
from db.plans.rules import CourseWindow, Item, Target
from db.session import Tx

_CLASSES = text("SELECT id FROM classes WHERE course_id = :course_id AND id = ANY(:ids) AND NOT is_archived")

_LEARNERS = text(
    """
    SELECT DISTINCT e.user_id FROM enrollments e
    JOIN classes k ON k.id = e.class_id AND NOT k.is_archived
    JOIN users u ON u.id = e.user_id AND u.is_active
    WHERE k.course_id = :course_id AND e.user_id = ANY(:ids) AND e.status = 'ACTIVE'
    """
)

_CLASSES_ATTENDED = text(
    """
    SELECT k.id FROM enrollments e JOIN classes k ON k.id = e.class_id AND NOT k.is_archived
    WHERE k.course_id = :course_id AND e.user_id = :user_id AND e.status = 'ACTIVE' ORDER BY k.id
    """
)

_ITEMS = text(
    """
    SELECT id, title FROM course_items
    WHERE course_id = :course_id AND id = ANY(:ids) AND deleted_at IS NULL
    """
)


_SEES_OWN_TASK = text(
    """
    SELECT EXISTS (
        SELECT FROM plans p JOIN tasks t ON t.plan_id = p.id AND t.generation = p.live_generation
        WHERE p.id = :plan_id AND p.first_published_at IS NOT NULL
            AND t.assignee_user_id = :user_id AND t.status <> 'CANCELLED' AND t.opens_at <= :now
    )
    """
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The course of a plan: its dates, and whether it is over."""

    course_id: UUID
    window: CourseWindow
    has_ended: bool


async def the_course(tx: Tx, *, actor: Viewer, course_id: UUID, now: datetime) -> Surroundings:
    """A course that the actor may write plans of. Raises Refused: NOT_FOUND or FORBIDDEN at `courseId`."""
    course = await course_facts(tx, actor=actor, course_id=course_id)
    require_course_editor(actor, course.standing if course else None, "courseId")
    assert course is not None  # noqa: S101 - the rule has refused it
    return _surroundings(course, now)


async def the_plan(
    tx: Tx, *, actor: Viewer, plan_id: UUID, expected_revision: int | None, now: datetime, is_to_go: bool = False
) -> tuple[Plan, Surroundings]:
    """A plan that the actor may write, locked, and its course.

    Raises Refused: NOT_FOUND or FORBIDDEN at `planId`; CONFLICT at `expectedRevision` where it has another one by now.
    `is_to_go`: nobody may refer to it any more, so whoever makes tasks of it at this moment is waited for.
    """
    # A plan never changes its course, so that may be read before anything is locked: the course comes first.
    course_id = await tx.scalar(select(Plan.course_id).where(Plan.id == plan_id))
    course = await course_facts(tx, actor=actor, course_id=course_id)
    plan = await tx.get(Plan, plan_id, with_for_update={"key_share": not is_to_go}, populate_existing=True)
    if plan is None or course is None or not may_see(actor, course.standing):
        raise refuse(Code.NOT_FOUND, "There is no such plan.", "planId")
    standing = course.standing
    learns_only = not (standing.teaches_course or standing.teaches_class or actor.is_editor)
    if learns_only and not await tx.scalar(_SEES_OWN_TASK, {"plan_id": plan_id, "user_id": actor.user_id, "now": now}):
        raise refuse(Code.NOT_FOUND, "There is no such plan.", "planId")
    require_course_editor(actor, standing, "planId")
    if expected_revision not in {None, plan.revision}:
        message = (
            f"The plan was saved meanwhile: it is at revision {plan.revision}, not {expected_revision}. Load it again."
        )
        raise refuse(Code.CONFLICT, message, "expectedRevision", revision=plan.revision)
    return plan, _surroundings(course, now)


async def classes_attended(tx: Tx, *, course_id: UUID, user_id: UUID) -> list[UUID]:
    """The classes of the course that somebody is an active member of."""
    return list(await tx.scalars(_CLASSES_ATTENDED, {"course_id": course_id, "user_id": user_id}))


async def items_of(tx: Tx, *, course_id: UUID, keys: Sequence[UUID]) -> Mapping[UUID, Item]:
    """Those of these items that the course has."""
    if not keys:
        return {}
    rows = await tx.execute(_ITEMS, {"course_id": course_id, "ids": list(keys)})
    return {row.id: Item(row.id, row.title) for row in rows}


async def targets_of(
    tx: Tx, *, course_id: UUID, wanted: Sequence[tuple[str | None, UUID | None]]
) -> Mapping[tuple[str | None, UUID | None], Target]:
    """Those of the wanted targets (type, key) that belong to the course: itself, its classes, its active learners."""
    known: dict[tuple[str | None, UUID | None], Target] = {("Course", course_id): Target(course_id=course_id)}
    classes = [key for type_, key in wanted if type_ == "CourseClass"]
    if classes:
        rows = await tx.scalars(_CLASSES, {"course_id": course_id, "ids": classes})
        known.update({("CourseClass", key): Target(class_id=key) for key in rows})
    users = [key for type_, key in wanted if type_ == "User"]
    if users:
        rows = await tx.scalars(_LEARNERS, {"course_id": course_id, "ids": users})
        known.update({("User", key): Target(user_id=key) for key in rows})
    return known


def _surroundings(course: CourseFacts, now: datetime) -> Surroundings:
    ended = course.ends_at is not None and course.ends_at < now
    return Surroundings(course.id, CourseWindow(course.starts_at, course.ends_at), ended)
