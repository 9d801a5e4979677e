"""What people complained of about holds before they were tasks of their own, and that none of it can happen here."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from db.session import Database
from tests.server.support.streams import Stream, streamed
from tests.stories.offices import Office, an_office

CHANGED = """
subscription ($id: ID!) {
  taskChanged(taskId: $id) { status ... on WorkTask { activeHold { id } } ... on TimedHoldTask { endReason } }
}
"""
STATUS = "query ($id: ID!) { task(id: $id) { status ... on WorkTask { activeHold { id } } } }"
QUEUE = """
{ viewer { taskCounts { assigned onHold } tasks(tab: ON_HOLD) { nodes { id status activeHold { id } } } } }
"""
HISTORY = """
query ($id: ID!) {
  task(id: $id) {
    timeline { nodes { from to actor { __typename name } } }
    ... on WorkTask {
      holds {
        durationDays status endReason instructions assignedBy { name } cancelledBy { name }
        timer { processedAt cancelledAt }
        timeline { nodes { from to reason actor { __typename name } } }
      }
    }
  }
}
"""


@pytest.fixture
async def office(database: Database, database_url: str, redis_url: str) -> AsyncIterator[Office]:
    async with an_office(database, database_url=database_url, redis_url=redis_url) as opened:
        yield opened


def watching(office: Office, who: str, id_: str) -> Any:
    """A task's stream, as server-sent events."""
    return streamed(office.server, CHANGED, accept="text/event-stream", token=office.tokens[who], id=id_)


async def next_status(events: Stream) -> str:
    event = await events.event()
    assert "errors" not in event["data"], event
    status: str = event["data"]["data"]["taskChanged"]["status"]
    return status


async def status_of(office: Office, id_: str) -> str:
    status: str = (await office.data("boss", STATUS, id=id_))["task"]["status"]
    return status


async def test_a_hold_ends_though_nobody_ever_loads_the_queue_that_it_is_in(office: Office) -> None:
    """A task came back only when somebody loaded the queue that contained it."""
    task = await office.task("Wait for the answer")
    await office.does("ann", "placeHold", taskId=task, durationDays=30)
    async with watching(office, "lead", task) as events:
        assert await next_status(events) == "ON_HOLD"
        # Ann leaves and never comes back.
        await office.desk.rows_of("UPDATE users SET is_active = false WHERE id = :id", id=office.desk.ann.user_id)
        await office.later(days=30, seconds=1)
        await office.worker_runs()
        assert await next_status(events) == "ASSIGNED"
    newest = (await office.data("boss", HISTORY, id=task))["task"]["timeline"]["nodes"][0]
    assert newest == {"from": "ON_HOLD", "to": "ASSIGNED", "actor": {"__typename": "SystemActor", "name": "System"}}


async def test_loading_a_queue_releases_nothing(office: Office) -> None:
    """The same the other way round: looking is not doing."""
    task = await office.task("Wait for the answer")
    hold = (await office.does("ann", "placeHold", "hold { id }", taskId=task, durationDays=30))["hold"]["id"]
    await office.later(days=31)
    before = await office.desk.stored()
    for _ in range(2):
        viewer = (await office.data("ann", QUEUE))["viewer"]
        assert viewer["taskCounts"] == {"assigned": 0, "onHold": 1}
        assert viewer["tasks"]["nodes"] == [{"id": task, "status": "ON_HOLD", "activeHold": {"id": hold}}]
    assert await office.desk.stored() == before
    await office.worker_runs()
    assert (await office.data("ann", QUEUE))["viewer"]["taskCounts"] == {"assigned": 1, "onHold": 0}


async def test_a_stale_timer_never_releases_a_task_that_has_an_open_child(office: Office) -> None:
    """Placed for 30 days, ended on day 5, a child made on day 6; on day 31 the old timer let it go."""
    task = await office.task("Review")
    await office.does("ann", "placeHold", taskId=task, durationDays=30)
    await office.later(days=5)
    assert (await office.does("ann", "endHold", taskId=task))["task"]["status"] == "ASSIGNED"
    await office.later(days=1)
    child = await office.task("Ask the author", "ben", below=task)
    async with watching(office, "ann", task) as events:
        assert await next_status(events) == "ON_HOLD"
        before = await office.desk.stored()
        await office.later(days=25)
        await office.worker_runs()
        assert await office.desk.stored() == before
        assert await status_of(office, task) == "ON_HOLD"
        await office.does("ben", "completeTask", taskId=child)
        assert await next_status(events) == "ASSIGNED"
    (hold,) = (await office.data("ann", HISTORY, id=task))["task"]["holds"]
    assert hold["endReason"] == "ENDED_EARLY"
    assert hold["timer"]["processedAt"] is None
    assert hold["timer"]["cancelledAt"] is not None


async def test_a_timed_hold_and_an_open_child_are_two_reasons_and_both_must_be_over(office: Office) -> None:
    """A timed hold and a child were handled as one. Only the hold can be ended."""
    task = await office.task("Review")
    child = await office.task("Ask the author", "ben", below=task)
    refused = await office.payload("ann", "endHold", taskId=task)
    assert [error["code"] for error in refused["userErrors"]] == ["NO_ACTIVE_HOLD"]
    await office.does("ann", "placeHold", taskId=task, durationDays=1)
    await office.later(days=1, seconds=1)
    await office.worker_runs()
    assert (await office.data("ann", STATUS, id=task))["task"] == {"status": "ON_HOLD", "activeHold": None}
    await office.does("ann", "placeHold", taskId=task, durationDays=10)
    await office.does("ben", "completeTask", taskId=child)
    assert await status_of(office, task) == "ON_HOLD"
    assert (await office.does("ann", "endHold", taskId=task))["task"]["status"] == "ASSIGNED"


