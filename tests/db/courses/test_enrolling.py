"""Joining and leaving classes: all or none, one person once, a job for each change that matters."""

import asyncio
import unicodedata
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Viewer
from db.courses import commands
from db.courses.queries import active_members, members_of_change
from db.courses.rules import EnrollmentStatus
from db.errors import Code, Refused
from db.session import Database, count_statements
from tests.db.courses.rosters import enroll, enrollment_of, move, taught
from tests.support.courses import jobs_of, make_class, make_people, roster
from tests.support.people import admin, person

NOBODY = UUID(int=7)


async def contents(database: Database) -> list[Any]:
    async with database.transaction() as tx:
        enrollments = [tuple(row) for row in await tx.execute(text("SELECT * FROM enrollments ORDER BY id"))]
        return [enrollments, [tuple(row) for row in await tx.execute(text("SELECT id FROM jobs ORDER BY id"))]]


async def drop(database: Database, actor: Viewer, enrollment_id: UUID) -> commands.EnrollmentChanged:
    async with database.transaction() as tx:
        return await commands.drop_enrollment(tx, actor=actor, enrollment_id=enrollment_id, now=tx.now)


async def refused(database: Database, act: Any) -> list[tuple[Code, str]]:
    """Why it was refused; and nothing was written."""
    before = await contents(database)
    with pytest.raises(Refused) as refusal:
        await act
    assert await contents(database) == before
    return [(problem.code, ".".join(problem.path)) for problem in refusal.value.problems]


