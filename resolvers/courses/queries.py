"""The queries of courses: courses, classes, and the viewer's own."""

from typing import Annotated, Any, cast

import strawberry

from db.courses.queries import COURSE, COURSE_CLASS, COURSES_BY_TITLE, ENROLLMENT, ENROLLMENTS_OF_USER, own_courses
from resolvers.context import Info
from resolvers.courses.types import Course, CourseClass, Enrollment
from resolvers.fields import query
from resolvers.ids import decode_id
from resolvers.paging import After, Connection, First, described
from resolvers.selection import wanted


@query
async def course(info: Info, id: Annotated[strawberry.ID, described("The course's id.")]) -> Course | None:
    """A course by its id. Null for an id that is malformed or unknown, and for a course the viewer may not see."""
    key = decode_id(id, "Course")
    found: Course | None = None if key is None else await info.context.reading.one(COURSE, wanted(info), key)
    return found


@query
async def courses(
    info: Info,
    first: First = None,
    after: After = None,
    search: Annotated[str | None, described("Part of a title.")] = None,
) -> Connection[Course] | None:
    """The courses that the viewer may see, by title: those they teach or attend, all of them for EDITOR and ADMIN."""
    page = await info.context.reading.page(COURSE, wanted(info), COURSES_BY_TITLE, name="courses")
    return cast("Connection[Course]", page)


@query
async def class_(info: Info, id: Annotated[strawberry.ID, described("The class's id.")]) -> CourseClass | None:
    """A class by its id. Null for an id that is malformed or unknown, and for a class the viewer may not see."""
    key = decode_id(id, "CourseClass")
    found: CourseClass | None = None if key is None else await info.context.reading.one(COURSE_CLASS, wanted(info), key)
    return found


async def _own_courses(info: Info) -> list[Course] | None:
    """The courses that the viewer teaches or attends, by title. An EDITOR's too: all there are is `courses`."""
    keys = await own_courses(info.context.database.reader, info.context.signed_in)
    found = await info.context.reading.by_ids(COURSE, wanted(info), keys)
    return [found[key] for key in keys if key in found]


async def _own_enrollments(info: Info) -> list[Enrollment] | None:
    """The viewer's own enrollments, newest first, also those that have ended."""
    own = info.context.signed_in.user_id
    found = await info.context.reading.below(ENROLLMENT, wanted(info), ENROLLMENTS_OF_USER, [own], name="own")
    enrollments: list[Enrollment] = found.get(own, [])
    return enrollments


class_.graphql_name = "class"
_own_courses.__name__, _own_enrollments.__name__ = "courses", "enrollments"

QUERIES: list[Any] = [course, courses, class_]
VIEWER_FIELDS: list[Any] = [query(_own_courses), query(_own_enrollments)]
