"""All that happens to a plan, as a front end sees it: over HTTP, with the jobs done by the real runner."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from resolvers.ids import encode_id
from tests.server.support.sockets import Socket, socket_to
from tests.stories.conftest import Front, Story
from tests.support.drain import drain

DAY = timedelta(days=1)
# One for all, so that an instant is the same whenever it is asked for.
START = datetime.now(UTC)
WITHDRAWN = "The plan was withdrawn: Wrong week"
PLAN = """
    query Plan($id: ID!) { plan(id: $id) {
        state isOpen lockedFields availableActions revision
        taskingPlans { targetName opensAt dueAt closesAt }
        publishJob { id status lastSeq }
        publications { nodes { status cancelReason retryOf { id } } }
        extensions { nodes { targetName by { name } dueBefore dueAt closesBefore closesAt } }
        tasks { nodes { status dueAt closesAt assignedTo { name } } }
        stats { learners assigned byClass { class { name } learners assigned } }
    } }
"""
QUEUE = """
    { viewer { tasks { nodes {
        id title status dueAt closesAt isReady isWithdrawn availableActions plan { id state } steps { id completedAt }
    } } } }
"""
PROGRESS = """
    subscription Progress($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) { seq type status } }
"""
SELECTED = {
    "createPlan": "plan { id state } job { id status }",
    "updatePlan": "plan { id state revision } job { id status }",
    "publishPlan": "plan { id state taskingPlans { opensAt } } job { id status }",
    "extendPlan": "taskingPlan { targetName dueAt closesAt } job { id kind }",
    "withdrawPlan": "plan { state } cancelledJob { id status cancelReason }",
    "restorePlan": "plan { state } job { id status }",
    "deletePlan": "deletedPlanId",
    "updateCourse": "course { id }",
    "createClass": "class { id }",
    "enroll": "enrolled job { kind }",
    "dropEnrollment": "enrollment { status } job { kind }",
    "moveEnrollment": "enrollment { class { name } } job { kind }",
    "completeStep": "step { completedAt } task { status }",
    "startTask": "task { status }",
}


async def _payload(front: Front, mutation: str, given: dict[str, Any]) -> Any:
    query = f"""
        mutation Do($input: {mutation[0].upper()}{mutation[1:]}Input!) {{
            {mutation}(input: $input) {{ {SELECTED[mutation]} userErrors {{ code field message details }} }}
        }}
    """
    return (await front.data(query, input=given))[mutation]


async def does(front: Front, mutation: str, **given: Any) -> Any:
    """What a mutation answers that took effect."""
    payload = await _payload(front, mutation, given)
    assert payload["userErrors"] == []
    return payload


async def refused(front: Front, mutation: str, **given: Any) -> list[tuple[str, str]]:
    """Why a mutation was refused: code and dotted path of each reason, sorted."""
    payload = await _payload(front, mutation, given)
    assert payload["userErrors"] != []
    assert {payload[name] for name in payload if name != "userErrors"} == {None}
    return sorted((error["code"], ".".join(error["field"])) for error in payload["userErrors"])


def at(days: float) -> str:
    """An instant, so many days from the start."""
    return (START + days * DAY).isoformat(timespec="seconds")


def tasking(target: str, opens: float, due: float, closes: float) -> dict[str, str]:
    return {"targetId": target, "opensAt": at(opens), "dueAt": at(due), "closesAt": at(closes)}


def reading(story: Story, **changes: Any) -> dict[str, Any]:
    """A plan of two pages for the class."""
    return {
        "courseId": story.course,
        "type": "READING",
        "title": "Read about forces",
        "settings": {"page_ids": [encode_id("CourseItem", page) for page in story.world.pages[:2]]},
        "taskingPlans": [tasking(story.class_, 1, 4, 5)],
        **changes,
    }


def learner_id(story: Story, number: int) -> str:
    return encode_id("User", story.world.learners[number])


async def published(story: Story, **changes: Any) -> str:
    """A plan whose tasks exist: its id."""
    made = await does(story.teacher, "createPlan", **reading(story, publish=True, **changes))
    await drain(story.world.database)
    return str(made["plan"]["id"])


def wait(story: Story, days: float) -> None:
    """So many days go by, for the server and the workers."""
    story.world.database.clock.shift += days * DAY
    story.server.edge.database.clock.shift = story.world.database.clock.shift


async def shown(front: Front, plan: str) -> Any:
    return (await front.data(PLAN, id=plan))["plan"]


async def queue(front: Front) -> list[Any]:
    return list((await front.data(QUEUE))["viewer"]["tasks"]["nodes"])


async def stored(story: Story) -> list[Any]:
    """All that a write would change."""
    return [
        await story.world.rows(f"SELECT * FROM {table} ORDER BY id")
        for table in ("plans", "tasking_plans", "plan_extensions", "tasks", "jobs")
    ]


async def progress(socket: Socket) -> list[Any]:
    """What a stream of progress still has, to its end."""
    events = []
    while (message := await socket.receive())["type"] == "next":
        events.append(message["payload"]["data"]["jobProgress"])
    assert message["type"] == "complete"
    return events


async def test_every_mistake_is_told_at_once_and_the_mended_draft_reaches_the_learners(story: Story) -> None:
    teacher = story.teacher
    await does(teacher, "updateCourse", courseId=story.course, startsAt=at(-1), endsAt=at(30))
    before = await stored(story)
    page = encode_id("CourseItem", story.world.pages[0])
    wrong = reading(
        story,
        publish=True,
        title=" ",
        description="x" * 10_001,
        settings={"page_ids": [page, page, story.course, 7], "speed": 1},
        taskingPlans=[
            tasking(story.class_, 3, 2, 1),
            tasking(story.class_, -2, -0.5, 31),
            tasking("nonsense", 1, 2, 3),
        ],
    )
    assert await refused(teacher, "createPlan", **wrong) == [
        ("BAD_USER_INPUT", "input.description"),
        ("BAD_USER_INPUT", "input.title"),
        ("DATES_OUT_OF_ORDER", "input.taskingPlans.0.closesAt"),
        ("DATES_OUT_OF_ORDER", "input.taskingPlans.0.dueAt"),
        ("DUE_DATE_PASSED", "input.taskingPlans.1.dueAt"),
        ("DUPLICATE_TARGET", "input.taskingPlans.1.targetId"),
        ("INVALID_SETTINGS", "input.settings.page_ids.1"),
        ("INVALID_SETTINGS", "input.settings.page_ids.2"),
        ("INVALID_SETTINGS", "input.settings.page_ids.3"),
        ("INVALID_SETTINGS", "input.settings.speed"),
        ("NOT_FOUND", "input.taskingPlans.2.targetId"),
        ("OPEN_DATE_PASSED", "input.taskingPlans.1.opensAt"),
        ("OUTSIDE_COURSE_DATES", "input.taskingPlans.1.closesAt"),
        ("OUTSIDE_COURSE_DATES", "input.taskingPlans.1.opensAt"),
    ]
    nothing = reading(story, publish=True, settings={"page_ids": []}, taskingPlans=[])
    assert await refused(teacher, "createPlan", **nothing) == [
        ("EMPTY_PLAN", "input.settings"),
        ("NO_TASKING_PLANS", "input.taskingPlans"),
    ]
    assert await stored(story) == before

    draft = await does(teacher, "createPlan", **reading(story, settings={"page_ids": []}))
    plan = draft["plan"]["id"]
    assert (draft["plan"]["state"], draft["job"]) == ("DRAFT", None)
    before = await stored(story)
    assert await refused(teacher, "publishPlan", planId=plan) == [("EMPTY_PLAN", "input.settings")]
    assert await stored(story) == before
    await does(teacher, "updatePlan", planId=plan, settings=reading(story)["settings"])
    made = await does(teacher, "publishPlan", planId=plan)
    assert (made["plan"]["state"], made["job"]["status"]) == ("PUBLISHING", "QUEUED")
    learner = await story.front_of(story.world.learners[0])
    await drain(story.world.database)
    assert await queue(learner) == []
    wait(story, 1.1)
    (task,) = await queue(learner)
    assert (task["title"], task["isReady"]) == ("Read about forces", True)
    assert task["plan"] == {"id": plan, "state": "PUBLISHED"}
    done = await does(learner, "completeStep", stepId=task["steps"][0]["id"])
    assert done["task"] == {"status": "IN_PROGRESS"}
    statuses = [node["status"] for node in (await shown(teacher, plan))["tasks"]["nodes"]]
    assert statuses == ["IN_PROGRESS", "ASSIGNED", "ASSIGNED"]


async def test_what_is_open_is_locked_and_only_ever_gets_more_time(story: Story) -> None:
    teacher = story.teacher
    late = reading(story, taskingPlans=[tasking(story.class_, -1, 4, 5)])
    plan = (await does(teacher, "createPlan", **late))["plan"]["id"]
    before = await stored(story)
    assert await refused(teacher, "publishPlan", planId=plan) == [("OPEN_DATE_PASSED", "input.taskingPlans.0.opensAt")]
    assert await stored(story) == before
    opened = await does(teacher, "publishPlan", planId=plan, openNow=True)
    assert opened["plan"]["taskingPlans"][0]["opensAt"] > late["taskingPlans"][0]["opensAt"]
    await drain(story.world.database)
    seen = await shown(teacher, plan)
    assert (seen["isOpen"], seen["lockedFields"]) == (True, ["settings", "taskingPlans"])

    before = await stored(story)
    changes = {"title": "Anew", "settings": {"page_ids": []}, "taskingPlans": [tasking(story.class_, 2, 3, 4)]}
    payload = await _payload(teacher, "updatePlan", {"planId": plan, **changes})
    assert payload["plan"] is None
    assert [(error["code"], error["field"], error["details"]) for error in payload["userErrors"]] == [
        ("NOT_UPDATABLE_AFTER_OPEN", ["input", name], {"lockedFields": ["settings", "taskingPlans"]})
        for name in ("settings", "taskingPlans")
    ]
    assert await stored(story) == before
    await does(teacher, "updatePlan", planId=plan, title="Anew")
    await drain(story.world.database)

    earlier = {"planId": plan, "targetId": story.class_, "dueAt": at(2)}
    assert await refused(teacher, "extendPlan", **earlier) == [("DATE_NOT_LATER", "input.dueAt")]
    alone, all_ = learner_id(story, 0), story.class_
    given = await does(teacher, "extendPlan", planId=plan, targetId=alone, closesAt=at(9))
    assert given["taskingPlan"]["targetName"] == "First learner 000001"
    await does(teacher, "extendPlan", planId=plan, targetId=all_, dueAt=at(6), closesAt=at(7))
    await drain(story.world.database)
    seen = await shown(teacher, plan)
    by_name = {
        task["assignedTo"]["name"]: (task["dueAt"][:10], task["closesAt"][:10]) for task in seen["tasks"]["nodes"]
    }
    assert by_name == {
        "First learner 000001": (at(4)[:10], at(9)[:10]),
        "First learner 000002": (at(6)[:10], at(7)[:10]),
        "First learner 000003": (at(6)[:10], at(7)[:10]),
    }
    records = [(each["targetName"], each["by"]["name"]) for each in seen["extensions"]["nodes"]]
    assert records == [("First", "Ada Teacher"), ("First learner 000001", "Ada Teacher")]
    mine = await queue(await story.front_of(story.world.learners[0]))
    assert [(task["title"], task["closesAt"][:10]) for task in mine] == [("Anew", at(9)[:10])]


async def test_who_comes_late_leaves_or_moves_has_what_their_place_gives_them(story: Story) -> None:
    teacher = story.teacher
    second = {"name": "Second", "courseId": story.course, "teacherId": encode_id("User", story.world.teacher.user_id)}
    other = (await does(teacher, "createClass", **second))["class"]["id"]
    plan = await published(story, taskingPlans=[tasking(story.class_, 1, 4, 5), tasking(other, 2, 6, 7)])
    (newcomer,) = await story.world.newcomers(1)
    mine = "{ viewer { enrollments { id } } }"
    enrollments = [
        (await (await story.front_of(learner)).data(mine))["viewer"]["enrollments"][0]["id"]
        for learner in story.world.learners
    ]
    published_at = (await story.world.rows("SELECT last_published_at FROM plans"))[0]
    await does(teacher, "enroll", classId=story.class_, userIds=[encode_id("User", newcomer)])
    await does(teacher, "dropEnrollment", enrollmentId=enrollments[0])
    await does(teacher, "moveEnrollment", enrollmentId=enrollments[1], toClassId=other)
    await drain(story.world.database)
    seen = await shown(teacher, plan)
    tasks = [(each["assignedTo"]["name"], each["status"], each["dueAt"][:10]) for each in seen["tasks"]["nodes"]]
    assert tasks == [
        ("First learner 000001", "CANCELLED", at(4)[:10]),
        ("First learner 000002", "ASSIGNED", at(6)[:10]),
        ("First learner 000003", "ASSIGNED", at(4)[:10]),
        ("Newcomer 1", "ASSIGNED", at(4)[:10]),
    ]
    counted = [(each["class"]["name"], each["learners"], each["assigned"]) for each in seen["stats"]["byClass"]]
    assert counted == [("First", 2, 2), ("Second", 1, 1)]
    assert (await story.world.rows("SELECT last_published_at FROM plans"))[0] == published_at
    wait(story, 1.1)
    fronts = [await story.front_of(key) for key in (*story.world.learners, newcomer)]
    assert [len(await queue(front)) for front in fronts] == [0, 0, 1, 1]
    wait(story, 1)
    assert [len(await queue(front)) for front in fronts] == [0, 1, 1, 1]


async def test_a_withdrawn_plan_is_shown_as_such_until_it_is_restored(story: Story) -> None:
    teacher = story.teacher
    plan = await published(story)
    wait(story, 1.1)
    learner = await story.front_of(story.world.learners[0])
    watching = "subscription W($id: ID!) { planChanged(planId: $id) { state publishJob { status } } }"
    async with socket_to(story.server) as socket:
        await socket.init(teacher.token)
        await socket.subscribe("plan", watching, id=plan)

        async def until(state: str, status: str) -> None:
            wanted = {"state": state, "publishJob": {"status": status}}
            while (await socket.receive())["payload"]["data"]["planChanged"] != wanted:
                pass

        await until("PUBLISHED", "COMPLETED")
        # While a publication is under way: its job is cancelled, and nothing of it is ever seen.
        await does(teacher, "updatePlan", planId=plan, title="Anew")
        await until("PUBLISHING", "QUEUED")
        done = await does(teacher, "withdrawPlan", planId=plan, reason="Wrong week")
        assert done["plan"] == {"state": "WITHDRAWN"}
        assert (done["cancelledJob"]["status"], done["cancelledJob"]["cancelReason"]) == ("CANCELLED", WITHDRAWN)
        await until("WITHDRAWN", "CANCELLED")
        await drain(story.world.database)
        (task,) = await queue(learner)
        assert (task["title"], task["isWithdrawn"], task["isReady"]) == ("Read about forces", True, False)
        step = task["steps"][0]["id"]
        assert await refused(learner, "completeStep", stepId=step) == [("TASK_NOT_OPEN", "input.stepId")]
        assert await refused(learner, "startTask", taskId=task["id"]) == [("TASK_NOT_OPEN", "input.taskId")]
        for mutation, given in {
            "updatePlan": {"title": "Other"},
            "publishPlan": {},
            "extendPlan": {"targetId": story.class_, "closesAt": at(20)},
            "withdrawPlan": {},
        }.items():
            assert await refused(teacher, mutation, planId=plan, **given) == [("PLAN_WITHDRAWN", "")]
        await does(teacher, "restorePlan", planId=plan)
        await drain(story.world.database)
        await until("PUBLISHED", "COMPLETED")
    assert await refused(teacher, "restorePlan", planId=plan) == [("PLAN_NOT_WITHDRAWN", "")]
    (task,) = await queue(learner)
    assert (task["title"], task["isWithdrawn"], task["isReady"]) == ("Anew", False, True)
    assert (await does(learner, "completeStep", stepId=step))["task"] == {"status": "IN_PROGRESS"}
    history = (await shown(teacher, plan))["publications"]["nodes"]
    assert [(job["status"], job["cancelReason"]) for job in history] == [
        ("COMPLETED", None),
        ("CANCELLED", WITHDRAWN),
        ("COMPLETED", None),
    ]


async def test_a_browser_that_reloads_in_mid_publication_goes_on_without_gap_or_repeat(story: Story) -> None:
    made = await does(story.teacher, "createPlan", **reading(story, publish=True))
    async with socket_to(story.server) as socket:
        await socket.init(story.teacher.token)
        await socket.subscribe("job", PROGRESS, id=made["job"]["id"], after=0)
        working = asyncio.create_task(drain(story.world.database))
        seen = [(await socket.receive())["payload"]["data"]["jobProgress"] for _ in range(3)]
    assert seen[0]["type"] == "SNAPSHOT"
    # All that the page knows after the reload is the plan, and the last event that it had kept.
    job = (await shown(story.teacher, made["plan"]["id"]))["publishJob"]
    assert job["id"] == made["job"]["id"]
    async with socket_to(story.server) as socket:
        await socket.init(story.teacher.token)
        await socket.subscribe("job", PROGRESS, id=job["id"], after=seen[-1]["seq"])
        snapshot, *rest = await progress(socket)
    await working
    assert (snapshot["type"], snapshot["seq"]) == ("SNAPSHOT", seen[-1]["seq"])
    sequence = [event["seq"] for event in [*seen[1:], *rest]]
    last = (await shown(story.teacher, made["plan"]["id"]))["publishJob"]
    assert sequence == list(range(1, last["lastSeq"] + 1))
    assert (rest or [snapshot])[-1]["status"] == last["status"] == "COMPLETED"


async def test_a_learner_writes_nothing_and_sees_neither_jobs_nor_numbers(story: Story) -> None:
    draft = (await does(story.teacher, "createPlan", **reading(story)))["plan"]["id"]
    plan = await published(story)
    wait(story, 1.1)
    learner = await story.front_of(story.world.learners[0])
    before = await stored(story)
    bare = ("publishPlan", "withdrawPlan", "restorePlan", "deletePlan")
    writes: dict[str, dict[str, Any]] = {mutation: {} for mutation in bare}
    more = {"targetId": learner_id(story, 0), "closesAt": at(20)}
    for mutation, given in {**writes, "updatePlan": {"title": "Mine"}, "extendPlan": more}.items():
        assert await refused(learner, mutation, planId=plan, **given) == [("FORBIDDEN", "input.planId")]
        assert await refused(learner, mutation, planId=draft, **given) == [("NOT_FOUND", "input.planId")]
    assert await refused(learner, "createPlan", **reading(story)) == [("FORBIDDEN", "input.courseId")]
    assert await stored(story) == before
    job = (await shown(story.teacher, plan))["publishJob"]["id"]
    seen = await shown(learner, plan)
    hidden = ("publishJob", "publications", "extensions", "stats")
    assert {name: seen[name] for name in hidden} == dict.fromkeys(hidden)
    assert [task["assignedTo"]["name"] for task in seen["tasks"]["nodes"]] == ["First learner 000001"]
    query = "query J($id: ID!) { job(id: $id) { id } node(id: $id) { id } jobs { nodes { id } } }"
    assert await learner.data(query, id=job) == {"job": None, "node": None, "jobs": {"nodes": []}}
    (row, *_) = await story.world.rows("SELECT id FROM jobs WHERE kind = 'plan.publish'")
    for front, status in ((learner, 404), (story.teacher, 200)):
        headers = {"authorization": f"Bearer {front.token}"}
        assert (await story.server.client.get(f"/jobs/{row.id}", headers=headers)).status_code == status
    async with socket_to(story.server) as socket:
        await socket.init(learner.token)
        await socket.subscribe("job", PROGRESS, id=job)
        error = await socket.receive()
    assert (error["type"], error["payload"][0]["extensions"]["code"]) == ("error", "NOT_FOUND")


async def test_a_draft_is_deleted_and_what_was_published_is_not(story: Story) -> None:
    draft = (await does(story.teacher, "createPlan", **reading(story)))["plan"]["id"]
    assert await does(story.teacher, "deletePlan", planId=draft) == {"deletedPlanId": draft, "userErrors": []}
    assert await shown(story.teacher, draft) is None
    plan = await published(story)
    before = await stored(story)
    assert await refused(story.teacher, "deletePlan", planId=plan) == [("CONFLICT", "")]
    assert await stored(story) == before
    wait(story, 1)
    await does(story.teacher, "updateCourse", courseId=story.course, startsAt=at(-2), endsAt=at(0.5))
    assert await refused(story.teacher, "withdrawPlan", planId=plan) == [("COURSE_ENDED", "")]
