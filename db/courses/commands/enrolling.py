"""Joining and leaving classes: one person or ten thousand, always the same few statements.

A change and the ledger job that tells the domains above of it are one transaction. The job names the change, not its
members: each row keeps the id of the request that changed it last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, DateTime, Text, Uuid, bindparam, select, text

from db.accounts.rules import Viewer, normalise_email, unlowered_problem
from db.courses.commands.surroundings import rolls_of, tell_above
from db.courses.jobs import MembersAdded, MembersDropped
from db.courses.models import Enrollment
from db.courses.rules.access import require_class_editor
from db.courses.rules.enrollment import (
    EnrollmentFacts,
    EnrollmentStatus,
    address_problems,
    check_enroll_size,
    decide_drop,
    decide_move,
    roll_problems,
)
from db.errors import Code, Problem, Refused, refuse
from db.session import Tx


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of the people of one request. `job_id`: what it means for plans and rescoping, None where nothing."""

    enrolled: int
    pending: int
    already_enrolled: int
    job_id: UUID | None


@dataclass(frozen=True, slots=True)
class EnrollmentChanged:
    """An enrollment that ended, the one that took its place where it moved, and the job that follows from it."""

    dropped_id: UUID
    enrollment_id: UUID | None
    job_id: UUID | None


_IDS = bindparam("user_ids", type_=ARRAY(Uuid))
_EMAILS = bindparam("emails", type_=ARRAY(Text))
_CHANGE = (
    bindparam("class_id", type_=Uuid),
    bindparam("change_id", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)

_UNFIT = text("""
SELECT 'userIds' AS list, asked.position, CASE WHEN person.id IS NULL THEN 'MISSING' ELSE 'INACTIVE' END AS why
FROM unnest(:user_ids) WITH ORDINALITY AS asked (id, position) LEFT JOIN users person ON person.id = asked.id
WHERE person.id IS NULL OR NOT person.is_active
UNION ALL
SELECT 'emails', asked.position, 'INACTIVE'
FROM unnest(:emails) WITH ORDINALITY AS asked (email, position) JOIN users person ON person.email = asked.email
WHERE NOT person.is_active
UNION ALL
SELECT 'emails', asked.position, 'UNLOWERED'
FROM unnest(:emails) WITH ORDINALITY AS asked (email, position) WHERE asked.email <> lower(asked.email)
ORDER BY 1 DESC, 2
""").bindparams(_IDS, _EMAILS)

_ENROLL = text("""
WITH people AS (
    SELECT id, name FROM users WHERE id = ANY (:user_ids)
    UNION
    SELECT id, name FROM users WHERE email = ANY (:emails)
), made AS (
    INSERT INTO enrollments (class_id, user_id, status, sort_name, change_id, enrolled_at, created_at)
    SELECT :class_id, id, 'ACTIVE', lower(name), :change_id, :now, :now FROM people
    ON CONFLICT (class_id, user_id) WHERE status = 'ACTIVE' DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM people) AS asked, (SELECT count(*) FROM made) AS made
""").bindparams(_IDS, _EMAILS, *_CHANGE)

_INVITE = text("""
WITH strangers AS (
    SELECT DISTINCT asked.email FROM unnest(:emails) AS asked (email)
    WHERE NOT EXISTS (SELECT FROM users person WHERE person.email = asked.email)
), made AS (
    INSERT INTO enrollments (class_id, email, status, sort_name, change_id, created_at)
    SELECT :class_id, email, 'PENDING', email, :change_id, :now FROM strangers
    ON CONFLICT (class_id, email) WHERE status = 'PENDING' DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM strangers) AS asked, (SELECT count(*) FROM made) AS made
""").bindparams(_EMAILS, *_CHANGE)

# The old status is part of the WHERE: no row means that somebody else was first, which the class's lock rules out.
_DROP = text("""
UPDATE enrollments SET status = 'DROPPED', dropped_at = :now, change_id = :change_id
WHERE id = :enrollment_id AND status IN ('PENDING', 'ACTIVE')
RETURNING id
""").bindparams(*_CHANGE[1:], bindparam("enrollment_id", type_=Uuid))

_COPY = text("""
INSERT INTO enrollments (class_id, user_id, email, status, sort_name, change_id, enrolled_at, created_at)
SELECT :class_id, user_id, email, :status, sort_name, :change_id,
    CASE WHEN :status = 'ACTIVE' THEN :now END, :now
FROM enrollments WHERE id = :enrollment_id
RETURNING id
""").bindparams(*_CHANGE, bindparam("enrollment_id", type_=Uuid), bindparam("status", type_=Text))


async def enroll(
    tx: Tx, *, actor: Viewer, class_id: UUID, user_ids: Sequence[UUID], emails: Sequence[str], now: datetime
) -> Enrolled:
    """Enroll users and addresses in a class, all of them or none; twice the same person counts once.

    An address that a user has enrolls that user; any other waits for one. Raises LimitExceeded for more than 10,000,
    and Refused with everything that is wrong.
    """
    check_enroll_size(user_ids, emails)
    addresses = [normalise_email(email) for email in emails]
    if addresses:
        # Nobody may get one of these addresses between our look for them and our commit: the enrollment would wait for
        # ever. SHARE lets others who enroll by address through, and keeps new and changed users waiting for us.
        await tx.execute(text("LOCK TABLE users IN SHARE MODE"))
    roll = (await rolls_of(tx, actor=actor, class_ids=[class_id])).get(class_id)
    require_class_editor(actor, roll.standing if roll else None, "classId")
    assert roll is not None  # noqa: S101 - the line above has refused None
    unreadable = address_problems(emails)
    readable = [] if unreadable else addresses
    people = {"user_ids": list(user_ids), "emails": readable}
    unfit = [_unfit(row.list, row.position, row.why) for row in await tx.execute(_UNFIT, people)]
    problems = [*roll_problems(roll, "classId", now=now), *unreadable, *unfit]
    if problems:
        raise Refused(*problems)
    change_id = uuid4()
    values = {**people, "class_id": class_id, "change_id": change_id, "now": now}
    active = (await tx.execute(_ENROLL, values)).one()
    waiting = (await tx.execute(_INVITE, values)).one() if addresses else None
    made, asked = (waiting.made, waiting.asked) if waiting else (0, 0)
    job_id = await tell_above(tx, actor, roll, MembersAdded(class_id, change_id)) if active.made else None
    return Enrolled(active.made, made, active.asked - active.made + asked - made, job_id)


async def drop_enrollment(tx: Tx, *, actor: Viewer, enrollment_id: UUID, now: datetime) -> EnrollmentChanged:
    """End an enrollment. The job cancels the tasks that its learner has not touched. Raises Refused."""
    enrollment, class_id = await _found(tx, enrollment_id)
    roll = (await rolls_of(tx, actor=actor, class_ids=[class_id]))[class_id]
    enrollment, _ = await _found(tx, enrollment_id)
    decide_drop(actor, enrollment=enrollment, roll=roll, now=now)
    change_id = uuid4()
    await tx.execute(_DROP, {"enrollment_id": enrollment_id, "change_id": change_id, "now": now})
    work = MembersDropped(class_id, change_id, course_id=roll.course_id)
    job_id = await tell_above(tx, actor, roll, work) if enrollment.status is EnrollmentStatus.ACTIVE else None
    return EnrollmentChanged(enrollment_id, None, job_id)


async def move_enrollment(
    tx: Tx, *, actor: Viewer, enrollment_id: UUID, to_class_id: UUID, now: datetime
) -> EnrollmentChanged:
    """Move somebody to another class of the same course: leaving the one and joining the other at once.

    One job for both sides; it takes along the tasks that the learner has not touched. Raises Refused.
    """
    _, class_id = await _found(tx, enrollment_id)
    rolls = await rolls_of(tx, actor=actor, class_ids=[class_id, to_class_id])
    enrollment, _ = await _found(tx, enrollment_id)
    target = rolls.get(to_class_id)
    decide_move(
        actor,
        enrollment=enrollment,
        source=rolls[class_id],
        target=target,
        is_there_already=target is not None and await _is_there(tx, enrollment_id, to_class_id),
        now=now,
    )
    assert target is not None  # noqa: S101 - the decision has refused None
    change_id = uuid4()
    await tx.execute(_DROP, {"enrollment_id": enrollment_id, "change_id": change_id, "now": now})
    values = {"class_id": to_class_id, "enrollment_id": enrollment_id, "change_id": change_id, "now": now}
    made: UUID = (await tx.execute(_COPY, {**values, "status": enrollment.status})).scalar_one()
    work = MembersAdded(to_class_id, change_id, from_class_id=class_id)
    job_id = await tell_above(tx, actor, target, work) if enrollment.status is EnrollmentStatus.ACTIVE else None
    return EnrollmentChanged(enrollment_id, made, job_id)


async def _found(tx: Tx, enrollment_id: UUID) -> tuple[EnrollmentFacts, UUID]:
    # Read before the class is locked (to know which class) and again after it, when nobody else can change it.
    columns = (Enrollment.id, Enrollment.user_id, Enrollment.status, Enrollment.class_id)
    row = (await tx.execute(select(*columns).where(Enrollment.id == enrollment_id))).one_or_none()
    if row is None:
        raise refuse(Code.NOT_FOUND, "There is no such enrollment.", "enrollmentId")
    return EnrollmentFacts(row.id, row.user_id, row.status), row.class_id


async def _is_there(tx: Tx, enrollment_id: UUID, class_id: UUID) -> bool:
    own, there = Enrollment.__table__.alias("own"), Enrollment.__table__.alias("there")
    same = (there.c.user_id == own.c.user_id) | (own.c.user_id.is_(None) & (there.c.email == own.c.email))
    alive = there.c.status != EnrollmentStatus.DROPPED.value
    found = select(there.c.id).where(own.c.id == enrollment_id, there.c.class_id == class_id, same, alive)
    return (await tx.execute(found.limit(1))).first() is not None


def _unfit(list_: str, position: int, why: str) -> Problem:
    path = (list_, str(position - 1))
    match why:
        case "MISSING":
            return Problem(Code.NOT_FOUND, "There is no such user.", path)
        case "UNLOWERED":
            return unlowered_problem(*path)
    return Problem(Code.BAD_USER_INPUT, "This user is not active and cannot be enrolled.", path)
