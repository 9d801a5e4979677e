"""A course comes to life over HTTP: an editor imports it, a teacher fills its classes, learners find their way in."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.session import Database
from resolvers.ids import encode_id
from resolvers.schema import schema
from tests.server.support.serving import Running, serving, token_of
from tests.stories.conftest import Front
from tests.support.courses import document, make_people
from tests.support.drain import drain
from tests.support.people import person

IMPORT = """
    mutation ($input: ImportCourseInput!) {
        importCourse(input: $input) { created course { id title } userErrors { code field message } }
    }
"""
CREATE_CLASS = (
    "mutation ($input: CreateClassInput!) { createClass(input: $input) { class { id } userErrors { code } } }"
)
ENROLL = """
    mutation ($input: EnrollInput!) {
        enroll(input: $input) {
            enrolled pending alreadyEnrolled job { id status kind } userErrors { code field message }
        }
    }
"""
CREATE_USER = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id } userErrors { code } } }"
MINE = "{ viewer { courses { id title units { title } } enrollments { id status class { name } } } }"
ROSTER = """
    query ($id: ID!) { class(id: $id) {
        members(statuses: [ACTIVE, PENDING]) { nodes { email user { name } } totalCount }
    } }
"""


class School:
    """The people of the story, each with a front end."""

    def __init__(self, database: Database, server: Running) -> None:
        self.database = database
        self.server = server
        self.viewers: dict[str, Viewer] = {}

    async def hire(self, name: str, *roles: Role, email: str | None = None) -> Front:
        """Somebody new, signed in."""
        viewer = self.viewers[name] = await person(self.database, name, *roles, email=email)
        return Front(self.server, await token_of(self.database, viewer, roles=roles or (Role.MEMBER,)))

    def id_of(self, name: str) -> str:
        return encode_id("User", self.viewers[name].user_id)


@pytest.fixture
async def school(database: Database, database_url: str, redis_url: str) -> AsyncIterator[School]:
    async with serving(database_url, redis_url, schema=schema) as server:
        yield School(database, server)


async def a_class(school: School, editor: Front, teacher: str) -> tuple[str, str]:
    """A course of one class: their ids."""
    course = (await editor.data(IMPORT, input={"document": document()}))["importCourse"]["course"]["id"]
    wanted = {"name": "Period 1", "courseId": course, "teacherId": school.id_of(teacher)}
    made = await editor.data(CREATE_CLASS, input=wanted)
    return course, made["createClass"]["class"]["id"]


async def test_from_the_document_to_what_a_learner_sees(school: School) -> None:
    editor, teacher = await school.hire("Ed", Role.EDITOR), await school.hire("Tea")
    learner = await school.hire("Lea", email="lea@example.org")
    course, class_id = await a_class(school, editor, "Tea")
    assert await learner.data(MINE) == {"viewer": {"courses": [], "enrollments": []}}

    people = {"userIds": [school.id_of("Lea")], "emails": ["new@example.org"]}
    enrolled = (await teacher.data(ENROLL, input={"classId": class_id, **people}))["enroll"]
    assert (enrolled["enrolled"], enrolled["pending"], enrolled["job"]["status"]) == (1, 1, "QUEUED")
    await drain(school.database)
    job = await teacher.data("query ($id: ID!) { job(id: $id) { status result } }", id=enrolled["job"]["id"])
    assert job["job"] == {"status": "COMPLETED", "result": {"members": 1}}

    mine = (await learner.data(MINE))["viewer"]
    assert mine["courses"] == [{"id": course, "title": "Algebra", "units": [{"title": "Unit 0"}]}]
    assert [(each["status"], each["class"]["name"]) for each in mine["enrollments"]] == [("ACTIVE", "Period 1")]
    assert (await learner.data(ROSTER, id=class_id))["class"]["members"]["totalCount"] == 1


async def test_a_newcomer_finds_the_class_that_waited_for_their_address(school: School) -> None:
    editor, teacher = await school.hire("Ed", Role.EDITOR), await school.hire("Tea")
    root = await school.hire("Root", Role.ADMIN)
    _, class_id = await a_class(school, editor, "Tea")
    await teacher.data(ENROLL, input={"classId": class_id, "emails": ["Newt@Example.org"]})
    waiting = (await teacher.data(ROSTER, id=class_id))["class"]["members"]["nodes"]
    assert waiting == [{"email": "newt@example.org", "user": None}]
    made = await root.data(CREATE_USER, input={"name": "Newt", "email": "newt@example.org"})
    assert made["createUser"]["userErrors"] == []
    there = (await teacher.data(ROSTER, id=class_id))["class"]["members"]["nodes"]
    assert there == [{"email": None, "user": {"name": "Newt"}}]


async def test_ten_thousand_people_are_enrolled_by_one_request(school: School) -> None:
    editor, teacher = await school.hire("Ed", Role.EDITOR), await school.hire("Tea")
    _, class_id = await a_class(school, editor, "Tea")
    people = [encode_id("User", key) for key in await make_people(school.database, 9_000)]
    emails = [f"guest{number}@example.org" for number in range(1_000)]
    done = (await teacher.data(ENROLL, input={"classId": class_id, "userIds": people, "emails": emails}))["enroll"]
    assert (done["enrolled"], done["pending"], done["alreadyEnrolled"]) == (9_000, 1_000, 0)
    assert (await teacher.data(ROSTER, id=class_id))["class"]["members"]["totalCount"] == 10_000


async def test_a_large_course_is_imported_and_a_wrong_one_leaves_nothing(school: School) -> None:
    editor = await school.hire("Ed", Role.EDITOR)
    large = document("large", units=10, lessons=20, items=10)
    made = (await editor.data(IMPORT, input={"document": large}))["importCourse"]
    assert (made["created"], made["course"]["title"]) == (True, "Large")
    before = await counted(school.database)
    large["key"] = "other"
    large["units"][9]["lessons"][19]["items"][9]["format"] = "VIDEO"
    refused = (await editor.data(IMPORT, input={"document": large}))["importCourse"]
    assert (refused["created"], refused["course"]) == (False, None)
    assert [(error["code"], ".".join(error["field"])) for error in refused["userErrors"]] == [
        ("BAD_USER_INPUT", "input.document.units.9.lessons.19.items.9.format")
    ]
    assert await counted(school.database) == before == (1, 2_000)


async def counted(database: Database) -> tuple[Any, ...]:
    async with database.transaction() as tx:
        sql = "SELECT (SELECT count(*) FROM courses), (SELECT count(*) FROM course_items)"
        return tuple((await tx.execute(text(sql))).one())


async def test_a_token_that_was_made_signs_in_until_it_is_revoked_or_its_owner_inactive(school: School) -> None:
    root, bo = await school.hire("Root", Role.ADMIN), await school.hire("Bo")
    make = "mutation { createApiToken(input: {name: %s}) { secret token { id } userErrors { code } } }"
    tokens = [(await bo.data(make % f'"t{number}"'))["createApiToken"] for number in range(2)]
    fronts = [Front(school.server, token["secret"]) for token in tokens]
    me = "{ viewer { user { name } } }"
    assert [(await front.data(me))["viewer"]["user"]["name"] for front in fronts] == ["Bo", "Bo"]

    revoke = "mutation ($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) { userErrors { code } } }"
    await bo.data(revoke, input={"tokenId": tokens[0]["token"]["id"]})
    assert (await fronts[0].ask(me))["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert (await fronts[1].data(me))["viewer"]["user"]["name"] == "Bo"

    update = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { userErrors { code } } }"
    await root.data(update, input={"userId": school.id_of("Bo"), "isActive": False})
    assert (await fronts[1].ask(me))["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
