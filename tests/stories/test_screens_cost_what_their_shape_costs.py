"""The number of statements of a screen depends on what it shows, never on how many rows there are."""

from datetime import timedelta
from typing import Any

import pytest

from resolvers.ids import encode_id
from tests.stories.conftest import Front, Story
from tests.support.drain import drain
from tests.support.plans import another_class

QUEUE = """
    {
        viewer {
            user { name roles }
            taskCounts { assigned onHold completed overdue }
            tasks(first: 20) {
                nodes {
                    id title status type { name label hold { minDays maxDays } }
                    assignedTo { id name } assignedBy { name } parent { id title }
                    plan { title course { title } }
                    availableActions isReady isOverdue stepCount completedStepCount
                    steps { id title position completedAt content }
                }
                pageInfo { hasNextPage endCursor }
            }
        }
    }
"""
TEACHER = """
    query Plans($course: ID!) {
        course(id: $course) {
            title
            plans(first: 50) {
                nodes {
                    id title state isOpen lockedFields availableActions
                    createdBy { name }
                    publishJob { id status progress step }
                    taskingPlans { targetName opensAt dueAt target { __typename ... on CourseClass { name } } }
                    tasks(first: 3) { nodes { status assignedTo { name } } totalCount }
                }
                totalCount
            }
        }
    }
"""


async def statements(story: Story, front: Front, query: str, **variables: Any) -> tuple[int, Any]:
    """How many statements an operation costs, and what it shows."""
    reader = story.server.edge.database.reader
    before = reader.statements
    data = await front.data(query, **variables)
    return reader.statements - before, data


async def publish(story: Story, count: int) -> None:
    for number in range(count):
        await story.world.create(publish=True, title=f"Plan {number}")
    await drain(story.world.database)


@pytest.mark.parametrize("count", [1, 4])
async def test_a_queue_of_tasks(story: Story, count: int) -> None:
    await publish(story, count)
    story.server.edge.database.clock.shift = timedelta(days=1, hours=1)
    learner = await story.front_of(story.world.learners[0])
    cost, data = await statements(story, learner, QUEUE)
    assert len(data["viewer"]["tasks"]["nodes"]) == count
    assert data["viewer"]["taskCounts"] == {"assigned": count, "onHold": 0, "completed": 0, "overdue": 0}
    # Who asks, the viewer, the counts, the tasks with all that is joined to them, their steps.
    assert cost == 5


@pytest.mark.parametrize("count", [1, 4])
async def test_a_teachers_view_of_plans(story: Story, count: int) -> None:
    await publish(story, count)
    cost, data = await statements(story, story.teacher, TEACHER, course=story.course)
    plans = data["course"]["plans"]
    assert plans["totalCount"] == count
    assert [plan["tasks"]["totalCount"] for plan in plans["nodes"]] == [3] * count
    assert {task["assignedTo"]["name"] for task in plans["nodes"][0]["tasks"]["nodes"]} == {
        f"First learner 00000{number}" for number in (1, 2, 3)
    }
    # Who asks, the course, its plans and their number, their tasking plans, three tasks of each and their number.
    assert cost == 7


async def test_pages_follow_each_other_without_gap_or_repeat(story: Story) -> None:
    await another_class(story.world, learners=7)
    plan_id = await story.world.published(story.world.tasking("Course", story.world.course_id))
    query = """
        query Tasks($id: ID!, $after: String) {
            plan(id: $id) {
                tasks(first: 4, after: $after) {
                    nodes { assignedTo { name } } pageInfo { hasNextPage hasPreviousPage endCursor } totalCount
                }
            }
        }
    """
    names: list[str] = []
    pages = 0
    after = None
    while True:
        page = (await story.teacher.data(query, id=encode_id("TaskPlan", plan_id), after=after))["plan"]["tasks"]
        assert page["totalCount"] == 10
        assert page["pageInfo"]["hasPreviousPage"] is (pages > 0)
        names += [node["assignedTo"]["name"] for node in page["nodes"]]
        pages += 1
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert pages == 3
    assert names == sorted(names)
    assert len(set(names)) == 10


@pytest.mark.parametrize(("arguments", "argument"), [("first: -1", "first"), ('after: "x"', "after")])
async def test_a_page_that_cannot_be_is_refused_and_its_neighbours_answer(
    story: Story, arguments: str, argument: str
) -> None:
    query = f"{{ viewer {{ user {{ name }} tasks({arguments}) {{ nodes {{ id }} }} }} }}"
    body = await story.teacher.ask(query)
    assert body["data"] == {"viewer": {"user": {"name": "Ada Teacher"}, "tasks": None}}
    (error,) = body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["viewer", "tasks"], "BAD_USER_INPUT")
    assert error["extensions"]["argument"] == [argument]
