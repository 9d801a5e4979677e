"""The jobs that follow from changes of classes, run by the real runner."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.courses import commands
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.courses import make_class, make_course
from tests.support.drain import drain
from tests.support.people import admin, person


async def outcomes(database: Database) -> list[tuple[str, str, Any]]:
    """Every job's kind, state and result, oldest first."""
    async with database.transaction() as tx:
        rows = await tx.execute(text("SELECT kind, state, result FROM jobs ORDER BY id"))
        return [(row.kind, row.state, row.result) for row in rows]


async def enroll(database: Database, actor: Viewer, class_id: UUID, *people: Viewer) -> None:
    async with database.transaction() as tx:
        await commands.enroll(
            tx,
            actor=actor,
            class_id=class_id,
            user_ids=[each.user_id for each in people],
            emails=[],
            now=tx.now,
        )


async def drop(database: Database, actor: Viewer, who: Viewer) -> None:
    async with database.transaction() as tx:
        own = text("SELECT id FROM enrollments WHERE user_id = :user_id AND status = 'ACTIVE'")
        enrollment_id = (await tx.execute(own, {"user_id": who.user_id})).scalar_one()
        await commands.drop_enrollment(tx, actor=actor, enrollment_id=enrollment_id, now=tx.now)


async def test_who_joined_is_counted_as_they_are_when_the_job_runs(database: Database) -> None:
    root, teacher, bo, cy = await admin(database), *[await person(database) for _ in range(3)]
    class_id = await make_class(database, root, teacher, course_id=await make_course(database, root))
    await enroll(database, root, class_id, bo, cy)
    await drop(database, root, bo)
    await drain(database)
    assert await outcomes(database) == [
        ("class.members_added", "completed", {"members": 1}),
        ("class.members_dropped", "completed", {"members": 1}),
    ]


async def test_who_left_and_came_back_is_left_alone(database: Database) -> None:
    root, teacher, bo = await admin(database), await person(database), await person(database)
    class_id = await make_class(database, root, teacher, course_id=await make_course(database, root))
    await enroll(database, root, class_id, bo)
    await drop(database, root, bo)
    await enroll(database, root, class_id, bo)
    await drain(database)
    assert await outcomes(database) == [
        ("class.members_added", "completed", {"members": 0}),
        ("class.members_dropped", "completed", {"members": 0}),
        ("class.members_added", "completed", {"members": 1}),
    ]


async def test_a_course_and_rescoping_concern_everybody_in_the_class(database: Database) -> None:
    root, teacher, bo, cy = await admin(database), *[await person(database) for _ in range(3)]
    course_id = await make_course(database, root)
    class_id = await make_class(database, root, teacher, learners=[bo, cy])
    async with database.transaction() as tx:
        await commands.update_class(
            tx,
            actor=root,
            class_id=class_id,
            changes={"course_id": course_id, "rescope_enabled": True},
            now=tx.now,
        )
    await drain(database)
    assert await outcomes(database) == [
        ("class.course_assigned", "completed", {"members": 2}),
        ("class.rescope_enabled", "completed", {"members": 2}),
    ]


async def test_the_jobs_of_a_class_are_seen_by_its_teachers_and_editors_only(database: Database) -> None:
    root, of_course, teacher, learner = await admin(database), *[await person(database) for _ in range(3)]
    course_id = await make_course(database, root, teachers=[of_course])
    class_id = await make_class(database, root, teacher, course_id=course_id, learners=[learner])
    editor = await person(database, "Ed", Role.EDITOR)
    jobs = "{ jobs { nodes { kind subject { ... on CourseClass { id name } } } } }"
    expected = [{"kind": "class.members_added", "subject": {"id": id_of("CourseClass", class_id), "name": "Period 1"}}]
    for viewer in (root, editor, of_course, teacher):
        assert (await Api(database, viewer).data(jobs))["jobs"]["nodes"] == expected
    assert (await Api(database, learner).data(jobs))["jobs"]["nodes"] == []
