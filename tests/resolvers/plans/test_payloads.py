"""What the mutations of plans answer, and what learners see of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from tests.support.api import Api, id_of
from tests.support.drain import drain
from tests.support.people import person
from tests.support.plans import World, another_class

DAY = timedelta(days=1)
TASKS = "{ viewer { tasks { nodes { id title isWithdrawn isReady availableActions plan { state } steps { id } } } } }"


def learner_of(world: World, number: int = 0) -> Api:
    return Api(world.database, Viewer(world.learners[number], "Learner", frozenset({Role.MEMBER})))


async def test_a_withdrawn_plan_is_seen_as_such_and_its_steps_cannot_be_completed(world: World, teacher: Api) -> None:
    plan_id = await world.published()
    world.database.clock.shift += 1.5 * DAY
    learner = learner_of(world)
    given = {"planId": id_of("TaskPlan", plan_id), "reason": "Wrong week"}
    done = await teacher.does("withdrawPlan", given, "plan { state withdrawnAt availableActions } cancelledJob { id }")
    assert done["plan"]["state"] == "WITHDRAWN"
    assert done["plan"]["withdrawnAt"] is not None
    assert done["plan"]["availableActions"] == ["RESTORE"]
    assert done["cancelledJob"] is None
    (task,) = (await learner.data(TASKS))["viewer"]["tasks"]["nodes"]
    assert (task["title"], task["isWithdrawn"], task["isReady"]) == ("Read about forces", True, False)
    assert task["plan"] == {"state": "WITHDRAWN"}
    refused = await learner.refused("completeStep", {"stepId": task["steps"][0]["id"]})
    assert [code for code, _ in refused] == ["TASK_NOT_OPEN"]
    back = await teacher.does("restorePlan", {"planId": id_of("TaskPlan", plan_id)}, "plan { state } job { status }")
    assert (back["plan"]["state"], back["job"]["status"]) == ("PUBLISHING", "QUEUED")
    (task,) = (await learner.data(TASKS))["viewer"]["tasks"]["nodes"]
    assert (task["isWithdrawn"], task["isReady"]) == (False, True)


async def test_a_publication_under_way_is_named_by_what_cancelled_it(world: World, teacher: Api) -> None:
    saved = await world.create(publish=True)
    given = {"planId": id_of("TaskPlan", saved.plan_id), "reason": "Wrong week", "idempotencyKey": "k"}
    selection = "plan { state } cancelledJob { id status }"
    job = {"id": id_of("Job", saved.job_id or UUID(int=0)), "status": "CANCELLED"}
    for _ in range(2):
        done = await teacher.does("withdrawPlan", given, selection)
        assert (done["plan"]["state"], done["cancelledJob"]) == ("WITHDRAWN", job)


@pytest.mark.parametrize(
    "mutation", ["updatePlan", "publishPlan", "extendPlan", "withdrawPlan", "restorePlan", "deletePlan"]
)
async def test_who_has_not_seen_the_newest_revision_changes_nothing(world: World, teacher: Api, mutation: str) -> None:
    plan_id = (await world.create()).plan_id if mutation == "deletePlan" else await world.published()
    if mutation == "restorePlan":
        await world.withdraw(plan_id)
    before = await world.plan(plan_id)
    given: dict[str, Any] = {"planId": id_of("TaskPlan", plan_id), "expectedRevision": before.revision - 1}
    if mutation == "extendPlan":
        given |= {"targetId": id_of("CourseClass", world.class_id), "closesAt": "2100-01-01T00:00:00Z"}
    assert await teacher.refused(mutation, given) == [("CONFLICT", "input.expectedRevision")]
    assert await world.plan(plan_id) == before
    await teacher.does(mutation, {**given, "expectedRevision": before.revision}, "userErrors { code }")
    assert await world.rows("SELECT revision FROM plans WHERE id = :id", id=plan_id) != [(before.revision,)]


@pytest.mark.parametrize("course", [id_of("Course", UUID(int=7)), "nonsense"])
async def test_a_plan_of_no_course_is_told_what_else_is_wrong(world: World, teacher: Api, course: str) -> None:
    dates = {"opensAt": "2030-01-02T00:00:00Z", "dueAt": "2030-01-01T00:00:00Z", "closesAt": "2030-01-03T00:00:00Z"}
    target = {"targetId": id_of("CourseClass", world.class_id), **dates}
    given = {"courseId": course, "type": "READING", "title": " ", "settings": {}, "taskingPlans": [target]}
    assert await teacher.refused("createPlan", given) == [
        ("NOT_FOUND", "input.courseId"),
        ("BAD_USER_INPUT", "input.title"),
        ("DATES_OUT_OF_ORDER", "input.taskingPlans.0.dueAt"),
    ]


async def test_a_deleted_draft_is_named_and_gone(world: World, teacher: Api) -> None:
    plan_id = id_of("TaskPlan", (await world.create()).plan_id)
    assert (await teacher.does("deletePlan", {"planId": plan_id}, "deletedPlanId"))["deletedPlanId"] == plan_id
    assert await teacher.data("query ($id: ID!) { plan(id: $id) { id } node(id: $id) { id } }", id=plan_id) == {
        "plan": None,
        "node": None,
    }
    assert await teacher.refused("deletePlan", {"planId": plan_id}) == [("NOT_FOUND", "input.planId")]


async def test_more_time_is_shown_where_it_was_given_and_in_the_record(world: World, teacher: Api) -> None:
    plan_id = await world.published()
    world.database.clock.shift += 1.5 * DAY
    own = world.learners[0]
    (before, *_) = [task for task in await world.live_tasks(plan_id) if task.assignee_user_id == own]
    closes = before.closes_at + DAY
    given = {"planId": id_of("TaskPlan", plan_id), "targetId": id_of("User", own), "closesAt": closes.isoformat()}
    done = await teacher.does(
        "extendPlan", given, "plan { state } taskingPlan { targetName closesAt } job { kind status }"
    )
    shown = closes.isoformat().replace("+00:00", "Z")
    assert done["plan"] == {"state": "PUBLISHING"}
    assert done["taskingPlan"] == {"targetName": "First learner 000001", "closesAt": shown}
    assert done["job"] == {"kind": "plan.publish", "status": "QUEUED"}
    query = """
        query ($id: ID!) { plan(id: $id) { extensions { nodes {
            targetName target { ... on User { name } } by { name } closesBefore closesAt dueBefore dueAt
        } totalCount } } }
    """
    (record,) = (await teacher.data(query, id=given["planId"]))["plan"]["extensions"]["nodes"]
    assert (record["targetName"], record["target"], record["by"]) == (
        "First learner 000001",
        {"name": "First learner 000001"},
        {"name": "Ada Teacher"},
    )
    assert (record["closesAt"], record["dueBefore"]) == (shown, record["dueAt"])
    assert await teacher.refused("extendPlan", {**given, "targetId": "nonsense"}) == [("NOT_FOUND", "input.targetId")]


async def test_the_jobs_of_a_plan_are_for_those_who_teach_it(world: World) -> None:
    await another_class(world, learners=0)
    class_teacher, stranger = await person(world.database), await person(world.database)
    async with world.database.transaction() as tx:
        given = text("UPDATE classes SET teacher_id = :id WHERE name = 'Second'")
        await tx.execute(given, {"id": class_teacher.user_id})
    plan_id = await world.published()
    await world.enroll(*await world.newcomers(1))
    await drain(world.database)
    world.database.clock.shift += 1.5 * DAY
    query = "query ($id: ID!) { plan(id: $id) { publications { nodes { kind status } } } jobs { nodes { kind } } }"

    async def seen(viewer: Viewer) -> Any:
        return await Api(world.database, viewer).data(query, id=id_of("TaskPlan", plan_id))

    published = {"publications": {"nodes": [{"kind": "plan.publish", "status": "COMPLETED"}]}}
    assert (await seen(world.teacher))["plan"] == published
    assert (await seen(class_teacher))["plan"] == published
    assert {job["kind"] for job in (await seen(class_teacher))["jobs"]["nodes"]} == {"plan.publish"}
    assert {job["kind"] for job in (await seen(world.teacher))["jobs"]["nodes"]} == {
        "plan.publish",
        "class.members_added",
        "plan.enroll",
    }
    learner = await learner_of(world).data(query, id=id_of("TaskPlan", plan_id))
    assert learner == {"plan": {"publications": None}, "jobs": {"nodes": []}}
    assert await seen(stranger) == {"plan": None, "jobs": {"nodes": []}}
