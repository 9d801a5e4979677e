"""Courses through the API: what each sees of them, and at what cost."""

from typing import Any
from uuid import UUID

import pytest

from db.accounts.rules import Role, Viewer
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.courses import document, make_class, make_course, make_people
from tests.support.people import admin, person

COURSE = "query ($id: ID!) { course(id: $id) { title canEdit classes { name } } }"
CLASS = "query ($id: ID!) { class(id: $id) { name course { title } members { nodes { user { name } status } } } }"
MEMBERS = """
    query ($id: ID!, $first: Int, $after: String, $statuses: [EnrollmentStatus!], $search: String) {
        class(id: $id) { members(first: $first, after: $after, statuses: $statuses, search: $search) {
            nodes { status email enrolledAt droppedAt user { name email } class { name teacher { name } } }
            pageInfo { hasNextPage endCursor } totalCount
        } }
    }
"""


class School:
    """A course of two classes, with somebody in every part."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.people: dict[str, Viewer] = {}
        self.course_id = self.class_id = self.other_class_id = UUID(int=0)

    async def open(self) -> "School":
        root = self.people["root"] = await admin(self.database)
        for name in ("teacher", "class_teacher", "co_teacher", "learner", "classmate", "other_learner", "stranger"):
            self.people[name] = await person(self.database, name.title())
        self.people["editor"] = await person(self.database, "Editor", Role.EDITOR)
        self.people["service"] = await person(self.database, "Service", Role.SERVICE)
        people = self.people
        self.course_id = await make_course(self.database, root, teachers=[people["teacher"]])
        self.class_id = await make_class(
            self.database,
            root,
            people["class_teacher"],
            course_id=self.course_id,
            name="First",
            learners=[people["learner"], people["classmate"]],
            co_teachers=[people["co_teacher"]],
        )
        self.other_class_id = await make_class(
            self.database,
            root,
            people["teacher"],
            course_id=self.course_id,
            name="Second",
            learners=[people["other_learner"]],
        )
        return self

    def api(self, name: str) -> Api:
        return Api(self.database, self.people[name])

    @property
    def course(self) -> str:
        return id_of("Course", self.course_id)

    @property
    def class_(self) -> str:
        return id_of("CourseClass", self.class_id)


@pytest.fixture
async def school(database: Database) -> School:
    return await School(database).open()


@pytest.mark.parametrize(
    ("name", "can_edit", "classes"),
    [
        ("root", True, ["First", "Second"]),
        ("editor", True, ["First", "Second"]),
        ("teacher", True, ["First", "Second"]),
        ("class_teacher", False, ["First"]),
        ("co_teacher", False, ["First"]),
        ("learner", False, ["First"]),
        ("other_learner", False, ["Second"]),
    ],
)
async def test_a_course_shows_each_what_concerns_them(
    school: School, name: str, can_edit: bool, classes: list[str]
) -> None:
    shown = await school.api(name).data(COURSE, id=school.course)
    assert shown["course"] == {
        "title": "Algebra",
        "canEdit": can_edit,
        "classes": [{"name": each} for each in classes],
    }


@pytest.mark.parametrize("name", ["stranger", "service"])
async def test_a_course_does_not_exist_for_those_it_does_not_concern(school: School, name: str) -> None:
    api = school.api(name)
    assert await api.data(COURSE, id=school.course) == {"course": None}
    assert await api.data("{ courses { nodes { title } totalCount } }") == {"courses": {"nodes": [], "totalCount": 0}}
    node = "query ($id: ID!) { node(id: $id) { id } }"
    assert await api.data(node, id=school.course) == {"node": None}
    assert await api.data(node, id=school.class_) == {"node": None}


@pytest.mark.parametrize("id_", ["", "nonsense", "Q291cnNl", id_of("User", UUID(int=1)), id_of("Course", UUID(int=1))])
async def test_an_id_that_names_no_course_is_null_without_an_error(school: School, id_: str) -> None:
    assert await school.api("root").data(COURSE, id=id_) == {"course": None}


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("teacher", ["Classmate", "Learner"]),
        ("class_teacher", ["Classmate", "Learner"]),
        ("co_teacher", ["Classmate", "Learner"]),
        ("editor", ["Classmate", "Learner"]),
        ("learner", ["Learner"]),
    ],
)
async def test_a_roster_is_for_teachers_and_a_learner_sees_only_themselves(
    school: School, name: str, members: list[str]
) -> None:
    shown = await school.api(name).data(CLASS, id=school.class_)
    assert shown["class"] == {
        "name": "First",
        "course": {"title": "Algebra"},
        "members": {"nodes": [{"user": {"name": each}, "status": "ACTIVE"} for each in members]},
    }


async def test_a_learner_of_another_class_does_not_see_this_one(school: School) -> None:
    assert await school.api("other_learner").data(CLASS, id=school.class_) == {"class": None}


async def test_who_has_left_sees_their_enrollment_but_no_longer_the_course(school: School) -> None:
    teacher, learner = school.api("teacher"), school.api("learner")
    own = "{ viewer { courses { title } enrollments { id status class { name course { title } } } } }"
    before = (await learner.data(own))["viewer"]
    assert before["courses"] == [{"title": "Algebra"}]
    enrollment = before["enrollments"][0]["id"]
    dropped = await teacher.does("dropEnrollment", {"enrollmentId": enrollment}, "enrollment { status } job { kind }")
    assert dropped["enrollment"] == {"status": "DROPPED"}
    after = (await learner.data(own))["viewer"]
    assert after == {
        "courses": [],
        "enrollments": [{"id": enrollment, "status": "DROPPED", "class": {"name": "First", "course": None}}],
    }
    assert await learner.data(COURSE, id=school.course) == {"course": None}


async def test_the_viewers_courses_are_their_own_by_title_also_for_an_editor(school: School) -> None:
    root = school.people["root"]
    second = await make_course(school.database, root, content=document("aaa"))
    await make_class(school.database, root, school.people["learner"], course_id=second)
    own = "{ viewer { courses { title } } courses { nodes { title } } }"
    assert await school.api("learner").data(own) == {
        "viewer": {"courses": [{"title": "Aaa"}, {"title": "Algebra"}]},
        "courses": {"nodes": [{"title": "Aaa"}, {"title": "Algebra"}]},
    }
    assert await school.api("editor").data(own) == {
        "viewer": {"courses": []},
        "courses": {"nodes": [{"title": "Aaa"}, {"title": "Algebra"}]},
    }


async def test_courses_are_searched_by_part_of_their_title(school: School) -> None:
    await make_course(school.database, school.people["root"], content=document("geometry"))
    found = await school.api("root").data('{ courses(search: "GEO") { nodes { title } totalCount } }')
    assert found["courses"] == {"nodes": [{"title": "Geometry"}], "totalCount": 1}


async def test_content_is_shown_in_order_without_what_an_import_left_out(school: School) -> None:
    content = document(units=2, lessons=1, items=2)
    content["units"].reverse()
    del content["units"][0]["lessons"][0]["items"][0]
    api = school.api("editor")
    selection = "course { units { title lessons { title items { title format competencies } } } } created"
    done = await api.does("importCourse", {"courseId": school.course, "document": content}, selection)
    assert done == {
        "created": False,
        "userErrors": [],
        "course": {
            "units": [
                {
                    "title": "Unit 1",
                    "lessons": [
                        {
                            "title": "Lesson 1.0",
                            "items": [{"title": "Item 1.0.1", "format": "ASSESSMENT", "competencies": ["C.1.0"]}],
                        }
                    ],
                },
                {
                    "title": "Unit 0",
                    "lessons": [
                        {
                            "title": "Lesson 0.0",
                            "items": [
                                {"title": "Item 0.0.0", "format": "COLLECTION", "competencies": ["C.0.0"]},
                                {"title": "Item 0.0.1", "format": "ASSESSMENT", "competencies": ["C.0.0"]},
                            ],
                        }
                    ],
                },
            ]
        },
    }


async def test_the_id_of_an_item_survives_imports(school: School) -> None:
    api = school.api("editor")
    ids = "query ($id: ID!) { course(id: $id) { units { id lessons { id items { id } } } } }"
    before = await api.data(ids, id=school.course)
    await api.does("importCourse", {"courseId": school.course, "document": document(title="New")}, "created")
    assert await api.data(ids, id=school.course) == before


# --- the roster, page by page -----------------------------------------------------------------------------------------


async def test_a_roster_is_paged_by_name_filtered_and_searched(school: School) -> None:
    api = school.api("teacher")
    await api.does("enroll", {"classId": school.class_, "emails": ["zoe@example.org"]}, "pending")

    async def page(**variables: Any) -> Any:
        return (await api.data(MEMBERS, id=school.class_, **variables))["class"]["members"]

    first = await page(first=2)
    assert [node["user"]["name"] for node in first["nodes"]] == ["Classmate", "Learner"]
    assert first["totalCount"] == 3
    assert first["pageInfo"]["hasNextPage"] is True
    rest = await page(first=2, after=first["pageInfo"]["endCursor"])
    assert rest["nodes"] == [
        {
            "status": "PENDING",
            "email": "zoe@example.org",
            "enrolledAt": None,
            "droppedAt": None,
            "user": None,
            "class": {"name": "First", "teacher": {"name": "Class_Teacher"}},
        }
    ]
    assert rest["pageInfo"]["hasNextPage"] is False
    assert (await page(statuses=["PENDING"]))["totalCount"] == 1
    assert (await page(statuses=["DROPPED"]))["nodes"] == []
    assert [node["user"]["name"] for node in (await page(search="LEARN"))["nodes"]] == ["Learner"]


async def test_a_cursor_of_another_list_is_bad_input(school: School) -> None:
    body = await school.api("teacher").ask(MEMBERS, id=school.class_, after="bm9uc2Vuc2U")
    assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_USER_INPUT"]


# --- what screens cost ------------------------------------------------------------------------------------------------


async def grow(school: School) -> None:
    """Many more rows of everything."""
    root = school.people["root"]
    people = await make_people(school.database, 300)
    await school.api("root").does(
        "enroll", {"classId": school.class_, "userIds": [id_of("User", key) for key in people]}, "enrolled"
    )
    for number in range(20):
        await make_class(
            school.database,
            root,
            school.people["teacher"],
            course_id=school.course_id,
            name=f"Class {number}",
            co_teachers=[school.people["co_teacher"]],
        )
    await school.api("root").does(
        "importCourse", {"courseId": school.course, "document": document(units=10, lessons=10, items=5)}, "created"
    )


OVERVIEW = """
    query ($id: ID!) { course(id: $id) {
        title canEdit teachers { name } classes { name isArchived teacher { name } coTeachers { name } }
    } }
