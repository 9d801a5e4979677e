"""The work that changes of classes leave to the domains above: plans and rescoping want to know of them.

None of these carries a list of members: who was concerned is read when the job runs, by the change that concerned
them, so a class of 10,000 costs what a class of one costs, and whoever has left again meanwhile is left out.
"""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from db.ledger.jobs import Work


@dataclass(frozen=True)
class ClassWork(Work):
    """What they share: the class, by which their number can be limited.

    Without such a limit those of one class run at the same time, and in any order with it: none may rely on another's
    being over. Each goes by what is true when it runs.
    """

    class_id: UUID

    def concurrency_key(self) -> str | None:
        """The class."""
        return f"class:{self.class_id}"


@dataclass(frozen=True)
class MembersAdded(ClassWork):
    """Learners became active in a class. `from_class_id`: they moved here from that class of the same course.

    `is_return`: they were members all along, and may have moved while they were away.
    """

    kind: ClassVar[str] = "class.members_added"
    change_id: UUID
    from_class_id: UUID | None = None
    is_return: bool = False


@dataclass(frozen=True)
class MembersDropped(ClassWork):
    """Learners who were active in a class left it.

    `course_id`: the course that the class had then. None in what older versions have asked for: it may be any.
    """

    kind: ClassVar[str] = "class.members_dropped"
    change_id: UUID
    course_id: UUID | None = None


@dataclass(frozen=True)
class CourseAssigned(ClassWork):
    """A class got a course, or another one than before.

    `left_course_ids`: that other one, or none. None in what older versions have asked for: it may be any.
    """

    kind: ClassVar[str] = "class.course_assigned"
    course_id: UUID
    left_course_ids: tuple[UUID, ...] | None = None


@dataclass(frozen=True)
class ReachChanged(ClassWork):
    """A class was archived or put back, or has left its course: plans reach its members no longer, or again.

    `course_id`: the course that it is in, or has left. One that it got is `class.course_assigned`, which leads to the
    same; that one is told alone.
    """

    kind: ClassVar[str] = "class.reach_changed"
    course_id: UUID


@dataclass(frozen=True)
class RescopeEnabled(ClassWork):
    """A class that has a course had its rescoping switched on."""

    kind: ClassVar[str] = "class.rescope_enabled"
