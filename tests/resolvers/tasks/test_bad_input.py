"""What the mutations of tasks refuse: a code, a path, nothing changed; each field, each state."""

from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import pytest

from resolvers.ids import encode_id
from tests.support.api import Api, id_of
from tests.support.tasks import Desk

Input: TypeAlias = dict[str, Any]
Case: TypeAlias = tuple[Input, list[tuple[str, str]]]
EARLIER, LATER = "2026-03-01T09:00:00Z", "2026-03-02T09:00:00Z"


def task_id(key: UUID) -> str:
    return id_of("WorkTask", key)


async def all_refused(desk: Desk, mutation: str, *cases: Case) -> None:
    """Each is refused in just this way, and nothing is changed by any of them."""
    api, before = Api(desk.database, desk.boss), await desk.stored()
    for asked, reasons in cases:
        assert await api.refused(mutation, asked) == reasons, asked
        assert await desk.stored() == before, asked


# What each mutation that takes a task takes besides.
WITH_TASK: dict[str, Input] = {
    "startTask": {},
    "completeTask": {},
    "cancelTask": {},
    "updateTask": {"title": "Other"},
    "placeHold": {"durationDays": 30},
    "endHold": {},
    "assignTask": {"assigneeId": "?"},
    "reassignTask": {"assigneeId": "?"},
}


@pytest.mark.parametrize("mutation", WITH_TASK)
async def test_an_id_must_be_a_tasks(desk: Desk, mutation: str) -> None:
    rest = {**WITH_TASK[mutation]}
    if "assigneeId" in rest:
        rest["assigneeId"] = id_of("User", desk.ben.user_id)
    key = await desk.create(desk.team)
    hold = await desk.place(key)
    not_found = [("NOT_FOUND", "input.taskId")]
    cases: list[Case] = [
        ({"taskId": wrong, **rest}, not_found)
        for wrong in ("", "nonsense", task_id(uuid4()), id_of("TimedHoldTask", uuid4()), id_of("Team", desk.team))
    ]
    is_a_hold = [("BAD_USER_INPUT", "input.taskId")]
    cases += [({"taskId": id_of(name, hold), **rest}, is_a_hold) for name in ("TimedHoldTask", "WorkTask")]
    await all_refused(desk, mutation, *cases)


@pytest.mark.parametrize("mutation", WITH_TASK)
async def test_a_closed_task_stays_as_it_is(desk: Desk, mutation: str) -> None:
    rest = {**WITH_TASK[mutation]}
    if "assigneeId" in rest:
        rest["assigneeId"] = id_of("User", desk.ben.user_id)
    done, cancelled = await desk.create(desk.team), await desk.create(desk.team)
    await desk.complete(done)
    await desk.cancel(cancelled)
    cases: list[Case] = [
        ({"taskId": task_id(key), **rest}, [("TASK_CLOSED", "input.taskId")]) for key in (done, cancelled)
    ]
    await all_refused(desk, mutation, *cases)


async def test_a_hold_lasts_as_long_as_the_type_of_the_task_allows(desk: Desk) -> None:
    general, window = await desk.create(desk.ann), await desk.create(desk.ann, type_name="response_window")
    decision = await desk.create(desk.ann, type_name="decision")
    out = [("HOLD_DURATION_OUT_OF_RANGE", "input.durationDays")]
    await all_refused(
        desk,
        "placeHold",
        *[({"taskId": task_id(general), "durationDays": days}, out) for days in (0, -1, 121, 2**31 - 1, -(2**31))],
        *[({"taskId": task_id(window), "durationDays": days}, out) for days in (44, 365)],
        ({"taskId": task_id(decision), "durationDays": 30}, [("HOLD_NOT_ALLOWED", "input.taskId")]),
    )
    body = await Api(desk.database, desk.ann).data(
        "mutation ($input: PlaceHoldInput!) { placeHold(input: $input)"
        " { task { id } hold { id } userErrors { message details } } }",
        input={"taskId": task_id(window), "durationDays": 30},
    )
    message = "A hold on a task of the type “Response window” lasts 45 to 364 days, not 30."
    errors = [{"message": message, "details": {"min": 45, "max": 364}}]
    assert body["placeHold"] == {"task": None, "hold": None, "userErrors": errors}


