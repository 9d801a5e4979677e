"""The same list asked for at several places of one answer, with other arguments at each: each place gets its own."""

from typing import Any
from uuid import UUID

import pytest

from tests.support.api import Api, id_of
from tests.support.tasks import Desk


@pytest.fixture
async def family(desk: Desk) -> tuple[Api, UUID, list[UUID]]:
    """The API of somebody who sees all, a task, and three below it, as a list has them: newest first."""
    parent = await desk.create(desk.team)
    children = [await desk.create(each, below=parent) for each in (desk.ann, desk.ben, desk.boss)]
    return Api(desk.database, desk.boss), parent, children[::-1]


def ids(page: Any) -> list[str]:
    return [node["id"] for node in page["nodes"]]


async def test_a_relation_under_two_aliases(family: tuple[Api, UUID, list[UUID]]) -> None:
    api, _, children = family
    query = """query ($id: ID!, $n: Int) { task(id: $id) { ... on WorkTask {
      a: parent { children(first: 1) { nodes { id } } }
      b: parent { children(first: $n) { nodes { id } } }
      c: root { children(first: 3) { nodes { id } totalCount } same: children(first: $n) { nodes { title } } }
    } } }"""
    task = (await api.data(query, id=id_of("WorkTask", children[0]), n=2))["task"]
    every = [id_of("WorkTask", key) for key in children]
    assert ids(task["a"]["children"]) == every[:1]
    assert ids(task["b"]["children"]) == every[:2]
    assert ids(task["c"]["children"]) == every
    assert (task["c"]["children"]["totalCount"], len(task["c"]["same"]["nodes"])) == (3, 2)


async def test_rows_as_nodes_and_in_edges(family: tuple[Api, UUID, list[UUID]]) -> None:
    api, parent, children = family
    query = """query ($id: ID!) { task(id: $id) { ... on WorkTask { children(first: 1) {
      nodes { x: title list: parent { children(first: 1) { nodes { id } } } }
      again: nodes { x: status list: parent { children(first: 2) { nodes { id } } } }
      edges { node { x: id list: parent { children(first: 3) { x: totalCount nodes { id } } } } }
      more: edges { row: node { list: parent { children(first: 3) { x: nodes { title } } } } }
    } } } }"""
    shown = (await api.data(query, id=id_of("WorkTask", parent)))["task"]["children"]
    every = [id_of("WorkTask", key) for key in children]
    assert [shown["nodes"][0]["x"], shown["again"][0]["x"], shown["edges"][0]["node"]["x"]] == [
        "Write it",
        "ASSIGNED",
        every[0],
    ]
    assert ids(shown["nodes"][0]["list"]["children"]) == every[:1]
    assert ids(shown["again"][0]["list"]["children"]) == every[:2]
    last = shown["edges"][0]["node"]["list"]["children"]
    assert (ids(last), last["x"]) == (every, 3)
    assert shown["more"][0]["row"]["list"]["children"]["x"] == [{"title": "Write it"}] * 3


async def test_types_that_exclude_each_other(desk: Desk) -> None:
    parent = await desk.create(desk.ann)
    await desk.place(parent, 30)
    child = await desk.create(desk.ann, below=parent)
    query = """query ($ids: [ID!]!) { nodes(ids: $ids) {
      ... on TimedHoldTask { parent { timeline(first: 1) { nodes { at } } } }
      ... on WorkTask { parent { timeline(first: 2) { nodes { at } } } }
    } }"""
    holds = await desk.rows("SELECT task_id FROM task_holds")
    asked = [id_of("TimedHoldTask", holds[0].task_id), id_of("WorkTask", child)]
    shown = (await Api(desk.database, desk.boss).data(query, ids=asked))["nodes"]
    assert [len(each["parent"]["timeline"]["nodes"]) for each in shown] == [1, 2]


async def test_a_fragment_that_is_spread_twice_costs_its_list_once(family: tuple[Api, UUID, list[UUID]]) -> None:
    api, _, children = family
    once = "query ($id: ID!) { task(id: $id) { ... on WorkTask { parent { ...F } } } }"
    twice = "query ($id: ID!) { task(id: $id) { ... on WorkTask { a: parent { ...F } b: parent { ...F } } } }"
    fragment = " fragment F on Task { ... on WorkTask { children(first: 2) { nodes { id } } } }"
    key = id_of("WorkTask", children[0])
    shown = (await api.data(twice + fragment, id=key))["task"]
    assert shown["a"] == shown["b"]
    assert await api.statements(twice + fragment, id=key) == await api.statements(once + fragment, id=key)
