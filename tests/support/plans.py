"""A course with learners and plans of it, made with as few statements as there are tables."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.courses import commands as courses
from db.courses.rules import ClassChanges
from db.plans import commands as plans
from db.plans.commands import Extended, PlanChanges, Saved, TaskingWanted, Withdrawn
from db.plans.rules import PlanType
from db.session import Database, Tx
from db.tasks import commands as tasks
from tests.support.courses import document, make_class, make_course
from tests.support.drain import drain
from tests.support.people import admin

DAY = timedelta(days=1)

_COURSE = text(
    """
    WITH course AS (
        INSERT INTO courses (key, title, time_zone) VALUES ('physics', 'Physics', 'UTC') RETURNING id
    ), teacher AS (
        INSERT INTO users (name, email, roles) VALUES ('Ada Teacher', 'ada@example.org', '{MEMBER}') RETURNING id
    ), teaching AS (
        INSERT INTO course_teachers (course_id, user_id) SELECT course.id, teacher.id FROM course, teacher
    ), unit AS (
        INSERT INTO course_units (course_id, key, title, position) SELECT id, 'u', 'Unit', 0 FROM course RETURNING id
    ), lesson AS (
        INSERT INTO course_lessons (course_id, unit_id, key, title, position)
        SELECT course.id, unit.id, 'l', 'Lesson', 0 FROM course, unit RETURNING id
    ), item AS (
        INSERT INTO course_items (course_id, lesson_id, key, title, format, competencies, position)
        SELECT course.id, lesson.id, 'i' || n, 'Item ' || n,
            CASE WHEN n <= 5 THEN 'ASSESSMENT' ELSE 'COLLECTION' END, '{}', n
        FROM course, lesson, generate_series(1, 10) n RETURNING id, position
    )
    SELECT course.id AS course_id, teacher.id AS teacher_id,
        (SELECT array_agg(id ORDER BY position) FROM item) AS items
    FROM course, teacher
    """
)
_CLASS = text(
    """
    WITH class AS (
        INSERT INTO classes (course_id, name, teacher_id) VALUES (:course_id, :name, :teacher_id) RETURNING id
    ), people AS (
        INSERT INTO users (name, roles)
        SELECT :name || ' learner ' || lpad(n::text, 6, '0'), '{MEMBER}' FROM generate_series(1, :learners) n
        RETURNING id, name
    ), enrolled AS (
        INSERT INTO enrollments (class_id, user_id, status, sort_name, change_id, enrolled_at)
        SELECT class.id, people.id, 'ACTIVE', lower(people.name), uuidv7(), now() FROM class, people
    )
    SELECT class.id, (SELECT array_agg(id ORDER BY name) FROM people) AS learners FROM class
    """
)


@dataclass(frozen=True, slots=True)
class World:
    """A course, its teacher, its pages, and a class of learners."""

    database: Database
    course_id: UUID
    class_id: UUID
    teacher: Viewer
    pages: list[UUID]
    learners: list[UUID]

    def tasking(
        self,
        type_: str = "CourseClass",
        key: UUID | None = None,
        *,
        opens: float = 1,
        due: float = 2,
        closes: float = 3,
    ) -> dict[str, Any]:
        """A tasking plan with its dates in days from now."""
        return {
            "target_type": type_,
            "target_id": key or self.class_id,
            "opens": timedelta(days=opens),
            "due": timedelta(days=due),
            "closes": timedelta(days=closes),
        }

    async def create(self, *taskings: dict[str, Any], publish: bool = False, **changes: Any) -> Saved:
        """A reading plan of ten pages for the class, or what `changes` say."""
        async with self.database.transaction() as tx:
            wanted = [
                TaskingWanted(
                    each["target_type"],
                    each["target_id"],
                    tx.now + each["opens"],
                    tx.now + each["due"],
                    tx.now + each["closes"],
                )
                for each in taskings or (self.tasking(),)
            ]
            values: dict[str, Any] = {
                "type": PlanType.READING,
                "title": "Read about forces",
                "description": "",
                "settings": {"page_ids": [str(page) for page in self.pages]},
                **changes,
            }
            return await plans.create_plan(
                tx,
                actor=self.teacher,
                course_id=self.course_id,
                taskings=wanted,
                publish=publish,
                now=tx.now,
                **values,
            )

    async def publish(self, plan_id: UUID, *, open_now: bool = False) -> Saved:
        """Ask for the publication of a plan as its teacher."""
        async with self.database.transaction() as tx:
            return await plans.publish_plan(
                tx, actor=self.teacher, plan_id=plan_id, open_now=open_now, expected_revision=None, now=tx.now
            )

    async def withdraw(self, plan_id: UUID, *, reason: str | None = None) -> Withdrawn:
        """Take a plan back as its teacher."""
        async with self.database.transaction() as tx:
            return await plans.withdraw_plan(tx, actor=self.teacher, plan_id=plan_id, reason=reason, now=tx.now)

    async def restore(self, plan_id: UUID) -> Saved:
        """Bring a plan back as its teacher."""
        async with self.database.transaction() as tx:
            return await plans.restore_plan(tx, actor=self.teacher, plan_id=plan_id, now=tx.now)

    async def delete(self, plan_id: UUID) -> None:
        """Delete a draft as its teacher."""
        async with self.database.transaction() as tx:
            await plans.delete_plan(tx, actor=self.teacher, plan_id=plan_id, now=tx.now)

    async def extend(
        self,
        plan_id: UUID,
        type_: str,
        key: UUID | None,
        *,
        due: datetime | None = None,
        closes: datetime | None = None,
    ) -> Extended:
        """Give more time as the teacher."""
        async with self.database.transaction() as tx:
            return await plans.extend_plan(
                tx,
                actor=self.teacher,
                plan_id=plan_id,
                target_type=type_,
                target_id=key,
                due_at=due,
                closes_at=closes,
                now=tx.now,
            )

    async def update(self, plan_id: UUID, **changes: Any) -> Saved:
        """Save a plan as its teacher."""
        async with self.database.transaction() as tx:
            return await plans.update_plan(
                tx,
                actor=self.teacher,
                plan_id=plan_id,
                changes=PlanChanges(**changes),  # type: ignore[typeddict-item]  # given by name
                publish=False,
                expected_revision=None,
                now=tx.now,
            )

    async def published(self, *taskings: dict[str, Any], **changes: Any) -> UUID:
        """A plan whose tasks are live."""
        saved = await self.create(*taskings, publish=True, **changes)
        await drain(self.database)
        return saved.plan_id

    async def newcomers(self, count: int, name: str = "Newcomer") -> list[UUID]:
        """People who are in no class yet."""
        found = await self.rows(
            "INSERT INTO users (name, roles) SELECT :name || ' ' || n, '{MEMBER}' FROM generate_series(1, :count) n"
            " RETURNING id",
            name=name,
            count=count,
        )
        return [row.id for row in found]

    async def enroll(self, *user_ids: UUID, class_id: UUID | None = None) -> None:
        """Enroll people in the class, or in another one."""
        async with self.database.transaction() as tx:
            await courses.enroll(
                tx, actor=self.teacher, class_id=class_id or self.class_id, user_ids=user_ids, emails=[], now=tx.now
            )

    async def drop(self, user_id: UUID, class_id: UUID | None = None) -> None:
        """End a learner's enrollment, or the one in this class."""
        async with self.database.transaction() as tx:
            await courses.drop_enrollment(
                tx, actor=self.teacher, enrollment_id=await _enrollment(tx, user_id, class_id), now=tx.now
            )

    async def move(self, user_id: UUID, to_class_id: UUID) -> None:
        """Move a learner to another class."""
        async with self.database.transaction() as tx:
            await courses.move_enrollment(
                tx,
                actor=self.teacher,
                enrollment_id=await _enrollment(tx, user_id),
                to_class_id=to_class_id,
                now=tx.now,
            )

    async def change_class(self, class_id: UUID | None = None, **changes: Any) -> list[UUID]:
        """Change the class, or another one, as its teacher: the jobs that follow."""
        async with self.database.transaction() as tx:
            done = await courses.update_class(
                tx,
                actor=self.teacher,
                class_id=class_id or self.class_id,
                changes=ClassChanges(**changes),  # type: ignore[typeddict-item]  # given by name
                now=tx.now,
            )
        return list(done.job_ids)

    async def complete_first_step(self, learner: UUID) -> UUID:
        """Begin the learner's only live task; its id."""
        (row,) = await self.rows(
            "SELECT t.id, s.id AS template_id FROM tasks t"
            " JOIN plans p ON p.live_generation = t.generation AND p.id = t.plan_id"
            " JOIN task_step_templates s ON s.plan_id = t.plan_id AND s.generation = t.generation AND s.position = 0"
            " WHERE t.assignee_user_id = :id",
            id=learner,
        )
        viewer = Viewer(learner, "Learner", frozenset({Role.MEMBER}))
        async with self.database.transaction() as tx:
            await tasks.complete_step(tx, actor=viewer, task_id=row.id, template_id=row.template_id, now=tx.now)
        task_id: UUID = row.id
        return task_id

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        """What is stored."""
        async with self.database.transaction() as tx:
            return list((await tx.execute(text(sql), values)).all())

    async def plan(self, plan_id: UUID) -> Any:
        """A plan's row."""
        (row,) = await self.rows("SELECT * FROM plans WHERE id = :id", id=plan_id)
        return row

    async def live_tasks(self, plan_id: UUID) -> list[Any]:
        """The tasks that are seen, by learner."""
        return await self.rows(
            "SELECT t.* FROM tasks t JOIN plans p ON p.id = t.plan_id AND p.live_generation = t.generation"
            " WHERE p.id = :id ORDER BY t.assignee_user_id",
            id=plan_id,
        )

    async def job(self, job_id: UUID | None) -> Any:
        """A job's row."""
        (row,) = await self.rows("SELECT * FROM jobs WHERE id = :id", id=job_id)
        return row


