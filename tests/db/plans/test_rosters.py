"""Who joins, moves or leaves after plans were published: each gets what is missing, and keeps what they have begun."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.courses import commands as courses
from db.plans import commands as plans
from db.plans.jobs import PublishPlan
from db.plans.rules import PlanType
from db.session import Database
from jobs.attempt import Attempt, Declared
from jobs.registry import load
from tests.support.drain import drain
from tests.support.people import admin
from tests.support.plans import World, a_world, another_class, another_course

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
OTHERS = {kind: each for kind, each in load().items() if kind != PublishPlan.kind}


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


async def touch(world: World, plan_id: UUID, learner: UUID) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            text(
                "UPDATE tasks t SET is_touched = true FROM plans p WHERE p.id = :plan_id AND t.plan_id = p.id"
                " AND t.generation = p.live_generation AND t.assignee_user_id = :user_id"
            ),
            {"plan_id": plan_id, "user_id": learner},
        )


async def task_of(world: World, plan_id: UUID, learner: UUID) -> Any:
    found = [task for task in await world.live_tasks(plan_id) if task.assignee_user_id == learner]
    return found[0] if found else None


async def interrupted(world: World, between: Any) -> None:
    """Drain, with something that happens after each publication's batches and before it goes live."""

    async def later(attempt: Attempt, work: PublishPlan) -> Any:
        async with attempt.transaction() as tx:
            publication = await plans.begin(tx, work=work, is_first_attempt=True)
            for batch in publication.batches:
                await plans.make_batch(tx, work=work, publication=publication, batch=batch, actor_id=None, now=tx.now)
        await between()
        # What follows from it runs before the publication goes on.
        await drain(world.database, kinds=OTHERS)
        async with attempt.completing() as end:
            end.result = await plans.go_live(end.tx, work=work, publication=publication, made=0, now=end.tx.now)

    await drain(world.database, kinds={**load(), PublishPlan.kind: Declared(PublishPlan, later)})


# --- joining ----------------------------------------------------------------------------------------------------------


async def test_who_joins_gets_what_is_missing_and_nothing_else_changes(world: World) -> None:
    plan_ids = [await world.published() for _ in range(2)]
    before = [await world.plan(plan_id) for plan_id in plan_ids]
    old = {task.id for plan_id in plan_ids for task in await world.live_tasks(plan_id)}
    (late,) = await world.newcomers(1)
    await world.enroll(late)
    await drain(world.database)
    for plan_id in plan_ids:
        task = await task_of(world, plan_id, late)
        other = await task_of(world, plan_id, world.learners[0])
        assert (task.title, task.type_name, task.due_at) == (other.title, other.type_name, other.due_at)
    assert [await world.plan(plan_id) for plan_id in plan_ids] == before
    assert old < {task.id for plan_id in plan_ids for task in await world.live_tasks(plan_id)}
    (job,) = await world.rows("SELECT * FROM jobs WHERE kind = 'plan.enroll'")
    assert (job.state, job.result) == ("completed", {"tasks_created": 2, "tasks_moved": 0, "tasks_cancelled": 0})
    assert (job.subject_type, job.subject_id, job.actor_id) == ("CourseClass", world.class_id, world.teacher.user_id)


async def test_each_of_many_who_join_has_a_job_of_their_own(world: World) -> None:
    plan_id = await world.published()
    late = await world.newcomers(7)
    await world.enroll(*late)
    await drain(world.database)
    jobs = await world.rows("SELECT args FROM jobs WHERE kind = 'plan.enroll' AND state = 'completed'")
    assert sorted(job.args["user_id"] for job in jobs) == sorted(str(key) for key in late)
    assert [task.assignee_user_id for task in await world.live_tasks(plan_id)] == sorted([*world.learners, *late])


async def test_where_nothing_was_published_nobody_has_a_job(world: World) -> None:
    await world.create()
    await world.enroll(*await world.newcomers(1))
    await drain(world.database)
    assert await world.rows("SELECT 1 FROM jobs WHERE kind = 'plan.enroll'") == []


async def test_plans_that_do_not_reach_them_and_plans_that_are_withdrawn_give_them_nothing(world: World) -> None:
    second, _ = await another_class(world, learners=1)
    for_others = await world.published(world.tasking(key=second))
    withdrawn = await world.published()
    await world.withdraw(withdrawn)
    (late,) = await world.newcomers(1)
    await world.enroll(late)
    await drain(world.database)
    assert await task_of(world, for_others, late) is None
    assert await task_of(world, withdrawn, late) is None
    await world.restore(withdrawn)
    await drain(world.database)
    assert await task_of(world, withdrawn, late) is not None


async def test_whose_task_somebody_has_cancelled_gets_no_other_one_by_joining_again(world: World) -> None:
    plan_id = await world.published()
    async with world.database.transaction() as tx:
        await tx.execute(
            text(
                "UPDATE tasks SET status = 'CANCELLED', closed_at = now(), is_touched = true, cancelled_by_id = :by"
                " WHERE assignee_user_id = :id"
            ),
            {"id": world.learners[0], "by": world.teacher.user_id},
        )
    await world.drop(world.learners[0])
    await world.enroll(world.learners[0])
    await drain(world.database)
    assert (await task_of(world, plan_id, world.learners[0])).status == "CANCELLED"


