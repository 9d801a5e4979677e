"""A course with one big class, made in a few statements."""

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.ledger.rules import job_topic
from db.plans import commands as plans
from db.plans.commands import TaskingWanted
from db.plans.rules import PlanType
from db.session import Database

_COURSE = text(
    """
    WITH course AS (
        INSERT INTO courses (key, title, time_zone) VALUES ('big', 'A big course', 'UTC') RETURNING id
    ), teacher AS (
        INSERT INTO users (name, roles) VALUES ('Teacher', '{MEMBER}') RETURNING id
    ), teaching AS (
        INSERT INTO course_teachers (course_id, user_id) SELECT course.id, teacher.id FROM course, teacher
    ), unit AS (
        INSERT INTO course_units (course_id, key, title, position) SELECT id, 'u', 'Unit', 0 FROM course RETURNING id
    ), lesson AS (
        INSERT INTO course_lessons (course_id, unit_id, key, title, position)
        SELECT course.id, unit.id, 'l', 'Lesson', 0 FROM course, unit RETURNING id
    ), item AS (
        INSERT INTO course_items (course_id, lesson_id, key, title, format, competencies, position)
        SELECT course.id, lesson.id, 'i' || n, 'Item ' || n, 'COLLECTION', '{}', n
        FROM course, lesson, generate_series(1, :steps) n RETURNING id
    ), class AS (
        INSERT INTO classes (course_id, name, teacher_id) SELECT course.id, 'Everybody', teacher.id FROM course, teacher
        RETURNING id
    ), people AS (
        INSERT INTO users (name, roles) SELECT 'Learner ' || n, '{MEMBER}' FROM generate_series(1, :learners) n
        RETURNING id, name
    ), enrolled AS (
        INSERT INTO enrollments (class_id, user_id, status, sort_name, change_id, enrolled_at)
        SELECT class.id, people.id, 'ACTIVE', lower(people.name), uuidv7(), now() FROM class, people
    )
    SELECT course.id AS course_id, teacher.id AS teacher_id, class.id AS class_id,
        (SELECT array_agg(id) FROM item) AS items, (SELECT array_agg(id) FROM people) AS learners
    FROM course, teacher, class
    """
)


_NEWCOMERS = text(
    """
    WITH people AS (
        INSERT INTO users (name, roles) SELECT 'Newcomer ' || n, '{MEMBER}' FROM generate_series(1, :count) n
        RETURNING id, name
    )
    INSERT INTO enrollments (class_id, user_id, status, sort_name, change_id, enrolled_at)
    SELECT :class_id, people.id, 'ACTIVE', lower(people.name), uuidv7(), now() FROM people
    """
)
_DROP_NEWCOMERS = text(
    "UPDATE enrollments SET status = 'DROPPED', dropped_at = now()"
    " WHERE class_id = :class_id AND status = 'ACTIVE' AND user_id <> ALL (:learners)"
)


@dataclass(frozen=True, slots=True)
class BenchWorld:
    """A course, its teacher, a class with its learners, and a plan to save while others are published."""

    database: Database
    course_id: UUID
    class_id: UUID
    items: list[UUID]
    teacher: Viewer
    learners: list[UUID]
    other_plan_id: UUID

    async def create_plan(self, title: str) -> UUID:
        """A reading plan of all items, for the class, that opens tomorrow; a draft."""
        async with self.database.transaction() as tx:
            dates = [tx.now + timedelta(days=days) for days in (1, 2, 3)]
            saved = await plans.create_plan(
                tx,
                actor=self.teacher,
                course_id=self.course_id,
                type=PlanType.READING,
                title=title,
                description="",
                settings={"page_ids": [str(item) for item in self.items]},
                taskings=[TaskingWanted("CourseClass", self.class_id, *dates)],
                publish=False,
                now=tx.now,
            )
        return saved.plan_id

    async def publish(self, plan_id: UUID) -> UUID | None:
        """Ask for a publication; its job."""
        async with self.database.transaction() as tx:
            saved = await plans.publish_plan(
                tx, actor=self.teacher, plan_id=plan_id, open_now=False, expected_revision=None, now=tx.now
            )
        return saved.job_id

    async def update(self, plan_id: UUID) -> UUID | None:
        """Save another description; the job, where the plan is published by that."""
        async with self.database.transaction() as tx:
            saved = await plans.update_plan(
                tx,
                actor=self.teacher,
                plan_id=plan_id,
                changes={"description": str(tx.now)},
                publish=False,
                expected_revision=None,
                now=tx.now,
            )
        return saved.job_id

    async def withdraw(self, plan_id: UUID) -> UUID | None:
        """Take a plan back; the job that was cancelled."""
        async with self.database.transaction() as tx:
            withdrawn = await plans.withdraw_plan(tx, actor=self.teacher, plan_id=plan_id, reason=None, now=tx.now)
        return withdrawn.cancelled_job_id

    async def restore(self, plan_id: UUID) -> UUID | None:
        """Bring a plan back; its job."""
        async with self.database.transaction() as tx:
            return (await plans.restore_plan(tx, actor=self.teacher, plan_id=plan_id, now=tx.now)).job_id

    async def enroll_silently(self, count: int) -> None:
        """Learners who join without the jobs that would give them their tasks: the next publication has to."""
        async with self.database.transaction() as tx:
            await tx.execute(_NEWCOMERS, {"class_id": self.class_id, "count": count})

    async def drop_newcomers(self) -> None:
        """Have only the first learners in the class again."""
        async with self.database.transaction() as tx:
            await tx.execute(_DROP_NEWCOMERS, {"class_id": self.class_id, "learners": self.learners})

    async def until_ended(self, job_id: UUID | None) -> None:
        """Wait until a job has ended. Raises RuntimeError where it did not complete."""
        assert job_id is not None
        feed = self.database.feed
        async with feed.listen(job_topic(job_id)) as listener:  # type: ignore[union-attr]  # it is a Feed here
            while True:
                rows = await self.database.reader.fetch("SELECT state, error FROM jobs WHERE id = $1", (job_id,))
                if rows[0]["state"] == "completed":
                    return
                if rows[0]["state"] in {"failed", "cancelled", "quarantined"}:
                    raise RuntimeError(f"the publication ended {rows[0]['state']}: {rows[0]['error']}")
                await listener.wait(0.5)


async def make_world(database: Database, *, learners: int, steps: int) -> BenchWorld:
    """Make it."""
    async with database.transaction() as tx:
        made = (await tx.execute(_COURSE, {"learners": learners, "steps": steps})).one()
    teacher = Viewer(made.teacher_id, "Teacher", frozenset({Role.MEMBER}))
    world = BenchWorld(
        database, made.course_id, made.class_id, made.items, teacher, made.learners, other_plan_id=UUID(int=0)
    )
    return replace(world, other_plan_id=await world.create_plan("Saved meanwhile"))
