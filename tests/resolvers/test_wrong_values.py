"""Values that do not fit their types: a client is told where, by a path as well as in words."""

from typing import Any

import pytest

from db.paging import encode_cursor
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.ledger import ask
from tests.support.people import admin

CREATE = "mutation ($input: CreatePlanInput!) { createPlan(input: $input) { plan { id } } }"
DATES = {"targetId": "x", "opensAt": "2026-03-01T09:00:00Z", "dueAt": "2026-03-02T09:00:00Z"}
PLAN = {"courseId": "x", "type": "READING", "title": "x", "settings": {}, "taskingPlans": []}


@pytest.mark.parametrize(
    ("changes", "argument", "says"),
    [
        ({"type": "NOPE"}, ["type"], "at .type: Value 'NOPE' does not exist in 'PlanType' enum."),
        ({"title": None}, ["title"], "at .title: Expected value of non-null type 'String!', which must not be null."),
        (
            {"speed": 1},
            ["speed"],
            "value: Expected value of type 'CreatePlanInput' not to include unknown field 'speed'.",
        ),
        ({"titel": "x"}, ["titel"], "not to include unknown field 'titel'. Did you mean 'title' or 'type'?"),
        (
            {"taskingPlans": [DATES]},
            ["taskingPlans", "0", "closesAt"],
            "at .taskingPlans[0]: Expected value of type 'TaskingPlanInput' to include required field 'closesAt'.",
        ),
        (
            {"taskingPlans": [{**DATES, "closesAt": "2026-02-31T10:00:00Z"}]},
            ["taskingPlans", "0", "closesAt"],
            "'2026-02-31T10:00:00Z' is not a DateTime. It is written like one, but there is no such day or time.",
        ),
        (
            {"taskingPlans": [{**DATES, "closesAt": "x" * 1_000}]},
            ["taskingPlans", "0", "closesAt"],
            f"'{'x' * 59}… is not a DateTime. Write RFC 3339 with an offset, such as 2026-03-01T09:00:00Z.",
        ),
    ],
)
async def test_a_wrong_variable_is_named_by_its_path(
    database: Database, changes: dict[str, Any], argument: list[str], says: str
) -> None:
    (error,) = (await Api(database, None).ask(CREATE, input=PLAN | changes))["errors"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": ["input", *argument]}
    assert error["message"].startswith("Variable '$input' has invalid value")
    assert error["message"].endswith(says)


async def test_a_wrong_instant_in_the_document_is_named_by_its_place(database: Database) -> None:
    query = '{ viewer { tasks(filter: {dueBefore: "2026-11-30", dueFrom: "2026-11-30T10:00:00Z"}) { totalCount } } }'
    (error,) = (await Api(database, None).ask(query))["errors"]
    assert error["message"].startswith("'2026-11-30' is not a DateTime.")
    assert error["locations"] == [{"line": 1, "column": query.index('"2026-11-30"') + 1}]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("instant", ["9999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00Z", "9000-01-01T00:00:00Z"])
async def test_an_instant_that_no_clock_will_show_is_refused(database: Database, instant: str) -> None:
    plan = PLAN | {"taskingPlans": [{**DATES, "closesAt": instant}]}
    (error,) = (await Api(database, None).ask(CREATE, input=plan))["errors"]
    assert error["message"].endswith("It must be between 1900-01-01T00:00:00Z and 8999-12-31T23:59:59.999999Z.")


@pytest.mark.parametrize(
    ("query", "argument"),
    [
        ("query ($text: String!) { jobs(filter: {kinds: [$text]}) { totalCount } }", ["filter", "kinds", "0"]),
        (
            "query ($text: String!) { viewer { tasks(filter: {types: [$text]}) { totalCount } } }",
            ["filter", "types", "0"],
        ),
        ("query ($text: ID!) { job(id: $text) { id } }", ["id"]),
    ],
)
async def test_text_that_cannot_be_stored_is_not_searched_for(
    database: Database, query: str, argument: list[str]
) -> None:
    (error,) = (await Api(database, await admin(database)).ask(query, text="a\x00b"))["errors"]
    assert error["message"] == "Text must not contain U+0000 or half of a surrogate pair."
    assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("BAD_USER_INPUT", argument)


async def test_no_status_is_the_status_of_no_task(database: Database) -> None:
    viewer = await admin(database)
    query = "{ viewer { tasks(filter: {statuses: []}) { totalCount nodes { id } } } }"
    assert (await Api(database, viewer).data(query))["viewer"]["tasks"] == {"totalCount": 0, "nodes": []}


async def test_a_cursor_beyond_all_numbers_is_none(database: Database) -> None:
    boss = await admin(database)
    job_id = await ask(database)
    query = "query ($id: ID!, $after: String) { job(id: $id) { logs(after: $after) { nodes { seq } } } }"
    for number in (2**31, 2**63, -(2**31)):
        body = await Api(database, boss).ask(query, id=id_of("Job", job_id), after=encode_cursor("SEQ_ASC", [number]))
        (error,) = body["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
