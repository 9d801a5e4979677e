"""Courses for tests: a document, a course with classes, and people in them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from db.accounts.rules import Viewer
from db.courses import commands
from db.session import Database


def document(key: str = "algebra", *, units: int = 1, lessons: int = 1, items: int = 2, **more: Any) -> dict[str, Any]:
    """An import document with so many units, lessons in each, and items in each of those."""
    return {
        "key": key,
        "title": key.title(),
        "timeZone": "Europe/Berlin",
        "units": [
            {
                "key": f"u{u}",
                "title": f"Unit {u}",
                "lessons": [
                    {
                        "key": f"l{u}.{n}",
                        "title": f"Lesson {u}.{n}",
                        "items": [
                            {
                                "key": f"i{u}.{n}.{i}",
                                "title": f"Item {u}.{n}.{i}",
                                "format": "COLLECTION" if i % 2 == 0 else "ASSESSMENT",
                                "competencies": [f"C.{u}.{n}"],
                            }
                            for i in range(items)
                        ],
                    }
                    for n in range(lessons)
                ],
            }
            for u in range(units)
        ],
        **more,
    }


async def make_course(
    database: Database, editor: Viewer, *, teachers: Sequence[Viewer] = (), content: dict[str, Any] | None = None
) -> UUID:
    """A course as an import makes it, taught by these people."""
    async with database.transaction() as tx:
        made = await commands.import_course(tx, actor=editor, document=content or document(), now=tx.now)
        if teachers:
            ids = [teacher.user_id for teacher in teachers]
            await commands.update_course(
                tx, actor=editor, course_id=made.course_id, changes={"teacher_ids": ids}, now=tx.now
            )
    return made.course_id


async def make_class(
    database: Database,
    editor: Viewer,
    teacher: Viewer,
    *,
    course_id: UUID | None = None,
    name: str = "Period 1",
    learners: Sequence[Viewer] = (),
    co_teachers: Sequence[Viewer] = (),
    rescope_enabled: bool = False,
) -> UUID:
    """A class with these learners."""
    async with database.transaction() as tx:
        class_id = await commands.create_class(
            tx,
            actor=editor,
            name=name,
            teacher_id=teacher.user_id,
            course_id=course_id,
            co_teacher_ids=[each.user_id for each in co_teachers],
            rescope_enabled=rescope_enabled,
            now=tx.now,
        )
        if learners:
            await commands.enroll(
                tx,
                actor=editor,
                class_id=class_id,
                user_ids=[learner.user_id for learner in learners],
                emails=[],
                now=tx.now,
            )
    return class_id


async def roster(database: Database, class_id: UUID) -> list[tuple[str, str]]:
    """Who is in a class, as (name or address, status), in the roster's order."""
    async with database.transaction() as tx:
        rows = await tx.execute(
            text("SELECT sort_name, status FROM enrollments WHERE class_id = :id ORDER BY sort_name, id"),
            {"id": class_id},
        )
        return [(row.sort_name, row.status) for row in rows]


async def jobs_of(database: Database, kind_like: str = "class.%") -> list[tuple[str, dict[str, Any]]]:
    """The jobs that were asked for, oldest first: kind and arguments."""
    async with database.transaction() as tx:
        rows = await tx.execute(
            text("SELECT kind, args FROM jobs WHERE kind LIKE :kind ORDER BY id"), {"kind": kind_like}
        )
        return [(row.kind, row.args) for row in rows]


async def make_people(database: Database, count: int, *, prefix: str = "learner") -> list[UUID]:
    """Many users at once, with addresses such as learner7@example.org."""
    async with database.transaction() as tx:
        rows = await tx.execute(
            text(
                "INSERT INTO users (name, email, roles)"
                " SELECT 'Learner ' || n, :prefix || n || '@example.org', '{MEMBER}' FROM generate_series(1, :count) n"
                " RETURNING id"
            ),
            {"count": count, "prefix": prefix},
        )
        return [row.id for row in rows]
