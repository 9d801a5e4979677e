"""Importing and changing courses: what is stored, and that a refusal stores nothing."""

import asyncio
from copy import deepcopy
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.courses import commands
from db.courses.rules import CourseChanges
from db.errors import Code, Refused
from db.session import Database, count_statements
from tests.support.courses import document, make_class, make_course
from tests.support.people import now_of, person

NOWHERE = UUID(int=7)
TABLES = ("courses", "course_teachers", "course_units", "course_lessons", "course_items", "classes")
Reasons = list[tuple[Code, str]]


async def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is stored of courses."""
    async with database.transaction() as tx:
        return {
            table: [tuple(row) for row in await tx.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))]
            for table in TABLES
        }


async def run_import(
    database: Database, actor: Viewer, content: Any, *, course_id: UUID | None = None
) -> commands.Imported:
    async with database.transaction() as tx:
        return await commands.import_course(tx, actor=actor, document=content, course_id=course_id, now=tx.now)


async def run_update(database: Database, actor: Viewer, course_id: UUID, changes: CourseChanges) -> None:
    async with database.transaction() as tx:
        await commands.update_course(tx, actor=actor, course_id=course_id, changes=changes, now=tx.now)


async def refused(database: Database, act: Any) -> Reasons:
    """Why it was refused; and nothing was written."""
    before = await contents(database)
    with pytest.raises(Refused) as refusal:
        await act
    assert await contents(database) == before
    return [(problem.code, ".".join(problem.path)) for problem in refusal.value.problems]


async def items(database: Database) -> dict[str, tuple[UUID, str, bool]]:
    """Each item by its key: id, the key of its lesson, whether it is marked as deleted."""
    async with database.transaction() as tx:
        rows = await tx.execute(
            text(
                "SELECT i.key, i.id, l.key AS lesson, i.deleted_at IS NOT NULL AS is_deleted"
                " FROM course_items i JOIN course_lessons l ON l.id = i.lesson_id ORDER BY i.key"
            )
        )
        return {row.key: (row.id, row.lesson, row.is_deleted) for row in rows}


async def editor(database: Database) -> Viewer:
    return await person(database, "Ed", Role.EDITOR)


async def test_an_import_makes_a_course_with_its_content_and_teachers(database: Database) -> None:
    ed, teacher = await editor(database), await person(database, email="t@example.org")
    content = document(units=2, lessons=2, items=3, teacherEmails=["T@example.org", "t@example.org"], version="7")
    made = await run_import(database, ed, content)
    stored = await contents(database)
    assert made.created is True
    assert [len(stored[table]) for table in TABLES] == [1, 1, 2, 4, 12, 0]
    assert stored["course_teachers"][0][:2] == (made.course_id, teacher.user_id)
    async with database.transaction() as tx:
        row = (await tx.execute(text("SELECT format, competencies FROM course_items WHERE key = 'i1.0.1'"))).one()
    assert tuple(row) == ("ASSESSMENT", ["C.1.0"])


async def test_an_import_over_a_course_matches_by_key_wherever_it_is_now(database: Database) -> None:
    ed = await editor(database)
    first = document(units=1, lessons=2, items=2)
    made = await run_import(database, ed, first)
    before = await items(database)
    second = deepcopy(first)
    lessons = second["units"][0]["lessons"]
    lessons[1]["items"].append(lessons[0]["items"].pop(0))  # i0.0.0 moves
    del lessons[0]["items"][0]  # i0.0.1 is left out
    lessons[1]["items"].insert(0, {"key": "new", "title": "New", "format": "ASSESSMENT", "competencies": []})
    again = await run_import(database, ed, second, course_id=made.course_id)
    after = await items(database)
    assert again == commands.Imported(made.course_id, created=False)
    assert after["i0.0.0"] == (before["i0.0.0"][0], "l0.1", False)
    assert after["i0.0.1"] == (before["i0.0.1"][0], "l0.0", True)
    assert after["new"][1:] == ("l0.1", False)
    back = await run_import(database, ed, first, course_id=made.course_id)
    assert back.course_id == made.course_id
    assert {key: value for key, value in (await items(database)).items() if key != "new"} == before
    assert (await items(database))["new"][2] is True


async def test_the_same_import_twice_changes_nothing_but_the_time_of_the_change(database: Database) -> None:
    ed = await editor(database)
    made = await run_import(database, ed, document(units=2, lessons=2, items=2))
    before = await contents(database)
    await run_import(database, ed, document(units=2, lessons=2, items=2), course_id=made.course_id)
    after = await contents(database)
    assert {table: rows for table, rows in after.items() if table != "courses"} == {
        table: rows for table, rows in before.items() if table != "courses"
    }


async def test_an_import_without_teachers_leaves_them_as_they_are(database: Database) -> None:
    ed = await editor(database)
    await person(database, email="t@example.org")
    made = await run_import(database, ed, document(teacherEmails=["t@example.org"]))
    await run_import(database, ed, document(), course_id=made.course_id)
    assert len((await contents(database))["course_teachers"]) == 1
    await run_import(database, ed, document(teacherEmails=[]), course_id=made.course_id)
    assert (await contents(database))["course_teachers"] == []


async def test_a_course_of_2_000_items_costs_as_many_statements_as_one_of_two(database: Database) -> None:
    ed = await editor(database)
    counts = []
    for key, size in (("small", (1, 1, 2)), ("large", (10, 20, 10))):
        counter = count_statements(database)
        units, lessons, each = size
        await run_import(database, ed, document(key, units=units, lessons=lessons, items=each))
        counts.append(counter["statements"])
    assert counts == [9, 9]


async def test_importing_is_for_editors(database: Database) -> None:
    for role in (Role.MEMBER, Role.SERVICE):
        actor = await person(database, "Somebody", role)
        assert await refused(database, run_import(database, actor, document())) == [(Code.FORBIDDEN, "")]


async def test_an_import_is_refused_with_all_reasons_at_once(database: Database) -> None:
    ed = await editor(database)
    await person(database, email="gone@example.org", is_active=False)
    await run_import(database, ed, document("taken"))
    content = document("taken", teacherEmails=["gone@example.org", "nobody@example.org"])
    assert await refused(database, run_import(database, ed, content, course_id=NOWHERE)) == [
        (Code.NOT_FOUND, "courseId"),
        (Code.NOT_FOUND, "document.teacherEmails.0"),
        (Code.NOT_FOUND, "document.teacherEmails.1"),
        (Code.CONFLICT, "document.key"),
    ]
    content["title"] = ""
    assert await refused(database, run_import(database, ed, content, course_id=NOWHERE)) == [
        (Code.NOT_FOUND, "courseId"),
        (Code.BAD_USER_INPUT, "document.title"),
    ]


async def test_of_two_imports_of_one_key_at_once_one_is_a_conflict(database: Database) -> None:
    ed = await editor(database)
    outcomes = await asyncio.gather(*(run_import(database, ed, document()) for _ in range(4)), return_exceptions=True)
    refusals = [each for each in outcomes if isinstance(each, Refused)]
    assert [each.problems[0].code for each in refusals] == [Code.CONFLICT] * 3
    assert len((await contents(database))["courses"]) == 1


async def test_an_import_over_a_course_that_is_over_must_move_its_end(database: Database) -> None:
    ed = await editor(database)
    made = await run_import(database, ed, document(endsAt="2020-01-01T00:00:00Z"))
    assert await refused(
        database, run_import(database, ed, document(endsAt="2021-01-01T00:00:00Z"), course_id=made.course_id)
    ) == [(Code.COURSE_ENDED, "courseId")]
    await run_import(database, ed, document(), course_id=made.course_id)


# --- updateCourse -----------------------------------------------------------------------------------------------------


async def test_teachers_change_their_course_and_who_teaches_it(database: Database) -> None:
    ed, teacher, other = await editor(database), await person(database), await person(database)
    course_id = await make_course(database, ed, teachers=[teacher])
    ends_at = await now_of(database) + timedelta(days=1)
    changes: CourseChanges = {"title": "New", "teacher_ids": [other.user_id], "ends_at": ends_at, "time_zone": "UTC"}
    await run_update(database, teacher, course_id, changes)
    async with database.transaction() as tx:
        row = (await tx.execute(text("SELECT title, time_zone, ends_at FROM courses"))).one()
    assert tuple(row) == ("New", "UTC", ends_at)
    assert [row[1] for row in (await contents(database))["course_teachers"]] == [other.user_id]
    assert await refused(database, run_update(database, teacher, course_id, {"title": "Mine again"})) == [
        (Code.NOT_FOUND, "courseId")
    ]


async def test_who_teaches_or_attends_a_class_of_it_sees_a_course_but_does_not_change_it(database: Database) -> None:
    ed, teacher, co_teacher, learner = [await editor(database), *[await person(database) for _ in range(3)]]
    course_id = await make_course(database, ed)
    await make_class(database, ed, teacher, course_id=course_id, learners=[learner], co_teachers=[co_teacher])
    for actor in (teacher, co_teacher, learner):
        assert await refused(database, run_update(database, actor, course_id, {"title": "Mine"})) == [
            (Code.FORBIDDEN, "courseId")
        ]


async def test_an_unknown_course_is_not_found(database: Database) -> None:
    ed = await editor(database)
    assert await refused(database, run_update(database, ed, NOWHERE, {"title": "X"})) == [(Code.NOT_FOUND, "courseId")]
