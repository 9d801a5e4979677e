"""The mutations of courses: courses, classes, enrollments."""

import dataclasses
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from db.accounts.rules import Viewer
from db.courses import commands
from db.courses.queries import COURSE, COURSE_CLASS, ENROLLMENT
from db.courses.rules import ClassChanges, CourseChanges, document_schema
from db.ledger.queries import JOB
from db.session import Tx
from resolvers.context import Info
from resolvers.courses.types import Course, CourseClass, Enrollment
from resolvers.fields import MutationPayload, attr, mutation, shown
from resolvers.ids import NOTHING, decode_id, decode_ids
from resolvers.inputs import IDEMPOTENCY_KEY
from resolvers.ledger.types import Job
from resolvers.scalars import JSON
from resolvers.selection import wanted


async def _jobs(self: Any, info: Info) -> Any:
    found = await info.context.reading.by_ids(JOB, wanted(info), self.job_ids)
    return [found[key] for key in self.job_ids if key in found]


def _key(value: str | None, type_name: str) -> UUID | None:
    return None if value is None else decode_id(value, type_name) or NOTHING


COURSE_AS_IT_IS = "The course as it is now; null where the mutation was refused."
CLASS_AS_IT_IS = "The class as it is now; null where the mutation was refused."
WHAT_FOLLOWS = "What it means for plans and rescoping is done by this job; null where there is nothing to do."


# --- courses ----------------------------------------------------------------------------------------------------------


@strawberry.input(description="A whole course as one document.")
class ImportCourseInput:
    """A document, and the course that it is imported over."""

    document: JSON = attr(
        "The course. Every violation is told with its path into the document. Its form, as JSON Schema:\n"
        f"```json\n{document_schema()}```"
    )
    course_id: strawberry.ID | None = attr(
        "The course to import over; absent: a new one. What has a key that the course knows keeps its id; what the "
        "document leaves out is deleted, and comes back with its id when a later import has it again.",
        default=None,
    )
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="What is to change of a course. An absent field stays as it is.")
class UpdateCourseInput:
    """Changes of a course."""

    course_id: strawberry.ID = attr("The course.")
    title: str | None = attr("For people, 1 to 255 characters; null is refused.", default=strawberry.UNSET)
    version: str | None = attr("1 to 100 characters; null: none.", default=strawberry.UNSET)
    time_zone: str | None = attr(
        "A name of the IANA time zone database, such as `Europe/Berlin`; null is refused.", default=strawberry.UNSET
    )
    starts_at: datetime | None = attr("When it starts; null: no date.", default=strawberry.UNSET)
    ends_at: datetime | None = attr("When it ends, not before it starts; null: no date.", default=strawberry.UNSET)
    teacher_ids: list[strawberry.ID] | None = attr(
        "All who teach it: active users; null: nobody.", default=strawberry.UNSET
    )
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `importCourse` did.")
class ImportCoursePayload(MutationPayload):
    """An imported course."""

    course_id: strawberry.Private[UUID | None] = None
    course: Course | None = shown(COURSE, "course_id", COURSE_AS_IT_IS)
    created: bool = attr("Whether the course is new.", default=False)


@strawberry.type(description="What `updateCourse` did.")
class UpdateCoursePayload(MutationPayload):
    """A changed course."""

    course_id: strawberry.Private[UUID | None] = None
    course: Course | None = shown(COURSE, "course_id", COURSE_AS_IT_IS)


@mutation
async def import_course(tx: Tx, viewer: Viewer, input: ImportCourseInput) -> ImportCoursePayload:
    """Make a course of a document, or import one over a course that exists. For EDITOR and ADMIN.

    CONFLICT at `document.key` where another course has the key: give its id as `courseId` to import over it.
    COURSE_ENDED where the course is over and the document does not move its end; where it does, enrollments become
    active as with `updateCourse`.
    """
    course_id = _key(input.course_id, "Course")
    done = await commands.import_course(tx, actor=viewer, document=input.document, course_id=course_id, now=tx.now)
    return ImportCoursePayload(course_id=done.course_id, created=done.created)


@mutation
async def update_course(tx: Tx, viewer: Viewer, input: UpdateCourseInput) -> UpdateCoursePayload:
    """Change a course. For its teachers, EDITOR and ADMIN.

    COURSE_ENDED once it is over, unless the same request moves `endsAt` to later than now. Then enrollments become
    active whose user has appeared meanwhile.
    """
    changes = CourseChanges()
    if input.title is not strawberry.UNSET:
        changes["title"] = input.title
    if input.version is not strawberry.UNSET:
        changes["version"] = input.version
    if input.time_zone is not strawberry.UNSET:
        changes["time_zone"] = input.time_zone
    if input.starts_at is not strawberry.UNSET:
        changes["starts_at"] = input.starts_at
    if input.ends_at is not strawberry.UNSET:
        changes["ends_at"] = input.ends_at
    if input.teacher_ids is not strawberry.UNSET:
        changes["teacher_ids"] = decode_ids(input.teacher_ids or (), "User")
    course_id = decode_id(input.course_id, "Course") or NOTHING
    await commands.update_course(tx, actor=viewer, course_id=course_id, changes=changes, now=tx.now)
    return UpdateCoursePayload(course_id=course_id)