async def test_the_history_of_holds_is_never_lost(office: Office) -> None:
    """With several holds on a task, there was no record of the earlier ones."""
    task = await office.task("Wait")
    await office.does("ann", "placeHold", taskId=task, durationDays=15, instructions="First letter.")
    await office.does("lead", "placeHold", taskId=task, durationDays=30, instructions="Second letter.")
    await office.does("ann", "endHold", taskId=task, reason="They called.")
    await office.does("ann", "placeHold", taskId=task, durationDays=45)
    await office.task("Ask", "ben", below=task, type_name="decision")
    await office.does("boss", "placeHold", taskId=task, durationDays=60)
    await office.later(days=60)
    await office.worker_runs()
    holds = (await office.data("ann", HISTORY, id=task))["task"]["holds"]
    shown = [
        (
            hold["durationDays"],
            hold["endReason"],
            hold["assignedBy"]["name"],
            hold["cancelledBy"] and hold["cancelledBy"]["name"],
            hold["instructions"],
        )
        for hold in holds
    ]
    assert shown == [
        (60, "EXPIRED", "Bo Boss", None, []),
        (45, "CHILD_CREATED", "Ann", "Bo Boss", []),
        (30, "ENDED_EARLY", "Lee Lead", "Ann", ["Second letter."]),
        (15, "SUPERSEDED", "Ann", "Lee Lead", ["First letter."]),
    ]
    assert holds[2]["timeline"]["nodes"][0] == {
        "from": "ASSIGNED",
        "to": "CANCELLED",
        "reason": "They called.",
        "actor": {"__typename": "User", "name": "Ann"},
    }
    assert [node["actor"]["__typename"] for node in holds[0]["timeline"]["nodes"]] == ["SystemActor", "User"]


async def test_a_task_has_no_columns_of_its_holds(office: Office) -> None:
    """The columns of holds stood in every task, and were empty in most."""
    task, free = await office.task("Wait"), await office.task("Never held")
    hold = (await office.does("ann", "placeHold", "hold { id endsAt }", taskId=task, durationDays=30))["hold"]
    columns = {
        (row.table_name, row.column_name)
        for row in await office.desk.rows(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND (column_name ~ 'hold|duration|ends_at|timer' OR column_name ~ 'next_attempt_at|processed_at')"
            " AND table_name LIKE 'task%' AND table_name <> 'task_types'"
        )
    }
    assert {column for table, column in columns if table == "tasks"} == {"placed_on_hold_at"}, "a stamp of the status"
    assert {("task_holds", "duration_days"), ("task_holds", "ends_at"), ("task_timers", "processed_at")} <= columns
    assert [len(await office.desk.rows(f"SELECT * FROM {table}")) for table in ("task_holds", "task_timers")] == [1, 1]
    query = "query ($id: ID!) { task(id: $id) { ... on WorkTask { activeHold { id endsAt } holds { id } } } }"
    assert (await office.data("ann", query, id=task))["task"] == {"activeHold": hold, "holds": [{"id": hold["id"]}]}
    assert (await office.data("ann", query, id=free))["task"] == {"activeHold": None, "holds": []}


async def test_a_client_can_never_put_a_task_on_hold_by_its_status(office: Office) -> None:
    """The first of the options once thought of: a PATCH with `status: "on_hold"`. There is no such thing to send."""
    task = await office.task("Wait")
    before = await office.desk.stored()
    for mutation, given in (
        ("updateTask", {"taskId": task, "status": "ON_HOLD"}),
        (
            "updateTask",
            {"taskId": task, "status": "ON_HOLD", "onHoldDuration": 14, "instructions": "Until they reply."},
        ),
        ("startTask", {"taskId": task, "status": "ON_HOLD"}),
        ("createTask", {"type": "general", "title": "x", "assigneeId": office.id_of("ann"), "status": "ON_HOLD"}),
        ("createTask", {"type": "general", "title": "x", "assigneeId": office.id_of("ann"), "placedOnHoldAt": None}),
    ):
        input_type = mutation[0].upper() + mutation[1:] + "Input!"
        query = f"mutation ($input: {input_type}) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
        body = await office.ask("boss", query, input=given)
        assert {error["extensions"]["code"] for error in body["errors"]} == {"BAD_USER_INPUT"}, given
    by_hand = {"type": "timed_hold", "title": "Hold", "assigneeId": office.id_of("ann"), "parentId": task}
    refused = await office.payload("boss", "createTask", **by_hand)
    assert refused["userErrors"] == [{"code": "BAD_USER_INPUT", "field": ["input", "type"]}]
    assert await office.desk.stored() == before
    assert await status_of(office, task) == "ASSIGNED"


async def test_no_input_of_any_mutation_takes_a_status(office: Office) -> None:
    query = """
        { __schema { mutationType { fields { args { type { ofType { name inputFields { name type { name ofType {
          name ofType { name ofType { name } } } } } } } } } } } }
    """
    fields = (await office.data("boss", query))["__schema"]["mutationType"]["fields"]
    inputs = [argument["type"]["ofType"] for field in fields for argument in field["args"]]
    assert len(inputs) > 20
    assert [
        (each["name"], field["name"]) for each in inputs for field in each["inputFields"] if "TaskStatus" in str(field)
    ] == []
