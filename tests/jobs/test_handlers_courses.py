"""The jobs that follow from changes of classes, run by the real runner."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.courses import commands
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.courses import make_class, make_course
from tests.support.drain import drain
from tests.support.people import admin, person
from tests.support.plans import World, a_world, another_class, another_course


async def outcomes(database: Database) -> list[tuple[str, str, Any]]:
    """Every job's kind, state and result, oldest first."""
    async with database.transaction() as tx:
        rows = await tx.execute(text("SELECT kind, state, result FROM jobs ORDER BY id"))
        return [(row.kind, row.state, row.result) for row in rows]


async def enroll(database: Database, actor: Viewer, class_id: UUID, *people: Viewer) -> None:
    async with database.transaction() as tx:
        await commands.enroll(
            tx,
            actor=actor,
            class_id=class_id,
            user_ids=[each.user_id for each in people],
            emails=[],
            now=tx.now,
        )


async def drop(database: Database, actor: Viewer, who: Viewer) -> None:
    async with database.transaction() as tx:
        own = text("SELECT id FROM enrollments WHERE user_id = :user_id AND status = 'ACTIVE'")
        enrollment_id = (await tx.execute(own, {"user_id": who.user_id})).scalar_one()
        await commands.drop_enrollment(tx, actor=actor, enrollment_id=enrollment_id, now=tx.now)


async def test_who_joined_is_counted_as_they_are_when_the_job_runs(database: Database) -> None:
    root, teacher, bo, cy = await admin(database), *[await person(database) for _ in range(3)]
    class_id = await make_class(database, root, teacher, course_id=await make_course(database, root))
    await enroll(database, root, class_id, bo, cy)
    await drop(database, root, bo)
    await drain(database)
    assert await outcomes(database) == [
        ("class.members_added", "completed", {"members": 1}),
        ("class.members_dropped", "completed", {"members": 1}),
    ]


async def test_who_left_and_came_back_is_left_alone(database: Database) -> None:
    root, teacher, bo = await admin(database), await person(database), await person(database)
    class_id = await make_class(database, root, teacher, course_id=await make_course(database, root))
    await enroll(database, root, class_id, bo)
    await drop(database, root, bo)
    await enroll(database, root, class_id, bo)
    await drain(database)
    assert await outcomes(database) == [
        ("class.members_added", "completed", {"members": 0}),
        ("class.members_dropped", "completed", {"members": 0}),
        ("class.members_added", "completed", {"members": 1}),
    ]


async def test_a_course_and_rescoping_concern_everybody_in_the_class(database: Database) -> None:
    root, teacher, bo, cy = await admin(database), *[await person(database) for _ in range(3)]
    course_id = await make_course(database, root)
    class_id = await make_class(database, root, teacher, learners=[bo, cy])
    async with database.transaction() as tx:
        await commands.update_class(
            tx,
            actor=root,
            class_id=class_id,
            changes={"course_id": course_id, "rescope_enabled": True},
            now=tx.now,
        )
    await drain(database)
    assert await outcomes(database) == [
        ("class.course_assigned", "completed", {"members": 2}),
        ("class.rescope_enabled", "completed", {"members": 2}),
    ]


async def tasks_of(world: World, plan_id: UUID, learner: UUID) -> list[str]:
    return sorted(task.status for task in await world.live_tasks(plan_id) if task.assignee_user_id == learner)


async def enroll_jobs(world: World) -> int:
    (row,) = await world.rows("SELECT count(*) AS n FROM jobs WHERE kind = 'plan.enroll'")
    return int(row.n)


