"""Who is waited for: they join when they exist, and never a class that takes no changes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts import commands as accounts
from db.accounts.rules import Viewer
from db.courses import commands
from db.courses.queries import members_of_change
from db.courses.rules import ClassChanges, CourseChanges
from db.session import Database, Tx
from tests.db.courses.rosters import create_user, enroll, enrollment_of, move, taught, update_user
from tests.support.courses import document, jobs_of, make_class, make_course, roster
from tests.support.facts import PATIENCE_SECONDS
from tests.support.people import admin, person

Waiting = tuple[Viewer, Viewer, UUID, UUID]
WAITS = [("new@example.org", "PENDING")]
IS_THERE = [("newt", "ACTIVE")]
PAST = "now() - interval '1 hour'"


async def test_a_waiting_enrollment_becomes_active_when_somebody_gets_the_address(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    root, old = await admin(database), await person(database, "Old")
    await enroll(database, teacher, class_id, emails=["new@example.org", "old@example.org"])
    _, jobs = await create_user(database, root, "Newt", "NEW@example.org")
    assert len(jobs) == 1
    assert await roster(database, class_id) == [("newt", "ACTIVE"), ("old@example.org", "PENDING")]
    assert len(await update_user(database, root, old.user_id, {"email": "old@example.org"})) == 1
    assert await roster(database, class_id) == [("newt", "ACTIVE"), ("old", "ACTIVE")]
    assert await update_user(database, root, old.user_id, {"name": "Oldest"}) == []
    assert await roster(database, class_id) == [("newt", "ACTIVE"), ("oldest", "ACTIVE")]


async def test_it_waits_on_while_the_user_is_not_active(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    root, bo = await admin(database), await person(database, "Bo")
    await enroll(database, teacher, class_id, emails=["bo@example.org"])
    assert await update_user(database, root, bo.user_id, {"email": "bo@example.org", "is_active": False}) == []
    assert await roster(database, class_id) == [("bo@example.org", "PENDING")]
    assert len(await update_user(database, root, bo.user_id, {"is_active": True})) == 1
    assert await roster(database, class_id) == [("bo", "ACTIVE")]


async def test_who_is_there_already_ends_the_waiting_one(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    root, bo = await admin(database), await person(database, "Bo")
    await enroll(database, teacher, class_id, [bo.user_id], ["bo@example.org"])
    assert await update_user(database, root, bo.user_id, {"email": "bo@example.org"}) == []
    assert await roster(database, class_id) == [("bo", "ACTIVE"), ("bo@example.org", "DROPPED")]


async def somebody_waits(tx: Tx) -> None:
    """Until another transaction waits for this one."""
    waiting = text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await tx.execute(waiting)).scalar():
            await asyncio.sleep(0)


async def test_whoever_gets_an_address_while_it_is_being_enrolled_is_not_left_waiting(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    root = await admin(database)
    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        await commands.enroll(tx, actor=teacher, class_id=class_id, user_ids=[], emails=["new@example.org"], now=tx.now)
        group.create_task(create_user(database, root, "Newt", "new@example.org"))
        await somebody_waits(tx)
    assert await roster(database, class_id) == [("newt", "ACTIVE")]


async def test_an_address_that_is_enrolled_while_somebody_gets_it_does_not_wait(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    root = await admin(database)
    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        user_id = await accounts.create_user(tx, actor=root, name="Newt", email="new@example.org")
        await commands.admit_waiting(tx, actor=root, user_id=user_id, now=tx.now)
        group.create_task(enroll(database, teacher, class_id, emails=["new@example.org"]))
        await somebody_waits(tx)
    assert await roster(database, class_id) == [("newt", "ACTIVE")]


async def test_whoever_gets_an_address_while_its_enrollment_is_moved_is_in_the_new_class(database: Database) -> None:
    teacher, course_id, class_id = await taught(database)
    root = await admin(database)
    other = await make_class(database, root, teacher, course_id=course_id, name="Period 2")
    await enroll(database, teacher, class_id, emails=["new@example.org"])
    waiting = await enrollment_of(database, class_id, "new@example.org")
    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        await commands.move_enrollment(tx, actor=teacher, enrollment_id=waiting, to_class_id=other, now=tx.now)
        made = group.create_task(create_user(database, root, "Newt", "new@example.org"))
        await somebody_waits(tx)
    user_id, jobs = made.result()
    assert await roster(database, class_id) == [("new@example.org", "DROPPED")]
    assert await roster(database, other) == IS_THERE
    ((kind, args),) = await jobs_of(database)
    assert (kind, args["class_id"], len(jobs)) == ("class.members_added", str(other), 1)
    async with database.transaction() as tx:
        assert await members_of_change(tx, class_id=other, change_id=UUID(args["change_id"])) == [user_id]


async def test_an_enrollment_that_is_moved_while_somebody_gets_its_address_moves_as_theirs(database: Database) -> None:
    teacher, course_id, class_id = await taught(database)
    root = await admin(database)
    other = await make_class(database, root, teacher, course_id=course_id, name="Period 2")
    await enroll(database, teacher, class_id, emails=["new@example.org"])
    waiting = await enrollment_of(database, class_id, "new@example.org")
    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        user_id = await accounts.create_user(tx, actor=root, name="Newt", email="new@example.org")
        await commands.admit_waiting(tx, actor=root, user_id=user_id, now=tx.now)
        group.create_task(move(database, teacher, waiting, other))
        await somebody_waits(tx)
    assert await roster(database, class_id) == [("newt", "DROPPED")]
    assert await roster(database, other) == IS_THERE


# --- classes that take no changes -------------------------------------------------------------------------------------


@pytest.fixture
async def waiting(database: Database) -> Waiting:
    """An admin, a teacher, their course, and a class of it that waits for an address."""
    teacher, course_id, class_id = await taught(database)
    await enroll(database, teacher, class_id, emails=["new@example.org"])
    return await admin(database), teacher, course_id, class_id


async def set_class(database: Database, actor: Viewer, class_id: UUID, changes: ClassChanges) -> None:
    async with database.transaction() as tx:
        await commands.update_class(tx, actor=actor, class_id=class_id, changes=changes, now=tx.now)


async def set_course(database: Database, actor: Viewer, course_id: UUID, changes: CourseChanges) -> None:
    async with database.transaction() as tx:
        await commands.update_course(tx, actor=actor, course_id=course_id, changes=changes, now=tx.now)


async def end_course(database: Database, course_id: UUID) -> None:
    async with database.transaction() as tx:
        await tx.execute(text(f"UPDATE courses SET ends_at = {PAST} WHERE id = :id"), {"id": course_id})


async def test_an_archived_class_waits_on_until_it_is_put_back(database: Database, waiting: Waiting) -> None:
    root, teacher, _, class_id = waiting
    await set_class(database, teacher, class_id, {"is_archived": True})
    _, jobs = await create_user(database, root, "Newt", "new@example.org")
    assert (await roster(database, class_id), jobs) == (WAITS, [])
    await set_class(database, teacher, class_id, {"name": "Renamed"})
    assert await roster(database, class_id) == WAITS
    await set_class(database, teacher, class_id, {"is_archived": False})
    assert await roster(database, class_id) == IS_THERE
    # It looks at all of the members.
    assert [kind for kind, _ in await jobs_of(database)] == ["class.reach_changed"]


async def test_who_is_in_an_archived_class_by_id_ends_the_waiting_one_when_it_is_put_back(
    database: Database, waiting: Waiting
) -> None:
    root, teacher, _, class_id = waiting
    bo = await person(database, "Bo")
    await enroll(database, teacher, class_id, [bo.user_id])
    await set_class(database, teacher, class_id, {"is_archived": True})
    await update_user(database, root, bo.user_id, {"email": "new@example.org"})
    assert await roster(database, class_id) == [("bo", "ACTIVE"), *WAITS]
    await set_class(database, teacher, class_id, {"is_archived": False})
    assert await roster(database, class_id) == [("bo", "ACTIVE"), ("new@example.org", "DROPPED")]


async def test_a_class_that_is_put_back_waits_on_for_who_does_not_exist_or_is_not_active(
    database: Database, waiting: Waiting
) -> None:
    _, teacher, _, class_id = waiting
    await person(database, email="gone@example.org", is_active=False)
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE enrollments SET email = 'gone@example.org', sort_name = 'gone@example.org'"))
    await enroll(database, teacher, class_id, emails=["never@example.org"])
    for is_archived in (True, False):
        await set_class(database, teacher, class_id, {"is_archived": is_archived})
    assert await roster(database, class_id) == [("gone@example.org", "PENDING"), ("never@example.org", "PENDING")]
    assert await jobs_of(database) == []


async def by_update(database: Database, actor: Viewer, course_id: UUID) -> None:
    await set_course(database, actor, course_id, {"ends_at": None})


async def by_import(database: Database, actor: Viewer, course_id: UUID) -> None:
    async with database.transaction() as tx:
        await commands.import_course(tx, actor=actor, document=document(), course_id=course_id, now=tx.now)


@pytest.mark.parametrize("reopen", [by_update, by_import])
async def test_a_course_that_is_over_waits_on_until_its_end_is_moved(
    database: Database, waiting: Waiting, reopen: Callable[..., Awaitable[None]]
) -> None:
    root, teacher, course_id, class_id = waiting
    archived = await make_class(database, root, teacher, course_id=course_id)
    await enroll(database, teacher, archived, emails=["new@example.org"])
    await set_class(database, teacher, archived, {"is_archived": True})
    await end_course(database, course_id)
    user_id, jobs = await create_user(database, root, "Newt", "new@example.org")
    assert (await roster(database, class_id), jobs) == (WAITS, [])
    await reopen(database, root, course_id)
    assert (await roster(database, class_id), await roster(database, archived)) == (IS_THERE, WAITS)
    ((kind, args),) = await jobs_of(database)
    assert (kind, args["class_id"]) == ("class.members_added", str(class_id))
    async with database.transaction() as tx:
        assert await members_of_change(tx, class_id=class_id, change_id=UUID(args["change_id"])) == [user_id]


@pytest.mark.parametrize("is_to_another", [True, False])
async def test_a_class_that_leaves_a_course_that_is_over_waits_no_longer(
    database: Database, waiting: Waiting, is_to_another: bool
) -> None:
    root, _, course_id, class_id = waiting
    other = await make_course(database, root, content=document("biology"))
    await end_course(database, course_id)
    await create_user(database, root, "Newt", "new@example.org")
    await set_class(database, root, class_id, {"course_id": other if is_to_another else None})
    assert await roster(database, class_id) == IS_THERE
    assert [kind for kind, _ in await jobs_of(database)] == [
        "class.course_assigned" if is_to_another else "class.reach_changed"
    ]


async def _closed(database: Database, waiting: Waiting, how: str) -> Callable[[Tx], Awaitable[Any]]:
    """Close the class, and say what opens it again."""
    _, teacher, course_id, class_id = waiting
    if how == "archived":
        await set_class(database, teacher, class_id, {"is_archived": True})
        return lambda tx: commands.update_class(
            tx, actor=teacher, class_id=class_id, changes={"is_archived": False}, now=tx.now
        )
    await end_course(database, course_id)
    return lambda tx: commands.update_course(
        tx, actor=teacher, course_id=course_id, changes={"ends_at": None}, now=tx.now
    )


@pytest.mark.parametrize("how", ["archived", "over"])
async def test_who_appears_while_a_class_is_opened_again_is_not_left_waiting(
    database: Database, waiting: Waiting, how: str
) -> None:
    root, _, _, class_id = waiting
    reopen = await _closed(database, waiting, how)
    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        await reopen(tx)
        group.create_task(create_user(database, root, "Newt", "new@example.org"))
        await somebody_waits(tx)
    assert await roster(database, class_id) == IS_THERE


@pytest.mark.parametrize("how", ["archived", "over"])
async def test_a_class_that_is_opened_again_while_somebody_appears_does_not_wait_on(
    database: Database, waiting: Waiting, how: str
) -> None:
    root, _, _, class_id = waiting
    reopen = await _closed(database, waiting, how)

    async def reopened() -> None:
        async with database.transaction() as tx:
            await reopen(tx)

    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        user_id = await accounts.create_user(tx, actor=root, name="Newt", email="new@example.org")
        await commands.admit_waiting(tx, actor=root, user_id=user_id, now=tx.now)
        group.create_task(reopened())
        await somebody_waits(tx)
    assert await roster(database, class_id) == IS_THERE