async def test_a_type_that_wants_a_reason_gets_one(desk: Desk) -> None:
    await Api(desk.database, desk.boss).does(
        "upsertTaskType",
        {"name": "visit", "label": "Visit", "hold": {"minDays": 2, "maxDays": 9, "noteRequired": True}},
        "created",
    )
    key = task_id(await desk.create(desk.ann, type_name="visit"))
    missing = ("BAD_USER_INPUT", "input.instructions")
    await all_refused(
        desk,
        "placeHold",
        ({"taskId": key, "durationDays": 5}, [missing]),
        ({"taskId": key, "durationDays": 5, "instructions": " \n "}, [missing]),
        ({"taskId": key, "durationDays": 1}, [("HOLD_DURATION_OUT_OF_RANGE", "input.durationDays"), missing]),
        ({"taskId": key, "durationDays": 5, "instructions": "x" * 10_001}, [missing]),
    )


async def test_there_must_be_a_hold_to_end(desk: Desk) -> None:
    free, waiting = await desk.create(desk.ann), await desk.create(desk.ann)
    await desk.create(desk.ben, below=waiting)
    none = [("NO_ACTIVE_HOLD", "input.taskId")]
    await all_refused(desk, "endHold", *[({"taskId": task_id(key)}, none) for key in (free, waiting)])


async def test_what_a_status_does_not_allow(desk: Desk) -> None:
    started, held, waiting = [await desk.create(desk.ann) for _ in range(3)]
    await desk.start(started)
    await desk.place(held)
    await desk.create(desk.ben, below=waiting)
    on_hold = [("TASK_ON_HOLD", "input.taskId")]
    await all_refused(
        desk,
        "startTask",
        ({"taskId": task_id(started)}, [("INVALID_TRANSITION", "input.taskId")]),
        ({"taskId": task_id(held)}, on_hold),
        ({"taskId": task_id(waiting)}, on_hold),
    )
    open_children = [("OPEN_CHILDREN", "input.taskId")]
    for mutation in ("completeTask", "cancelTask"):
        await all_refused(desk, mutation, ({"taskId": task_id(waiting)}, open_children))


async def test_a_task_is_made_of_good_values(desk: Desk) -> None:
    parent, closed = await desk.create(desk.ann), await desk.create(desk.ann)
    hold = await desk.place(parent)
    await desk.create(desk.ben, below=await desk.create(desk.lead, below=closed))
    await desk.cancel(closed, cascade=True)
    await desk.rows_of("UPDATE users SET is_active = false WHERE id = :id", id=desk.stranger.user_id)
    whose = {"assigneeId": id_of("User", desk.ben.user_id)}
    good = {"type": "general", "title": "New", **whose}
    bad, invalid = "BAD_USER_INPUT", "INVALID_PARENT"
    unknown = [("NOT_FOUND", "input.assigneeId")]
    await all_refused(
        desk,
        "createTask",
        ({**good, "type": "timed_hold"}, [(bad, "input.type")]),
        ({**good, "type": "nothing"}, [(bad, "input.type")]),
        ({**good, "title": "  "}, [(bad, "input.title")]),
        ({**good, "title": "x" * 256}, [(bad, "input.title")]),
        ({**good, "title": "a\x00b"}, [(bad, "input.title")]),
        ({**good, "type": "?", "title": ""}, [(bad, "input.type"), (bad, "input.title")]),
        ({**good, "opensAt": LATER, "dueAt": EARLIER}, [("DATES_OUT_OF_ORDER", "input.dueAt")]),
        ({**good, "opensAt": LATER, "closesAt": EARLIER}, [("DATES_OUT_OF_ORDER", "input.closesAt")]),
        ({**good, "assigneeId": "nonsense"}, unknown),
        ({**good, "assigneeId": id_of("User", uuid4())}, unknown),
        ({**good, "assigneeId": id_of("Team", desk.ben.user_id)}, unknown),
        ({**good, "assigneeId": id_of("User", desk.stranger.user_id)}, [("ASSIGNEE_INACTIVE", "input.assigneeId")]),
        ({**good, "parentId": "nonsense"}, [("NOT_FOUND", "input.parentId")]),
        ({**good, "parentId": id_of("TimedHoldTask", hold)}, [(invalid, "input.parentId")]),
        ({**good, "parentId": task_id(closed)}, [("TASK_CLOSED", "input.parentId")]),
        ({**good, "instructions": "x" * 10_001}, [(bad, "input.instructions")]),
    )


