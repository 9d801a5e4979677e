"""Reading tasks and holds by id, in lists, with their history; types; health."""

from typing import Any
from uuid import UUID, uuid4

from tests.support.api import Api, id_of
from tests.support.tasks import Desk


def task_id(key: UUID) -> str:
    return id_of("WorkTask", key)


def hold_id(key: UUID) -> str:
    return id_of("TimedHoldTask", key)


async def test_a_task_or_a_hold_is_found_by_its_id(desk: Desk) -> None:
    key = await desk.create(desk.ann, title="Call")
    hold = await desk.place(key)
    query = """
        query ($id: ID!) {
          task(id: $id) {
            __typename id title status parent { title }
            ... on WorkTask { activeHold { id } availableActions }
            ... on TimedHoldTask { durationDays timer { attempts } }
          }
          node(id: $id) { __typename id ... on Task { status } }
        }
    """
    api = Api(desk.database, desk.ann)
    found = await api.data(query, id=task_id(key))
    assert found == {
        "task": {
            "__typename": "WorkTask",
            "id": task_id(key),
            "title": "Call",
            "status": "ON_HOLD",
            "parent": None,
            "activeHold": {"id": hold_id(hold)},
            "availableActions": ["COMPLETE", "END_HOLD", "ADD_NOTE", "CANCEL"],
        },
        "node": {"__typename": "WorkTask", "id": task_id(key), "status": "ON_HOLD"},
    }
    found = await api.data(query, id=hold_id(hold))
    assert found == {
        "task": {
            "__typename": "TimedHoldTask",
            "id": hold_id(hold),
            "title": "Timed hold",
            "status": "ASSIGNED",
            "parent": {"title": "Call"},
            "durationDays": 30,
            "timer": {"attempts": 0},
        },
        "node": {"__typename": "TimedHoldTask", "id": hold_id(hold), "status": "ASSIGNED"},
    }


async def test_what_there_is_not_or_may_not_be_seen_is_null(desk: Desk) -> None:
    key = await desk.create(desk.ann)
    hold = await desk.place(key)
    child = await desk.create(desk.ben, below=key)
    query = "query ($id: ID!) { task(id: $id) { id title timeline { nodes { to } } ... on TimedHoldTask { endsAt } } }"
    for viewer, id_ in (
        (desk.stranger, task_id(key)),
        (desk.stranger, hold_id(hold)),
        (desk.ben, task_id(key)),
        (desk.boss, task_id(uuid4())),
        (desk.boss, hold_id(uuid4())),
        (desk.boss, id_of("User", key)),
        (desk.boss, "nonsense"),
        # Ids that nobody was given: a task's key as a hold's, and the reverse.
        (desk.boss, hold_id(child)),
        (desk.boss, hold_id(key)),
        (desk.boss, task_id(hold)),
    ):
        assert await Api(desk.database, viewer).data(query, id=id_) == {"task": None}, (viewer.name, id_)


async def test_the_history_of_a_task_is_paged_newest_first(desk: Desk) -> None:
    key = await desk.create(desk.ann)
    await desk.start(key, by=desk.ann)
    await desk.place(key, 30, by=desk.ann)
    await desk.end(key, by=desk.lead)
    await desk.cancel(key, by=desk.editor, reason="No more")
    query = """
        query ($id: ID!, $after: String) {
          task(id: $id) {
            timeline(first: 3, after: $after) {
              totalCount pageInfo { hasNextPage endCursor } nodes { from to reason actor { name } }
            }
          }
        }
    """
    api = Api(desk.database, desk.ann)
    first = (await api.data(query, id=task_id(key)))["task"]["timeline"]
    assert first["totalCount"] == 5
    assert first["nodes"] == [
        {"from": "ASSIGNED", "to": "CANCELLED", "reason": "No more", "actor": {"name": "Ed Editor"}},
        {"from": "ON_HOLD", "to": "ASSIGNED", "reason": None, "actor": {"name": "Lee Lead"}},
        {"from": "IN_PROGRESS", "to": "ON_HOLD", "reason": None, "actor": {"name": "Ann"}},
    ]
    second = (await api.data(query, id=task_id(key), after=first["pageInfo"]["endCursor"]))["task"]["timeline"]
    assert second["pageInfo"]["hasNextPage"] is False
    assert [(node["from"], node["to"]) for node in second["nodes"]] == [("ASSIGNED", "IN_PROGRESS"), (None, "ASSIGNED")]


