"""How courses and classes may be changed: what was asked, what is there now, and what it would become."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from db.accounts.rules import UserFacts, Viewer, raise_problems, text_problem
from db.courses.rules.access import Standing, may_edit_course, may_see
from db.courses.rules.values import dates_problem, ended_problem, has_ended, time_zone_problem
from db.errors import Code, Problem, Refused, refuse

VERSION_LIMIT = 100


class CourseChanges(TypedDict, total=False):
    """What `updateCourse` was given. A name that is missing stays as it is; None clears it."""

    title: str | None
    version: str | None
    time_zone: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    teacher_ids: Sequence[UUID] | None


class ClassChanges(TypedDict, total=False):
    """What `updateClass` was given. A name that is missing stays as it is; None clears it."""

    name: str | None
    course_id: UUID | None
    teacher_id: UUID | None
    co_teacher_ids: Sequence[UUID] | None
    rescope_enabled: bool | None
    is_archived: bool | None


@dataclass(frozen=True, slots=True)
class CourseValues:
    """The columns of a course that may be changed."""

    title: str
    version: str | None
    time_zone: str
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class CourseFacts:
    """A course that a class or a plan belongs to, or is to belong to, and how the actor stands to it.

    `starts_at`: None also where only a class of it was read; no rule of classes asks for it.
    """

    id: UUID
    ends_at: datetime | None
    standing: Standing
    starts_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClassValues:
    """The columns of a class that may be changed, and its co-teachers."""

    name: str
    course_id: UUID | None
    teacher_id: UUID
    co_teacher_ids: Collection[UUID]
    rescope_enabled: bool = False
    is_archived: bool = False


@dataclass(frozen=True, slots=True)
class ClassUpdate:
    """What a class becomes, and which of the domains above have work with it.

    `reach_changed_of`: the course that reaches its members no longer or again, where none is assigned anew.
    """

    values: ClassValues
    is_course_assigned: bool
    reach_changed_of: UUID | None
    is_rescope_enabled: bool


def decide_course_update(
    *, before: CourseValues, changes: CourseChanges, known: Mapping[UUID, UserFacts], now: datetime
) -> CourseValues:
    """A course after `changes`. `known`: the users that exist of those who are to teach it.

    A course that is over takes changes only where they move its end to later than now.
    Raises Refused with everything that is wrong.
    """
    title = changes.get("title", before.title)
    version = changes.get("version", before.version)
    time_zone = changes.get("time_zone", before.time_zone)
    starts_at = changes.get("starts_at", before.starts_at)
    ends_at = changes.get("ends_at", before.ends_at)
    raise_problems(
        [
            reopening_problem(before.ends_at, ends_at, now),
            text_problem(title, "title"),
            None if version is None else text_problem(version, "version", limit=VERSION_LIMIT),
            time_zone_problem(time_zone, "timeZone"),
            dates_problem(starts_at, ends_at, "endsAt" if "ends_at" in changes else "startsAt"),
            *people_problems({"teacherIds": changes.get("teacher_ids") or ()}, known),
        ]
    )
    return CourseValues(
        title=(title or "").strip(),
        version=version and version.strip(),
        time_zone=time_zone or "",
        starts_at=starts_at,
        ends_at=ends_at,
    )


def reopening_problem(before: datetime | None, after: datetime | None, now: datetime) -> Problem | None:
    """COURSE_ENDED, unless the same request moves the end to later than now, or takes it away."""
    if not has_ended(after, now):
        return None
    return ended_problem(before, now, "courseId")


def decide_new_class(
    actor: Viewer,
    *,
    values: ClassValues,
    course: CourseFacts | None,
    teaches_anything: bool,
    known: Mapping[UUID, UserFacts],
    now: datetime,
) -> ClassValues:
    """A class as it may be made. `course`: the one of `values.course_id`, None where there is none.

    In a course: its teachers, EDITOR, ADMIN. Without one: EDITOR, ADMIN, and whoever teaches something already and is
    to be the teacher of this class too.
    Raises Refused with everything that is wrong.
    """
    missing = None
    if values.course_id is not None:
        missing = missing_course_problem(actor, course)
        if missing is not None and not (actor.is_editor or teaches_anything):
            # Whether they may make a class there is not known: they are told no more.
            raise Refused(missing)
    elif not actor.is_editor and not (teaches_anything and values.teacher_id == actor.user_id):
        message = "Only an EDITOR, an ADMIN, or a teacher for a class of their own may make a class without a course."
        raise refuse(Code.FORBIDDEN, message)
    raise_problems(
        [
            missing,
            ended_problem(course.ends_at, now, "courseId") if course is not None and missing is None else None,
            text_problem(values.name, "name"),
            *_teacher_problems(values, known, {"teacher_id", "co_teacher_ids"}),
        ]
    )
    return _tidy(values)


def decide_class_update(
    actor: Viewer,
    *,
    before: ClassValues,
    changes: ClassChanges,
    course_before: CourseFacts | None,
    course_after: CourseFacts | None,
    known: Mapping[UUID, UserFacts],
    now: datetime,
) -> ClassUpdate:
    """A class after `changes`, for an actor who may change it.

    `course_after`: the course it is to have, None where none is or where there is no such course. Once the course is
    over a class can only be archived, or leave for a course that is not.
    Raises Refused with everything that is wrong.
    """
    moves = "course_id" in changes and changes["course_id"] != before.course_id
    missing = None
    if moves and changes["course_id"] is not None:
        missing = missing_course_problem(actor, course_after)
    problems = [] if missing is None else [missing]
    problems += [
        Problem(Code.BAD_USER_INPUT, f"`{shown}` cannot be null.", (shown,))
        for name, shown in _NEVER_NULL.items()
        if name in changes and changes.get(name) is None
    ]
    after = replace(before, **_given(changes))
    course = course_after if moves else course_before
    if course is not None and missing is None and (moves or set(changes) - {"is_archived", "course_id"}):
        problems += [each for each in [ended_problem(course.ends_at, now, "courseId" if moves else "classId")] if each]
    if "name" in changes and after.name is not None:
        problems += [each for each in [text_problem(after.name, "name")] if each]
    problems += _teacher_problems(after, known, set(changes))
    raise_problems(problems)
    after = _tidy(after)
    is_course_assigned = moves and after.course_id is not None
    is_put_away_or_back = after.is_archived != before.is_archived
    return ClassUpdate(
        values=after,
        is_course_assigned=is_course_assigned,
        reach_changed_of=before.course_id if (moves or is_put_away_or_back) and not is_course_assigned else None,
        is_rescope_enabled=after.rescope_enabled and not before.rescope_enabled and after.course_id is not None,
    )


_NEVER_NULL = {
    "name": "name",
    "teacher_id": "teacherId",
    "rescope_enabled": "rescopeEnabled",
    "is_archived": "isArchived",
}


def missing_course_problem(actor: Viewer, course: CourseFacts | None) -> Problem | None:
    """NOT_FOUND where there is no such course for this actor to put a class into, None where there is.

    Raises Refused (FORBIDDEN) where there is one, and they may not.
    """
    if course is None or not may_see(actor, course.standing):
        return Problem(Code.NOT_FOUND, "There is no such course.", ("courseId",))
    if not may_edit_course(actor, course.standing):
        message = "Only the course's teachers, an EDITOR or an ADMIN may put a class into it."
        raise refuse(Code.FORBIDDEN, message, "courseId")
    return None


def people_problems(lists: Mapping[str, Collection[UUID]], known: Mapping[UUID, UserFacts]) -> list[Problem]:
    """Who of those named to teach does not exist or is not active, by the name of the list they are in."""
    return [
        problem
        for name, ids in lists.items()
        for position, user_id in enumerate(ids)
        if (problem := _person_problem(user_id, known, name, str(position))) is not None
    ]


def _person_problem(user_id: UUID, known: Mapping[UUID, UserFacts], *path: str) -> Problem | None:
    user = known.get(user_id)
    if user is None:
        return Problem(Code.NOT_FOUND, "There is no such user.", path)
    if not user.is_active:
        return Problem(Code.BAD_USER_INPUT, "This user is not active and cannot teach.", path)
    return None


def _teacher_problems(values: ClassValues, known: Mapping[UUID, UserFacts], given: set[str]) -> list[Problem]:
    found = []
    if "teacher_id" in given and values.teacher_id is not None:
        found.append(_person_problem(values.teacher_id, known, "teacherId"))
    if "co_teacher_ids" in given:
        found += people_problems({"coTeacherIds": values.co_teacher_ids}, known)
    return [problem for problem in found if problem is not None]


def _given(changes: ClassChanges) -> dict[str, Any]:
    given: dict[str, Any] = dict(changes)
    if "co_teacher_ids" in given:
        given["co_teacher_ids"] = tuple(changes["co_teacher_ids"] or ())
    return given


def _tidy(values: ClassValues) -> ClassValues:
    # The teacher is no co-teacher of their own class, whatever the request says.
    return replace(
        values, name=values.name.strip(), co_teacher_ids=frozenset(values.co_teacher_ids) - {values.teacher_id}
    )
