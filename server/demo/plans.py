"""The plans of the demo, in every state a plan can be in, and what learners have done with them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from db.accounts.models import User
from db.accounts.rules import Role, Viewer
from db.ledger.models import Job
from db.ledger.rules import JobState
from db.plans import commands as plans
from db.plans.commands import TaskingWanted
from db.plans.models import Plan
from db.plans.rules import PlanType
from db.session import Database, Tx
from db.tasks import commands as tasks
from db.tasks.models import StepTemplate, Task
from server.demo.school import School, import_again
from server.demo.work import run_due_jobs

DAY = timedelta(days=1)
READING, HOMEWORK = PlanType.READING, PlanType.HOMEWORK


@dataclass(frozen=True, slots=True)
class Wanted:
    """A plan of the demo. Dates are days from the moment it is written; `course`: for everybody, not one class."""

    title: str
    description: str
    type: PlanType
    settings: Mapping[str, Any]
    opens: float = 1
    due: float = 8
    closes: float = 30
    publish: bool = True
    course: bool = False


async def make_plans(database: Database, school: School) -> None:
    """Write the plans that are not there yet, the oldest first, each at its own time in the past."""
    async with database.transaction() as tx:
        there = set(await tx.scalars(select(Plan.title).where(Plan.course_id == school.course_id)))
    chapters: Mapping[str, tuple[float, Callable[[Database, School], Awaitable[object]]]] = {
        MOTION.title: (20, _worked_on),
        ENERGY.title: (12, _withdrawn),
        FIELD_TRIP.title: (5, _failed),
        SIMULATION.title: (2, _opened),
        LAWS.title: (1, lambda database, school: _write(database, school, LAWS)),
        OBSERVATORY.title: (0, lambda database, school: _write(database, school, OBSERVATORY)),
        WORK.title: (0, lambda database, school: _write(database, school, WORK)),
        LIGHT.title: (0, _waiting),
    }
    for title, (days_ago, write) in chapters.items():
        if title not in there:
            async with _at(database, days_ago):
                await write(database, school)


# --- the plans --------------------------------------------------------------------------------------------------------


def _pages(school: School, *prefixes: str) -> dict[str, Any]:
    keys = [school.items[key] for prefix in prefixes for key in school.items if key.startswith(prefix)]
    return {"page_ids": [str(key) for key in keys]}


MOTION = Wanted(
    "Read: Motion in a straight line",
    "Position, velocity and acceleration. Work through the pages in order; the quiz at the end of each lesson counts.",
    READING,
    {"lessons": ("u1.l1.", "u1.l2.")},
    opens=0,
    due=7,
    closes=60,
)
ENERGY = Wanted(
    "Homework: Energy (old version)",
    "Taken back: the exercises were those of last year.",
    HOMEWORK,
    {"exercises": [{"id": "energy-1", "points": [2, 3]}, {"id": "energy-2", "points": [5]}]},
    course=True,
)
FIELD_TRIP = Wanted(
    "Read: Field trip notes", "What we saw at the dam. Read it before the lesson.", READING, {"items": ("field-trip",)}
)
SIMULATION = Wanted(
    "Simulation: Forces and friction",
    "Change mass and surface, and write down what you find.",
    PlanType.EXTERNAL,
    {"external_url": "https://simulations.example/forces?learner={{learner_id}}"},
    opens=0,
    due=6,
)
LAWS = Wanted(
    "Homework: Newton's laws",
    "Three exercises for everybody, and two more that are picked for you.",
    HOMEWORK,
    {
        "exercises": [
            {"id": "newton-1", "points": [1, 1.5]},
            {"id": "newton-2", "points": [2]},
            {"id": "newton-3", "points": [2.5, 0.5, 1]},
        ],
        "exercises_count_dynamic": 2,
    },
    opens=3,
    due=10,
    course=True,
)
OBSERVATORY = Wanted(
    "Visit to the observatory",
    "Bring a jacket. We meet at the gate at 19:30.",
    PlanType.EVENT,
    {},
    publish=False,
    opens=2,
    due=12,
)
WORK = Wanted(
    "Read: Work and energy",
    "Ten pages. Publish this one to watch a thousand tasks being made.",
    READING,
    {"lessons": ("u3.l1.", "u3.l2.c", "u3.l2.e", "u3.l2.p", "u3.l2.r")},
    publish=False,
)
LIGHT = Wanted(
    "Read: Light", "Its publication waits: cancel it to have a draft again.", READING, {"lessons": ("u4.l3.",)}
)


# --- how they came to be what they are --------------------------------------------------------------------------------


async def _write(database: Database, school: School, wanted: Wanted) -> UUID:
    """Write a plan as the teacher, and publish it where it is to be published; its key."""
    async with database.transaction() as tx:
        plan_id = await _create(tx, school, wanted)
    await run_due_jobs(database)
    return plan_id


async def _create(tx: Tx, school: School, wanted: Wanted) -> UUID:
    target = ("Course", school.course_id) if wanted.course else ("CourseClass", school.large_class)
    dates = (tx.now + wanted.opens * DAY, tx.now + wanted.due * DAY, tx.now + wanted.closes * DAY)
    saved = await plans.create_plan(
        tx,
        actor=school.people["teacher"],
        course_id=school.course_id,
        type=wanted.type,
        title=wanted.title,
        description=wanted.description,
        settings=_settings(school, wanted),
        taskings=[TaskingWanted(*target, *dates)],
        publish=wanted.publish,
        now=tx.now,
    )
    return saved.plan_id


def _settings(school: School, wanted: Wanted) -> dict[str, Any]:
    settings = dict(wanted.settings)
    if wanted.type is READING:
        return _pages(school, *settings.get("lessons", ()), *settings.get("items", ()))
    if wanted.type is HOMEWORK:
        return {"exercises_count_dynamic": 0, **settings}
    return settings


async def _worked_on(database: Database, school: School) -> None:
    """Published and open; one learner has done all of it, some a part."""
    plan_id = await _write(database, school, MOTION)
    async with _at(database, -3), database.transaction() as tx:
        some = await tx.execute(
            select(User.id, User.name)
            .join(Task, Task.assignee_user_id == User.id)
            .where(Task.plan_id == plan_id)
            .order_by(User.id)
            .limit(12)
        )
        busy = [Viewer(row.id, row.name, frozenset({Role.MEMBER})) for row in some]
        for number, learner in enumerate(busy):
            await _complete_steps(tx, plan_id, learner, number % 4 + 1)
        await _complete_steps(tx, plan_id, school.people["learner"], 100)
        await _complete_steps(tx, plan_id, school.people["other_learner"], 4)


async def _complete_steps(tx: Tx, plan_id: UUID, learner: Viewer, count: int) -> None:
    mine = select(Task.id, Task.generation).where(Task.plan_id == plan_id, Task.assignee_user_id == learner.user_id)
    task_id, generation = (await tx.execute(mine)).one()
    steps = select(StepTemplate.id).where(StepTemplate.plan_id == plan_id, StepTemplate.generation == generation)
    for template_id in list(await tx.scalars(steps.order_by(StepTemplate.position).limit(count))):
        await tasks.complete_step(tx, actor=learner, task_id=task_id, template_id=template_id, now=tx.now)


async def _withdrawn(database: Database, school: School) -> None:
    """Published, and taken back."""
    plan_id = await _write(database, school, ENERGY)
    async with _at(database, -1), database.transaction() as tx:
        teacher = school.people["teacher"]
        await plans.withdraw_plan(tx, actor=teacher, plan_id=plan_id, reason="Not this term.", now=tx.now)


async def _failed(database: Database, school: School) -> None:
    """Asked to be published, and then its only page left the course: no learner has anything to do."""
    async with database.transaction() as tx:
        with_notes = await import_again(tx, school, extra=True)
        await _create(tx, with_notes, FIELD_TRIP)
        await import_again(tx, school, extra=False)
    await run_due_jobs(database)


async def _opened(database: Database, school: School) -> None:
    """Published and open for two days."""
    await _write(database, school, SIMULATION)


async def _waiting(database: Database, school: School) -> None:
    """Being published: its job is set to begin in a month, so that there is one to look at and to cancel."""
    async with database.transaction() as tx:
        plan_id = await _create(tx, school, LIGHT)
        its_job = update(Job).where(Job.subject_id == plan_id, Job.kind == "plan.publish")
        await tx.execute(its_job.values(state=JobState.SCHEDULED, scheduled_at=tx.now + 30 * DAY))


@asynccontextmanager
async def _at(database: Database, days_ago: float) -> AsyncIterator[None]:
    """The database's clock so many days back (or, negative, on) while the block runs."""
    database.clock.shift -= days_ago * DAY
    try:
        yield
    finally:
        database.clock.shift += days_ago * DAY