"""
CONTENT = """
    query ($id: ID!) { course(id: $id) { title units { title lessons { title items { title format } } } } }
"""
ROSTERS = """
    query ($id: ID!) { course(id: $id) { classes {
        name members(first: 20) { nodes { status user { name email } } totalCount }
    } } }
"""
OWN = "{ courses(first: 50) { nodes { title teachers { name } classes { name } } totalCount } }"
SCREENS = {
    "overview: the course, its teachers, its classes with their teacher, their co-teachers": (OVERVIEW, 4),
    "content: one for each level": (CONTENT, 4),
    "rosters: the course, its classes, a page for each class, all counts": (ROSTERS, 4),
    "own courses: the page, the count, the teachers, the classes": (OWN, 4),
}


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", ["teacher", "learner", "root"])
async def test_a_screen_costs_what_its_shape_costs_whatever_the_number_of_rows(
    school: School, screen: str, name: str
) -> None:
    query, expected = SCREENS[screen]
    variables = {"id": school.course} if "$id" in query else {}
    api = school.api(name)
    assert await api.statements(query, **variables) == expected
    await grow(school)
    assert await api.statements(query, **variables) == expected


async def test_a_page_of_a_roster_is_three_statements(school: School) -> None:
    await grow(school)
    for name in ("teacher", "learner"):
        assert await school.api(name).statements(MEMBERS, id=school.class_, first=100) == 3
