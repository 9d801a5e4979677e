"""People who are expected: those whose address a class waits for, and members who come back.

An enrollment waits for as long as no active user has its address, and also while its class takes no changes: it is
archived, or its course is over. Whatever ends that admits in its own transaction: a user who is made or changed, a
class that is put back or leaves its course, a course whose end is moved. Each of them locks the class and then looks
again, so that of two at once the later one sees what the other has done.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, DateTime, Select, Text, Uuid, bindparam, select, text

from db.accounts.models import User
from db.accounts.rules import Viewer
from db.courses.commands.surroundings import rolls_of, tell_above
from db.courses.jobs import MembersAdded
from db.courses.models import CourseClass, Enrollment
from db.courses.rules.enrollment import ClassRoll, EnrollmentStatus, roll_problems
from db.session import Tx

_CHANGE = (
    bindparam("change_id", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("class_ids", type_=ARRAY(Uuid)),
    bindparam("email", type_=Text),
)

# Their own enrollment by id has come first; there can be only one that is active.
_END_DOUBLES = text("""
UPDATE enrollments waiting SET status = 'DROPPED', dropped_at = :now, change_id = :change_id
FROM users person
WHERE waiting.status = 'PENDING' AND waiting.class_id = ANY (:class_ids) AND (:email IS NULL OR waiting.email = :email)
  AND person.email = waiting.email AND person.is_active AND EXISTS (
    SELECT FROM enrollments own
    WHERE own.class_id = waiting.class_id AND own.user_id = person.id AND own.status = 'ACTIVE'
)
""").bindparams(*_CHANGE)

_ADMIT = text("""
UPDATE enrollments waiting SET
    status = 'ACTIVE', user_id = person.id, enrolled_at = :now, sort_name = lower(person.name), change_id = :change_id
FROM users person
WHERE waiting.status = 'PENDING' AND waiting.class_id = ANY (:class_ids) AND (:email IS NULL OR waiting.email = :email)
  AND person.email = waiting.email AND person.is_active
RETURNING waiting.class_id
""").bindparams(*_CHANGE)

# To the domains above somebody who comes back is somebody who joins.
_COME_BACK = text("""
UPDATE enrollments SET change_id = :change_id
WHERE user_id = :user_id AND status = 'ACTIVE' AND class_id = ANY (:class_ids)
RETURNING class_id
""").bindparams(_CHANGE[0], bindparam("user_id", type_=Uuid), _CHANGE[2])


async def admit_waiting(tx: Tx, *, actor: Viewer, user_id: UUID, now: datetime) -> list[UUID]:
    """Make the enrollments active that wait for this user's address. Called where a user is made or changed.

    Those of classes that take no changes wait on. Returns the jobs that follow. Does nothing for an inactive user, or
    one without an address.
    """
    user = (await tx.execute(select(User.email, User.is_active).where(User.id == user_id))).one()
    if not user.is_active or user.email is None:
        return []
    waiting = select(Enrollment.class_id).where(
        Enrollment.status == EnrollmentStatus.PENDING, Enrollment.email == user.email
    )
    rolls = await _locked(tx, actor, waiting)
    return await _admit(tx, actor, rolls, email=user.email, now=now)


async def admit_of_course(tx: Tx, *, actor: Viewer, course_id: UUID, now: datetime) -> list[UUID]:
    """Make the enrollments of a course active whose users exist by now. Called where a course is over no more.

    Returns the jobs that follow.
    """
    waiting = (
        select(Enrollment.class_id)
        .join(CourseClass, CourseClass.id == Enrollment.class_id)
        .where(Enrollment.status == EnrollmentStatus.PENDING, CourseClass.course_id == course_id)
        .distinct()
    )
    return await _admit(tx, actor, await _locked(tx, actor, waiting), email=None, now=now)


async def admit_of_class(tx: Tx, *, actor: Viewer, class_id: UUID, now: datetime) -> None:
    """Make the enrollments of a class active whose users exist by now.

    Called where a class is put back or its course is another; the job for all of its members is the caller's.
    """
    await _make_active(
        tx, await rolls_of(tx, actor=actor, class_ids=[class_id]), email=None, change_id=uuid4(), now=now
    )


async def welcome_back(tx: Tx, *, actor: Viewer, user_id: UUID) -> list[UUID]:
    """Have a user who has become active again treated as one who joins their classes: they get what they have missed.

    Returns the jobs that follow, one for each class.
    """
    own = select(Enrollment.class_id).where(Enrollment.user_id == user_id, Enrollment.status == EnrollmentStatus.ACTIVE)
    rolls = await _locked(tx, actor, own)
    if not rolls:
        return []
    change_id = uuid4()
    values = {"user_id": user_id, "change_id": change_id, "class_ids": list(rolls)}
    concerned = (await tx.scalars(_COME_BACK, values)).all()
    works = [MembersAdded(class_id, change_id, is_return=True) for class_id in concerned]
    jobs = [await tell_above(tx, actor, rolls[work.class_id], work) for work in works]
    return [job_id for job_id in jobs if job_id is not None]


async def _locked(tx: Tx, actor: Viewer, classes: Select[UUID]) -> dict[UUID, ClassRoll]:
    """The classes that a statement finds, locked, and as they are then.

    Who was moved while we waited for a class is in one that is not locked yet: we look until there is none.
    """
    locked: set[UUID] = set()
    while not locked.issuperset(found := set((await tx.scalars(classes)).all())):
        locked |= (await rolls_of(tx, actor=actor, class_ids=found | locked)).keys()
    # Read once more: who waits for a class's lock has read its course before.
    return await rolls_of(tx, actor=actor, class_ids=found) if found else {}


async def _admit(
    tx: Tx, actor: Viewer, rolls: dict[UUID, ClassRoll], *, email: str | None, now: datetime
) -> list[UUID]:
    change_id = uuid4()
    admitted = await _make_active(tx, rolls, email=email, change_id=change_id, now=now)
    jobs = [await tell_above(tx, actor, rolls[class_id], MembersAdded(class_id, change_id)) for class_id in admitted]
    return [job_id for job_id in jobs if job_id is not None]


async def _make_active(
    tx: Tx, rolls: dict[UUID, ClassRoll], *, email: str | None, change_id: UUID, now: datetime
) -> Collection[UUID]:
    """Admit to those of these classes that take changes. The classes in which somebody is active by it."""
    open_ids = [class_id for class_id, roll in rolls.items() if not roll_problems(roll, now=now)]
    if not open_ids:
        return []
    values = {"class_ids": open_ids, "email": email, "change_id": change_id, "now": now}
    await tx.execute(_END_DOUBLES, values)
    return dict.fromkeys((await tx.scalars(_ADMIT, values)).all())
