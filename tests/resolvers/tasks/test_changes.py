"""What the mutations of tasks do, as their payloads and the tasks show it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from db.accounts.rules import Role, Viewer
from tests.support.api import Api, id_of
from tests.support.people import now_of
from tests.support.plans import a_world
from tests.support.tasks import Desk

FACTS = "id title status assignedTo { name } parent { title } instructions activeHold { id endReason }"


def task_id(key: UUID) -> str:
    return id_of("WorkTask", key)


def user_id(key: Any) -> str:
    return id_of("User", key.user_id)


async def test_a_task_is_made_with_all_that_was_given(desk: Desk) -> None:
    parent = await desk.create(desk.ann, title="Top")
    hold = await desk.place(parent, 30)
    made = await Api(desk.database, desk.lead).does(
        "createTask",
        {
            "type": "response_window",
            "title": "  Wait for the answer ",
            "assigneeId": user_id(desk.ben),
            "parentId": task_id(parent),
            "instructions": " Call first. ",
            "opensAt": "2026-03-01T09:00:00+01:00",
            "dueAt": "2126-03-01T09:00:00Z",
        },
        "task { title status type { name label } assignedTo { __typename name } assignedBy { __typename name } isRoot"
        " parent { title status activeHold { id } holds { id endReason } } root { title } instructions"
        " notes { text actor { name } } opensAt dueAt closesAt isReady isOverdue timeline { nodes { from to } } }",
    )
    assert made["task"] == {
        "title": "Wait for the answer",
        "status": "ASSIGNED",
        "type": {"name": "response_window", "label": "Response window"},
        "assignedTo": {"__typename": "User", "name": "Ben"},
        "assignedBy": {"__typename": "User", "name": "Lee Lead"},
        "isRoot": False,
        "parent": {
            "title": "Top",
            "status": "ON_HOLD",
            "activeHold": None,
            "holds": [{"id": id_of("TimedHoldTask", hold), "endReason": "CHILD_CREATED"}],
        },
        "root": {"title": "Top"},
        "instructions": ["Call first."],
        "notes": [{"text": "Call first.", "actor": {"name": "Lee Lead"}}],
        "opensAt": "2026-03-01T08:00:00Z",
        "dueAt": "2126-03-01T09:00:00Z",
        "closesAt": None,
        "isReady": True,
        "isOverdue": False,
        "timeline": {"nodes": [{"from": None, "to": "ASSIGNED"}]},
    }


async def test_a_change_leaves_what_is_absent_and_clears_what_is_null(desk: Desk) -> None:
    api, key = Api(desk.database, desk.boss), task_id(await desk.create(desk.ann, title="Old"))
    facts = "task { title opensAt dueAt closesAt instructions status }"
    dates = {"opensAt": "2026-03-01T09:00:00Z", "closesAt": "2026-03-03T09:00:00Z"}
    await api.does("updateTask", {"taskId": key, **dates, "instructions": "One"}, facts)
    changed = await api.does(
        "updateTask", {"taskId": key, "title": "New", "opensAt": None, "instructions": "Two"}, facts
    )
    assert changed["task"] == {
        "title": "New",
        "opensAt": None,
        "dueAt": None,
        "closesAt": "2026-03-03T09:00:00Z",
        "instructions": ["One", "Two"],
        "status": "ASSIGNED",
    }
    before = await desk.stored()
    await api.does("updateTask", {"taskId": key, "title": "New", "instructions": " "}, "task { id }")
    assert await desk.stored() == before


async def test_work_begins_and_ends(desk: Desk) -> None:
    api, key = Api(desk.database, desk.ann), task_id(await desk.create(desk.ann))
    facts = "task { status startedAt closedAt cancelledBy { name } instructions availableActions }"
    started = (await api.does("startTask", {"taskId": key}, facts))["task"]
    assert (started["status"], started["startedAt"] is not None) == ("IN_PROGRESS", True)
    assert started["availableActions"] == ["COMPLETE", "PLACE_HOLD", "ADD_NOTE", "CANCEL"]
    done = (await api.does("completeTask", {"taskId": key, "instructions": "Sent."}, facts))["task"]
    assert (done["status"], done["closedAt"] is not None, done["instructions"]) == ("COMPLETED", True, ["Sent."])
    assert done["availableActions"] == []


async def test_cancelling_takes_what_is_open_below_along(desk: Desk) -> None:
    top = await desk.create(desk.ann, title="Top")
    middle = await desk.create(desk.ben, below=top, title="Middle")
    await desk.create(desk.ann, below=middle, title="Deep")
    held = await desk.create(desk.lead, below=top, title="Held")
    await desk.place(held)
    closed = await desk.create(desk.lead, below=top, type_name="decision", title="Closed")
    await desk.complete(closed)
    cancelled = await Api(desk.database, desk.editor).does(
        "cancelTask",
        {"taskId": task_id(top), "cascade": True, "reason": "Not needed."},
        "cancelledDescendants task { status instructions cancelledBy { name }"
        " children { nodes { title status instructions holds { endReason } } } }",
    )
    assert cancelled["cancelledDescendants"] == 3
    assert cancelled["task"] == {
        "status": "CANCELLED",
        "instructions": ["Not needed."],
        "cancelledBy": {"name": "Ed Editor"},
        "children": {
            "nodes": [
                {"title": "Closed", "status": "COMPLETED", "instructions": [], "holds": []},
                {
                    "title": "Held",
                    "status": "CANCELLED",
                    "instructions": ["Not needed."],
                    "holds": [{"endReason": "TASK_CLOSED"}],
                },
                {"title": "Middle", "status": "CANCELLED", "instructions": ["Not needed."], "holds": []},
            ]
        },
    }


async def test_a_teams_task_goes_to_a_person_and_its_hold_by_its_type(desk: Desk) -> None:
    api = Api(desk.database, desk.lead)
    facts = f"task {{ {FACTS} }} child {{ {FACTS} }}"
    for type_name, goes_along in (("general", False), ("response_window", True)):
        key = await desk.create(desk.team, type_name=type_name, title="Call", instructions="By noon")
        hold = id_of("TimedHoldTask", await desk.place(key, 45))
        given = {"taskId": task_id(key), "assigneeId": user_id(desk.ann), "instructions": "Yours"}
        made = await api.does("assignTask", given, facts)
        open_hold = {"id": hold, "endReason": None}
        assert made["task"] == {
            "id": task_id(key),
            "title": "Call",
            "status": "ON_HOLD",
            "assignedTo": {"name": "Intake"},
            "parent": None,
            "instructions": ["By noon"],
            "activeHold": None,
        }
        child = made["child"]
        assert child.pop("id") != task_id(key)
        assert child == {
            "title": "Call",
            "status": "ON_HOLD" if goes_along else "ASSIGNED",
            "assignedTo": {"name": "Ann"},
            "parent": {"title": "Call"},
            "instructions": ["Yours"],
            "activeHold": open_hold if goes_along else None,
        }


async def test_a_task_goes_to_somebody_else_with_its_hold(desk: Desk) -> None:
    key = await desk.create(desk.ann, title="Call", instructions="By noon")
    hold = id_of("TimedHoldTask", await desk.place(key, 45))
    made = await Api(desk.database, desk.lead).does(
        "reassignTask",
        {"taskId": task_id(key), "assigneeId": user_id(desk.ben), "instructions": "Ann is ill."},
        f"task {{ {FACTS} }} replaced {{ id status timeline {{ nodes {{ to reason actor {{ name }} }} }} }}",
    )
    assert made["task"].pop("id") != task_id(key)
    assert made["task"] == {
        "title": "Call",
        "status": "ON_HOLD",
        "assignedTo": {"name": "Ben"},
        "parent": None,
        "instructions": ["By noon", "Ann is ill."],
        "activeHold": {"id": hold, "endReason": None},
    }
    assert made["replaced"]["status"] == "CANCELLED"
    newest = made["replaced"]["timeline"]["nodes"][0]
    assert newest == {"to": "CANCELLED", "reason": "Reassigned.", "actor": {"name": "Lee Lead"}}


HOLD = """
hold {
  id type { name } title status durationDays startsAt endsAt daysElapsed endReason instructions isRoot
  assignedTo { name } assignedBy { name } cancelledBy { name } parent { title status }
  timer { dueAt attempts nextAttemptAt lastError processedAt cancelledAt }
  timeline { nodes { from to reason actor { __typename name } } }
}
"""


async def test_a_hold_is_placed_and_ended(desk: Desk) -> None:
    key, now = await desk.create(desk.ann, title="Call"), await now_of(desk.database)
    api = Api(desk.database, desk.ann)
    placed = {"taskId": task_id(key), "durationDays": 30, "instructions": "Until they answer."}
    answer = await api.does("placeHold", placed, f"{HOLD} task {{ {FACTS} placedOnHoldAt }}")
    hold = answer["hold"]
    assert answer["task"]["activeHold"] == {"id": hold["id"], "endReason": None}
    assert answer["task"]["placedOnHoldAt"] == hold["startsAt"]
    assert answer["task"]["instructions"] == ["Until they answer."]
    (row,) = await desk.rows("SELECT starts_at, ends_at FROM task_holds")
    assert now <= row.starts_at <= now + timedelta(minutes=1)
    assert row.ends_at == row.starts_at + timedelta(hours=30 * 24)
    ends_at = row.ends_at.isoformat().replace("+00:00", "Z")
    open_ = {
        "type": {"name": "timed_hold"},
        "title": "Timed hold",
        "status": "ASSIGNED",
        "durationDays": 30,
        "endsAt": ends_at,
        "daysElapsed": 0,
        "endReason": None,
        "instructions": ["Until they answer."],
        "isRoot": False,
        "assignedTo": {"name": "Ann"},
        "assignedBy": {"name": "Ann"},
        "cancelledBy": None,
        "parent": {"title": "Call", "status": "ON_HOLD"},
        "timer": {
            "dueAt": ends_at,
            "attempts": 0,
            "nextAttemptAt": None,
            "lastError": None,
            "processedAt": None,
            "cancelledAt": None,
        },
        "timeline": {
            "nodes": [{"from": None, "to": "ASSIGNED", "reason": None, "actor": {"__typename": "User", "name": "Ann"}}]
        },
    }
    assert {name: value for name, value in hold.items() if name not in {"id", "startsAt"}} == open_

    desk.later(days=2, hours=5)
    ended = await api.does("endHold", {"taskId": task_id(key), "reason": "They called."}, f"{HOLD} task {{ status }}")
    assert ended["task"] == {"status": "ASSIGNED"}
    over = ended["hold"]
    facts = (over["id"], over["status"], over["endReason"], over["daysElapsed"], over["cancelledBy"])
    assert facts == (hold["id"], "CANCELLED", "ENDED_EARLY", 2, {"name": "Ann"})
    assert over["timer"]["cancelledAt"] is not None
    assert over["timeline"]["nodes"][0] == {
        "from": "ASSIGNED",
        "to": "CANCELLED",
        "reason": "They called.",
        "actor": {"__typename": "User", "name": "Ann"},
    }


async def test_a_plans_task_is_held_like_any_other_and_its_plan_counts_that(desk: Desk) -> None:
    world = await a_world(desk.database, learners=3)
    plan_id = await world.published()
    desk.later(days=1, hours=1)
    (first, *_) = await world.live_tasks(plan_id)
    teacher = Api(desk.database, world.teacher)
    learner = Api(desk.database, Viewer(first.assignee_user_id, "Lea", frozenset({Role.MEMBER})))
    asked = {"taskId": task_id(first.id), "durationDays": 14, "instructions": "On a trip."}
    held = await teacher.does(
        "placeHold", asked, "task { status isReady availableActions steps { id } plan { title } } hold { id }"
    )
    assert (held["task"]["status"], held["task"]["isReady"]) == ("ON_HOLD", False)
    assert held["task"]["availableActions"] == ["END_HOLD", "ADD_NOTE", "CANCEL"]
    step = held["task"]["steps"][0]["id"]
    assert await learner.refused("completeStep", {"stepId": step}) == [("TASK_ON_HOLD", "input.stepId")]
    counted = """
        query ($id: ID!) {
          plan(id: $id) {
            held: tasks(statuses: [ON_HOLD]) { totalCount }
            free: tasks(statuses: [ASSIGNED]) { totalCount }
            stats { learners assigned notStarted onHold }
          }
        }
    """
    plan = (await teacher.data(counted, id=id_of("TaskPlan", plan_id)))["plan"]
    assert (plan["held"], plan["free"]) == ({"totalCount": 1}, {"totalCount": 2})
    assert (plan["stats"]["learners"], plan["stats"]["onHold"]) == (3, 1)
    ended = await learner.does("endHold", {"taskId": task_id(first.id)}, "task { status isReady }")
    assert ended["task"] == {"status": "ASSIGNED", "isReady": True}
    assert (await learner.does("completeStep", {"stepId": step}, "task { status }"))["task"] == {
        "status": "IN_PROGRESS"
    }


async def test_a_type_is_made_and_changed(desk: Desk) -> None:
    api = Api(desk.database, desk.boss)
    facts = "created taskType { name label hold { minDays maxDays presets onExpiry onAssign noteRequired } }"
    visit = {"name": "visit", "label": "Visit", "hold": {"minDays": 2, "maxDays": 9, "presets": [3, 7]}}
    made = await api.does("upsertTaskType", visit, facts)
    policy = {
        "minDays": 2,
        "maxDays": 9,
        "presets": [3, 7],
        "onExpiry": "RESUME",
        "onAssign": "CANCEL",
        "noteRequired": False,
    }
    assert made == {
        "created": True,
        "taskType": {"name": "visit", "label": "Visit", "hold": policy},
        "userErrors": [],
    }
    key = task_id(await desk.create(desk.ann, type_name="visit"))
    await api.does("placeHold", {"taskId": key, "durationDays": 9}, "hold { id }")
    changed = await api.does("upsertTaskType", {"name": "visit", "label": "Home visit"}, facts)
    assert (changed["created"], changed["taskType"]) == (False, {"name": "visit", "label": "Home visit", "hold": None})
    # The hold that is open stays, and can still be ended; no other can be placed.
    assert await api.refused("placeHold", {"taskId": key, "durationDays": 5}) == [("HOLD_NOT_ALLOWED", "input.taskId")]
    await api.does("endHold", {"taskId": key}, "task { status }")


async def test_a_request_that_is_sent_twice_takes_effect_once(desk: Desk) -> None:
    api, key = Api(desk.database, desk.ann), await desk.create(desk.ann)
    for mutation, more, shown in (
        ("placeHold", {"durationDays": 30}, "hold { id } task { status }"),
        ("cancelTask", {"cascade": True}, "cancelledDescendants task { status }"),
    ):
        asked = {"taskId": task_id(key), "idempotencyKey": mutation, **more}
        first = await api.does(mutation, asked, shown)
        before = await desk.stored()
        assert await api.does(mutation, asked, shown) == first
        assert await desk.stored() == before
        assert await api.refused(mutation, {**asked, "taskId": task_id(await desk.create(desk.ann))}) == [
            ("IDEMPOTENCY_KEY_REUSED", "input.idempotencyKey")
        ]
    again = {"name": "visit", "label": "Visit", "idempotencyKey": "type"}
    for _ in range(2):
        made = await Api(desk.database, desk.boss).does("upsertTaskType", again, "created taskType { label }")
        assert made == {"created": True, "taskType": {"label": "Visit"}, "userErrors": []}
