"""A learner opens a task, completes its steps one by one, and it is done."""

from datetime import timedelta
from typing import Any

import pytest

from resolvers.ids import encode_id
from tests.stories.conftest import Front, Story
from tests.support.drain import drain

TASK = """
    fragment Shown on WorkTask {
        id status availableActions completedStepCount stepCount startedAt closedAt steps { id title completedAt }
    }
"""
QUEUE = TASK + "query Q($tab: QueueTab! = ASSIGNED) { viewer { tasks(tab: $tab) { nodes { ...Shown } } } }"
STEP = (
    TASK
    + """
    mutation S($id: ID!) {
        completeStep(input: {stepId: $id}) {
            step { id completedAt } task { ...Shown timeline { nodes { from to actor { name } } } }
            userErrors { code field }
        }
    }
"""
)
START = (
    TASK + "mutation S($id: ID!) { startTask(input: {taskId: $id}) { task { ...Shown } userErrors { code field } } }"
)
COMPLETE = """
    mutation C($id: ID!) {
        completeTask(input: {taskId: $id, instructions: " Done "}) {
            task { status instructions } userErrors { code field details }
        }
    }
"""


@pytest.fixture
async def learner(story: Story) -> Front:
    """A learner whose task of two pages has just opened."""
    pages = [str(page) for page in story.world.pages[:2]]
    await story.world.create(publish=True, settings={"page_ids": pages})
    await drain(story.world.database)
    story.server.edge.database.clock.shift = timedelta(days=1, hours=1)
    return await story.front_of(story.world.learners[0])


async def queue(learner: Front, tab: str = "ASSIGNED") -> list[Any]:
    return list((await learner.data(QUEUE, tab=tab))["viewer"]["tasks"]["nodes"])


async def test_the_first_step_starts_the_task_and_the_last_one_completes_it(learner: Front) -> None:
    (task,) = await queue(learner)
    assert (task["status"], task["availableActions"]) == (
        "ASSIGNED",
        ["START", "COMPLETE_STEP", "PLACE_HOLD", "ADD_NOTE"],
    )
    first, second = task["steps"]
    done = (await learner.data(STEP, id=first["id"]))["completeStep"]
    assert done["userErrors"] == []
    assert done["step"]["completedAt"] is not None
    assert (done["task"]["status"], done["task"]["completedStepCount"]) == ("IN_PROGRESS", 1)
    done = (await learner.data(STEP, id=second["id"]))["completeStep"]
    assert (done["task"]["status"], done["task"]["completedStepCount"]) == ("COMPLETED", 2)
    assert [(line["from"], line["to"], line["actor"]["name"]) for line in done["task"]["timeline"]["nodes"]] == [
        ("IN_PROGRESS", "COMPLETED", "First learner 000001"),
        ("ASSIGNED", "IN_PROGRESS", "First learner 000001"),
        (None, "ASSIGNED", "Ada Teacher"),
    ]
    assert await queue(learner) == []
    assert [task["id"] for task in await queue(learner, "COMPLETED")] == [task["id"]]


async def test_a_step_completed_twice_is_completed_once(story: Story, learner: Front) -> None:
    (task,) = await queue(learner)
    for _ in range(2):
        done = (await learner.data(STEP, id=task["steps"][0]["id"]))["completeStep"]
        assert (done["userErrors"], done["task"]["completedStepCount"]) == ([], 1)
    (row,) = await story.world.rows("SELECT count(*) AS transitions FROM task_transitions")
    assert row.transitions == 1


async def test_a_task_with_open_steps_is_not_completed_and_nothing_changes(learner: Front) -> None:
    (task,) = await queue(learner)
    refused = (await learner.data(COMPLETE, id=task["id"]))["completeTask"]
    assert refused["task"] is None
    assert [(error["code"], error["details"]) for error in refused["userErrors"]] == [
        ("STEPS_INCOMPLETE", {"missing": 2, "steps": 2})
    ]
    assert await queue(learner) == [task]


async def test_starting_is_done_once(learner: Front) -> None:
    (task,) = await queue(learner)
    started = (await learner.data(START, id=task["id"]))["startTask"]["task"]
    assert (started["status"], started["availableActions"]) == (
        "IN_PROGRESS",
        ["COMPLETE_STEP", "PLACE_HOLD", "ADD_NOTE"],
    )
    again = (await learner.data(START, id=task["id"]))["startTask"]
    assert [error["code"] for error in again["userErrors"]] == ["INVALID_TRANSITION"]


async def test_others_may_not_work_on_it(story: Story, learner: Front) -> None:
    (task,) = await queue(learner)
    classmate = await story.front_of(story.world.learners[1])
    for front, code in ((classmate, "NOT_FOUND"), (story.teacher, "FORBIDDEN")):
        refused = (await front.data(START, id=task["id"]))["startTask"]
        assert refused["userErrors"] == [{"code": code, "field": ["input", "taskId"]}]
        refused = (await front.data(STEP, id=task["steps"][0]["id"]))["completeStep"]
        assert refused["userErrors"] == [{"code": code, "field": ["input", "stepId"]}]
    assert await queue(learner) == [task]


async def test_before_it_opens_a_learner_can_neither_see_it_nor_work_on_it(story: Story, learner: Front) -> None:
    (task,) = await queue(learner)
    story.server.edge.database.clock.shift = timedelta(0)
    assert await queue(learner) == []
    refused = (await learner.data(START, id=task["id"]))["startTask"]
    assert [error["code"] for error in refused["userErrors"]] == ["NOT_FOUND"]


async def test_after_it_has_closed_it_is_seen_and_cannot_be_worked_on(story: Story, learner: Front) -> None:
    (task,) = await queue(learner)
    story.server.edge.database.clock.shift = timedelta(days=4)
    refused = (await learner.data(STEP, id=task["steps"][0]["id"]))["completeStep"]
    assert [error["code"] for error in refused["userErrors"]] == ["TASK_NOT_OPEN"]
    (seen,) = await queue(learner)
    assert (seen["status"], seen["availableActions"]) == ("ASSIGNED", ["PLACE_HOLD", "ADD_NOTE"])


@pytest.mark.parametrize("id_", ["nonsense", encode_id("TaskStep", "a.b"), encode_id("WorkTask", "x")])
async def test_a_step_that_is_none_is_not_found(learner: Front, id_: str) -> None:
    refused = (await learner.data(STEP, id=id_))["completeStep"]
    assert refused["userErrors"] == [{"code": "NOT_FOUND", "field": ["input", "stepId"]}]