async def test_users_become_active_addresses_wait_and_the_same_person_counts_once(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    bo, cy = await person(database, "Bo", email="bo@example.org"), await person(database, "Cy")
    done = await enroll(
        database,
        teacher,
        class_id,
        [bo.user_id, cy.user_id, bo.user_id],
        ["BO@example.org", "new@example.org", " New@example.org"],
    )
    assert (done.enrolled, done.pending, done.already_enrolled) == (2, 1, 0)
    assert await roster(database, class_id) == [("bo", "ACTIVE"), ("cy", "ACTIVE"), ("new@example.org", "PENDING")]
    again = await enroll(database, teacher, class_id, [cy.user_id], ["new@example.org", "bo@example.org"])
    assert (again.enrolled, again.pending, again.already_enrolled, again.job_id) == (0, 0, 3, None)


async def test_of_many_who_cannot_be_enrolled_the_first_hundred_are_told(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    unknown = [UUID(int=number) for number in range(1_000)]
    told = await refused(database, enroll(database, teacher, class_id, unknown))
    assert told == [*((Code.NOT_FOUND, f"userIds.{position}") for position in range(100)), (Code.BAD_USER_INPUT, "")]


async def test_the_job_of_an_enrollment_finds_its_members_by_the_change(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    bo, cy, di = await person(database), await person(database), await person(database)
    await enroll(database, teacher, class_id, [di.user_id])
    done = await enroll(database, teacher, class_id, [bo.user_id, cy.user_id, di.user_id], ["new@example.org"])
    jobs = await jobs_of(database)
    assert [kind for kind, _ in jobs] == ["class.members_added"] * 2
    change_id = UUID(jobs[1][1]["change_id"])
    assert jobs[1][1] == {
        "class_id": str(class_id),
        "change_id": str(change_id),
        "from_class_id": None,
        "is_return": False,
    }
    async with database.transaction() as tx:
        subject = (
            await tx.execute(text("SELECT subject_id, actor_id FROM jobs WHERE id = :id"), {"id": done.job_id})
        ).one()
        members = await members_of_change(tx, class_id=class_id, change_id=change_id)
        everybody = await active_members(tx, class_id=class_id)
    assert tuple(subject) == (class_id, teacher.user_id)
    assert members == sorted([bo.user_id, cy.user_id])
    assert everybody == sorted([bo.user_id, cy.user_id, di.user_id])


async def test_addresses_alone_and_a_class_without_a_course_need_no_job(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    assert (await enroll(database, teacher, class_id, emails=["new@example.org"])).job_id is None
    free = await make_class(database, await admin(database), teacher)
    assert (await enroll(database, teacher, free, [(await person(database)).user_id])).job_id is None
    assert await jobs_of(database) == []


async def test_enrolling_is_all_or_none_with_all_reasons_at_once(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    bo, gone = await person(database), await person(database, email="gone@example.org", is_active=False)
    assert await refused(
        database, enroll(database, teacher, class_id, [bo.user_id, NOBODY, gone.user_id], ["gone@example.org"])
    ) == [
        (Code.NOT_FOUND, "userIds.1"),
        (Code.BAD_USER_INPUT, "userIds.2"),
        (Code.BAD_USER_INPUT, "emails.0"),
    ]
    assert await refused(database, enroll(database, teacher, class_id, [NOBODY], ["a@b.de", "a\x00@b"])) == [
        (Code.BAD_USER_INPUT, "emails.1"),
        (Code.NOT_FOUND, "userIds.0"),
    ]


async def test_an_address_with_a_capital_that_only_postgres_knows_is_refused(database: Database) -> None:
    if unicodedata.unidata_version >= "16":
        # This Python knows the lower case of these letters: there is nothing to refuse.
        return
    teacher, _, class_id = await taught(database)
    emails = ["a@example.org", f"{chr(0x1C89)}@example.org", f"b@{chr(0xA7CB)}.org"]
    assert await refused(database, enroll(database, teacher, class_id, emails=emails)) == [
        (Code.BAD_USER_INPUT, "emails.1"),
        (Code.BAD_USER_INPUT, "emails.2"),
    ]


async def test_ten_thousand_cost_as_many_statements_as_two(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    people = await make_people(database, 9_000)
    counts = []
    for user_ids, emails in ((people[:1], ["x@example.org"]), (people, [f"a{n}@example.org" for n in range(1_000)])):
        counter = count_statements(database)
        done = await enroll(database, teacher, class_id, user_ids, emails)
        counts.append(counter["statements"])
    assert (done.enrolled, done.pending, done.already_enrolled) == (8_999, 1_000, 1)
    assert counts == [7, 7]


async def test_who_may_enroll(database: Database) -> None:
    teacher, course_id, class_id = await taught(database)
    of_class, beside, learner, stranger = [await person(database) for _ in range(4)]
    root = await admin(database)
    other = await make_class(database, root, of_class, course_id=course_id, co_teachers=[beside], learners=[learner])
    for actor in (teacher, of_class, beside, root):
        assert (await enroll(database, actor, other, [(await person(database)).user_id])).enrolled == 1
    assert await refused(database, enroll(database, learner, other, [stranger.user_id])) == [
        (Code.FORBIDDEN, "classId")
    ]
    assert await refused(database, enroll(database, of_class, class_id, [stranger.user_id])) == [
        (Code.NOT_FOUND, "classId")
    ]


async def test_a_course_that_is_over_takes_nobody(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    bo = await person(database)
    await enroll(database, teacher, class_id, [bo.user_id])
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE courses SET ends_at = now()"))
    own = await enrollment_of(database, class_id, bo.name.lower())
    assert await refused(database, enroll(database, teacher, class_id, [bo.user_id])) == [
        (Code.COURSE_ENDED, "classId")
    ]
    assert await refused(database, drop(database, teacher, own)) == [(Code.COURSE_ENDED, "enrollmentId")]


# --- leaving and moving -----------------------------------------------------------------------------------------------


async def test_dropping_keeps_the_row_and_joining_again_makes_a_new_one(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    bo = await person(database, "Bo")
    await enroll(database, teacher, class_id, [bo.user_id])
    first = await enrollment_of(database, class_id, "bo")
    dropped = await drop(database, teacher, first)
    assert (dropped.dropped_id, dropped.enrollment_id) == (first, None)
    kind, args = (await jobs_of(database))[-1]
    assert kind == "class.members_dropped"
    async with database.transaction() as tx:
        gone = await members_of_change(
            tx, class_id=class_id, change_id=UUID(args["change_id"]), status=EnrollmentStatus.DROPPED
        )
    assert gone == [bo.user_id]
    assert await refused(database, drop(database, teacher, first)) == [(Code.INVALID_TRANSITION, "enrollmentId")]
    await enroll(database, teacher, class_id, [bo.user_id])
    assert await roster(database, class_id) == [("bo", "DROPPED"), ("bo", "ACTIVE")]


async def test_dropping_one_that_waits_needs_no_job(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    await enroll(database, teacher, class_id, emails=["new@example.org"])
    waiting = await enrollment_of(database, class_id, "new@example.org")
    assert (await drop(database, teacher, waiting)).job_id is None
    assert await roster(database, class_id) == [("new@example.org", "DROPPED")]


async def test_learners_and_strangers_drop_nobody(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    bo, stranger = await person(database, "Bo"), await person(database)
    await enroll(database, teacher, class_id, [bo.user_id])
    own = await enrollment_of(database, class_id, "bo")
    assert await refused(database, drop(database, bo, own)) == [(Code.FORBIDDEN, "enrollmentId")]
    assert await refused(database, drop(database, stranger, own)) == [(Code.NOT_FOUND, "enrollmentId")]
    assert await refused(database, drop(database, teacher, NOBODY)) == [(Code.NOT_FOUND, "enrollmentId")]


async def test_moving_is_leaving_and_joining_at_once_with_one_job(database: Database) -> None:
    teacher, course_id, class_id = await taught(database)
    other = await make_class(database, teacher, teacher, course_id=course_id, name="Period 2")
    bo = await person(database, "Bo")
    await enroll(database, teacher, class_id, [bo.user_id])
    first = await enrollment_of(database, class_id, "bo")
    moved = await move(database, teacher, first, other)
    assert moved.dropped_id == first
    assert moved.enrollment_id == await enrollment_of(database, other, "bo")
    assert await roster(database, class_id) == [("bo", "DROPPED")]
    kind, args = (await jobs_of(database))[-1]
    assert (kind, args["class_id"], args["from_class_id"]) == ("class.members_added", str(other), str(class_id))
    assert len(await jobs_of(database)) == 2


async def test_one_that_waits_moves_along_without_a_job(database: Database) -> None:
    teacher, course_id, class_id = await taught(database)
    other = await make_class(database, teacher, teacher, course_id=course_id, name="Period 2")
    await enroll(database, teacher, class_id, emails=["new@example.org"])
    moved = await move(database, teacher, await enrollment_of(database, class_id, "new@example.org"), other)
    assert moved.job_id is None
    assert await roster(database, other) == [("new@example.org", "PENDING")]


async def test_a_move_to_nowhere_to_another_course_or_to_where_they_are_is_refused(database: Database) -> None:
    teacher, course_id, class_id = await taught(database)
    root, bo = await admin(database), await person(database, "Bo")
    other = await make_class(database, teacher, teacher, course_id=course_id, learners=[bo])
    elsewhere = await make_class(database, root, teacher)
    await enroll(database, teacher, class_id, [bo.user_id])
    own = await enrollment_of(database, class_id, "bo")
    expected = {
        NOBODY: Code.NOT_FOUND,
        elsewhere: Code.BAD_USER_INPUT,
        class_id: Code.BAD_USER_INPUT,
        other: Code.CONFLICT,
    }
    for target, code in expected.items():
        assert await refused(database, move(database, teacher, own, target)) == [(code, "toClassId")]


async def test_of_many_who_drop_the_same_enrollment_one_does(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    bo = await person(database, "Bo")
    await enroll(database, teacher, class_id, [bo.user_id])
    own = await enrollment_of(database, class_id, "bo")
    outcomes = await asyncio.gather(*(drop(database, teacher, own) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(each, commands.EnrollmentChanged) for each in outcomes) == 1
    assert sum(isinstance(each, Refused) for each in outcomes) == 5


async def test_of_many_who_enroll_the_same_people_each_is_enrolled_once(database: Database) -> None:
    teacher, _, class_id = await taught(database)
    people = await make_people(database, 50)
    outcomes = await asyncio.gather(
        *(enroll(database, teacher, class_id, people[start : start + 30], ["x@example.org"]) for start in (0, 10, 20))
    )
    assert sum(each.enrolled for each in outcomes) == 50
    assert sum(each.pending for each in outcomes) == 1
    assert len(await roster(database, class_id)) == 51


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE enrollments SET status = 'PENDING'",
        "UPDATE enrollments SET status = 'DROPPED'",
        "UPDATE enrollments SET user_id = NULL",
        "UPDATE enrollments SET status = 'LEFT'",
    ],
)
async def test_the_table_itself_keeps_a_status_and_its_facts_together(database: Database, statement: str) -> None:
    teacher, _, class_id = await taught(database)
    await enroll(database, teacher, class_id, [(await person(database)).user_id])
    with pytest.raises(Exception, match="violates check constraint"):
        async with database.transaction() as tx:
            await tx.execute(text(statement))
