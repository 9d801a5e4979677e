"""Who may see and change courses and classes. Reads have the same rules in their WHERE (`db/courses/queries.py`)."""

from dataclasses import dataclass

from db.accounts.rules import Viewer
from db.errors import Code, refuse


@dataclass(frozen=True, slots=True)
class Standing:
    """What ties somebody to a course or class: they teach the course, a class of it, or attend a class of it."""

    teaches_course: bool = False
    teaches_class: bool = False
    attends: bool = False


def may_see(viewer: Viewer, standing: Standing) -> bool:
    """Whether a course or class exists for this viewer: its teachers, its active members, EDITOR, ADMIN."""
    return viewer.is_editor or standing.teaches_course or standing.teaches_class or standing.attends


def may_edit_course(viewer: Viewer, standing: Standing) -> bool:
    """Whether this viewer may change a course and its plans: its teachers, EDITOR, ADMIN."""
    return viewer.is_editor or standing.teaches_course


def may_edit_class(viewer: Viewer, standing: Standing) -> bool:
    """Whether this viewer may change a class and its roster: the course's or the class's teachers, EDITOR, ADMIN."""
    return viewer.is_editor or standing.teaches_course or standing.teaches_class


def require_course_editor(viewer: Viewer, standing: Standing | None, *path: str) -> None:
    """Raises Refused: NOT_FOUND where the viewer may not see the course (None: there is none), else FORBIDDEN."""
    if standing is None or not may_see(viewer, standing):
        raise refuse(Code.NOT_FOUND, "There is no such course.", *path)
    if not may_edit_course(viewer, standing):
        raise refuse(Code.FORBIDDEN, "Only the course's teachers, an EDITOR or an ADMIN may do this.", *path)


def require_class_editor(viewer: Viewer, standing: Standing | None, *path: str) -> None:
    """Raises Refused: NOT_FOUND where the viewer may not see the class (None: there is none), else FORBIDDEN."""
    if standing is None or not may_see(viewer, standing):
        raise refuse(Code.NOT_FOUND, "There is no such class.", *path)
    if not may_edit_class(viewer, standing):
        message = "Only teachers of the course or the class, an EDITOR or an ADMIN may do this."
        raise refuse(Code.FORBIDDEN, message, *path)


def require_editor(viewer: Viewer) -> None:
    """Raises Refused (FORBIDDEN) for anybody but an EDITOR or ADMIN."""
    if not viewer.is_editor:
        raise refuse(Code.FORBIDDEN, "Only an EDITOR or an ADMIN may do this.")
