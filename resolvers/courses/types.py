"""Types of courses: what is taught, to whom, and who is where."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import strawberry

from db.courses.queries import COURSE, COURSE_CLASS, ENROLLMENT
from db.courses.rules import EnrollmentStatus, ItemFormat
from db.reading import Entity
from resolvers.accounts.types import User
from resolvers.context import Info
from resolvers.fields import Node, Row, attr, enum_type, listed, node_id, related
from resolvers.paging import After, Connection, First, described

if TYPE_CHECKING:
    from db.plans.rules import PlanState
    from resolvers.plans.types import TaskPlan


class PlanOrder(StrEnum):
    """Orders of a course's plans."""

    DUE_ASC = "DUE_ASC"
    DUE_DESC = "DUE_DESC"
    CREATED_DESC = "CREATED_DESC"
    TITLE_ASC = "TITLE_ASC"


enum_type(
    ItemFormat,
    name="ItemFormat",
    description="What kind of thing an item is, and whether it lives in another system.",
    values={
        "COLLECTION": "Something to work through.",
        "ASSESSMENT": "Something that tests.",
        "COLLECTION_EXTERNAL": "Something to work through, in another system.",
        "ASSESSMENT_EXTERNAL": "Something that tests, in another system.",
    },
)
enum_type(
    EnrollmentStatus,
    name="EnrollmentStatus",
    description="Where somebody's place in a class stands.",
    values={
        "PENDING": "It waits for an active user with its address; where its class is archived or the course is over, "
        "also until that ends.",
        "ACTIVE": "They are in the class.",
        "DROPPED": "They have left, or moved to another class. Final: joining again makes a new enrollment.",
    },
)
enum_type(
    PlanOrder,
    name="PlanOrder",
    description="The order of a list of plans.",
    values={
        "DUE_ASC": "What is first due comes first.",
        "DUE_DESC": "What is first due comes last.",
        "CREATED_DESC": "The newest first.",
        "TITLE_ASC": "By title.",
    },
)

PART = "Opaque and unique over all types. It stays the same over imports as long as the key does."


@strawberry.type(description="What a learner works on.")
class CourseItem(Row):
    """An item."""

    id: strawberry.ID = node_id(PART)
    title: str = attr("For people.")
    format: ItemFormat = attr("What kind of thing it is.")
    competencies: list[str] = attr("The codes that it teaches or tests; empty where it has none.")


@strawberry.type(description="A part of a unit.")
class CourseLesson(Row):
    """A lesson."""

    id: strawberry.ID = node_id(PART)
    title: str = attr("For people.")
    items: list[CourseItem] = attr("Its items in order, without those that the last import left out.")


@strawberry.type(description="A part of a course.")
class CourseUnit(Row):
    """A unit."""

    id: strawberry.ID = node_id(PART)
    title: str = attr("For people.")
    lessons: list[CourseLesson] = attr("Its lessons in order, without those that the last import left out.")


@strawberry.type(
    description="Something that is taught. It is seen by its teachers, the teachers and active members of its classes, "
    "EDITOR and ADMIN."
)
class Course(Row, Node):
    """A course."""

    id: strawberry.ID = node_id()
    title: str = attr("For people.")
    version: str | None = attr("Its version; null: it has none, and no scope of its own for independent learning.")
    time_zone: str = attr("The IANA time zone its days are counted in, such as `Europe/Berlin`.")
    starts_at: datetime | None = attr("When it starts; null: no date.")
    ends_at: datetime | None = attr("When it ends; from then on nothing of it can be changed. Null: no date.")
    teachers: list[User] = attr("Who may change it, its classes and its plans, by name.")
    classes: list[Annotated["CourseClass", strawberry.lazy("resolvers.courses.types")]] = attr(
        "Its classes by name, as far as the viewer may see them: a learner sees their own."
    )
    units: list[CourseUnit] = attr("What it is made of, in order, without what the last import left out.")
    can_edit: bool = attr("Whether the viewer may change it and write plans for it.")

    @listed
    def plans(
        self,
        info: Info,
        *,
        first: First = None,
        after: After = None,
        states: Annotated[
            list[Annotated["PlanState", strawberry.lazy("resolvers.plans.types")]] | None,
            described("Only plans in one of these states; absent: all but WITHDRAWN."),
        ] = None,
        due_from: Annotated[datetime | None, described("Only plans that are due then or later, for anybody.")] = None,
        due_to: Annotated[datetime | None, described("Only plans that are due then or before, for anybody.")] = None,
        order_by: Annotated[PlanOrder, described("Their order.")] = PlanOrder.DUE_ASC,
    ) -> Connection[Annotated["TaskPlan", strawberry.lazy("resolvers.plans.types")]]:
        """Its plans, as far as the viewer may see them: a learner sees those of their tasks."""
        return related(self, info)


@strawberry.type(
    description="People who are taught together: a class, or a period. It is seen by its teachers, those of its "
    "course, its active members, EDITOR and ADMIN."
)
class CourseClass(Row, Node):
    """A class."""

    id: strawberry.ID = node_id()
    name: str = attr("For people.")
    course: Course | None = attr("What it is taught; null: nothing yet, or not visible to the viewer.")
    rescope_enabled: bool = attr("Whether its learners may skip what they have already mastered.")
    is_archived: bool = attr("Whether it is put away: its roster stays as it is.")
    teacher: User = attr("Who teaches it.")
    co_teachers: list[User] = attr("Who teaches it beside its teacher, by name.")

    @listed
    def members(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        statuses: Annotated[
            list[EnrollmentStatus] | None, described("Only enrollments in one of these statuses; absent: all.")
        ] = None,
        search: Annotated[str | None, described("Part of a name, or of an address that is waited for.")] = None,
    ) -> "Connection[Annotated[Enrollment, strawberry.lazy('resolvers.courses.types')]]":
        """Who is in it, was in it or is to be, by name. A learner sees only themselves."""
        return related(self, info)


@strawberry.type(description="One person's place in one class.")
class Enrollment(Row, Node):
    """An enrollment."""

    id: strawberry.ID = node_id()
    user: User | None = attr("Who it is; null while it is PENDING, and where it was when it ended.")
    class_: CourseClass = attr("The class.", name="class")
    status: EnrollmentStatus = attr("Where it stands.")
    enrolled_at: datetime | None = attr("When it became active; null: it never did.")
    email: str | None = attr("The address that it waits for; null once it is somebody's.")
    created_at: datetime = attr("When it was made.")
    dropped_at: datetime | None = attr("When it ended; null: it has not.")


NODES: dict[str, Entity] = {"Course": COURSE, "CourseClass": COURSE_CLASS, "Enrollment": ENROLLMENT}
TYPES: list[type] = [Course, CourseClass, Enrollment, CourseUnit, CourseLesson, CourseItem]
