"""What a write needs to know before it is judged: the class or course, and how the actor stands to it."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Uuid, bindparam, text

from db.accounts.rules import Viewer
from db.courses.jobs import ClassWork
from db.courses.rules.access import Standing
from db.courses.rules.changes import CourseFacts
from db.courses.rules.enrollment import ClassRoll
from db.ledger.commands import enqueue
from db.ledger.jobs import Subject
from db.session import Tx

# Locked in the order of their keys. NO KEY: whoever only points to a class (a task, a plan) need not wait.
_ROLLS = text("""
SELECT class.id, class.name, class.course_id, course.ends_at, class.is_archived,
    class.teacher_id = :user_id OR EXISTS (
        SELECT FROM class_co_teachers beside WHERE beside.class_id = class.id AND beside.user_id = :user_id
    ) AS teaches_class,
    EXISTS (
        SELECT FROM course_teachers taught WHERE taught.course_id = class.course_id AND taught.user_id = :user_id
    ) AS teaches_course,
    EXISTS (
        SELECT FROM enrollments own
        WHERE own.class_id = class.id AND own.user_id = :user_id AND own.status = 'ACTIVE'
    ) AS attends
FROM classes class LEFT JOIN courses course ON course.id = class.course_id
WHERE class.id = ANY (:class_ids)
ORDER BY class.id
FOR NO KEY UPDATE OF class
""").bindparams(bindparam("class_ids", type_=ARRAY(Uuid)), bindparam("user_id", type_=Uuid))

_COURSE = text("""
SELECT course.id, course.starts_at, course.ends_at,
    EXISTS (
        SELECT FROM course_teachers taught WHERE taught.course_id = course.id AND taught.user_id = :user_id
    ) AS teaches_course,
    EXISTS (
        SELECT FROM classes class LEFT JOIN class_co_teachers beside
            ON beside.class_id = class.id AND beside.user_id = :user_id
        WHERE class.course_id = course.id AND (class.teacher_id = :user_id OR beside.user_id IS NOT NULL)
    ) AS teaches_class,
    EXISTS (
        SELECT FROM classes class JOIN enrollments own ON own.class_id = class.id
        WHERE class.course_id = course.id AND own.user_id = :user_id AND own.status = 'ACTIVE'
    ) AS attends
FROM courses course
WHERE course.id = :course_id
FOR SHARE OF course
""").bindparams(bindparam("course_id", type_=Uuid), bindparam("user_id", type_=Uuid))

_TEACHES_ANYTHING = text("""
SELECT EXISTS (SELECT FROM course_teachers WHERE user_id = :user_id)
    OR EXISTS (SELECT FROM classes WHERE teacher_id = :user_id)
    OR EXISTS (SELECT FROM class_co_teachers WHERE user_id = :user_id)
""").bindparams(bindparam("user_id", type_=Uuid))


async def rolls_of(tx: Tx, *, actor: Viewer, class_ids: Collection[UUID]) -> dict[UUID, ClassRoll]:
    """These classes by id, locked until the transaction ends; one that does not exist is left out."""
    rows = await tx.execute(_ROLLS, {"class_ids": list(class_ids), "user_id": actor.user_id})
    return {
        row.id: ClassRoll(row.id, row.name, row.course_id, row.ends_at, row.is_archived, _standing(row)) for row in rows
    }


async def course_facts(tx: Tx, *, actor: Viewer, course_id: UUID | None) -> CourseFacts | None:
    """A course, kept as it is until the transaction ends. None: there is none of that id, or no id."""
    if course_id is None:
        return None
    row = (await tx.execute(_COURSE, {"course_id": course_id, "user_id": actor.user_id})).one_or_none()
    return None if row is None else CourseFacts(row.id, row.ends_at, _standing(row), row.starts_at)


async def teaches_anything(tx: Tx, *, actor: Viewer) -> bool:
    """Whether somebody teaches any course or class."""
    return bool((await tx.execute(_TEACHES_ANYTHING, {"user_id": actor.user_id})).scalar())


def subject_of(roll: ClassRoll) -> Subject:
    """A class as the subject of a job."""
    return Subject("CourseClass", roll.id, roll.name)


async def tell_above(tx: Tx, actor: Viewer, roll: ClassRoll, work: ClassWork) -> UUID | None:
    """Ask for the job that tells the domains above of a change. None: the class has no course.

    Then it has no plans and no scope, and nothing above has work with it.
    """
    if roll.course_id is None:
        return None
    return (await enqueue(tx, work=work, actor_id=actor.user_id, subject=subject_of(roll))).job_id


def _standing(row: Row[Any]) -> Standing:
    return Standing(row.teaches_course, row.teaches_class, row.attends)
