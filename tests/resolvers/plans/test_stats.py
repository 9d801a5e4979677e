"""How far a plan's learners are: counted right, for those who may see it, at a cost that does not grow."""

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
COUNTS = "learners assigned notStarted inProgress onHold completed overdue"
STATS = f"query ($id: ID!) {{ plan(id: $id) {{ stats {{ {COUNTS} byClass {{ class {{ name }} {COUNTS} }} }} }} }}"
VIEW = f"""
    query ($id: ID!, $from: DateTime, $to: DateTime, $order: PlanOrder! = DUE_ASC) {{
        course(id: $id) {{ plans(first: 100, dueFrom: $from, dueTo: $to, orderBy: $order) {{
            nodes {{
                title state lockedFields availableActions publishJob {{ status progress }}
                taskingPlans {{ targetName dueAt }}
                stats {{ {COUNTS} byClass {{ class {{ name teacher {{ name }} }} {COUNTS} }} }}
            }}
            totalCount
        }} }}
    }}
"""
_ELSEWHERE = """
    WITH course AS (INSERT INTO courses (key, title, time_zone) VALUES ('else', 'Else', 'UTC') RETURNING id
    ), class AS (
        INSERT INTO classes (course_id, name, teacher_id)
        SELECT course.id, 'Elsewhere', users.id FROM course, users WHERE users.name = 'Of a class' RETURNING id
    )
    INSERT INTO enrollments (class_id, user_id, status, sort_name, change_id, enrolled_at)
    SELECT class.id, users.id, 'ACTIVE', lower(users.name), uuidv7(), now() FROM class, users WHERE users.id = :learner
"""


def counts(**given: int) -> dict[str, int]:
    return {**dict.fromkeys(COUNTS.split(), 0), **given}


async def stats(api: Api, plan_id: UUID) -> Any:
    return (await api.data(STATS, id=id_of("TaskPlan", plan_id)))["plan"]["stats"]


async def set_status(world: World, learner: UUID, status: str) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            text(
                "UPDATE tasks SET status = :status, is_touched = true, started_at = now(),"
                " placed_on_hold_at = CASE WHEN :status = 'ON_HOLD' THEN now() END,"
                " closed_at = CASE WHEN :status IN ('COMPLETED', 'CANCELLED') THEN now() END"
                " WHERE assignee_user_id = :id"
            ),
            {"id": learner, "status": status},
        )


async def test_a_draft_says_whom_it_would_reach(world: World, teacher: Api) -> None:
    plan_id = (await world.create()).plan_id
    own = counts(learners=3)
    assert await stats(teacher, plan_id) == {**own, "byClass": [{"class": {"name": "First"}, **own}]}


async def test_every_task_is_counted_once_where_it_is(world: World, teacher: Api) -> None:
    _, others = await another_class(world, learners=4)
    plan_id = await world.published(world.tasking("Course", world.course_id))
    for learner, status in zip(others, ("IN_PROGRESS", "ON_HOLD", "COMPLETED", "CANCELLED"), strict=True):
        await set_status(world, learner, status)
    world.database.clock.shift += 2.5 * DAY
    first = counts(learners=3, assigned=3, notStarted=3, overdue=3)
    of_second = counts(learners=4, assigned=3, inProgress=1, onHold=1, completed=1, overdue=2)
    both = {name: first[name] + of_second[name] for name in first}
    assert await stats(teacher, plan_id) == {
        **both,
        "byClass": [{"class": {"name": "First"}, **first}, {"class": {"name": "Second"}, **of_second}],
    }
    # Nothing is late of which nothing can be done.
    await world.withdraw(plan_id)
    late = {"overdue": 0}
    assert await stats(teacher, plan_id) == {
        **both,
        **late,
        "byClass": [{"class": {"name": "First"}, **first, **late}, {"class": {"name": "Second"}, **of_second, **late}],
    }


async def test_who_is_in_two_classes_counts_in_both_and_once_in_all(world: World, teacher: Api) -> None:
    second, _ = await another_class(world, learners=0)
    await world.enroll(world.learners[0], class_id=second)
    plan_id = await world.published(world.tasking("Course", world.course_id))
    found = await stats(teacher, plan_id)
    assert (found["learners"], found["assigned"]) == (3, 3)
    assert [(each["learners"], each["assigned"]) for each in found["byClass"]] == [(3, 3), (1, 1)]


