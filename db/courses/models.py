"""The tables of courses: what is taught (units, lessons, items), to whom (classes, enrollments), and by whom."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import Mapped, mapped_column

# The keys below point to the tables of accounts, so those must be known before these are compared with a database.
from db.accounts.models import User
from db.base import Base, Key, enum_column, one_of
from db.courses.rules import EnrollmentStatus, ItemFormat

_USER = User.__table__.c.id


class Course(Base):
    """Something that is taught. `key` is its name in import documents."""

    __tablename__ = "courses"
    __table_args__ = (
        UniqueConstraint("key"),
        CheckConstraint("starts_at <= ends_at", name="dates"),
        Index("ix_courses_by_title", text("lower(title)"), "id"),
    )

    id: Mapped[Key]
    key: Mapped[str]
    title: Mapped[str]
    version: Mapped[str | None]
    time_zone: Mapped[str]
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CourseTeacher(Base):
    """Somebody who teaches a course: may change it, its classes and its plans."""

    __tablename__ = "course_teachers"
    __table_args__ = (Index(None, "user_id"),)

    course_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("courses.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(_USER), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CourseUnit(Base):
    """The first level of a course's content. `key` is unique in the course, also on the other levels.

    `deleted_at` on any level: an import left it out. Its row stays for the work that was given out with it, and a later
    import that has the key again brings it back with its id.
    """

    __tablename__ = "course_units"
    __table_args__ = (UniqueConstraint("course_id", "key"),)

    id: Mapped[Key]
    course_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("courses.id", ondelete="CASCADE"))
    key: Mapped[str]
    title: Mapped[str]
    position: Mapped[int]
    deleted_at: Mapped[datetime | None]


class CourseLesson(Base):
    """The second level: a lesson of a unit."""

    __tablename__ = "course_lessons"
    __table_args__ = (UniqueConstraint("course_id", "key"), Index(None, "unit_id"))

    id: Mapped[Key]
    course_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("courses.id", ondelete="CASCADE"))
    unit_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("course_units.id"))
    key: Mapped[str]
    title: Mapped[str]
    position: Mapped[int]
    deleted_at: Mapped[datetime | None]


class CourseItem(Base):
    """The third level: what a learner works on. `competencies` are the codes that it teaches or tests."""

    __tablename__ = "course_items"
    __table_args__ = (
        UniqueConstraint("course_id", "key"),
        CheckConstraint(one_of("format", ItemFormat), name="format"),
        Index(None, "lesson_id"),
    )

    id: Mapped[Key]
    course_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("courses.id", ondelete="CASCADE"))
    lesson_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("course_lessons.id"))
    key: Mapped[str]
    title: Mapped[str]
    format: Mapped[ItemFormat] = enum_column(ItemFormat)
    competencies: Mapped[list[str]] = mapped_column(ARRAY(TEXT), server_default=text("'{}'"))
    position: Mapped[int]
    deleted_at: Mapped[datetime | None]


class CourseClass(Base):
    """People who are taught together: a class, or a period."""

    __tablename__ = "classes"
    __table_args__ = (Index(None, "course_id"), Index(None, "teacher_id"))

    id: Mapped[Key]
    course_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("courses.id"))
    name: Mapped[str]
    teacher_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(_USER))
    rescope_enabled: Mapped[bool] = mapped_column(server_default=text("false"))
    is_archived: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ClassCoTeacher(Base):
    """Somebody who teaches a class beside its teacher."""

    __tablename__ = "class_co_teachers"
    __table_args__ = (Index(None, "user_id"),)

    class_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("classes.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(_USER), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Enrollment(Base):
    """One person's place in one class. Joining again after leaving makes a new row, so that the history stays.

    `sort_name` is the name the roster is ordered by: the user's in lower case (a trigger follows it), or the address
    while nobody has it. `change_id` is the request that last changed the row: the ledger job of that request finds its
    members by it, instead of carrying thousands of ids.
    """

    __tablename__ = "enrollments"
    __table_args__ = (
        CheckConstraint(one_of("status", EnrollmentStatus), name="status"),
        CheckConstraint(
            "status <> 'PENDING' OR (email IS NOT NULL AND user_id IS NULL AND enrolled_at IS NULL)",
            name="pending_waits_for_email",
        ),
        CheckConstraint(
            "status <> 'ACTIVE' OR (user_id IS NOT NULL AND enrolled_at IS NOT NULL)", name="active_has_user"
        ),
        CheckConstraint("(status = 'DROPPED') = (dropped_at IS NOT NULL)", name="dropped_has_instant"),
        CheckConstraint("user_id IS NOT NULL OR email IS NOT NULL", name="somebody"),
        CheckConstraint("email = lower(email)", name="email_lower"),
        Index("uq_enrollments_active", "class_id", "user_id", unique=True, postgresql_where=text("status = 'ACTIVE'")),
        Index("uq_enrollments_pending", "class_id", "email", unique=True, postgresql_where=text("status = 'PENDING'")),
        Index("ix_enrollments_by_name", "class_id", "sort_name", "id"),
        Index(None, "user_id"),
        Index("ix_enrollments_pending_email", "email", postgresql_where=text("status = 'PENDING'")),
    )

    id: Mapped[Key]
    class_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("classes.id"))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(_USER))
    email: Mapped[str | None]
    status: Mapped[EnrollmentStatus] = enum_column(EnrollmentStatus)
    sort_name: Mapped[str]
    change_id: Mapped[uuid.UUID]
    enrolled_at: Mapped[datetime | None]
    dropped_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
