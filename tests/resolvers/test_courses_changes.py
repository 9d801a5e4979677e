"""Changing courses, classes and enrollments through the API: payloads, refusals at their paths, and what follows."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.courses.rules.enrollment import ENROLL_LIMIT
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.courses import document, make_class, make_course
from tests.support.people import admin, person

NOTHING = id_of("Course", UUID(int=7))


async def everything(database: Database) -> list[Any]:
    async with database.transaction() as tx:
        found: list[Any] = []
        for table in ("courses", "course_teachers", "course_items", "classes", "class_co_teachers", "enrollments"):
            found += [tuple(row) for row in await tx.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))]
        return [*found, *[tuple(row) for row in await tx.execute(text("SELECT id FROM jobs ORDER BY 1"))]]


def user_id(viewer: Viewer) -> str:
    return id_of("User", viewer.user_id)


async def test_an_import_answers_with_the_course_it_made(database: Database) -> None:
    api = Api(database, await person(database, "Ed", Role.EDITOR))
    teacher = await person(database, "Tea", email="tea@example.org")
    content = document(version="1", startsAt="2026-01-01T00:00:00+01:00", teacherEmails=["tea@example.org"])
    selection = "created course { title version timeZone startsAt endsAt canEdit teachers { id } }"
    assert await api.does("importCourse", {"document": content}, selection) == {
        "created": True,
        "userErrors": [],
        "course": {
            "title": "Algebra",
            "version": "1",
            "timeZone": "Europe/Berlin",
            "startsAt": "2025-12-31T23:00:00Z",
            "endsAt": None,
            "canEdit": True,
            "teachers": [{"id": user_id(teacher)}],
        },
    }


async def test_a_refused_import_answers_empty_and_says_where_in_the_document(database: Database) -> None:
    api = Api(database, await person(database, "Ed", Role.EDITOR))
    before = await everything(database)
    content = document(units=2)
    content["units"][1]["lessons"][0]["items"][1]["format"] = "VIDEO"
    del content["timeZone"]
    fields = "created course { id } userErrors { code field message details }"
    query = f"mutation ($input: ImportCourseInput!) {{ importCourse(input: $input) {{ {fields} }} }}"
    payload = (await api.data(query, input={"document": content, "courseId": NOTHING}))["importCourse"]
    assert (payload["created"], payload["course"]) == (False, None)
    assert [(error["code"], ".".join(error["field"])) for error in payload["userErrors"]] == [
        ("NOT_FOUND", "input.courseId"),
        ("BAD_USER_INPUT", "input.document.timeZone"),
        ("BAD_USER_INPUT", "input.document.units.1.lessons.0.items.1.format"),
    ]
    assert payload["userErrors"][2]["message"] == (
        "This must be one of COLLECTION, ASSESSMENT, COLLECTION_EXTERNAL, ASSESSMENT_EXTERNAL."
    )
    assert await everything(database) == before


async def test_a_repeated_import_with_the_same_key_makes_one_course(database: Database) -> None:
    api = Api(database, await person(database, "Ed", Role.EDITOR))
    asked = {"document": document(), "idempotencyKey": "import-1"}
    first = await api.does("importCourse", asked, "created course { id }")
    assert await api.does("importCourse", asked, "created course { id }") == first


async def test_a_course_is_changed_by_its_teacher_and_refused_at_its_fields(database: Database) -> None:
    root, teacher = await admin(database), await person(database, "Tea")
    course = id_of("Course", await make_course(database, root, teachers=[teacher]))
    api = Api(database, teacher)
    changed = await api.does(
        "updateCourse",
        {"courseId": course, "title": "New", "version": "2", "endsAt": "2100-01-01T00:00:00Z"},
        "course { title version endsAt timeZone }",
    )
    assert changed["course"] == {
        "title": "New",
        "version": "2",
        "endsAt": "2100-01-01T00:00:00Z",
        "timeZone": "Europe/Berlin",
    }
    before = await everything(database)
    assert await api.refused(
        "updateCourse",
        {
            "courseId": course,
            "title": None,
            "timeZone": "Mars",
            "startsAt": "2101-01-01T00:00:00Z",
            "teacherIds": [user_id(teacher), "nonsense"],
        },
    ) == [
        ("BAD_USER_INPUT", "input.title"),
        ("BAD_USER_INPUT", "input.timeZone"),
        ("DATES_OUT_OF_ORDER", "input.startsAt"),
        ("NOT_FOUND", "input.teacherIds.1"),
    ]
    assert await api.refused("updateCourse", {"courseId": "nonsense"}) == [("NOT_FOUND", "input.courseId")]
    assert await everything(database) == before


async def test_a_course_that_is_over_refuses_writes_until_its_end_is_moved(database: Database) -> None:
    root = await admin(database)
    course_id = await make_course(database, root, content=document(endsAt="2020-01-01T00:00:00Z"))
    course, api = id_of("Course", course_id), Api(database, root)
    new_class = {"name": "P", "courseId": course, "teacherId": user_id(root)}
    assert await api.refused("updateCourse", {"courseId": course, "title": "X"}) == [("COURSE_ENDED", "input.courseId")]
    assert await api.refused("createClass", new_class) == [("COURSE_ENDED", "input.courseId")]
    await api.does("updateCourse", {"courseId": course, "endsAt": None}, "course { endsAt }")
    await api.does("createClass", new_class, "class { name }")


async def test_a_class_is_made_changed_and_tells_the_jobs_that_follow(database: Database) -> None:
    root, stranger = await admin(database), await person(database, "Sam")
    teacher, learner = await person(database, "Tea"), await person(database, "Lea")
    course_id = await make_course(database, root, teachers=[teacher])
    api = Api(database, teacher)
    made = await api.does(
        "createClass",
        {"name": "P1", "courseId": id_of("Course", course_id), "teacherId": user_id(teacher)},
        "class { id name course { title } teacher { name } coTeachers { name } rescopeEnabled isArchived }",
    )
    class_id = made["class"]["id"]
    assert made["class"] == {
        "id": class_id,
        "name": "P1",
        "course": {"title": "Algebra"},
        "teacher": {"name": "Tea"},
        "coTeachers": [],
        "rescopeEnabled": False,
        "isArchived": False,
    }
    await api.does("enroll", {"classId": class_id, "userIds": [user_id(learner)]}, "enrolled")
    changed = await api.does(
        "updateClass",
        {"classId": class_id, "name": "P2", "rescopeEnabled": True, "coTeacherIds": [user_id(learner)]},
        "class { name rescopeEnabled coTeachers { name } } jobs { kind status subject { id } }",
    )
    assert changed["class"] == {"name": "P2", "rescopeEnabled": True, "coTeachers": [{"name": "Lea"}]}
    assert [job["kind"] for job in changed["jobs"]] == ["class.rescope_enabled"]
    before = await everything(database)
    assert await api.refused(
        "updateClass", {"classId": class_id, "name": None, "teacherId": "nonsense", "courseId": NOTHING}
    ) == [("NOT_FOUND", "input.courseId"), ("BAD_USER_INPUT", "input.name"), ("NOT_FOUND", "input.teacherId")]
    wrong = {"name": " ", "teacherId": "zz", "courseId": "zz", "coTeacherIds": ["q", user_id(teacher)]}
    for viewer in (root, teacher):
        assert await Api(database, viewer).refused("createClass", wrong) == [
            ("NOT_FOUND", "input.courseId"),
            ("BAD_USER_INPUT", "input.name"),
            ("NOT_FOUND", "input.teacherId"),
            ("NOT_FOUND", "input.coTeacherIds.0"),
        ]
    # Rights come first: whoever teaches nothing is told nothing of what else is wrong.
    assert await Api(database, stranger).refused("createClass", wrong) == [("NOT_FOUND", "input.courseId")]
    assert await api.refused("updateClass", {"classId": class_id, "name": None, "teacherId": "nonsense"}) == [
        ("BAD_USER_INPUT", "input.name"),
        ("NOT_FOUND", "input.teacherId"),
    ]
    assert await everything(database) == before


async def test_enrolling_answers_with_counts_and_the_job(database: Database) -> None:
    root, teacher, learner = await admin(database), await person(database, "Tea"), await person(database, "Lea")
    course_id = await make_course(database, root)
    class_id = id_of("CourseClass", await make_class(database, root, teacher, course_id=course_id))
    api = Api(database, teacher)
    asked = {"classId": class_id, "userIds": [user_id(learner)], "emails": ["new@example.org"], "idempotencyKey": "e1"}
    selection = "enrolled pending alreadyEnrolled class { name members { totalCount } } job { id kind status }"
    done = await api.does("enroll", asked, selection)
    assert done == {
        "enrolled": 1,
        "pending": 1,
        "alreadyEnrolled": 0,
        "class": {"name": "Period 1", "members": {"totalCount": 2}},
        "job": {"id": done["job"]["id"], "kind": "class.members_added", "status": "QUEUED"},
        "userErrors": [],
    }
    assert await api.does("enroll", asked, selection) == done
    again = await api.does("enroll", {**asked, "idempotencyKey": "e2"}, "enrolled pending alreadyEnrolled job { id }")
    assert again == {"enrolled": 0, "pending": 0, "alreadyEnrolled": 2, "job": None, "userErrors": []}


async def test_a_refused_enrollment_writes_nothing_and_names_each_place(database: Database) -> None:
    root, teacher, learner = await admin(database), await person(database, "Tea"), await person(database, "Lea")
    class_id = id_of("CourseClass", await make_class(database, root, teacher))
    before = await everything(database)
    api = Api(database, teacher)
    people = {"userIds": [user_id(learner), "nonsense", class_id], "emails": ["ok@example.org", "bad"]}
    assert await api.refused("enroll", {"classId": class_id, **people}) == [
        ("BAD_USER_INPUT", "input.emails.1"),
        ("NOT_FOUND", "input.userIds.1"),
        ("NOT_FOUND", "input.userIds.2"),
    ]
    assert await api.refused("enroll", {"classId": class_id}) == [("BAD_USER_INPUT", "input.userIds")]
    assert await Api(database, learner).refused("enroll", {"classId": class_id, "userIds": [user_id(learner)]}) == [
        ("NOT_FOUND", "input.classId")
    ]
    query = "mutation ($input: EnrollInput!) { enroll(input: $input) { enrolled } }"
    body = await api.ask(query, input={"classId": class_id, "userIds": ["x"] * (ENROLL_LIMIT + 1)})
    assert body["errors"][0]["extensions"] == {
        "code": "LIMIT_EXCEEDED",
        "limit": "enroll",
        "allowed": 10_000,
        "asked": 10_001,
    }
    assert await everything(database) == before


async def test_moving_answers_with_both_enrollments_and_one_job(database: Database) -> None:
    root, teacher, learner = await admin(database), await person(database, "Tea"), await person(database, "Lea")
    course_id = await make_course(database, root)
    await make_class(database, root, teacher, course_id=course_id, name="First", learners=[learner])
    second = id_of("CourseClass", await make_class(database, root, teacher, course_id=course_id, name="Second"))
    own = await Api(database, learner).data("{ viewer { enrollments { id } } }")
    enrollment = own["viewer"]["enrollments"][0]["id"]
    api = Api(database, teacher)
    selection = "enrollment { status class { name } user { name } } dropped { id status class { name } } job { kind }"
    moved = await api.does("moveEnrollment", {"enrollmentId": enrollment, "toClassId": second}, selection)
    assert moved == {
        "enrollment": {"status": "ACTIVE", "class": {"name": "Second"}, "user": {"name": "Lea"}},
        "dropped": {"id": enrollment, "status": "DROPPED", "class": {"name": "First"}},
        "job": {"kind": "class.members_added"},
        "userErrors": [],
    }
    before = await everything(database)
    assert await api.refused("moveEnrollment", {"enrollmentId": enrollment, "toClassId": "nonsense"}) == [
        ("NOT_FOUND", "input.toClassId")
    ]
    assert await api.refused("dropEnrollment", {"enrollmentId": enrollment}) == [
        ("INVALID_TRANSITION", "input.enrollmentId")
    ]
    assert await Api(database, learner).refused("dropEnrollment", {"enrollmentId": enrollment}) == [
        ("FORBIDDEN", "input.enrollmentId")
    ]
    assert await everything(database) == before
