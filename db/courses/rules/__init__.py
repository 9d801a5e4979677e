"""What may become true of courses, classes and enrollments, and the form of an import document."""

from db.courses.rules.access import Standing
from db.courses.rules.changes import (
    ClassChanges,
    ClassValues,
    CourseChanges,
    CourseFacts,
    CourseValues,
    decide_class_update,
    decide_course_update,
    decide_new_class,
)
from db.courses.rules.document import CourseDocument, ItemFormat, document_schema, read_document
from db.courses.rules.enrollment import ENROLLMENT, EnrollmentStatus

__all__ = [
    "ENROLLMENT",
    "ClassChanges",
    "ClassValues",
    "CourseChanges",
    "CourseDocument",
    "CourseFacts",
    "CourseValues",
    "EnrollmentStatus",
    "ItemFormat",
    "Standing",
    "decide_class_update",
    "decide_course_update",
    "decide_new_class",
    "document_schema",
    "read_document",
]
