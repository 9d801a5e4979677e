"""Publishing while the world goes on: pages vanish, learners leave, dates pass, requests are given up and retried."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db import endings
from db.errors import Code, Refused
from db.plans import commands as plans
from db.plans.jobs import PublishPlan
from db.plans.rules import PlanType
from db.session import Database
from db.tasks import commands as tasks
from db.tasks.commands import Assignee
from jobs.registry import load
from tests.support.drain import drain
from tests.support.people import admin
from tests.support.plans import World, a_world, another_class


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


async def retitle(world: World, plan_id: UUID, title: str = "Anew") -> None:
    async with world.database.transaction() as tx:
        await plans.update_plan(
            tx,
            actor=world.teacher,
            plan_id=plan_id,
            changes={"title": title},
            publish=False,
            expected_revision=None,
            now=tx.now,
        )
    await drain(world.database)


async def put_off(world: World, plan_id: UUID) -> plans.TaskingWanted:
    """Have the plan open in five days, be due in six and close in seven."""
    async with world.database.transaction() as tx:
        dates = [tx.now + timedelta(days=days) for days in (5, 6, 7)]
    later = plans.TaskingWanted("CourseClass", world.class_id, *dates)
    await world.update(plan_id, taskings=[later])
    return later


async def test_after_opening_a_title_changes_even_where_the_course_has_lost_the_pages(world: World) -> None:
    plan_id = await world.published()
    world.database.clock.shift += timedelta(days=1, hours=1)
    async with world.database.transaction() as tx:
        await tx.execute(text("UPDATE course_items SET deleted_at = now()"))
    await retitle(world, plan_id)
    assert [task.title for task in await world.live_tasks(plan_id)] == ["Anew"] * 3
    plan = await world.plan(plan_id)
    assert plan.state == "PUBLISHED"
    assert (await world.job(plan.publish_job_id)).result == {"learners": 3, "tasks_created": 0, "tasks_kept": 3}


async def test_who_comes_after_opening_picks_from_the_steps_that_everybody_has(world: World) -> None:
    settings = {"exercises": [], "exercises_count_dynamic": 4, "page_ids": [str(page) for page in world.pages[5:]]}
    plan_id = await world.published(world.tasking("Course", world.course_id), type=PlanType.HOMEWORK, settings=settings)
    world.database.clock.shift += timedelta(days=1, hours=1)
    async with world.database.transaction() as tx:
        await tx.execute(
            text("UPDATE course_items SET deleted_at = now() WHERE id = ANY(:ids)"), {"ids": world.pages[5:9]}
        )
    await another_class(world, learners=5)
    await retitle(world, plan_id)
    picked = {position for task in await world.live_tasks(plan_id) for position in task.selection}
    assert len(await world.live_tasks(plan_id)) == 8
    assert picked <= {5, 6, 7, 8, 9}


async def cancel(world: World, job_id: UUID | None) -> None:
    async with world.database.transaction() as tx:
        await endings.cancel_job(tx, job_id=job_id or UUID(int=0), actor_id=None, reason=None, now=tx.now)


@pytest.mark.parametrize(
    ("how", "has_workers"),
    [("cancelled", True), ("cancelled", False), ("failed", True), ("withdrawn", True), ("withdrawn", False)],
)
async def test_what_did_not_go_live_before_the_opening_is_void(world: World, how: str, has_workers: bool) -> None:
    live = {"exercises": [], "exercises_count_dynamic": 2}
    plan_id = await world.published(type=PlanType.HOMEWORK, settings=live)
    before = [(task.id, task.opens_at, task.due_at, task.selection) for task in await world.live_tasks(plan_id)]
    async with world.database.transaction() as tx:
        later = plans.TaskingWanted("CourseClass", world.class_id, *[tx.now + timedelta(days=5)] * 3)
    never = {"exercises": [{"id": "x", "points": [1]}], "exercises_count_dynamic": 0}
    saved = await world.update(plan_id, settings=never, taskings=[later])
    if how == "withdrawn":
        await world.withdraw(plan_id)
    elif how == "cancelled":
        await cancel(world, saved.job_id)
    world.database.clock.shift += timedelta(days=1, hours=1)
    if how == "failed":
        # It ends after the opening, and says at once what stands.
        async with world.database.transaction() as tx:
            failed = text("UPDATE jobs SET attempt = 5, failures = 5, args = '{}' WHERE id = :id")
            await tx.execute(failed, {"id": saved.job_id})
    # Or nobody did anything since: a job looks at what opens.
    if has_workers:
        await drain(world.database)
        assert (await world.plan(plan_id)).settings == live
        (row,) = await world.rows("SELECT opens_at FROM tasking_plans WHERE plan_id = :id", id=plan_id)
        assert row.opens_at == before[0][1]
    else:
        assert (await world.plan(plan_id)).settings == never
    # A form sends back what it has read.
    if how == "withdrawn":
        await world.restore(plan_id)
    else:
        await world.update(plan_id, title="Anew", settings=live if has_workers else never)
    (newcomer,) = await world.newcomers(1)
    await world.enroll(newcomer)
    await drain(world.database)
    plan = await world.plan(plan_id)
    assert (plan.state, plan.settings, plan.live_generation) == ("PUBLISHED", live, 1)
    *rest, last = await world.live_tasks(plan_id)
    assert [(task.id, task.opens_at, task.due_at, task.selection) for task in rest] == before
    assert (last.assignee_user_id, last.opens_at, len(last.selection)) == (newcomer, before[0][1], 2)
    (row,) = await world.rows("SELECT opens_at FROM tasking_plans WHERE plan_id = :id", id=plan_id)
    assert row.opens_at == before[0][1]


async def test_what_has_gone_live_until_the_opening_stays(world: World) -> None:
    plan_id = await world.published(type=PlanType.HOMEWORK, settings={"exercises": [], "exercises_count_dynamic": 2})
    never = await world.update(plan_id, settings={"exercises": [], "exercises_count_dynamic": 3})
    await cancel(world, never.job_id)
    live = {"exercises": [], "exercises_count_dynamic": 4}
    await world.update(plan_id, settings=live)
    await drain(world.database)
    revision = (await world.plan(plan_id)).revision
    assert await reversions(world) == [("scheduled", None)]
    world.database.clock.shift += timedelta(days=1, hours=1)
    await drain(world.database)
    assert await reversions(world) == [("completed", {"reverted": False})]
    plan = await world.plan(plan_id)
    assert (plan.settings, plan.revision) == (live, revision)


async def reversions(world: World) -> list[tuple[str, Any]]:
    rows = await world.rows("SELECT state, result FROM jobs WHERE kind = 'plan.revert'")
    return [(row.state, row.result) for row in rows]


async def test_who_joins_gets_as_many_exercises_as_the_others_have_whatever_was_saved_since(world: World) -> None:
    plan_id = await world.published(type=PlanType.HOMEWORK, settings={"exercises": [], "exercises_count_dynamic": 2})
    saved = await world.update(plan_id, settings={"exercises": [], "exercises_count_dynamic": 4})
    await cancel(world, saved.job_id)
    (newcomer,) = await world.newcomers(1)
    await world.enroll(newcomer)
    await drain(world.database)
    assert [len(task.selection) for task in await world.live_tasks(plan_id)] == [2] * 4


async def test_a_title_fixed_while_a_replacement_is_under_way_replaces_too(world: World) -> None:
    plan_id = await world.published()
    async with world.database.transaction() as tx:
        await plans.update_plan(
            tx,
            actor=world.teacher,
            plan_id=plan_id,
            changes={"settings": {"page_ids": [str(world.pages[0])]}},
            publish=False,
            expected_revision=None,
            now=tx.now,
        )
    world.database.clock.shift += timedelta(days=1, hours=1)
    await retitle(world, plan_id)
    (row,) = await world.rows(
        "SELECT count(*) AS steps FROM task_step_templates s JOIN plans p ON p.id = s.plan_id"
        " AND p.live_generation = s.generation"
    )
    assert row.steps == 1
    assert [task.title for task in await world.live_tasks(plan_id)] == ["Anew"] * 3


async def test_a_retried_publication_knows_who_has_left_meanwhile(world: World) -> None:
    saved = await world.create(publish=True)
    job_id = saved.job_id or UUID(int=0)
    work = PublishPlan(plan_id=saved.plan_id, generation=1, keeps_tasks=False)
    async with world.database.transaction() as tx:
        publication = await plans.begin(tx, work=work, is_first_attempt=True)
        await plans.make_batch(
            tx, work=work, publication=publication, batch=publication.batches[0], actor_id=None, now=tx.now
        )
        await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
        await tx.execute(
            text("UPDATE enrollments SET status = 'DROPPED', dropped_at = now() WHERE user_id = :id"),
            {"id": world.learners[0]},
        )
        again = await endings.retry_job(tx, job_id=job_id, actor_id=None, now=tx.now)
    await drain(world.database)
    assert (await world.job(again)).state == "completed"
    assert [task.assignee_user_id for task in await world.live_tasks(saved.plan_id)] == sorted(world.learners[1:])


async def test_a_publication_is_not_retried_once_its_opening_has_passed(world: World) -> None:
    saved = await world.create(publish=True)
    job_id = saved.job_id or UUID(int=0)
    async with world.database.transaction() as tx:
        await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
    world.database.clock.shift += timedelta(days=1, hours=1)
    with pytest.raises(Refused) as refused:
        async with world.database.transaction() as tx:
            await endings.retry_job(tx, job_id=job_id, actor_id=None, now=tx.now)
    assert refused.value.code is Code.JOB_NOT_RETRYABLE
    assert (await world.plan(saved.plan_id)).state == "DRAFT"


async def test_tasks_of_a_publication_that_was_given_up_are_swept(world: World) -> None:
    saved = await world.create(publish=True)
    work = PublishPlan(plan_id=saved.plan_id, generation=1, keeps_tasks=False)
    async with world.database.transaction() as tx:
        publication = await plans.begin(tx, work=work, is_first_attempt=True)
        await plans.make_batch(
            tx, work=work, publication=publication, batch=publication.batches[0], actor_id=None, now=tx.now
        )
        await endings.cancel_job(tx, job_id=saved.job_id or UUID(int=0), actor_id=None, reason=None, now=tx.now)
    await drain(world.database)
    (row,) = await world.rows(
        "SELECT count(*) AS tasks, (SELECT count(*) FROM task_step_templates) AS steps FROM tasks"
    )
    assert (row.tasks, row.steps) == (0, 0)


async def test_who_has_begun_keeps_what_they_see_where_the_plan_was_put_off_before_it_opened(world: World) -> None:
    plan_id = await world.published()
    early, *others = sorted(world.learners)
    opened_at = (await world.live_tasks(plan_id))[0].opens_at
    later = await put_off(world, plan_id)
    # The worker comes to it once it has opened, and somebody was faster.
    world.database.clock.shift += timedelta(days=1, hours=1)
    task_id = await world.complete_first_step(early)
    await drain(world.database)
    first, *rest = await world.live_tasks(plan_id)
    assert (first.id, first.status, first.opens_at) == (task_id, "IN_PROGRESS", opened_at)
    assert (first.due_at, first.closes_at) == (later.due_at, later.closes_at)
    assert [(task.assignee_user_id, task.opens_at) for task in rest] == [(each, later.opens_at) for each in others]
    # So the plan is open, and nobody takes from them what they have begun.
    assert (await world.plan(plan_id)).live_opens_at == opened_at
    second, _ = await another_class(world, learners=1)
    with pytest.raises(Refused) as refused:
        await world.update(plan_id, taskings=[plans.TaskingWanted("CourseClass", second, *[later.opens_at] * 3)])
    assert refused.value.code is Code.NOT_UPDATABLE_AFTER_OPEN


async def test_a_task_that_was_given_to_somebody_else_goes_by_the_dates_of_whose_it_was(world: World) -> None:
    plan_id = await world.published()
    (stranger,) = await world.newcomers(1)
    root = await admin(world.database)
    (task,) = [each for each in await world.live_tasks(plan_id) if each.assignee_user_id == world.learners[0]]
    async with world.database.transaction() as tx:
        await tasks.reassign_task(
            tx, actor=root, task_id=task.id, assignee=Assignee(user_id=stranger), instructions=None, now=tx.now
        )
    later = await put_off(world, plan_id)
    await drain(world.database)
    live = {each.assignee_user_id: each for each in await world.live_tasks(plan_id) if each.status != "CANCELLED"}
    assert live.keys() == {stranger, *world.learners[1:]}
    assert {(each.opens_at, each.due_at, each.closes_at) for each in live.values()} == {
        (later.opens_at, later.due_at, later.closes_at)
    }


async def test_an_attempt_after_a_lost_one_goes_on_with_the_steps_that_are_there(world: World) -> None:
    settings = {"exercises": [], "exercises_count_dynamic": 2}
    saved = await world.create(publish=True, type=PlanType.HOMEWORK, settings=settings)
    work = PublishPlan(plan_id=saved.plan_id, generation=1, keeps_tasks=False)
    async with world.database.transaction() as tx:
        first = await plans.begin(tx, work=work, is_first_attempt=True)
    # An import puts an assessment before all others.
    await world.rows(
        "INSERT INTO course_items (course_id, lesson_id, key, title, format, competencies, position)"
        " SELECT course_id, lesson_id, 'new', 'New', 'ASSESSMENT', '{}', 0 FROM course_items LIMIT 1 RETURNING id"
    )
    async with world.database.transaction() as tx:
        second = await plans.begin(tx, work=work, is_first_attempt=False)
    assert second.picked == first.picked
    (row,) = await world.rows("SELECT count(*) AS n FROM task_step_templates WHERE plan_id = :id", id=saved.plan_id)
    assert row.n == len(first.picked) == 5


async def test_rosters_go_by_what_is_live_and_not_by_what_was_saved_in_vain(world: World) -> None:
    second, of_second = await another_class(world, learners=1)
    third, _ = await another_class(world, learners=0, name="Third")
    plan_id = await world.published()
    dates = {task.assignee_user_id: task.opens_at for task in await world.live_tasks(plan_id)}
    async with world.database.transaction() as tx:
        later = plans.TaskingWanted("CourseClass", second, *[tx.now + timedelta(days=5)] * 3)
    await cancel(world, (await world.update(plan_id, taskings=[later])).job_id)
    first, other = await world.newcomers(2)
    await world.enroll(first)
    await world.enroll(other, class_id=second)
    # Somebody who joins another class and leaves it again is reached by what reached them before.
    await world.enroll(world.learners[0], class_id=third)
    await drain(world.database)
    await world.drop(world.learners[0], third)
    await drain(world.database)
    assert {(task.assignee_user_id, task.status, task.opens_at) for task in await world.live_tasks(plan_id)} == {
        (learner, "ASSIGNED", dates[world.learners[0]]) for learner in (*world.learners, first)
    }
    assert of_second[0] not in {task.assignee_user_id for task in await world.live_tasks(plan_id)}


@pytest.mark.parametrize("what", ["dates", "another class"])
async def test_who_joins_while_something_else_is_being_published_gets_what_is_live(world: World, what: str) -> None:
    second, _ = await another_class(world, learners=0)
    plan_id = await world.published(world.tasking(opens=7, due=8, closes=9))
    (before,) = {(task.opens_at, task.due_at) for task in await world.live_tasks(plan_id)}
    opens_at = (await world.plan(plan_id)).live_opens_at
    async with world.database.transaction() as tx:
        sooner = [tx.now + timedelta(days=days) for days in (1, 2, 3)]
        stays = plans.TaskingWanted("CourseClass", world.class_id, *[tx.now + timedelta(days=7)] * 3)
    own = plans.TaskingWanted("CourseClass", world.class_id, *sooner)
    wanted = [own] if what == "dates" else [stays, plans.TaskingWanted("CourseClass", second, *sooner)]
    saved = await world.update(plan_id, taskings=wanted)
    (late,) = await world.newcomers(1)
    await world.enroll(late, class_id=world.class_id if what == "dates" else second)
    await drain(world.database, kinds={kind: each for kind, each in load().items() if kind != PublishPlan.kind})
    await cancel(world, saved.job_id)
    reached = {*world.learners, late} if what == "dates" else {*world.learners}
    live = {(task.assignee_user_id, task.opens_at, task.due_at) for task in await world.live_tasks(plan_id)}
    assert live == {(learner, *before) for learner in reached}
    assert (await world.plan(plan_id)).live_opens_at == opens_at


async def test_a_plan_is_published_again_by_a_clock_that_was_put_back(world: World) -> None:
    plan_id = await world.published()
    first = (await world.plan(plan_id)).first_published_at
    world.database.clock.shift -= timedelta(seconds=30)
    saved = await world.publish(plan_id)
    await drain(world.database)
    assert (await world.job(saved.job_id)).state == "completed"
    plan = await world.plan(plan_id)
    assert (plan.live_generation, plan.first_published_at, plan.last_published_at) == (2, first, first)


async def test_a_generation_that_an_older_worker_let_go_live_is_not_void(world: World) -> None:
    plan_id = await world.published()
    await world.update(plan_id, settings={"page_ids": [str(world.pages[0])]})
    await drain(world.database)
    # As it was written before a plan said what is live.
    await world.rows(
        "UPDATE plans SET is_replacing = true, live_content = jsonb_set(live_content, '{settings}', '{}') RETURNING id"
    )
    world.database.clock.shift += timedelta(days=1, hours=1)
    await retitle(world, plan_id)
    assert (await world.plan(plan_id)).settings == {"page_ids": [str(world.pages[0])]}


async def test_a_publication_that_is_tried_again_still_replaces_once_it_has_opened(world: World) -> None:
    plan_id = await world.published()
    saved = await world.update(plan_id, settings={"page_ids": [str(world.pages[0])]})
    await cancel(world, saved.job_id)
    await world.rows("UPDATE plans SET is_replacing = false RETURNING id")
    async with world.database.transaction() as tx:
        await endings.retry_job(tx, job_id=saved.job_id or UUID(int=0), actor_id=None, now=tx.now)
    world.database.clock.shift += timedelta(days=1, hours=1)
    await retitle(world, plan_id)
    plan = await world.plan(plan_id)
    assert (plan.live_generation, plan.live_content["settings"]) == (3, {"page_ids": [str(world.pages[0])]})