# --- classes ----------------------------------------------------------------------------------------------------------


@strawberry.input(description="A new class.")
class CreateClassInput:
    """A new class."""

    name: str = attr("For people, 1 to 255 characters.")
    course_id: strawberry.ID | None = attr("What it is taught; absent: nothing yet.", default=None)
    teacher_id: strawberry.ID = attr("Who teaches it: an active user.")
    co_teacher_ids: list[strawberry.ID] = attr("Who teaches it beside them: active users.", default_factory=list)
    rescope_enabled: bool = attr("Whether its learners may skip what they have already mastered.", default=False)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="What is to change of a class. An absent field stays as it is.")
class UpdateClassInput:
    """Changes of a class."""

    class_id: strawberry.ID = attr("The class.")
    name: str | None = attr("For people, 1 to 255 characters; null is refused.", default=strawberry.UNSET)
    course_id: strawberry.ID | None = attr(
        "What it is taught: a course that the viewer may change; null: nothing.", default=strawberry.UNSET
    )
    teacher_id: strawberry.ID | None = attr("Who teaches it; null is refused.", default=strawberry.UNSET)
    co_teacher_ids: list[strawberry.ID] | None = attr(
        "All who teach it beside them; null: nobody.", default=strawberry.UNSET
    )
    rescope_enabled: bool | None = attr(
        "Whether its learners may skip what they have already mastered; null is refused.", default=strawberry.UNSET
    )
    is_archived: bool | None = attr(
        "Whether it is put away: its roster stays, and no plan reaches it; null is refused.", default=strawberry.UNSET
    )
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `createClass` did.")
class CreateClassPayload(MutationPayload):
    """A new class."""

    class_id: strawberry.Private[UUID | None] = None
    class_: CourseClass | None = shown(COURSE_CLASS, "class_id", CLASS_AS_IT_IS, name="class")


@strawberry.type(description="What `updateClass` did.")
class UpdateClassPayload(MutationPayload):
    """A changed class."""

    class_id: strawberry.Private[UUID | None] = None
    job_ids: strawberry.Private[list[UUID]] = dataclasses.field(default_factory=list)
    class_: CourseClass | None = shown(COURSE_CLASS, "class_id", CLASS_AS_IT_IS, name="class")
    jobs: list[Job] = strawberry.field(
        resolver=_jobs,
        description="What it means for the class's members is done by these jobs, as far as the viewer may see them.",
    )


@mutation
async def create_class(tx: Tx, viewer: Viewer, input: CreateClassInput) -> CreateClassPayload:
    """Make a class; whoever joins it gets its course's tasks. In a course for the course's teachers, EDITOR and ADMIN.

    Without a course for EDITOR and ADMIN, and for whoever teaches something already and is to teach this class too.
    """
    class_id = await commands.create_class(
        tx,
        actor=viewer,
        name=input.name,
        teacher_id=decode_id(input.teacher_id, "User") or NOTHING,
        course_id=_key(input.course_id, "Course"),
        co_teacher_ids=decode_ids(input.co_teacher_ids, "User"),
        rescope_enabled=input.rescope_enabled,
        now=tx.now,
    )
    return CreateClassPayload(class_id=class_id)


@mutation
async def update_class(tx: Tx, viewer: Viewer, input: UpdateClassInput) -> UpdateClassPayload:
    """Change a class. For its teachers, those of its course, EDITOR and ADMIN.

    Once its course is over, it can be archived or leave for another course, and nothing else: COURSE_ENDED.

    Where it is archived, put back, or gets, changes or leaves its course, one of `jobs` cancels the tasks of plans that
    no longer reach its members, save those that they have touched, and gives them what reaches them now and is missing.
    Where it takes members again, enrollments become active whose user has appeared meanwhile.
    """
    class_id = decode_id(input.class_id, "CourseClass") or NOTHING
    done = await commands.update_class(tx, actor=viewer, class_id=class_id, changes=_class_changes(input), now=tx.now)
    return UpdateClassPayload(class_id=class_id, job_ids=list(done.job_ids))


def _class_changes(input: UpdateClassInput) -> ClassChanges:
    changes = ClassChanges()
    if input.name is not strawberry.UNSET:
        changes["name"] = input.name
    if input.course_id is not strawberry.UNSET:
        changes["course_id"] = _key(input.course_id, "Course")
    if input.teacher_id is not strawberry.UNSET:
        changes["teacher_id"] = _key(input.teacher_id, "User")
    if input.co_teacher_ids is not strawberry.UNSET:
        changes["co_teacher_ids"] = decode_ids(input.co_teacher_ids or (), "User")
    if input.rescope_enabled is not strawberry.UNSET:
        changes["rescope_enabled"] = input.rescope_enabled
    if input.is_archived is not strawberry.UNSET:
        changes["is_archived"] = input.is_archived
    return changes


