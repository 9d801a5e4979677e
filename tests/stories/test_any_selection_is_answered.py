"""However a front end writes its selection, it gets what it asked for: aliases, fragments, fields wanted twice."""

from datetime import timedelta
from typing import Any

import pytest

from resolvers.ids import encode_id
from tests.stories.conftest import Story
from tests.support.drain import drain


@pytest.fixture
async def ids(story: Story) -> dict[str, Any]:
    """A published plan and a learner's task of it."""
    saved = await story.world.create(publish=True)
    await drain(story.world.database)
    story.server.edge.database.clock.shift = timedelta(days=1, hours=1)
    task = (await story.world.live_tasks(saved.plan_id))[0]
    return {"plan": encode_id("TaskPlan", saved.plan_id), "task": encode_id("WorkTask", task.id)}


PLAN = [
    ("a: course { title } b: course { timeZone }", {"a": {"title": "Physics"}, "b": {"timeZone": "UTC"}}),
    (
        "course { title } ... on Node { ... on TaskPlan { course { timeZone } } }",
        {"course": {"title": "Physics", "timeZone": "UTC"}},
    ),
    (
        "a: taskingPlans { targetName } b: taskingPlans { __typename }",
        {"a": [{"targetName": "First"}], "b": [{"__typename": "TaskingPlan"}]},
    ),
    (
        "a: tasks(first: 1) { totalCount } b: tasks(first: 2) { nodes { status } }",
        {"a": {"totalCount": 3}, "b": {"nodes": [{"status": "ASSIGNED"}] * 2}},
    ),
    (
        "tasks(first: 1) { nodes { status } } tasks(first: 1) { totalCount }",
        {"tasks": {"nodes": [{"status": "ASSIGNED"}], "totalCount": 3}},
    ),
    ("title @skip(if: true) state @include(if: true)", {"state": "PUBLISHED"}),
]
TASK = [
    (
        "assignedTo { __typename } ... on WorkTask { assignedTo { name } }",
        {"assignedTo": {"__typename": "User", "name": "First learner 000001"}},
    ),
    ("type { name } ... on WorkTask { type { label } }", {"type": {"name": "reading", "label": "Reading"}}),
    (
        "assignedTo { ... on User { isActive } ... on Team { members { totalCount } } }",
        {"assignedTo": {"isActive": True}},
    ),
    (
        "assignedBy { __typename name } parent { title } isRoot",
        {"assignedBy": {"__typename": "User", "name": "Ada Teacher"}, "parent": None, "isRoot": True},
    ),
]


@pytest.mark.parametrize(("selection", "answer"), PLAN)
async def test_of_a_plan(story: Story, ids: dict[str, Any], selection: str, answer: Any) -> None:
    query = f"query P($id: ID!) {{ plan(id: $id) {{ {selection} }} }}"
    assert (await story.teacher.data(query, id=ids["plan"]))["plan"] == answer


@pytest.mark.parametrize(("selection", "answer"), TASK)
async def test_of_a_task(story: Story, ids: dict[str, Any], selection: str, answer: Any) -> None:
    learner = await story.front_of(min(story.world.learners))
    query = f"query T($id: ID!) {{ task(id: $id) {{ {selection} }} }}"
    assert (await learner.data(query, id=ids["task"]))["task"] == answer


async def test_fragments_whose_types_cannot_meet_select_nothing(story: Story, ids: dict[str, Any]) -> None:
    query = "query N($id: ID!) { node(id: $id) { id ... on TaskPlan { ... on Node { ... on WorkTask { isReady } } } } }"
    assert (await story.teacher.data(query, id=ids["plan"]))["node"] == {"id": ids["plan"]}


async def test_nodes_come_in_the_order_asked_with_null_for_what_there_is_not(story: Story, ids: dict[str, Any]) -> None:
    query = """
        query N($ids: [ID!]!) {
            nodes(ids: $ids) { __typename id ... on TaskPlan { title } ... on WorkTask { status } }
        }
    """
    found = (await story.teacher.data(query, ids=[ids["task"], "nonsense", ids["plan"]]))["nodes"]
    assert found == [
        {"__typename": "WorkTask", "id": ids["task"], "status": "ASSIGNED"},
        None,
        {"__typename": "TaskPlan", "id": ids["plan"], "title": "Read about forces"},
    ]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"title": "a\x00b"}, ["input", "title"]),
        ({"settings": {"page_ids": ["\x00"]}}, ["input", "settings", "page_ids", "0"]),
        ({"idempotencyKey": "\x00"}, ["input", "idempotencyKey"]),
    ],
)
async def test_what_cannot_be_stored_is_refused_by_its_path(
    story: Story, ids: dict[str, Any], changes: dict[str, Any], path: list[str]
) -> None:
    query = """
        mutation Update($input: UpdatePlanInput!) {
            updatePlan(input: $input) { plan { id } userErrors { code field } }
        }
    """
    before = await story.world.rows("SELECT * FROM plans")
    refused = (await story.teacher.data(query, input={"planId": ids["plan"], **changes}))["updatePlan"]
    assert refused == {"plan": None, "userErrors": [{"code": "BAD_USER_INPUT", "field": path}]}
    assert await story.world.rows("SELECT * FROM plans") == before
