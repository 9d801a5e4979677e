"""A teacher writes a plan, publishes it, and watches every learner get a task."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resolvers.ids import encode_id
from tests.server.support.sockets import socket_to
from tests.server.support.streams import streamed
from tests.stories.conftest import Story
from tests.support.drain import drain

CREATE = """
    mutation Create($input: CreatePlanInput!) {
        createPlan(input: $input) {
            plan { id title state revision publishJob { id status } taskingPlans { targetName target { __typename } } }
            job { id status progress }
            userErrors { code field message }
        }
    }
"""
PUBLISH = """
    mutation Publish($input: PublishPlanInput!) {
        publishPlan(input: $input) {
            plan { state publishLastRequestedAt firstPublishedAt }
            job { id uuid status kind subjectLabel }
            userErrors { code field }
        }
    }
"""
PROGRESS = """
    subscription Progress($jobId: ID!, $after: Int) {
        jobProgress(jobId: $jobId, after: $after) { seq type status progress step done total }
    }
"""
TASKS = "{ viewer { tasks { nodes { title status isReady stepCount steps { title position } } totalCount } } }"


def dates(opens: int, due: int, closes: int) -> dict[str, str]:
    now = datetime.now(UTC)
    names = {"opensAt": opens, "dueAt": due, "closesAt": closes}
    return {name: (now + timedelta(days=days)).isoformat() for name, days in names.items()}


def reading(story: Story, *, publish: bool = False, **changes: Any) -> dict[str, Any]:
    return {
        "courseId": story.course,
        "type": "READING",
        "title": "Read about forces",
        "settings": {"page_ids": [encode_id("CourseItem", page) for page in story.world.pages]},
        "taskingPlans": [{"targetId": story.class_, **dates(1, 2, 3)}],
        "publish": publish,
        **changes,
    }


async def created(story: Story, **changes: Any) -> Any:
    return (await story.teacher.data(CREATE, input=reading(story, **changes)))["createPlan"]


async def stored(story: Story) -> tuple[int, int, int]:
    """How many plans, tasks and jobs there are."""
    (row,) = await story.world.rows(
        "SELECT (SELECT count(*) FROM plans) AS plans, (SELECT count(*) FROM tasks) AS tasks,"
        " (SELECT count(*) FROM jobs) AS jobs"
    )
    return row.plans, row.tasks, row.jobs


async def test_a_draft_is_saved_and_nobody_gets_a_task(story: Story) -> None:
    made = await created(story)
    assert made["userErrors"] == []
    assert made["job"] is None
    assert made["plan"] == {
        "id": made["plan"]["id"],
        "title": "Read about forces",
        "state": "DRAFT",
        "revision": 1,
        "publishJob": None,
        "taskingPlans": [{"targetName": "First", "target": {"__typename": "CourseClass"}}],
    }
    assert await stored(story) == (1, 0, 0)


async def test_publishing_answers_at_once_with_a_queued_job(story: Story) -> None:
    plan = (await created(story))["plan"]
    published = (await story.teacher.data(PUBLISH, input={"planId": plan["id"]}))["publishPlan"]
    assert published["userErrors"] == []
    assert published["plan"]["state"] == "PUBLISHING"
    assert published["plan"]["firstPublishedAt"] is None
    assert published["plan"]["publishLastRequestedAt"].endswith("Z")
    job = published["job"]
    assert (job["status"], job["kind"], job["subjectLabel"]) == ("QUEUED", "plan.publish", "Read about forces")
    assert await stored(story) == (1, 0, 1)


async def test_the_stream_of_its_job_begins_with_a_snapshot_and_ends_when_it_is_done(story: Story) -> None:
    made = await created(story, publish=True)
    accept = "text/event-stream"
    async with streamed(
        story.server, PROGRESS, accept=accept, token=story.teacher.token, jobId=made["job"]["id"], after=0
    ) as stream:
        snapshot = (await stream.event())["data"]["data"]["jobProgress"]
        assert (snapshot["type"], snapshot["seq"], snapshot["status"]) == ("SNAPSHOT", 0, "QUEUED")
        await drain(story.world.database)
        events = []
        while (event := await stream.event())["event"] == "next":
            events.append(event["data"]["data"]["jobProgress"])
        assert event["event"] == "complete"
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["progress"] for event in events] == sorted(event["progress"] for event in events)
    assert (events[-1]["status"], events[-1]["progress"]) == ("COMPLETED", 100)
    assert {event["status"] for event in events[:-1]} == {"QUEUED", "RUNNING"}


async def test_a_reader_who_comes_late_or_again_gets_the_rest_from_where_they_are(story: Story) -> None:
    made = await created(story, publish=True)
    await drain(story.world.database)
    async with socket_to(story.server) as socket:
        await socket.init(story.teacher.token)
        await socket.subscribe("all", PROGRESS, jobId=made["job"]["id"], after=0)
        everything = await _until_complete(socket)
        middle = everything[len(everything) // 2]["seq"]
        await socket.subscribe("rest", PROGRESS, jobId=made["job"]["id"], after=middle)
        rest = await _until_complete(socket)
        await socket.subscribe("now", PROGRESS, jobId=made["job"]["id"])
        now = await _until_complete(socket)
    assert rest[0] | {"type": None, "seq": None} == everything[-1] | {"type": None, "seq": None}
    assert rest[1:] == everything[everything.index(next(e for e in everything[1:] if e["seq"] == middle)) + 1 :]
    assert [(event["type"], event["status"]) for event in now] == [("SNAPSHOT", "COMPLETED")]


async def _until_complete(socket: Any) -> list[Any]:
    events = []
    while (message := await socket.receive())["type"] == "next":
        events.append(message["payload"]["data"]["jobProgress"])
    assert message["type"] == "complete"
    return events


async def test_learners_see_their_task_from_the_moment_that_it_opens(story: Story) -> None:
    await created(story, publish=True)
    await drain(story.world.database)
    learner = await story.front_of(story.world.learners[0])
    assert (await learner.data(TASKS))["viewer"]["tasks"] == {"nodes": [], "totalCount": 0}
    story.server.edge.database.clock.shift = timedelta(days=1, hours=1)
    tasks = (await learner.data(TASKS))["viewer"]["tasks"]
    assert tasks["totalCount"] == 1
    (task,) = tasks["nodes"]
    assert (task["title"], task["status"], task["isReady"]) == ("Read about forces", "ASSIGNED", True)
    assert task["stepCount"] == 10
    assert [step["position"] for step in task["steps"]] == list(range(1, 11))


async def test_a_learner_sees_of_the_plan_what_is_their_own_and_no_job(story: Story) -> None:
    made = await created(story, publish=True)
    await drain(story.world.database)
    story.server.edge.database.clock.shift = timedelta(days=1, hours=1)
    learner = await story.front_of(story.world.learners[0])
    query = "query P($id: ID!) { plan(id: $id) { title publishJob { id } tasks { totalCount } availableActions } }"
    seen = (await learner.data(query, id=made["plan"]["id"]))["plan"]
    assert seen == {
        "title": "Read about forces",
        "publishJob": None,
        "tasks": {"totalCount": 1},
        "availableActions": [],
    }


async def test_a_reload_finds_the_job_at_the_plan(story: Story) -> None:
    made = await created(story, publish=True)
    query = "query P($id: ID!) { plan(id: $id) { publishJob { id status lastSeq } } }"
    found = (await story.teacher.data(query, id=made["plan"]["id"]))["plan"]["publishJob"]
    assert found == {"id": made["job"]["id"], "status": "QUEUED", "lastSeq": 1}


async def test_the_plan_itself_is_watched_from_queued_to_published(story: Story) -> None:
    made = await created(story, publish=True)
    watching = "subscription W($id: ID!) { planChanged(planId: $id) { state publishJob { status } } }"
    async with socket_to(story.server) as socket:
        await socket.init(story.teacher.token)
        await socket.subscribe("plan", watching, id=made["plan"]["id"])
        first = await socket.receive()
        assert first["payload"]["data"]["planChanged"] == {"state": "PUBLISHING", "publishJob": {"status": "QUEUED"}}
        await drain(story.world.database)
        seen: dict[str, Any] = {}
        while seen.get("state") != "PUBLISHED":
            seen = (await socket.receive())["payload"]["data"]["planChanged"]
    assert seen == {"state": "PUBLISHED", "publishJob": {"status": "COMPLETED"}}


async def test_the_same_request_sent_twice_makes_one_plan(story: Story) -> None:
    wanted = reading(story, publish=True, idempotencyKey="a-key")
    first = (await story.teacher.data(CREATE, input=wanted))["createPlan"]
    second = (await story.teacher.data(CREATE, input=wanted))["createPlan"]
    assert (second["plan"]["id"], second["job"]["id"]) == (first["plan"]["id"], first["job"]["id"])
    assert await stored(story) == (1, 0, 1)
    other = (await story.teacher.data(CREATE, input=wanted | {"title": "Other"}))["createPlan"]
    assert [(error["code"], error["field"]) for error in other["userErrors"]] == [
        ("IDEMPOTENCY_KEY_REUSED", ["input", "idempotencyKey"])
    ]
    assert await stored(story) == (1, 0, 1)


# --- what is wrong is told, and nothing is written --------------------------------------------------------------------


async def test_everything_that_is_wrong_with_a_plan_is_told_at_once(story: Story) -> None:
    wrong = reading(
        story,
        title=" ",
        settings={"page_ids": [encode_id("CourseItem", story.world.course_id), "nonsense"], "speed": 1},
        taskingPlans=[
            {"targetId": "nonsense", **dates(1, 2, 3)},
            {"targetId": story.class_, **dates(3, 2, 1)},
        ],
    )
    made = (await story.teacher.data(CREATE, input=wrong))["createPlan"]
    assert made["plan"] is None
    assert made["job"] is None
    assert sorted((error["code"], ".".join(error["field"])) for error in made["userErrors"]) == [
        ("BAD_USER_INPUT", "input.title"),
        ("DATES_OUT_OF_ORDER", "input.taskingPlans.1.closesAt"),
        ("DATES_OUT_OF_ORDER", "input.taskingPlans.1.dueAt"),
        ("INVALID_SETTINGS", "input.settings.page_ids.0"),
        ("INVALID_SETTINGS", "input.settings.page_ids.1"),
        ("INVALID_SETTINGS", "input.settings.speed"),
        ("NOT_FOUND", "input.taskingPlans.0.targetId"),
    ]
    assert await stored(story) == (0, 0, 0)


@pytest.mark.parametrize("at", ["2026-03-01T09:00:00", "2026-03-01", "tomorrow", "2026-13-01T09:00:00Z", 7])
async def test_a_time_that_is_malformed_or_has_no_offset_is_refused(story: Story, at: Any) -> None:
    wanted = reading(story, taskingPlans=[{"targetId": story.class_, **dates(1, 2, 3), "dueAt": at}])
    answer = await story.teacher.ask(CREATE, input=wanted)
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
    assert await stored(story) == (0, 0, 0)


@pytest.mark.parametrize(
    "id_",
    ["", "nonsense", "öäü", encode_id("Course", "01890000-0000-7000-8000-000000000000"), encode_id("TaskPlan", "7")],
)
async def test_an_id_of_nothing_is_not_found(story: Story, id_: str) -> None:
    refused = (await story.teacher.data(PUBLISH, input={"planId": id_}))["publishPlan"]
    assert refused["userErrors"] == [{"code": "NOT_FOUND", "field": ["input", "planId"]}]
    assert (await story.teacher.data("query P($id: ID!) { plan(id: $id) { id } }", id=id_)) == {"plan": None}


async def test_nobody_else_may_publish_a_plan(story: Story) -> None:
    plan = (await created(story))["plan"]
    learner = await story.front_of(story.world.learners[0])
    refused = (await learner.data(PUBLISH, input={"planId": plan["id"]}))["publishPlan"]
    assert refused["userErrors"] == [{"code": "NOT_FOUND", "field": ["input", "planId"]}]
    assert await stored(story) == (1, 0, 0)


async def test_without_a_token_or_with_a_wrong_one_nothing_is_done(story: Story) -> None:
    for token in (None, "hf_wrong"):
        answer = await story.server.post(CREATE, token=token, variables={"input": reading(story)})
        assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {"UNAUTHENTICATED"}
    assert await stored(story) == (0, 0, 0)