async def test_who_has_left_counts_in_all_with_what_they_had_begun_and_in_no_class(world: World, teacher: Api) -> None:
    plan_id = await world.published()
    await set_status(world, world.learners[0], "COMPLETED")
    await world.drop(world.learners[0])
    await world.drop(world.learners[1])
    await drain(world.database)
    found = await stats(teacher, plan_id)
    rest = counts(learners=1, assigned=1, notStarted=1)
    assert found == {
        **rest,
        "assigned": 2,
        "completed": 1,
        "byClass": [{"class": {"name": "First"}, **rest}],
    }


async def test_of_a_learner_who_is_targeted_alone_only_they_count(world: World, teacher: Api) -> None:
    plan_id = await world.published(world.tasking("User", world.learners[0]))
    own = counts(learners=1, assigned=1, notStarted=1)
    assert await stats(teacher, plan_id) == {**own, "byClass": [{"class": {"name": "First"}, **own}]}


async def test_plans_that_reach_the_same_people_or_some_of_them_are_each_counted_right(
    world: World, teacher: Api
) -> None:
    second, _ = await another_class(world, learners=1)
    both, alone, away = world.learners
    await world.enroll(both, class_id=second)
    reach: dict[str, list[dict[str, Any]]] = {
        "a": [world.tasking()],
        "b": [world.tasking()],
        "c": [world.tasking("Course", world.course_id)],
        "d": [world.tasking(key=second), world.tasking("User", both)],
        "e": [world.tasking(key=second), world.tasking("User", alone)],
        "f": [world.tasking("User", away)],
    }
    for title, taskings in reach.items():
        await world.create(*taskings, title=title, publish=title != "b")
    await drain(world.database)
    await set_status(world, both, "COMPLETED")
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE users SET is_active = false WHERE id = :id"), {"id": away})

    async def asked(parts: str) -> dict[str, Any]:
        query = f"query ($id: ID!) {{ course(id: $id) {{ plans {{ nodes {{ title stats {{ {parts} }} }} }} }} }}"
        nodes = (await teacher.data(query, id=id_of("Course", world.course_id)))["course"]["plans"]["nodes"]
        return {node["title"]: node["stats"] for node in nodes}

    found = await asked("learners assigned completed byClass { class { name } learners assigned completed }")

    def row(name: str, of: dict[str, int]) -> tuple[str, int, int, int]:
        return (name, of["learners"], of["assigned"], of["completed"])

    shown = {
        title: [row("all", of), *(row(each["class"]["name"], each) for each in of["byClass"])]
        for title, of in found.items()
    }
    assert shown == {
        "a": [("all", 2, 3, 1), ("First", 2, 2, 1)],
        "b": [("all", 2, 0, 0), ("First", 2, 0, 0)],
        "c": [("all", 3, 4, 1), ("First", 2, 2, 1), ("Second", 2, 2, 1)],
        "d": [("all", 2, 2, 1), ("First", 1, 1, 1), ("Second", 2, 2, 1)],
        "e": [("all", 3, 3, 1), ("First", 1, 1, 0), ("Second", 2, 2, 1)],
        "f": [("all", 0, 1, 0), ("First", 0, 0, 0)],
    }
    # What is asked for alone is what it is beside the rest.
    for parts in ("learners", "assigned completed", "byClass { learners }", "byClass { completed } learners"):
        for title, of in (await asked(parts)).items():
            assert {name: of[name] for name in of if name != "byClass"}.items() <= found[title].items(), parts
            for each, whole in zip(of.get("byClass", []), found[title]["byClass"], strict="byClass" in of):
                assert each.items() <= whole.items(), parts


async def test_the_tasks_of_a_class_of_another_course_are_none(world: World, teacher: Api) -> None:
    plan_id = await world.published()
    await person(world.database, "Of a class")
    async with world.database.transaction() as tx:
        await tx.execute(text(_ELSEWHERE), {"learner": world.learners[0]})
    (row,) = await world.rows("SELECT id FROM classes WHERE name = 'Elsewhere'")
    query = """
        query ($id: ID!, $class: ID!) {
            plan(id: $id) { tasks(classId: $class) { nodes { assignedTo { name } } totalCount } }
        }
    """
    for api in (teacher, Api(world.database, await person(world.database, "Ed", Role.EDITOR))):
        for class_id, count in ((row.id, 0), (world.class_id, 3)):
            answer = await api.data(query, id=id_of("TaskPlan", plan_id), **{"class": id_of("CourseClass", class_id)})
            tasks = answer["plan"]["tasks"]
            assert (len(tasks["nodes"]), tasks["totalCount"]) == (count, count)