# --- enrollments ------------------------------------------------------------------------------------------------------


@strawberry.input(description="Who is to be in a class: users and addresses, together up to 10,000.")
class EnrollInput:
    """People and addresses."""

    class_id: strawberry.ID = attr("The class.")
    user_ids: list[strawberry.ID] = attr("Active users.", default_factory=list)
    emails: list[str] = attr(
        "Addresses. One that a user has enrolls that user; any other waits until somebody has it (`createUser`).",
        default_factory=list,
    )
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Who is to move, and where.")
class MoveEnrollmentInput:
    """A move."""

    enrollment_id: strawberry.ID = attr("The enrollment that ends.")
    to_class_id: strawberry.ID = attr("Another class of the same course.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Who is to leave.")
class DropEnrollmentInput:
    """The end of an enrollment."""

    enrollment_id: strawberry.ID = attr("The enrollment that ends.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `enroll` did.")
class EnrollPayload(MutationPayload):
    """People who were enrolled."""

    class_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    class_: CourseClass | None = shown(COURSE_CLASS, "class_id", CLASS_AS_IT_IS, name="class")
    enrolled: int = attr("How many users became active by this request.", default=0)
    pending: int = attr("How many addresses wait for a user by this request.", default=0)
    already_enrolled: int = attr(
        "How many were active or waited already. The same person twice counts once.", default=0
    )
    job: Job | None = shown(JOB, "job_id", WHAT_FOLLOWS)


@strawberry.type(description="What `moveEnrollment` did.")
class MoveEnrollmentPayload(MutationPayload):
    """A move."""

    enrollment_id: strawberry.Private[UUID | None] = None
    dropped_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    enrollment: Enrollment | None = shown(
        ENROLLMENT, "enrollment_id", "The enrollment in the other class; null where the mutation was refused."
    )
    dropped: Enrollment | None = shown(
        ENROLLMENT, "dropped_id", "The enrollment that has ended; null where the mutation was refused."
    )
    job: Job | None = shown(JOB, "job_id", WHAT_FOLLOWS)


@strawberry.type(description="What `dropEnrollment` did.")
class DropEnrollmentPayload(MutationPayload):
    """An end."""

    enrollment_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    enrollment: Enrollment | None = shown(
        ENROLLMENT, "enrollment_id", "The enrollment that has ended; null where the mutation was refused."
    )
    job: Job | None = shown(
        JOB, "job_id", "Cancels the tasks that the learner has not touched; null where there is nothing to do."
    )


@mutation
async def enroll(tx: Tx, viewer: Viewer, input: EnrollInput) -> EnrollPayload:
    """Enroll people in a class: all of them or, where anything is wrong, none.

    For the class's teachers, those of its course, EDITOR and ADMIN. COURSE_ENDED once the course is over.
    """
    class_id = decode_id(input.class_id, "CourseClass") or NOTHING
    done = await commands.enroll(
        tx,
        actor=viewer,
        class_id=class_id,
        user_ids=decode_ids(input.user_ids, "User"),
        emails=input.emails,
        now=tx.now,
    )
    return EnrollPayload(
        class_id=class_id,
        job_id=done.job_id,
        enrolled=done.enrolled,
        pending=done.pending,
        already_enrolled=done.already_enrolled,
    )


@mutation
async def move_enrollment(tx: Tx, viewer: Viewer, input: MoveEnrollmentInput) -> MoveEnrollmentPayload:
    """Move somebody to another class of the same course: leaving the one and joining the other at once.

    For whoever may change both rosters. Tasks that the learner has not touched move along, others stay.
    """
    done = await commands.move_enrollment(
        tx,
        actor=viewer,
        enrollment_id=decode_id(input.enrollment_id, "Enrollment") or NOTHING,
        to_class_id=decode_id(input.to_class_id, "CourseClass") or NOTHING,
        now=tx.now,
    )
    return MoveEnrollmentPayload(enrollment_id=done.enrollment_id, dropped_id=done.dropped_id, job_id=done.job_id)


@mutation
async def drop_enrollment(tx: Tx, viewer: Viewer, input: DropEnrollmentInput) -> DropEnrollmentPayload:
    """End an enrollment. For the class's teachers, those of its course, EDITOR and ADMIN.

    The learner keeps their tasks; those they have not touched are cancelled. INVALID_TRANSITION where it has ended.
    """
    enrollment_id = decode_id(input.enrollment_id, "Enrollment") or NOTHING
    done = await commands.drop_enrollment(tx, actor=viewer, enrollment_id=enrollment_id, now=tx.now)
    return DropEnrollmentPayload(enrollment_id=done.dropped_id, job_id=done.job_id)


MUTATIONS: list[Any] = [
    import_course,
    update_course,
    create_class,
    update_class,
    enroll,
    move_enrollment,
    drop_enrollment,
]
