"""The life of an enrollment, and when one may be made, moved or ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from db.accounts.rules import Viewer, email_problem, raise_problems
from db.courses.rules.access import Standing, require_class_editor
from db.courses.rules.values import ended_problem
from db.errors import Code, LimitExceeded, Problem, refuse
from db.machine import Machine

ENROLL_LIMIT = 10_000


class EnrollmentStatus(StrEnum):
    """Where somebody's place in a class stands."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    DROPPED = "DROPPED"


ENROLLMENT = Machine(
    name="enrollment",
    states=EnrollmentStatus,
    initial=EnrollmentStatus.PENDING,
    edges={
        (EnrollmentStatus.PENDING, EnrollmentStatus.ACTIVE): "a user with the address exists",
        (EnrollmentStatus.PENDING, EnrollmentStatus.DROPPED): "dropped, moved, or there already by id",
        (EnrollmentStatus.ACTIVE, EnrollmentStatus.DROPPED): "dropped or moved",
    },
)


@dataclass(frozen=True, slots=True)
class ClassRoll:
    """A class as those see it who change its roster."""

    id: UUID
    name: str
    course_id: UUID | None
    course_ends_at: datetime | None
    is_archived: bool
    standing: Standing


@dataclass(frozen=True, slots=True)
class EnrollmentFacts:
    """An enrollment that is to be moved or dropped."""

    id: UUID
    user_id: UUID | None
    status: EnrollmentStatus


def roll_problems(roll: ClassRoll, *path: str, now: datetime) -> list[Problem]:
    """Why a class takes no changes of its roster."""
    found = [ended_problem(roll.course_ends_at, now, *path)]
    if roll.is_archived:
        found.append(Problem(Code.BAD_USER_INPUT, "This class is archived: its roster stays as it is.", path))
    return [problem for problem in found if problem is not None]


def check_enroll_size(user_ids: Sequence[UUID], emails: Sequence[str]) -> None:
    """Raises LimitExceeded for more than 10,000 people in one request, and Refused for none."""
    asked = len(user_ids) + len(emails)
    if asked > ENROLL_LIMIT:
        message = f"enroll takes at most {ENROLL_LIMIT} users and addresses together; these are {asked}."
        raise LimitExceeded(message, limit="enroll", allowed=ENROLL_LIMIT, asked=asked)
    if asked == 0:
        raise refuse(Code.BAD_USER_INPUT, "Name at least one user in `userIds` or one address in `emails`.", "userIds")


def address_problems(emails: Sequence[str]) -> list[Problem]:
    """Which of these are no e-mail addresses."""
    found = [email_problem(email, "emails", str(position)) for position, email in enumerate(emails)]
    return [problem for problem in found if problem is not None]


def decide_drop(actor: Viewer, *, enrollment: EnrollmentFacts, roll: ClassRoll, now: datetime) -> None:
    """Whether this enrollment may be dropped. Raises Refused where not.

    Somebody may see their own enrollment, but never drop it.
    """
    _require_enrollment_editor(actor, enrollment, roll)
    raise_problems([*roll_problems(roll, "enrollmentId", now=now), _gone_problem(enrollment)])


def decide_move(  # one request, two classes: each is judged
    actor: Viewer,
    *,
    enrollment: EnrollmentFacts,
    source: ClassRoll,
    target: ClassRoll | None,
    is_there_already: bool,
    now: datetime,
) -> None:
    """Whether this enrollment may move to `target` (None: there is no such class). Raises Refused where not."""
    _require_enrollment_editor(actor, enrollment, source)
    require_class_editor(actor, None if target is None else target.standing, "toClassId")
    assert target is not None  # noqa: S101 - the line above has refused None
    problems = [*roll_problems(source, "enrollmentId", now=now), _gone_problem(enrollment)]
    if target.id == source.id:
        problems.append(Problem(Code.BAD_USER_INPUT, "This is the class that they are in now.", ("toClassId",)))
    elif target.course_id is None or target.course_id != source.course_id:
        message = "`toClassId` must be a class of the same course."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("toClassId",)))
    else:
        problems += [each for each in roll_problems(target, "toClassId", now=now) if each.code != Code.COURSE_ENDED]
        if is_there_already:
            problems.append(Problem(Code.CONFLICT, "They are in that class already.", ("toClassId",)))
    raise_problems(problems)


def _require_enrollment_editor(actor: Viewer, enrollment: EnrollmentFacts, roll: ClassRoll) -> None:
    standing = roll.standing
    sees = actor.is_editor or standing.teaches_course or standing.teaches_class
    if not sees and enrollment.user_id != actor.user_id:
        raise refuse(Code.NOT_FOUND, "There is no such enrollment.", "enrollmentId")
    if not sees:
        message = "Only teachers of the course or the class, an EDITOR or an ADMIN may do this."
        raise refuse(Code.FORBIDDEN, message, "enrollmentId")


def _gone_problem(enrollment: EnrollmentFacts) -> Problem | None:
    if ENROLLMENT.allows(enrollment.status, EnrollmentStatus.DROPPED):
        return None
    return Problem(Code.INVALID_TRANSITION, "This enrollment has been dropped already.", ("enrollmentId",))