async def test_learners_see_no_statistics_no_extensions_and_no_jobs(world: World) -> None:
    plan_id = await world.published()
    world.database.clock.shift += 1.5 * DAY
    learner = Api(world.database, Viewer(world.learners[0], "Learner", frozenset({Role.MEMBER})))
    query = """
        query ($id: ID!) { plan(id: $id) {
            title stats { learners } publications { totalCount } extensions { totalCount } publishJob { id }
        } jobs { totalCount } }
    """
    seen = await learner.data(query, id=id_of("TaskPlan", plan_id))
    assert seen == {
        "plan": {
            "title": "Read about forces",
            "stats": None,
            "publications": None,
            "extensions": None,
            "publishJob": None,
        },
        "jobs": {"totalCount": 0},
    }


async def test_those_who_teach_a_class_editors_and_admins_see_them(world: World) -> None:
    await another_class(world, learners=1)
    plan_id = await world.published(world.tasking("Course", world.course_id))
    class_teacher = await person(world.database, "Class Teacher")
    async with world.database.transaction() as tx:
        await tx.execute(
            text("UPDATE classes SET teacher_id = :id WHERE name = 'Second'"), {"id": class_teacher.user_id}
        )
    for viewer in (class_teacher, await person(world.database, "Ed", Role.EDITOR)):
        found = await stats(Api(world.database, viewer), plan_id)
        assert [(each["class"]["name"], each["learners"]) for each in found["byClass"]] == [("First", 3), ("Second", 1)]


@pytest.mark.parametrize("count", [1, 100])
async def test_a_teachers_view_costs_the_same_for_any_number_of_plans(world: World, teacher: Api, count: int) -> None:
    await another_class(world, learners=2)
    for number in range(count):
        await world.create(world.tasking("Course", world.course_id), title=f"Plan {number:03}", publish=number < 5)
    await drain(world.database)
    # The course, its plans and their number, their tasking plans, their statistics, the classes of these.
    assert await teacher.statements(VIEW, id=id_of("Course", world.course_id)) == 6
    data = await teacher.data(VIEW, id=id_of("Course", world.course_id), order="TITLE_ASC")
    plans = data["course"]["plans"]
    assert (plans["totalCount"], len(plans["nodes"])) == (count, count)
    assert plans["nodes"][0]["publishJob"] == {"status": "COMPLETED", "progress": 100}
    assert plans["nodes"][0]["stats"]["byClass"][0]["class"] == {"name": "First", "teacher": {"name": "Ada Teacher"}}
    assert [plan["stats"]["assigned"] for plan in plans["nodes"][:5]] == [5] * min(5, count)
    assert {plan["stats"]["learners"] for plan in plans["nodes"]} == {5}


async def test_a_range_has_every_plan_that_is_due_in_it_for_somebody(world: World, teacher: Api) -> None:
    second, _ = await another_class(world, learners=1)
    early = world.tasking(opens=1, due=2, closes=3)
    late = world.tasking(key=second, opens=1, due=12, closes=13)
    await world.create(early, title="Early")
    await world.create(early, late, title="Both")
    await world.create(late, title="Late")
    async with world.database.transaction() as tx:
        now = tx.now

    async def titles(**given: float) -> list[str]:
        bounds = {name: (now + days * DAY).isoformat() for name, days in given.items()}
        nodes = (await teacher.data(VIEW, id=id_of("Course", world.course_id), **bounds))["course"]["plans"]["nodes"]
        return sorted(node["title"] for node in nodes)

    assert await titles() == ["Both", "Early", "Late"]
    assert await titles(**{"from": 10, "to": 14}) == ["Both", "Late"]
    assert await titles(**{"from": 1, "to": 5}) == ["Both", "Early"]
    assert await titles(**{"from": 13}) == []
    assert await titles(to=1) == []