LONG = "x" * 10_001


async def test_everything_that_is_wrong_with_a_new_task_is_said_at_once(desk: Desk) -> None:
    parent, closed = await desk.create(desk.team), await desk.create(desk.ann)
    hold = await desk.place(parent)
    await desk.complete(closed)
    bad, order = "BAD_USER_INPUT", "DATES_OUT_OF_ORDER"
    wrong = {"type": "nope", "title": " ", "opensAt": LATER, "dueAt": EARLIER, "instructions": LONG}
    values = [(bad, "input.type"), (bad, "input.title"), (order, "input.dueAt"), (bad, "input.instructions")]
    nobody, ben = ("NOT_FOUND", "input.assigneeId"), id_of("User", desk.ben.user_id)
    cases: list[Case] = [
        ({**wrong, "assigneeId": "zz"}, [nobody, *values]),
        ({**wrong, "assigneeId": "zz", "parentId": "zz"}, [("NOT_FOUND", "input.parentId"), nobody, *values]),
        ({**wrong, "assigneeId": ben, "parentId": task_id(uuid4())}, [("NOT_FOUND", "input.parentId"), *values]),
        ({**wrong, "assigneeId": ben, "parentId": task_id(hold)}, [("INVALID_PARENT", "input.parentId"), *values]),
        ({**wrong, "assigneeId": ben, "parentId": task_id(closed)}, [("TASK_CLOSED", "input.parentId"), *values]),
    ]
    await all_refused(desk, "createTask", *cases)
    # Rights come first, and alone: whoever may give tasks to nobody learns nothing of anybody.
    unseen = await desk.create(desk.stranger)
    before = await desk.stored()
    for asked, reason in (
        ({"assigneeId": "zz"}, ("FORBIDDEN", "input.assigneeId")),
        ({"assigneeId": ben, "parentId": task_id(parent)}, ("FORBIDDEN", "input.parentId")),
        ({"assigneeId": "zz", "parentId": task_id(unseen)}, ("NOT_FOUND", "input.parentId")),
        ({"assigneeId": "zz", "parentId": "zz"}, ("NOT_FOUND", "input.parentId")),
    ):
        assert await Api(desk.database, desk.ann).refused("createTask", {**wrong, **asked}) == [reason], asked
    lead = Api(desk.database, desk.lead)
    asked = {**wrong, "assigneeId": ben, "parentId": task_id(unseen)}
    assert await lead.refused("createTask", asked) == [("NOT_FOUND", "input.parentId"), *values]
    outside = {**asked, "assigneeId": id_of("User", desk.stranger.user_id)}
    assert await lead.refused("createTask", outside) == [("NOT_FOUND", "input.parentId")]
    assert await desk.stored() == before