@pytest.mark.parametrize(
    ("away", "back"),
    [
        ({"is_archived": True}, {"is_archived": False}),
        ({"course_id": None}, {"course_id": "its course"}),
        ({"course_id": None, "is_archived": True}, {"course_id": "its course", "is_archived": False}),
    ],
)
async def test_a_class_that_is_put_away_loses_what_is_untouched_and_gets_it_again_when_it_is_back(
    database: Database, away: dict[str, Any], back: dict[str, Any]
) -> None:
    world = await a_world(database, learners=3)
    second, others = await another_class(world, learners=1)
    for_class = await world.published()
    for_course = await world.published(world.tasking("Course", world.course_id))
    touched, _, elsewhere = world.learners
    await world.enroll(elsewhere, class_id=second)  # reached by the plan of the course all the same
    await drain(database)
    await world.rows("UPDATE tasks SET is_touched = true WHERE assignee_user_id = :id RETURNING 1", id=touched)
    asked = await enroll_jobs(world)

    (job_id,) = await world.change_class(**away)
    await drain(database)
    assert (await world.job(job_id)).result == {"members": 3}
    assert await enroll_jobs(world) == asked
    assert [await tasks_of(world, for_class, each) for each in world.learners] == [
        ["ASSIGNED"],
        ["CANCELLED"],
        ["CANCELLED"],
    ]
    assert [await tasks_of(world, for_course, each) for each in [*world.learners, *others]] == [
        ["ASSIGNED"],
        ["CANCELLED"],
        ["ASSIGNED"],
        ["ASSIGNED"],
    ]
    cancelled = [task for task in await world.live_tasks(for_class) if task.status == "CANCELLED"]
    assert {task.cancelled_by_id for task in cancelled} == {None}

    (job_id,) = await world.change_class(
        **{name: world.course_id if value == "its course" else value for name, value in back.items()}
    )
    await drain(database)
    assert (await world.job(job_id)).result == {"members": 3}
    assert await enroll_jobs(world) == asked + 3
    again = ["ASSIGNED", "CANCELLED"]
    assert [await tasks_of(world, for_class, each) for each in world.learners] == [["ASSIGNED"], again, again]
    assert [await tasks_of(world, for_course, each) for each in [*world.learners, *others]] == [
        ["ASSIGNED"],
        again,
        ["ASSIGNED"],
        ["ASSIGNED"],
    ]


async def test_what_somebody_has_cancelled_does_not_come_again_with_the_class(database: Database) -> None:
    world = await a_world(database, learners=1)
    plan_id = await world.published()
    await world.rows(
        "UPDATE tasks SET status = 'CANCELLED', closed_at = now(), is_touched = true, cancelled_by_id = :by"
        " RETURNING 1",
        by=world.teacher.user_id,
    )
    for is_archived in (True, False):
        await world.change_class(is_archived=is_archived)
        await drain(database)
    assert await tasks_of(world, plan_id, world.learners[0]) == ["CANCELLED"]


async def test_who_leaves_a_class_that_has_just_left_its_course_keeps_nothing_untouched(database: Database) -> None:
    world = await a_world(database, learners=2)
    plan_id = await world.published()
    await world.change_class(course_id=None)
    await world.drop(world.learners[0])  # from a class without a course: that is told to nobody
    await drain(database)
    assert [await tasks_of(world, plan_id, each) for each in world.learners] == [["CANCELLED"], ["CANCELLED"]]


async def test_who_joined_a_class_that_is_archived_by_then_gets_nothing_before_it_is_back(database: Database) -> None:
    world = await a_world(database, learners=1)
    plan_id = await world.published()
    (late,) = await world.newcomers(1)
    await world.enroll(late)
    await world.change_class(is_archived=True)
    await drain(database)
    assert (await tasks_of(world, plan_id, late), await enroll_jobs(world)) == ([], 0)
    await world.change_class(is_archived=False)
    await drain(database)
    assert await tasks_of(world, plan_id, late) == ["ASSIGNED"]


async def test_what_older_versions_have_asked_for_names_no_course_and_concerns_them_all(database: Database) -> None:
    world = await a_world(database, learners=2)
    elsewhere = await another_course(world)
    here, there = await world.published(), await elsewhere.published()
    await world.drop(world.learners[0], world.class_id)
    await elsewhere.change_class(course_id=world.course_id)
    await world.rows("UPDATE jobs SET args = args - 'left_course_ids' WHERE kind = 'class.course_assigned' RETURNING 1")
    await world.rows("UPDATE jobs SET args = args - 'course_id' WHERE kind = 'class.members_dropped' RETURNING 1")
    await drain(database)
    assert [await tasks_of(world, here, each) for each in world.learners] == [["CANCELLED"], ["ASSIGNED"]]
    assert [await tasks_of(world, there, each) for each in world.learners] == [["CANCELLED"]] * 2


