"""Acts on rosters for tests, each a transaction of its own as a request has it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from db.accounts import commands as accounts
from db.accounts.rules import UserChanges, Viewer
from db.courses import commands
from db.session import Database
from tests.support.courses import document, make_class, make_course
from tests.support.people import admin, person


async def taught(database: Database, **more: Any) -> tuple[Viewer, UUID, UUID]:
    """A teacher, their course, and a class of it."""
    root, teacher = await admin(database), await person(database, "Tea")
    course_id = await make_course(database, root, teachers=[teacher], content=document(**more))
    return teacher, course_id, await make_class(database, root, teacher, course_id=course_id)


async def enroll(
    database: Database, actor: Viewer, class_id: UUID, user_ids: Sequence[UUID] = (), emails: Sequence[str] = ()
) -> commands.Enrolled:
    async with database.transaction() as tx:
        return await commands.enroll(tx, actor=actor, class_id=class_id, user_ids=user_ids, emails=emails, now=tx.now)


async def move(database: Database, actor: Viewer, enrollment_id: UUID, to: UUID) -> commands.EnrollmentChanged:
    async with database.transaction() as tx:
        return await commands.move_enrollment(tx, actor=actor, enrollment_id=enrollment_id, to_class_id=to, now=tx.now)


async def update_user(database: Database, actor: Viewer, user_id: UUID, changes: UserChanges) -> list[UUID]:
    async with database.transaction() as tx:
        await accounts.update_user(tx, actor=actor, user_id=user_id, changes=changes, now=tx.now)
        return await commands.admit_waiting(tx, actor=actor, user_id=user_id, now=tx.now)


async def create_user(database: Database, actor: Viewer, name: str, email: str) -> tuple[UUID, list[UUID]]:
    async with database.transaction() as tx:
        user_id = await accounts.create_user(tx, actor=actor, name=name, email=email)
        return user_id, await commands.admit_waiting(tx, actor=actor, user_id=user_id, now=tx.now)


async def enrollment_of(database: Database, class_id: UUID, sort_name: str) -> UUID:
    async with database.transaction() as tx:
        found: UUID = (
            await tx.execute(
                text("SELECT id FROM enrollments WHERE class_id = :id AND sort_name = :name AND status <> 'DROPPED'"),
                {"id": class_id, "name": sort_name},
            )
        ).scalar_one()
        return found
