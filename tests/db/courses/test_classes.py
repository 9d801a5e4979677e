"""Making and changing classes, and the ledger jobs that follow."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.courses import commands
from db.courses.rules import ClassChanges
from db.errors import Code, Refused
from db.session import Database
from tests.support.courses import document, jobs_of, make_class, make_course
from tests.support.people import person

NOWHERE = UUID(int=7)


async def contents(database: Database) -> list[Any]:
    async with database.transaction() as tx:
        classes = [tuple(row) for row in await tx.execute(text("SELECT * FROM classes ORDER BY id"))]
        beside = [tuple(row) for row in await tx.execute(text("SELECT * FROM class_co_teachers ORDER BY 1, 2"))]
        jobs = [tuple(row) for row in await tx.execute(text("SELECT id FROM jobs ORDER BY id"))]
        return [classes, beside, jobs]


async def change(database: Database, actor: Viewer, class_id: UUID, changes: ClassChanges) -> commands.ClassChanged:
    async with database.transaction() as tx:
        return await commands.update_class(tx, actor=actor, class_id=class_id, changes=changes, now=tx.now)


async def refused(database: Database, act: Any) -> list[tuple[Code, str]]:
    before = await contents(database)
    with pytest.raises(Refused) as refusal:
        await act
    assert await contents(database) == before
    return [(problem.code, ".".join(problem.path)) for problem in refusal.value.problems]


async def test_a_class_is_made_with_its_co_teachers_and_without_jobs(database: Database) -> None:
    ed, teacher, beside = await person(database, "Ed", Role.EDITOR), await person(database), await person(database)
    course_id = await make_course(database, ed, teachers=[teacher])
    class_id = await make_class(
        database, teacher, teacher, course_id=course_id, co_teachers=[beside], rescope_enabled=True
    )
    async with database.transaction() as tx:
        row = (await tx.execute(text("SELECT id, course_id, teacher_id, rescope_enabled FROM classes"))).one()
        co_teachers = (await tx.scalars(text("SELECT user_id FROM class_co_teachers"))).all()
    assert tuple(row) == (class_id, course_id, teacher.user_id, True)
    assert co_teachers == [beside.user_id]
    assert await jobs_of(database) == []


async def test_a_class_is_refused_with_all_reasons_at_once(database: Database) -> None:
    ed, gone = await person(database, "Ed", Role.EDITOR), await person(database, is_active=False)
    course_id = await make_course(database, ed, content=document(endsAt="2020-01-01T00:00:00Z"))

    async def make() -> UUID:
        async with database.transaction() as tx:
            return await commands.create_class(
                tx,
                actor=ed,
                name="",
                teacher_id=gone.user_id,
                course_id=course_id,
                co_teacher_ids=[NOWHERE],
                now=tx.now,
            )

    assert await refused(database, make()) == [
        (Code.COURSE_ENDED, "courseId"),
        (Code.BAD_USER_INPUT, "name"),
        (Code.BAD_USER_INPUT, "teacherId"),
        (Code.NOT_FOUND, "coTeacherIds.0"),
    ]


async def test_all_teachers_of_a_class_change_it_and_its_learners_do_not(database: Database) -> None:
    ed, of_course, teacher, beside, learner, stranger = [
        await person(database, "Ed", Role.EDITOR),
        *[await person(database) for _ in range(5)],
    ]
    course_id = await make_course(database, ed, teachers=[of_course])
    class_id = await make_class(database, ed, teacher, course_id=course_id, learners=[learner], co_teachers=[beside])
    for actor in (ed, of_course, teacher, beside):
        await change(database, actor, class_id, {"name": f"Class of {actor.name}"})
    assert await refused(database, change(database, learner, class_id, {"name": "Mine"})) == [
        (Code.FORBIDDEN, "classId")
    ]
    assert await refused(database, change(database, stranger, class_id, {"name": "Mine"})) == [
        (Code.NOT_FOUND, "classId")
    ]
    assert await refused(database, change(database, ed, NOWHERE, {"name": "X"})) == [(Code.NOT_FOUND, "classId")]


async def test_a_course_and_rescoping_that_are_new_to_its_members_are_a_job_each(database: Database) -> None:
    ed, teacher, learner = await person(database, "Ed", Role.EDITOR), await person(database), await person(database)
    course_id = await make_course(database, ed)
    class_id = await make_class(database, ed, teacher, learners=[learner])
    assert await jobs_of(database) == []  # a class without a course concerns nobody above
    changed = await change(database, ed, class_id, {"course_id": course_id, "rescope_enabled": True})
    jobs = await jobs_of(database)
    assert jobs == [
        ("class.course_assigned", {"class_id": str(class_id), "course_id": str(course_id), "left_course_ids": []}),
        ("class.rescope_enabled", {"class_id": str(class_id)}),
    ]
    async with database.transaction() as tx:
        stored = (await tx.execute(text("SELECT id, subject_type, subject_id FROM jobs ORDER BY id"))).all()
    assert tuple(row.id for row in stored) == changed.job_ids
    assert {(row.subject_type, row.subject_id) for row in stored} == {("CourseClass", class_id)}
    assert (await change(database, ed, class_id, {"course_id": course_id, "rescope_enabled": True})).job_ids == ()


async def test_whatever_changes_whom_plans_reach_is_told_by_one_job(database: Database) -> None:
    ed, teacher, learner = await person(database, "Ed", Role.EDITOR), await person(database), await person(database)
    course_id, other_id = await make_course(database, ed), await make_course(database, ed, content=document("logic"))
    class_id = await make_class(database, ed, teacher, course_id=course_id, learners=[learner])
    reach = ("class.reach_changed", {"class_id": str(class_id), "course_id": str(course_id)})

    def assigned(course_id: UUID, *left: UUID) -> tuple[str, Any]:
        args = {"class_id": str(class_id), "course_id": str(course_id), "left_course_ids": [str(each) for each in left]}
        return ("class.course_assigned", args)

    changes: list[tuple[ClassChanges, list[Any]]] = [
        ({"is_archived": True}, [reach]),
        ({"is_archived": True, "name": "Old"}, []),
        ({"is_archived": False}, [reach]),
        ({"is_archived": True, "course_id": None}, [reach]),
        ({"is_archived": False}, []),  # no plan reaches a class without a course
        ({"is_archived": True, "course_id": other_id}, [assigned(other_id)]),
        ({"course_id": course_id}, [assigned(course_id, other_id)]),
    ]
    told = await jobs_of(database)
    for given, expected in changes:
        changed = await change(database, ed, class_id, given)
        told += expected
        assert await jobs_of(database) == told
        assert len(changed.job_ids) == len(expected)


async def test_a_class_without_members_needs_no_job(database: Database) -> None:
    ed, teacher = await person(database, "Ed", Role.EDITOR), await person(database)
    course_id = await make_course(database, ed)
    class_id = await make_class(database, ed, teacher)
    assert (await change(database, ed, class_id, {"course_id": course_id})).job_ids == ()
    assert (await change(database, ed, class_id, {"is_archived": True})).job_ids == ()


async def test_co_teachers_are_replaced_by_the_list_that_is_given(database: Database) -> None:
    ed, teacher, old, new = [await person(database, "Ed", Role.EDITOR), *[await person(database) for _ in range(3)]]
    class_id = await make_class(database, ed, teacher, co_teachers=[old])
    await change(database, ed, class_id, {"co_teacher_ids": [new.user_id, teacher.user_id]})
    async with database.transaction() as tx:
        assert (await tx.scalars(text("SELECT user_id FROM class_co_teachers"))).all() == [new.user_id]
    await change(database, ed, class_id, {"teacher_id": new.user_id})
    async with database.transaction() as tx:
        assert (await tx.scalars(text("SELECT user_id FROM class_co_teachers"))).all() == []