async def test_who_joins_picks_as_a_publication_would_have_picked(world: World) -> None:
    settings = {"exercises": [], "exercises_count_dynamic": 2, "page_ids": [str(world.pages[9])]}
    plan_id = await world.published(type=PlanType.HOMEWORK, settings=settings)
    # So may it have been sent, and stored: to JSON this is an integer. One such plan must not stop the course's others.
    await world.rows(
        "UPDATE plans SET settings = jsonb_set(settings, '{exercises_count_dynamic}', '2.0')"
        " WHERE id = :id RETURNING 1",
        id=plan_id,
    )
    (late,) = await world.newcomers(1)
    await world.enroll(late)
    await drain(world.database)
    picked = (await task_of(world, plan_id, late)).selection
    await world.publish(plan_id)
    await drain(world.database)
    assert (await task_of(world, plan_id, late)).selection == picked
    assert len(picked) == 2


async def test_a_plan_is_open_once_somebody_who_joined_has_an_open_task(world: World) -> None:
    empty, _ = await another_class(world, learners=0)
    plan_id = await world.published(world.tasking(), world.tasking(key=empty, opens=0.5))
    world.database.clock.shift += DAY / 2 + HOUR
    live_opens_at = (await world.plan(plan_id)).live_opens_at
    await world.enroll(*await world.newcomers(1), class_id=empty)
    await drain(world.database)
    assert (await world.plan(plan_id)).live_opens_at == live_opens_at - DAY / 2


# --- leaving ----------------------------------------------------------------------------------------------------------


async def test_who_leaves_keeps_what_they_have_touched_and_the_rest_is_cancelled(world: World) -> None:
    touched, untouched = [await world.published() for _ in range(2)]
    gone = world.learners[0]
    await touch(world, touched, gone)
    await world.drop(gone)
    await drain(world.database)
    assert (await task_of(world, touched, gone)).status == "ASSIGNED"
    task = await task_of(world, untouched, gone)
    assert (task.status, task.cancelled_by_id) == ("CANCELLED", None)
    (row,) = await world.rows("SELECT * FROM task_transitions WHERE task_id = :id", id=task.id)
    assert (row.from_status, row.to_status, row.actor_id) == ("ASSIGNED", "CANCELLED", None)


async def test_who_comes_back_gets_a_new_task_for_the_one_that_was_cancelled(world: World) -> None:
    plan_id = await world.published()
    back = world.learners[0]
    await world.drop(back)
    await drain(world.database)
    await world.enroll(back)
    await drain(world.database)
    statuses = [task.status for task in await world.live_tasks(plan_id) if task.assignee_user_id == back]
    assert sorted(statuses) == ["ASSIGNED", "CANCELLED"]


async def test_who_is_still_in_another_class_that_the_plan_reaches_loses_nothing_and_goes_by_that_class(
    world: World,
) -> None:
    second, _ = await another_class(world, learners=0)
    both, begun, other = world.learners
    await world.enroll(both, begun, class_id=second)
    for_all = await world.published(world.tasking("Course", world.course_id))
    for_each = await world.published(world.tasking(), world.tasking(key=second, opens=1.5, due=8, closes=9))
    mine = await task_of(world, for_each, both)
    await touch(world, for_each, begun)
    before = {plan_id: await world.live_tasks(plan_id) for plan_id in (for_all, for_each)}
    await world.change_class(second, is_archived=True)
    await drain(world.database)
    assert await world.live_tasks(for_all) == before[for_all]
    now_due, theirs = await task_of(world, for_each, both), await task_of(world, for_each, other)
    assert (now_due.id, now_due.status) == (mine.id, "ASSIGNED")
    assert (now_due.opens_at, now_due.due_at, now_due.closes_at) == (theirs.opens_at, theirs.due_at, theirs.closes_at)
    assert [await task_of(world, for_each, each) for each in (begun, other)] == [
        task for each in (begun, other) for task in before[for_each] if task.assignee_user_id == each
    ]
    # The class is back: what they have stays as it is, and goes by it again only where the other one is lost.
    await world.change_class(second, is_archived=False)
    await drain(world.database)
    assert (await task_of(world, for_each, both)).due_at == theirs.due_at
    await world.drop(both, world.class_id)
    await drain(world.database)
    assert (await task_of(world, for_each, both)).due_at == mine.due_at
    redated = await world.rows("SELECT args FROM jobs WHERE kind = 'plan.enroll' AND (args ->> 'moves')::boolean")
    assert [job.args["user_id"] for job in redated] == [str(both)] * 2


async def test_a_publication_is_told_of_who_comes_and_goes_in_its_own_course(world: World) -> None:
    elsewhere = await another_course(world)
    here, there = await world.published(), await elsewhere.published()
    for plan_id in (here, there):
        await world.publish(plan_id)

    async def noted() -> set[tuple[UUID, UUID]]:
        await drain(world.database, kinds=OTHERS)
        return {tuple(row) for row in await world.rows("SELECT plan_id, user_id FROM plan_roster_changes")}

    await world.drop(world.learners[0], world.class_id)
    assert await noted() == {(here, world.learners[0])}
    # The course that a class has left, and the one that it got.
    await elsewhere.change_class(course_id=world.course_id)
    assert await noted() == {(plan_id, learner) for plan_id in (here, there) for learner in world.learners}
    assert [task.status for task in await world.live_tasks(there)] == ["CANCELLED"] * 3