async def test_a_user_who_is_not_active_keeps_what_they_have_until_tasks_are_replaced(database: Database) -> None:
    world = await a_world(database, learners=3)
    plan_id = await world.published()
    touched, untouched, active = world.learners
    await world.rows("UPDATE tasks SET is_touched = true WHERE assignee_user_id = :id RETURNING 1", id=touched)
    await world.rows("UPDATE users SET is_active = false WHERE id <> :id RETURNING 1", id=active)
    assert [await tasks_of(world, plan_id, each) for each in world.learners] == [["ASSIGNED"]] * 3
    await world.publish(plan_id)
    await drain(database)
    assert [await tasks_of(world, plan_id, each) for each in world.learners] == [["CANCELLED"], [], ["ASSIGNED"]]
    await world.rows("UPDATE users SET is_active = true RETURNING 1")
    await world.publish(plan_id)
    await drain(database)
    assert [await tasks_of(world, plan_id, each) for each in world.learners] == [
        ["ASSIGNED", "CANCELLED"],
        ["ASSIGNED"],
        ["ASSIGNED"],
    ]
    # Once it is open, a publication leaves their task as it is.
    world.database.clock.shift += timedelta(days=1, hours=1)
    await world.rows("UPDATE users SET is_active = false WHERE id <> :id RETURNING 1", id=active)
    await world.update(plan_id, title="Anew")
    await drain(database)
    titles = {
        task.assignee_user_id: task.title for task in await world.live_tasks(plan_id) if task.status == "ASSIGNED"
    }
    assert titles == {touched: "Read about forces", untouched: "Read about forces", active: "Anew"}


async def test_who_is_activated_again_gets_what_they_have_missed_and_keeps_what_they_have(database: Database) -> None:
    world = await a_world(database, learners=2)
    away, other = world.learners
    had = await world.published()
    api = Api(database, await admin(database))
    change = "mutation C($input: UpdateUserInput!) { updateUser(input: $input) { userErrors { code } } }"
    person_id = id_of("User", away)
    await api.data(change, input={"userId": person_id, "isActive": False})
    missed = await world.published()
    assert await tasks_of(world, missed, away) == []
    asked = len(await outcomes(database))
    await api.data(change, input={"userId": person_id, "isActive": True})
    await drain(database)
    assert await tasks_of(world, missed, away) == await tasks_of(world, had, away) == ["ASSIGNED"]
    assert [(kind, result) for kind, _, result in (await outcomes(database))[asked:]] == [
        ("class.members_added", {"members": 1}),
        ("plan.enroll", {"tasks_created": 1, "tasks_moved": 0, "tasks_cancelled": 0}),
    ]
    # Whoever was active all along is not touched, nor told.
    await api.data(change, input={"userId": id_of("User", other), "isActive": True})
    assert len(await outcomes(database)) == asked + 2


async def test_the_jobs_of_a_class_are_seen_by_its_teachers_and_editors_only(database: Database) -> None:
    root, of_course, teacher, learner = await admin(database), *[await person(database) for _ in range(3)]
    course_id = await make_course(database, root, teachers=[of_course])
    class_id = await make_class(database, root, teacher, course_id=course_id, learners=[learner])
    editor = await person(database, "Ed", Role.EDITOR)
    jobs = "{ jobs { nodes { kind subject { ... on CourseClass { id name } } } } }"
    expected = [{"kind": "class.members_added", "subject": {"id": id_of("CourseClass", class_id), "name": "Period 1"}}]
    for viewer in (root, editor, of_course, teacher):
        assert (await Api(database, viewer).data(jobs))["jobs"]["nodes"] == expected
    assert (await Api(database, learner).data(jobs))["jobs"]["nodes"] == []
