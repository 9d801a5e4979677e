"""Courses themselves: importing one as a document, changing one. A document costs two statements for each level."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, Uuid, all_, any_, bindparam, delete, literal, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import IntegrityError

from db.accounts.commands import facts_of
from db.accounts.models import User
from db.accounts.rules import Viewer
from db.base import table_of
from db.courses.commands.admitting import admit_of_course
from db.courses.commands.surroundings import course_facts
from db.courses.models import Course, CourseItem, CourseLesson, CourseTeacher, CourseUnit
from db.courses.rules.access import require_course_editor, require_editor
from db.courses.rules.changes import CourseChanges, CourseValues, decide_course_update, reopening_problem
from db.courses.rules.document import CourseDocument, read_document
from db.courses.rules.values import has_ended
from db.errors import Code, Problem, Refused
from db.session import Tx, violated_constraint


@dataclass(frozen=True, slots=True)
class Imported:
    """The course that a document became. `created`: it is new."""

    course_id: UUID
    created: bool


_LEVEL = (bindparam("course_id", type_=Uuid), bindparam("entries", type_=JSONB))

_UNITS = text("""
INSERT INTO course_units AS old (course_id, key, title, position)
SELECT :course_id, key, title, position
FROM jsonb_to_recordset(:entries) AS entry (key text, title text, position integer)
ON CONFLICT (course_id, key) DO UPDATE
    SET title = excluded.title, position = excluded.position, deleted_at = NULL
    WHERE (old.title, old.position, old.deleted_at) IS DISTINCT FROM (excluded.title, excluded.position, NULL)
""").bindparams(*_LEVEL)

_LESSONS = text("""
INSERT INTO course_lessons AS old (course_id, unit_id, key, title, position)
SELECT :course_id, unit.id, entry.key, entry.title, entry.position
FROM jsonb_to_recordset(:entries) AS entry (key text, title text, position integer, unit_key text)
JOIN course_units unit ON unit.course_id = :course_id AND unit.key = entry.unit_key
ON CONFLICT (course_id, key) DO UPDATE
    SET unit_id = excluded.unit_id, title = excluded.title, position = excluded.position, deleted_at = NULL
    WHERE (old.unit_id, old.title, old.position, old.deleted_at)
        IS DISTINCT FROM (excluded.unit_id, excluded.title, excluded.position, NULL)
""").bindparams(*_LEVEL)

_ITEMS = text("""
INSERT INTO course_items AS old (course_id, lesson_id, key, title, position, format, competencies)
SELECT :course_id, lesson.id, entry.key, entry.title, entry.position, entry.format, entry.competencies
FROM jsonb_to_recordset(:entries) AS entry (
    key text, title text, position integer, lesson_key text, format text, competencies text[]
)
JOIN course_lessons lesson ON lesson.course_id = :course_id AND lesson.key = entry.lesson_key
ON CONFLICT (course_id, key) DO UPDATE SET
    lesson_id = excluded.lesson_id, title = excluded.title, position = excluded.position, format = excluded.format,
    competencies = excluded.competencies, deleted_at = NULL
    WHERE (old.lesson_id, old.title, old.position, old.format, old.competencies, old.deleted_at)
        IS DISTINCT FROM (
            excluded.lesson_id, excluded.title, excluded.position, excluded.format, excluded.competencies, NULL
        )