async def _enrollment(tx: Tx, user_id: UUID, class_id: UUID | None = None) -> UUID:
    own = text(
        "SELECT id FROM enrollments WHERE user_id = :user_id AND status = 'ACTIVE'"
        " AND class_id = coalesce(CAST(:class_id AS uuid), class_id)"
    )
    found = await tx.execute(own, {"user_id": user_id, "class_id": class_id})
    enrollment_id: UUID | None = found.scalars().first()
    if enrollment_id is None:
        raise LookupError(f"{user_id} is in no class")
    return enrollment_id


async def a_world(database: Database, *, learners: int = 3) -> World:
    """A course with a class of so many learners."""
    async with database.transaction() as tx:
        course = (await tx.execute(_COURSE)).one()
        values = {"course_id": course.course_id, "teacher_id": course.teacher_id}
        class_ = (await tx.execute(_CLASS, {**values, "name": "First", "learners": learners})).one()
    teacher = Viewer(course.teacher_id, "Ada Teacher", frozenset({Role.MEMBER}))
    return World(database, course.course_id, class_.id, teacher, course.items, class_.learners or [])


async def another_class(world: World, *, learners: int, name: str = "Second") -> tuple[UUID, list[UUID]]:
    """Another class of the same course: its key, its learners."""
    async with world.database.transaction() as tx:
        values = {"course_id": world.course_id, "teacher_id": world.teacher.user_id}
        class_ = (await tx.execute(_CLASS, {**values, "name": name, "learners": learners})).one()
    return class_.id, class_.learners


async def another_course(world: World) -> World:
    """A course of the same teacher, with a class of the same learners."""
    root = await admin(world.database)
    course_id = await make_course(world.database, root, teachers=[world.teacher], content=document("logic"))
    class_id = await make_class(world.database, root, world.teacher, course_id=course_id)
    pages = await world.rows("SELECT id FROM course_items WHERE course_id = :id", id=course_id)
    other = replace(world, course_id=course_id, class_id=class_id, pages=[page.id for page in pages])
    await other.enroll(*world.learners)
    await drain(world.database)
    return other