async def test_everything_that_is_wrong_with_a_change_of_a_task_is_said_at_once(desk: Desk) -> None:
    own, team, done = await desk.create(desk.ann), await desk.create(desk.team), await desk.create(desk.team)
    held, busy = await desk.create(desk.ann), await desk.create(desk.ann)
    decision = await desk.create(desk.ann, type_name="decision")
    await desk.complete(done)
    await desk.place(held)
    await desk.create(desk.ben, below=busy)
    bad, note = "BAD_USER_INPUT", ("BAD_USER_INPUT", "input.instructions")
    closed, reason = ("TASK_CLOSED", "input.taskId"), ("BAD_USER_INPUT", "input.reason")
    nobody, ann = ("NOT_FOUND", "input.assigneeId"), id_of("User", desk.ann.user_id)
    told = {"taskId": task_id(done), "instructions": LONG}
    values: Input = {"title": " ", "opensAt": LATER, "dueAt": EARLIER}
    wrong = [(bad, "input.title"), ("DATES_OUT_OF_ORDER", "input.dueAt"), note]
    days = ("HOLD_DURATION_OUT_OF_RANGE", "input.durationDays")
    cases: dict[str, list[Case]] = {
        "updateTask": [
            ({**told, **values}, [closed, *wrong]),
            ({**told, **values, "taskId": task_id(own)}, wrong),
            ({**told, **values, "taskId": "zz"}, [("NOT_FOUND", "input.taskId")]),
        ],
        "placeHold": [
            ({**told, "durationDays": 0}, [closed, days, note]),
            ({**told, "durationDays": 0, "taskId": task_id(own)}, [days, note]),
            ({**told, "durationDays": 0, "taskId": task_id(decision)}, [("HOLD_NOT_ALLOWED", "input.taskId"), note]),
        ],
        "endHold": [
            ({"taskId": task_id(own), "reason": LONG}, [("NO_ACTIVE_HOLD", "input.taskId"), reason]),
            ({"taskId": task_id(held), "reason": LONG}, [reason]),
        ],
        "completeTask": [(told, [closed, note]), ({**told, "taskId": task_id(own)}, [note])],
        "cancelTask": [
            ({"taskId": task_id(busy), "reason": LONG}, [("OPEN_CHILDREN", "input.taskId"), reason]),
            ({"taskId": task_id(busy), "reason": LONG, "cascade": True}, [reason]),
        ],
        "assignTask": [
            ({**told, "assigneeId": "zz"}, [closed, nobody, note]),
            ({**told, "taskId": task_id(own), "assigneeId": "zz"}, [(bad, "input.taskId"), nobody, note]),
            ({**told, "taskId": task_id(team), "assigneeId": id_of("Team", desk.team)}, [
                (bad, "input.assigneeId"), note,
            ]),
        ],
        "reassignTask": [
            ({**told, "assigneeId": "zz"}, [closed, nobody, note]),
            ({**told, "taskId": task_id(own), "assigneeId": ann}, [("DUPLICATE_TASK", "input.assigneeId"), note]),
        ],
    }  # fmt: skip
    for mutation, each in cases.items():
        await all_refused(desk, mutation, *each)
    # What is not theirs to change is told field by field, and alone.
    before = await desk.stored()
    asked = {**told, **values, "taskId": task_id(own)}
    forbidden = [("FORBIDDEN", f"input.{name}") for name in ("title", "opensAt", "dueAt")]
    assert await Api(desk.database, desk.ann).refused("updateTask", asked) == forbidden
    assert await desk.stored() == before


async def test_a_step_of_a_task_that_is_not_theirs_is_not_there(desk: Desk) -> None:
    key = await desk.create(desk.ann)
    query = "mutation ($id: ID!) { completeStep(input: { stepId: $id }) { userErrors { code field message } } }"
    expected = {"code": "NOT_FOUND", "field": ["input", "stepId"], "message": "There is no such step."}
    hold = await desk.place(key)
    before = await desk.stored()
    for viewer, task in ((desk.stranger, key), (desk.boss, key), (desk.boss, hold), (desk.boss, uuid4())):
        body = await Api(desk.database, viewer).data(query, id=encode_id("TaskStep", f"{task}.{uuid4()}"))
        assert body["completeStep"]["userErrors"] == [expected]
    assert await desk.stored() == before


async def test_nobody_gets_the_same_task_twice(desk: Desk) -> None:
    team_task, parent = await desk.create(desk.team), await desk.create(desk.team)
    await desk.assign(team_task, desk.ann)
    first = await desk.create(desk.ann, below=parent)
    await desk.create(desk.ben, below=parent)
    twice = [("DUPLICATE_TASK", "input.assigneeId")]
    ann, ben = id_of("User", desk.ann.user_id), id_of("User", desk.ben.user_id)
    await all_refused(desk, "assignTask", ({"taskId": task_id(team_task), "assigneeId": ann}, twice))
    same = {"type": "general", "title": "Again", "assigneeId": ann, "parentId": task_id(parent)}
    await all_refused(desk, "createTask", (same, twice))
    await all_refused(
        desk,
        "reassignTask",
        ({"taskId": task_id(first), "assigneeId": ben}, twice),
        ({"taskId": task_id(first), "assigneeId": ann}, twice),
    )


