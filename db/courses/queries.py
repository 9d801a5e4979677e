"""Reads of courses: what each may see of courses, classes, rosters and content.

The access rules below are those of `rules/access.py`, as conditions of a WHERE: rows that the viewer may not see do not
exist for them. They are lists of keys that start from the viewer, so they cost what the viewer has, not what there is.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Text,
    any_,
    case,
    exists,
    func,
    null,
    or_,
    select,
    union_all,
)

from db.accounts.queries import USER, by_text, pattern
from db.accounts.rules import Viewer
from db.base import table_of
from db.courses.models import (
    ClassCoTeacher,
    Course,
    CourseClass,
    CourseItem,
    CourseLesson,
    CourseTeacher,
    CourseUnit,
    Enrollment,
)
from db.courses.rules import EnrollmentStatus
from db.ledger.queries import SUBJECTS, SubjectAccess
from db.reading import Derived, Entity, Filter, Listing, Many, One, Order, bind
from db.reading.entity import VIEWER
from db.session import Reader, Tx

_COURSES = table_of(Course)
_COURSE_TEACHERS = table_of(CourseTeacher)
_UNITS = table_of(CourseUnit)
_LESSONS = table_of(CourseLesson)
_ITEMS = table_of(CourseItem)
_CLASSES = table_of(CourseClass)
_CO_TEACHERS = table_of(ClassCoTeacher)
_ENROLLMENTS = table_of(Enrollment)


# --- who may see what -------------------------------------------------------------------------------------------------


def taught_courses() -> Any:
    """The keys of the courses that the viewer teaches: those that they may change (beside EDITOR and ADMIN)."""
    mine = _COURSE_TEACHERS.alias("taught")
    return select(mine.c.course_id).where(mine.c.user_id == bind("viewer_id"))


def taught_classes() -> CompoundSelect[Any]:
    """The keys of the classes whose roster the viewer may see and change: their own, and those of their courses."""
    own, beside, below = _CLASSES.alias("own"), _CO_TEACHERS.alias("beside"), _CLASSES.alias("below")
    return union_all(
        select(own.c.id).where(own.c.teacher_id == bind("viewer_id")),
        select(beside.c.class_id).where(beside.c.user_id == bind("viewer_id")),
        select(below.c.id).where(below.c.course_id.in_(taught_courses())),
    )


def attended_classes() -> Any:
    """The keys of the classes of which the viewer is an active member."""
    mine = _ENROLLMENTS.alias("attended")
    return select(mine.c.class_id).where(
        mine.c.user_id == bind("viewer_id"), mine.c.status == EnrollmentStatus.ACTIVE.value
    )


def _course_visible(source: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    if viewer.is_editor:
        return None
    around = _CLASSES.alias("around")
    mine = or_(around.c.id.in_(taught_classes()), around.c.id.in_(attended_classes()))
    return or_(
        source.c.id.in_(taught_courses()),
        source.c.id.in_(select(around.c.course_id).where(mine, around.c.course_id.is_not(None))),
    )


def _class_visible(source: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    if viewer.is_editor:
        return None
    return or_(source.c.id.in_(taught_classes()), source.c.id.in_(attended_classes()))


def _enrollment_visible(source: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    if viewer.is_editor:
        return None
    return or_(source.c.user_id == bind("viewer_id"), source.c.class_id.in_(taught_classes()))


# --- what is there ----------------------------------------------------------------------------------------------------


def _is_mine(source: FromClause) -> ColumnElement[bool]:
    mine = _COURSE_TEACHERS.alias("mine")
    return exists().where(mine.c.course_id == source.c.id, mine.c.user_id == bind("viewer_id"))


def _waited_for(source: FromClause) -> ColumnElement[Any]:
    # The address that somebody was invited by stays in the row for the record; it is shown while it is all there is.
    return case((source.c.user_id.is_(None), source.c.email), else_=null())


def _not_deleted(source: FromClause) -> ColumnElement[bool]:
    return source.c.deleted_at.is_(None)


def _in_place(source: FromClause) -> Sequence[ColumnElement[Any]]:
    return (source.c.position, source.c.id)


def _by_name(source: FromClause) -> Sequence[ColumnElement[Any]]:
    return (func.lower(source.c.name), source.c.id)


COURSE = Entity("Course", _COURSES, columns={"is_mine": _is_mine}, visible=_course_visible)
COURSE_CLASS = Entity("CourseClass", _CLASSES, visible=_class_visible)
ENROLLMENT = Entity("Enrollment", _ENROLLMENTS, columns={"email": _waited_for}, visible=_enrollment_visible)
# Parts of a course, read through it only, so whoever sees the course sees them.
COURSE_UNIT = Entity("CourseUnit", _UNITS)
COURSE_LESSON = Entity("CourseLesson", _LESSONS)
COURSE_ITEM = Entity("CourseItem", _ITEMS)

COURSES_BY_TITLE = Listing(
    orders={"TITLE": by_text("title")},
    filters={"search": Filter(lambda source: source.c.title.ilike(bind("search", Text)), convert=pattern)},
)
ROSTER = Listing(
    orders={
        "NAME": Order((lambda source: source.c.sort_name, lambda source: source.c.id), (str, UUID), (False, False)),
    },
    filters={
        "statuses": Filter(lambda source: source.c.status == any_(bind("statuses", Text, many=True)), convert=list),
        "search": Filter(lambda source: source.c.sort_name.ilike(bind("search", Text)), convert=pattern),
    },
)

COURSE.relations.update(
    {
        "teachers": Many(
            lambda: USER,
            key=lambda link: link.c.course_id,
            link=_COURSE_TEACHERS,
            link_on=lambda link, user: link.c.user_id == user.c.id,
            order=_by_name,
        ),
        "classes": Many(lambda: COURSE_CLASS, key=lambda source: source.c.course_id, order=_by_name),
        "units": Many(lambda: COURSE_UNIT, key=lambda source: source.c.course_id, order=_in_place, where=_not_deleted),
        "can_edit": Derived(("is_mine", VIEWER), lambda is_mine, viewer: is_mine or viewer.is_editor),
    }
)
COURSE_UNIT.relations["lessons"] = Many(
    lambda: COURSE_LESSON, key=lambda source: source.c.unit_id, order=_in_place, where=_not_deleted
)
COURSE_LESSON.relations["items"] = Many(
    lambda: COURSE_ITEM, key=lambda source: source.c.lesson_id, order=_in_place, where=_not_deleted
)
COURSE_CLASS.relations.update(
    {
        # Who has left a class still sees it beside their enrollment, but no longer its course.
        "course": One(lambda: COURSE, on=lambda own, course: course.c.id == own.c.course_id, is_guarded=True),
        "teacher": One(lambda: USER, on=lambda own, user: user.c.id == own.c.teacher_id),
        "co_teachers": Many(
            lambda: USER,
            key=lambda link: link.c.class_id,
            link=_CO_TEACHERS,
            link_on=lambda link, user: link.c.user_id == user.c.id,
            order=_by_name,
        ),
        "members": Many(lambda: ENROLLMENT, key=lambda source: source.c.class_id, listing=ROSTER),
    }
)
ENROLLMENT.relations.update(
    {
        "user": One(lambda: USER, on=lambda own, user: user.c.id == own.c.user_id),
        "class_": One(lambda: COURSE_CLASS, on=lambda own, its: its.c.id == own.c.class_id),
    }
)


# The jobs that follow from a change of a class name its members: they are for those who may change its roster.
def _runs_class(class_id: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(bind("viewer_is_editor", Boolean), class_id.in_(taught_classes()))


SUBJECTS["CourseClass"] = SubjectAccess(entity=lambda: COURSE_CLASS, readable=_runs_class, writable=_runs_class)

# The viewer's own, for `viewer.courses` and `viewer.enrollments`.
ENROLLMENTS_OF_USER = Many(
    lambda: ENROLLMENT,
    key=lambda source: source.c.user_id,
    order=lambda source: (source.c.created_at.desc(), source.c.id.desc()),
)


# --- for jobs and the domains above -----------------------------------------------------------------------------------


async def members_of_change(
    tx: Tx, *, class_id: UUID, change_id: UUID, status: EnrollmentStatus = EnrollmentStatus.ACTIVE
) -> list[UUID]:
    """The users whose enrollment that change made `status` and who still have it, in the order of their keys."""
    found = select(Enrollment.user_id).where(
        Enrollment.class_id == class_id,
        Enrollment.change_id == change_id,
        Enrollment.status == status,
        Enrollment.user_id.is_not(None),
    )
    return [user_id for user_id in await tx.scalars(found.order_by(Enrollment.user_id)) if user_id is not None]


async def active_members(tx: Tx, *, class_id: UUID) -> list[UUID]:
    """The users who are active in a class now, in the order of their keys."""
    found = select(Enrollment.user_id).where(
        Enrollment.class_id == class_id, Enrollment.status == EnrollmentStatus.ACTIVE
    )
    return [user_id for user_id in await tx.scalars(found.order_by(Enrollment.user_id)) if user_id is not None]


async def members_ever(tx: Tx, *, class_id: UUID) -> list[UUID]:
    """The users who are active in a class or have left it, in the order of their keys."""
    found = select(Enrollment.user_id).where(Enrollment.class_id == class_id, Enrollment.user_id.is_not(None))
    return [
        user_id for user_id in await tx.scalars(found.distinct().order_by(Enrollment.user_id)) if user_id is not None
    ]


_OWN_COURSES = """
SELECT id FROM courses WHERE id IN (
    SELECT course_id FROM course_teachers WHERE user_id = $1
    UNION ALL
    SELECT course_id FROM classes WHERE teacher_id = $1
    UNION ALL
    SELECT class.course_id FROM classes class JOIN class_co_teachers beside ON beside.class_id = class.id
    WHERE beside.user_id = $1
    UNION ALL
    SELECT class.course_id FROM classes class JOIN enrollments own ON own.class_id = class.id
    WHERE own.user_id = $1 AND own.status = 'ACTIVE'
)
ORDER BY lower(title), id
"""


async def own_courses(reader: Reader, viewer: Viewer) -> list[UUID]:
    """The courses that somebody teaches or attends, by title: their own, also for those who may see all."""
    return [row["id"] for row in await reader.fetch(_OWN_COURSES, (viewer.user_id,))]