LIST = """
query ($filter: TaskFilter, $orderBy: TaskOrder! = CREATED_DESC) {
  tasks(filter: $filter, orderBy: $orderBy) { totalCount nodes { id __typename title } }
}
"""


async def test_lists_are_filtered_ordered_and_show_holds_only_where_asked(desk: Desk) -> None:
    root = await desk.create(desk.team, title="Alpha")
    child = await desk.create(desk.ann, below=root, title="Beta")
    held = await desk.create(desk.ann, title="Gamma", type_name="no_show")
    hold = await desk.place(held, 1)
    api = Api(desk.database, desk.boss)

    async def listed(order: str = "CREATED_DESC", **filter_: Any) -> list[str]:
        page = (await api.data(LIST, filter=filter_, orderBy=order))["tasks"]
        assert page["totalCount"] == len(page["nodes"])
        return [node["id"] for node in page["nodes"]]

    assert await listed() == [task_id(held), task_id(child), task_id(root)]
    assert await listed("CREATED_ASC", statuses=["ON_HOLD"]) == [task_id(root), task_id(held)]
    assert await listed(rootId=task_id(root), assigneeId=id_of("User", desk.ann.user_id)) == [task_id(child)]
    assert await listed(assigneeId=id_of("Team", desk.team)) == [task_id(root)]
    assert await listed(types=["no_show", "timed_hold"]) == [hold_id(hold), task_id(held)]
    assert await listed(search="amm") == [task_id(held)]
    for wrong in ({"assigneeId": "nonsense"}, {"planId": task_id(root)}, {"courseId": "x"}, {"classId": "x"}):
        assert await listed(**wrong) == []
    desk.later(days=1, minutes=1)
    assert await listed(overdueTimersOnly=True) == [hold_id(hold)]
    api = Api(desk.database, desk.stranger)
    assert await listed() == []


async def test_types_say_what_holds_they_allow(desk: Desk) -> None:
    query = "{ taskTypes { name label hold { minDays maxDays presets onExpiry onAssign noteRequired } } }"
    found = {each["name"]: each["hold"] for each in (await Api(desk.database, desk.stranger).data(query))["taskTypes"]}
    assert list(found) == sorted(found)
    plain = {"minDays": 1, "maxDays": 120, "onExpiry": "RESUME", "onAssign": "CANCEL", "noteRequired": False}
    assert found == {
        "decision": None,
        "event": {**plain, "presets": []},
        "external": {**plain, "presets": []},
        "general": {**plain, "presets": [15, 30, 45, 60, 90, 120]},
        "homework": {**plain, "presets": []},
        "no_show": {**plain, "presets": [], "onExpiry": "COMPLETE"},
        "reading": {**plain, "presets": []},
        "response_window": {
            **plain,
            "minDays": 45,
            "maxDays": 364,
            "presets": [45, 90, 180, 364],
            "onAssign": "MOVE",
        },
        "timed_hold": None,
    }
    await desk.rows_of("INSERT INTO task_types (name, label) SELECT 'type_' || n, 'x' FROM generate_series(1, 120) n")
    assert len((await Api(desk.database, desk.stranger).data("{ taskTypes { name } }"))["taskTypes"]) == 129


async def test_health_is_for_admins(desk: Desk) -> None:
    query = "{ taskHealth { overdueTimers onHoldWithoutOpenChild openChildOfTaskNotOnHold failingTimers } }"
    await desk.place(await desk.create(desk.ann), 1)
    healthy = dict.fromkeys(("overdueTimers", "onHoldWithoutOpenChild", "openChildOfTaskNotOnHold", "failingTimers"), 0)
    assert await Api(desk.database, desk.boss).data(query) == {"taskHealth": healthy}
    desk.later(days=1, seconds=11)
    assert await Api(desk.database, desk.boss).data(query) == {"taskHealth": {**healthy, "overdueTimers": 1}}
    for viewer in (desk.editor, desk.lead, desk.ann):
        body = await Api(desk.database, viewer).ask(query)
        assert body["data"] == {"taskHealth": None}
        assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"]