async def test_only_a_teams_task_is_assigned_and_only_to_a_person(desk: Desk) -> None:
    own, team_task = await desk.create(desk.ann), await desk.create(desk.team)
    ben, team = id_of("User", desk.ben.user_id), id_of("Team", desk.other_team)
    await all_refused(
        desk,
        "assignTask",
        ({"taskId": task_id(own), "assigneeId": ben}, [("BAD_USER_INPUT", "input.taskId")]),
        ({"taskId": task_id(team_task), "assigneeId": team}, [("BAD_USER_INPUT", "input.assigneeId")]),
    )


async def test_a_change_of_a_task_is_one_of_good_values(desk: Desk) -> None:
    key = task_id(await desk.create(desk.ann))
    await Api(desk.database, desk.boss).does("updateTask", {"taskId": key, "dueAt": EARLIER}, "task { dueAt }")
    bad = "BAD_USER_INPUT"
    await all_refused(
        desk,
        "updateTask",
        ({"taskId": key, "title": None}, [(bad, "input.title")]),
        ({"taskId": key, "title": ""}, [(bad, "input.title")]),
        ({"taskId": key, "opensAt": LATER}, [("DATES_OUT_OF_ORDER", "input.dueAt")]),
        ({"taskId": key, "title": " ", "closesAt": "2026-01-01T00:00:00Z"}, [
            (bad, "input.title"), ("DATES_OUT_OF_ORDER", "input.closesAt"),
        ]),
    )  # fmt: skip


async def test_a_type_of_task_is_made_of_good_values(desk: Desk) -> None:
    good = {"name": "visit", "label": "Visit"}
    bad = "BAD_USER_INPUT"

    def policy(**more: Any) -> Input:
        return {**good, "hold": {"minDays": 2, "maxDays": 9, **more}}

    await all_refused(
        desk,
        "upsertTaskType",
        ({**good, "name": "No Word"}, [(bad, "input.name")]),
        ({**good, "name": ""}, [(bad, "input.name")]),
        ({**good, "label": " "}, [(bad, "input.label")]),
        (policy(minDays=0), [(bad, "input.hold.minDays")]),
        (policy(maxDays=1), [(bad, "input.hold.maxDays")]),
        (policy(maxDays=4_000), [(bad, "input.hold.maxDays")]),
        (policy(presets=[2, 10, 2]), [(bad, "input.hold.presets.1"), (bad, "input.hold.presets.2")]),
        ({**policy(), "name": "timed_hold"}, [(bad, "input.hold")]),
        ({**policy(minDays=-5), "name": "?", "label": ""}, [
            (bad, "input.label"), (bad, "input.name"), (bad, "input.hold.minDays"),
        ]),
    )  # fmt: skip


SYNTAX: list[tuple[str, Callable[[str], Input]]] = [
    ("updateTask", lambda id_: {"taskId": id_, "status": "ON_HOLD"}),
    ("createTask", lambda id_: {"type": "general", "title": "x", "assigneeId": id_, "status": "ON_HOLD"}),
    ("placeHold", lambda id_: {"taskId": id_, "durationDays": 1.5}),
    ("placeHold", lambda id_: {"taskId": id_, "durationDays": 2**31}),
    ("placeHold", lambda id_: {"taskId": id_}),
    ("updateTask", lambda id_: {"taskId": id_, "dueAt": "2026-03-01T09:00:00"}),
    ("cancelTask", lambda id_: {"taskId": id_, "cascade": None}),
]


@pytest.mark.parametrize(("mutation", "given"), SYNTAX)
async def test_what_the_schema_does_not_know_never_arrives(
    desk: Desk, mutation: str, given: Callable[[str], Input]
) -> None:
    key = await desk.create(desk.ann)
    before = await desk.stored()
    input_type = mutation[0].upper() + mutation[1:] + "Input!"
    query = f"mutation ($input: {input_type}) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
    body = await Api(desk.database, desk.boss).ask(query, input=given(task_id(key)))
    assert body["data"] is None
    assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_USER_INPUT"]
    assert await desk.stored() == before
