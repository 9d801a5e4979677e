"""What is written of courses, classes and enrollments. None of it commits."""

from db.courses.commands.admitting import admit_waiting, welcome_back
from db.courses.commands.classes import ClassChanged, create_class, update_class
from db.courses.commands.content import Imported, import_course, update_course
from db.courses.commands.enrolling import (
    Enrolled,
    EnrollmentChanged,
    drop_enrollment,
    enroll,
    move_enrollment,
)
from db.courses.commands.surroundings import course_facts

__all__ = [
    "ClassChanged",
    "Enrolled",
    "EnrollmentChanged",
    "Imported",
    "admit_waiting",
    "course_facts",
    "create_class",
    "drop_enrollment",
    "enroll",
    "import_course",
    "move_enrollment",
    "update_class",
    "update_course",
    "welcome_back",
]
