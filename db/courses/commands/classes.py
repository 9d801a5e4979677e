"""Making and changing classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert

from db.accounts.commands import facts_of
from db.accounts.rules import Viewer
from db.courses.commands.admitting import admit_of_class
from db.courses.commands.surroundings import course_facts, rolls_of, subject_of, teaches_anything
from db.courses.jobs import ClassWork, CourseAssigned, ReachChanged, RescopeEnabled
from db.courses.models import ClassCoTeacher, CourseClass, Enrollment
from db.courses.rules.access import require_class_editor
from db.courses.rules.changes import (
    ClassChanges,
    ClassUpdate,
    ClassValues,
    CourseFacts,
    decide_class_update,
    decide_new_class,
)
from db.courses.rules.enrollment import ClassRoll, EnrollmentStatus
from db.ledger.commands import enqueue
from db.session import Tx


@dataclass(frozen=True, slots=True)
class ClassChanged:
    """A class that was changed, and the jobs that tell the domains above of it."""

    class_id: UUID
    job_ids: tuple[UUID, ...]


async def create_class(
    tx: Tx,
    *,
    actor: Viewer,
    name: str,
    teacher_id: UUID,
    course_id: UUID | None = None,
    co_teacher_ids: Sequence[UUID] = (),
    rescope_enabled: bool = False,
    now: datetime,
) -> UUID:
    """Make a class; it has no members yet, so nothing follows from it. Raises Refused with everything that is wrong."""
    asked = ClassValues(name, course_id, teacher_id, tuple(co_teacher_ids), rescope_enabled)
    values = decide_new_class(
        actor,
        values=asked,
        course=await course_facts(tx, actor=actor, course_id=course_id),
        teaches_anything=await teaches_anything(tx, actor=actor),
        known=await facts_of(tx, user_ids={teacher_id, *co_teacher_ids}),
        now=now,
    )
    made = CourseClass(
        name=values.name,
        course_id=values.course_id,
        teacher_id=values.teacher_id,
        rescope_enabled=values.rescope_enabled,
        created_at=now,
        updated_at=now,
    )
    await tx.insert(made)
    await _set_co_teachers(tx, made.id, values)
    return made.id


async def update_class(tx: Tx, *, actor: Viewer, class_id: UUID, changes: ClassChanges, now: datetime) -> ClassChanged:
    """Change a class. Raises Refused with everything that is wrong.

    A course that is new to it, one that it has left, being archived or put back, and rescoping switched on concern its
    members: one job for its plans and one for rescoping, in this transaction, where there are members. Who was waited
    for while it was archived, or its course over, and exists by now is one of them.
    """
    roll = (await rolls_of(tx, actor=actor, class_ids=[class_id])).get(class_id)
    require_class_editor(actor, roll.standing if roll else None, "classId")
    assert roll is not None  # noqa: S101 - the line above has refused None
    row = (await tx.execute(select(CourseClass).where(CourseClass.id == class_id))).scalar_one()
    update = decide_class_update(
        actor,
        before=await _values_of(tx, row),
        changes=changes,
        course_before=_course_of(roll),
        course_after=await course_facts(tx, actor=actor, course_id=changes.get("course_id")),
        known=await facts_of(tx, user_ids=_named(changes)),
        now=now,
    )
    after = update.values
    row.name, row.course_id, row.teacher_id = after.name, after.course_id, after.teacher_id
    row.rescope_enabled, row.is_archived, row.updated_at = after.rescope_enabled, after.is_archived, now
    await tx.flush()
    await _set_co_teachers(tx, class_id, after)
    if after.course_id != roll.course_id or after.is_archived != roll.is_archived:
        await admit_of_class(tx, actor=actor, class_id=class_id, now=now)
    return ClassChanged(class_id, await _tell(tx, actor, roll, update))


async def _tell(tx: Tx, actor: Viewer, roll: ClassRoll, update: ClassUpdate) -> tuple[UUID, ...]:
    works: list[ClassWork] = []
    if update.is_course_assigned and update.values.course_id is not None:
        left = () if roll.course_id is None else (roll.course_id,)
        works.append(CourseAssigned(roll.id, update.values.course_id, left_course_ids=left))
    if update.reach_changed_of is not None:
        works.append(ReachChanged(roll.id, update.reach_changed_of))
    if update.is_rescope_enabled:
        works.append(RescopeEnabled(roll.id))
    if not works or not await _has_members(tx, roll.id):
        return ()
    subject = subject_of(roll)
    return tuple([(await enqueue(tx, work=work, actor_id=actor.user_id, subject=subject)).job_id for work in works])


async def _has_members(tx: Tx, class_id: UUID) -> bool:
    active = exists().where(Enrollment.class_id == class_id, Enrollment.status == EnrollmentStatus.ACTIVE)
    return bool((await tx.execute(select(active))).scalar())


async def _values_of(tx: Tx, row: CourseClass) -> ClassValues:
    beside = await tx.scalars(select(ClassCoTeacher.user_id).where(ClassCoTeacher.class_id == row.id))
    return ClassValues(row.name, row.course_id, row.teacher_id, frozenset(beside), row.rescope_enabled, row.is_archived)


def _course_of(roll: ClassRoll) -> CourseFacts | None:
    return None if roll.course_id is None else CourseFacts(roll.course_id, roll.course_ends_at, roll.standing)


def _named(changes: ClassChanges) -> set[UUID]:
    teacher_id = changes.get("teacher_id")
    return {*(changes.get("co_teacher_ids") or ()), *([] if teacher_id is None else [teacher_id])}


async def _set_co_teachers(tx: Tx, class_id: UUID, values: ClassValues) -> None:
    wanted = sorted(values.co_teacher_ids)
    mine = ClassCoTeacher.class_id == class_id
    await tx.execute(delete(ClassCoTeacher).where(mine, ClassCoTeacher.user_id.not_in(wanted)))
    if wanted:
        rows = [{"class_id": class_id, "user_id": user_id} for user_id in wanted]
        await tx.execute(insert(ClassCoTeacher).values(rows).on_conflict_do_nothing())