# --- moving -----------------------------------------------------------------------------------------------------------


async def test_what_was_not_touched_moves_along_and_what_was_stays(world: World) -> None:
    second, _ = await another_class(world, learners=1)
    begun, fresh = [await world.published(world.tasking(), world.tasking(key=second, due=8, closes=9)) for _ in "ab"]
    only_first = await world.published()
    only_second = await world.published(world.tasking(key=second))
    mover = world.learners[0]
    before = await task_of(world, begun, mover)
    await touch(world, begun, mover)
    await world.move(mover, second)
    await drain(world.database)
    after = {plan_id: await task_of(world, plan_id, mover) for plan_id in (begun, fresh, only_first, only_second)}
    assert (after[begun].id, after[begun].due_at) == (before.id, before.due_at)
    assert after[fresh].due_at > before.due_at + 5 * DAY
    assert after[only_first].status == "CANCELLED"
    assert after[only_second].status == "ASSIGNED"
    (job,) = await world.rows("SELECT result FROM jobs WHERE kind = 'plan.enroll'")
    assert job.result == {"tasks_created": 1, "tasks_moved": 1, "tasks_cancelled": 1}


async def test_who_moves_while_a_plan_is_withdrawn_has_the_new_opening_when_it_is_restored_after_it(
    world: World,
) -> None:
    second, _ = await another_class(world, learners=1)
    plan_id = await world.published(world.tasking(opens=0), world.tasking(key=second, opens=1.5))
    mover = world.learners[0]
    await world.withdraw(plan_id)
    await world.move(mover, second)
    await drain(world.database)
    world.database.clock.shift += HOUR
    await world.restore(plan_id)
    await drain(world.database)
    dates = {task.assignee_user_id: task.opens_at for task in await world.live_tasks(plan_id)}
    assert dates[mover] == dates[world.learners[1]] + 1.5 * DAY


async def test_a_class_that_gets_a_course_gets_what_is_for_everybody_of_it(world: World, database: Database) -> None:
    everybody = await world.published(world.tasking("Course", world.course_id))
    for_first = await world.published()
    root = await admin(database)
    late = await world.newcomers(2)
    async with database.transaction() as tx:
        class_id = await courses.create_class(
            tx,
            actor=root,
            name="Third",
            teacher_id=world.teacher.user_id,
            course_id=None,
            co_teacher_ids=[],
            rescope_enabled=False,
            now=tx.now,
        )
        await courses.enroll(tx, actor=root, class_id=class_id, user_ids=late, emails=[], now=tx.now)
        await courses.update_class(
            tx, actor=root, class_id=class_id, changes={"course_id": world.course_id}, now=tx.now
        )
    await drain(database)
    assert {task.assignee_user_id for task in await world.live_tasks(everybody)} == {*world.learners, *late}
    assert {task.assignee_user_id for task in await world.live_tasks(for_first)} == set(world.learners)


# --- while a publication runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_published", [False, True])
async def test_who_joins_after_the_batches_were_made_is_there_when_it_goes_live(
    world: World, is_published: bool
) -> None:
    plan_id = await world.published() if is_published else (await world.create()).plan_id
    (late,) = await world.newcomers(1)
    saved = await world.publish(plan_id)
    await interrupted(world, lambda: world.enroll(late))
    live = await world.live_tasks(plan_id)
    assert [task.assignee_user_id for task in live] == sorted([*world.learners, late])
    assert (await world.job(saved.job_id)).result == {"learners": 4, "tasks_created": 4, "tasks_kept": 0}
    assert await world.rows("SELECT 1 FROM plan_roster_changes") == []


async def test_what_a_newcomer_has_begun_meanwhile_is_kept(world: World) -> None:
    plan_id = await world.published()
    (late,) = await world.newcomers(1)
    await world.publish(plan_id)
    begun: list[UUID] = []

    async def begin() -> None:
        await world.enroll(late)
        await drain(world.database, kinds=OTHERS)
        begun.append((await task_of(world, plan_id, late)).id)
        await touch(world, plan_id, late)

    await interrupted(world, begin)
    task = await task_of(world, plan_id, late)
    assert (task.id, task.status) == (begun[0], "ASSIGNED")
    assert (await world.plan(plan_id)).live_generation == 2


async def test_who_leaves_after_the_batches_were_made_has_nothing_of_it(world: World) -> None:
    plan_id = await world.published()
    gone = world.learners[0]
    await world.publish(plan_id)
    await interrupted(world, lambda: world.drop(gone))
    statuses = {task.assignee_user_id: task.status for task in await world.live_tasks(plan_id)}
    assert statuses == {gone: "CANCELLED", **dict.fromkeys(world.learners[1:], "ASSIGNED")}