""").bindparams(*_LEVEL)

_LEFT_OUT = [
    update(table)
    .where(table.c.course_id == bindparam("id_of_course"), table.c.deleted_at.is_(None))
    .where(table.c.key != all_(bindparam("keys", type_=ARRAY(Text))))
    .values(deleted_at=bindparam("now"))
    for table in (table_of(CourseUnit), table_of(CourseLesson), table_of(CourseItem))
]


async def import_course(
    tx: Tx, *, actor: Viewer, document: Any, course_id: UUID | None = None, now: datetime
) -> Imported:
    """Make a course of a document, or with `course_id` import over that one.

    What has a key that the course knows keeps its id, wherever in the course it is now; what the document leaves out is
    marked as deleted, and comes back with its id when a later import has it again. Where a course is over no more, who
    was waited for and exists by now is admitted to its classes.
    Raises Refused with everything that is wrong, each at its path into the document; CONFLICT for a key that another
    course has.
    """
    require_editor(actor)
    course = None
    problems: list[Problem] = []
    if course_id is not None:
        course = await tx.get(Course, course_id, with_for_update={"key_share": True})
        if course is None:
            problems.append(Problem(Code.NOT_FOUND, "There is no such course.", ("courseId",)))
    try:
        # A long document takes a tenth of a second to check: not on the loop that serves everybody else.
        checked = await asyncio.to_thread(read_document, document)
    except Refused as refusal:
        raise Refused(*problems, *refusal.problems) from None
    teachers = await _teachers(tx, checked.teacher_emails or ())
    problems += [each for each in teachers if isinstance(each, Problem)]
    if course is not None:
        problems += [each for each in [reopening_problem(course.ends_at, checked.ends_at, now)] if each]
    if await _is_taken(tx, checked.key, but_by=course_id):
        problems.append(_TAKEN)
    if problems:
        raise Refused(*problems)
    was_over = course is not None and has_ended(course.ends_at, now)
    written = await _write_course(tx, actor, checked, course, now)
    if checked.teacher_emails is not None:
        await _set_teachers(tx, written, [each for each in teachers if isinstance(each, UUID)])
    await _write_content(tx, written, checked, now)
    if was_over and not has_ended(checked.ends_at, now):
        await admit_of_course(tx, actor=actor, course_id=written, now=now)
    return Imported(written, created=course is None)


async def update_course(tx: Tx, *, actor: Viewer, course_id: UUID, changes: CourseChanges, now: datetime) -> None:
    """Change a course. Raises Refused with everything that is wrong.

    Where it is over no more, who was waited for and exists by now is admitted to its classes.
    """
    course = await tx.get(Course, course_id, with_for_update={"key_share": True})
    facts = await course_facts(tx, actor=actor, course_id=course_id)
    require_course_editor(actor, facts.standing if facts else None, "courseId")
    assert course is not None  # noqa: S101 - the line above has refused None
    before = CourseValues(course.title, course.version, course.time_zone, course.starts_at, course.ends_at)
    teacher_ids = changes.get("teacher_ids") or ()
    known = await facts_of(tx, user_ids=set(teacher_ids))
    after = decide_course_update(before=before, changes=changes, known=known, now=now)
    course.title, course.version, course.time_zone = after.title, after.version, after.time_zone
    course.starts_at, course.ends_at, course.updated_at = after.starts_at, after.ends_at, now
    await tx.flush()
    if "teacher_ids" in changes:
        await _set_teachers(tx, course_id, teacher_ids)
    if has_ended(before.ends_at, now) and not has_ended(after.ends_at, now):
        await admit_of_course(tx, actor=actor, course_id=course_id, now=now)


_TAKEN = Problem(
    Code.CONFLICT,
    "Another course has this key. To import over that course, give its id as `courseId`.",
    ("document", "key"),
)


async def _is_taken(tx: Tx, key: str, *, but_by: UUID | None) -> bool:
    others = select(Course.id).where(Course.key == key, Course.id.is_distinct_from(but_by))
    return (await tx.execute(others)).first() is not None


async def _write_course(tx: Tx, actor: Viewer, document: CourseDocument, course: Course | None, now: datetime) -> UUID:
    if course is None:
        course = Course(created_by=actor.user_id, created_at=now)
        tx.add(course)
    course.key, course.title, course.version = document.key, document.title, document.version
    course.time_zone, course.starts_at, course.ends_at = document.time_zone, document.starts_at, document.ends_at
    course.updated_at = now
    try:
        await tx.flush()
    except IntegrityError as error:
        if violated_constraint(error) == "uq_courses_key":
            raise Refused(_TAKEN) from None
        raise
    return course.id


async def _write_content(tx: Tx, course_id: UUID, document: CourseDocument, now: datetime) -> None:
    # Parents before children; what is left out, afterwards.
    levels: Sequence[Sequence[Any]] = (document.units, document.lessons, document.items)
    for statement, entries in zip((_UNITS, _LESSONS, _ITEMS), levels, strict=True):
        await tx.execute(statement, {"course_id": course_id, "entries": [asdict(entry) for entry in entries]})
    for marking, entries in zip(_LEFT_OUT, levels, strict=True):
        await tx.execute(marking, {"id_of_course": course_id, "keys": [entry.key for entry in entries], "now": now})


async def _teachers(tx: Tx, emails: Sequence[str]) -> list[UUID | Problem]:
    if not emails:
        return []
    found = select(User.email, User.id).where(User.email == any_(literal(list(emails), ARRAY(Text))), User.is_active)
    ids = {row.email: row.id for row in await tx.execute(found)}
    return [
        ids.get(email)
        or Problem(
            Code.NOT_FOUND, "There is no active user with this address.", ("document", "teacherEmails", str(position))
        )
        for position, email in enumerate(emails)
    ]


async def _set_teachers(tx: Tx, course_id: UUID, user_ids: Iterable[UUID]) -> None:
    wanted = sorted(set(user_ids))
    own = CourseTeacher.course_id == course_id
    await tx.execute(delete(CourseTeacher).where(own, CourseTeacher.user_id.not_in(wanted)))
    if wanted:
        rows = [{"course_id": course_id, "user_id": user_id} for user_id in wanted]
        await tx.execute(insert(CourseTeacher).values(rows).on_conflict_do_nothing())
