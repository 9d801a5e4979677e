"""Types of plans."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

from db.plans.queries import PLAN
from db.plans.rules import SCHEMAS, PlanAction, PlanState, PlanType
from db.reading import Entity
from db.tasks.rules import TaskStatus
from resolvers.accounts.types import Actor, User
from resolvers.context import Info
from resolvers.courses.types import Course, CourseClass
from resolvers.fields import Node, Row, attr, computed, enum_type, listed, listed_with, node_id, related
from resolvers.ids import decode_id, encode_id
from resolvers.ledger.types import Job
from resolvers.paging import After, Connection, First, described
from resolvers.scalars import JSON
from resolvers.tasks.types import WorkTask

ITEM = "CourseItem"


def _schema_of(type_: PlanType) -> str:
    return f"Settings, as JSON Schema:\n```json\n{json.dumps(SCHEMAS[type_], indent=2, ensure_ascii=False)}\n```"


enum_type(
    PlanType,
    name="PlanType",
    description="What kind of work a plan gives out. Each value's description has the JSON Schema of its settings.",
    values={
        "READING": f"Pages to read, in order. {_schema_of(PlanType.READING)}",
        "HOMEWORK": f"Exercises, after pages where there are any. {_schema_of(PlanType.HOMEWORK)}",
        "EXTERNAL": f"Something on another site. {_schema_of(PlanType.EXTERNAL)}",
        "EVENT": f"Something to be at; it has no steps. {_schema_of(PlanType.EVENT)}",
    },
)
enum_type(
    PlanState,
    name="PlanState",
    description="Where a plan is.",
    values={
        "DRAFT": "Never published; learners see nothing of it.",
        "PUBLISHING": "A job makes the learners' tasks: `publishJob` says how far it is.",
        "PUBLISHED": "Every learner it targets has a task. A later publication may have failed: see `publishJob`.",
        "PUBLISH_FAILED": "The first publication failed: `publishJob.error` says why. Learners see nothing of it.",
        "WITHDRAWN": "Taken back: learners see that it is withdrawn and cannot work on it.",
    },
)
enum_type(
    PlanAction,
    name="PlanAction",
    description="Something that a viewer may do with a plan.",
    values={
        "UPDATE": "Change it: `updatePlan`; see `lockedFields`.",
        "PUBLISH": "Publish it: `publishPlan`.",
        "EXTEND": "Move its due and closing dates to later: `extendPlan`.",
        "WITHDRAW": "Take it back: `withdrawPlan`.",
        "RESTORE": "Bring it back: `restorePlan`.",
        "CANCEL_PUBLISH": "Stop the publication that runs: `cancelJob` with the id of `publishJob`.",
        "DELETE": "Delete it for good: `deletePlan`. Nobody has ever had it.",
    },
)


def stored_settings(settings: Any) -> Any:
    """Settings as they are stored: ids of items as keys. What is no such id is marked, for the rules to refuse."""
    return _with_pages(settings, lambda page: str(decode_id(page, ITEM) or f"?{page}"))


def shown_settings(settings: Any) -> Any:
    """Settings as clients have them: the keys of items as ids."""
    return _with_pages(settings, lambda page: encode_id(ITEM, UUID(page)))


def _with_pages(settings: Any, convert: Any) -> Any:
    if not isinstance(settings, dict) or not isinstance(settings.get("page_ids"), list):
        return settings
    pages = [convert(page) if isinstance(page, str) else page for page in settings["page_ids"]]
    return {**settings, "page_ids": pages}


TaskingTarget = Annotated[
    Course | CourseClass | User,
    strawberry.union("TaskingTarget", description="Whom a tasking plan reaches: a course, a class or one learner."),
]


@strawberry.type(
    description="Who gets a plan, and when. A learner's own dates win over a class's, these over a course's."
)
class TaskingPlan(Row):
    """A target and its dates."""

    id: strawberry.ID = node_id("Opaque and unique over all types.")
    target: TaskingTarget = attr("Whom it reaches.")
    target_name: str = attr("The target's name, for people.")
    opens_at: datetime = attr("From when on learners see the task and may work on it.")
    due_at: datetime = attr("When it should be done.")
    closes_at: datetime = attr("Until when it may be worked on.")


@strawberry.type(description="More time that somebody gave to a course, a class or one learner, with `extendPlan`.")
class PlanExtension(Row):
    """A record of later dates."""

    id: strawberry.ID = node_id("Opaque and unique over all types.")
    target: TaskingTarget = attr("Whom it was given to.")
    target_name: str = attr("The target's name, for people.")
    by: User = attr("Who gave it.")
    at: datetime = attr("When.")
    due_before: datetime = attr("When it was due until then.")
    due_at: datetime = attr("When it was due from then on.")
    closes_before: datetime = attr("Until when it could be worked on until then.")
    closes_at: datetime = attr("Until when it could be worked on from then on.")


LEARNERS = "How many active learners the plan reaches now, whether or not they have a task yet."
ASSIGNED = "How many of the learners' tasks there are; cancelled ones are left out. The sum of the next four."
NOT_STARTED = "Tasks that nobody has begun."
IN_PROGRESS = "Tasks that somebody works on."
ON_HOLD = "Tasks that wait for something."
COMPLETED = "Tasks that are done."
OVERDUE = "Tasks that are not done and past their due date; none of a plan that is withdrawn."


@strawberry.type(description="How far the learners of one class are with a plan.")
class ClassPlanStats:
    """Counts of one class."""

    class_: CourseClass = attr("The class.", name="class")
    learners: int = attr(LEARNERS)
    assigned: int = attr(ASSIGNED)
    not_started: int = attr(NOT_STARTED)
    in_progress: int = attr(IN_PROGRESS)
    on_hold: int = attr(ON_HOLD)
    completed: int = attr(COMPLETED)
    overdue: int = attr(OVERDUE)


@strawberry.type(
    description="How far a plan's learners are. Who is in two classes counts in both and once in all; who has left "
    "counts in all, with the task that they had begun, and in no class."
)
class PlanStats:
    """Counts of a plan."""

    learners: int = attr(LEARNERS)
    assigned: int = attr(ASSIGNED)
    not_started: int = attr(NOT_STARTED)
    in_progress: int = attr(IN_PROGRESS)
    on_hold: int = attr(ON_HOLD)
    completed: int = attr(COMPLETED)
    overdue: int = attr(OVERDUE)
    by_class: list[ClassPlanStats] = attr("The same for each class that it targets or has targeted learners, by name.")


@strawberry.type(
    description="What a teacher gives out. A learner sees of it what is about their own task: "
    "the tasking plans that reach them and their own task, no jobs."
)
class TaskPlan(Row, Node):
    """A plan."""

    id: strawberry.ID = node_id()
    course: Course = attr("The course it belongs to.")
    type: PlanType = attr("What kind of work it gives out.")
    title: str = attr("For people, 1 to 255 characters.")
    description: str = attr("For learners; may be empty.")
    state: PlanState = attr("Where it is.")
    tasking_plans: list[TaskingPlan] = attr("Who gets it, and when; by due date.")
    publish_last_requested_at: datetime | None = attr(
        "When its publication was last asked for; null: never. Set by the server, and only ever later."
    )
    first_published_at: datetime | None = attr("When all tasks first existed; null: never.")
    last_published_at: datetime | None = attr("When all tasks of the newest publication existed; null: never.")
    withdrawn_at: datetime | None = attr("When it was taken back; null: it is not.")
    created_at: datetime = attr("When it was made.")
    created_by: Actor = attr("Who made it.")
    updated_at: datetime = attr("When it was last saved.")
    revision: int = attr("Grows with every save: `expectedRevision` of `updatePlan` and `publishPlan`.")
    publish_job: Job | None = attr(
        "The newest publication. It survives a reload of the page: resume with `jobProgress(after:)`. "
        "Null: none, or not visible to the viewer."
    )
    is_open: bool = attr("Whether any learner's task is past its `opensAt`: from then on most of it is locked.")
    locked_fields: list[str] = attr("The fields of `UpdatePlanInput` that can no longer change.")
    available_actions: list[PlanAction] = attr("What the viewer may do with it now.")
    stats: PlanStats | None = attr("How far its learners are. Null for learners.")

    @computed(needs=("settings",))
    def settings(self: Any) -> JSON:
        """What there is to do, by type: the descriptions of `PlanType` have the JSON Schemas."""
        return JSON(shown_settings(self.settings))

    @listed_with("sees_everybody")
    def publications(self: Any, info: Info, first: First = None, after: After = None) -> Connection[Job] | None:
        """Its publications, newest first. Null for learners."""
        return related(self, info) if self.sees_everybody else None

    @listed_with("sees_everybody")
    def extensions(self: Any, info: Info, first: First = None, after: After = None) -> Connection[PlanExtension] | None:
        """The time that was given with `extendPlan`, newest first. Null for learners."""
        return related(self, info) if self.sees_everybody else None

    @listed
    def tasks(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        statuses: Annotated[list[TaskStatus] | None, described("Only tasks in one of these statuses.")] = None,
        class_id: Annotated[
            strawberry.ID | None, described("Only those of the learners of this class of the plan's course.")
        ] = None,
    ) -> Connection[WorkTask]:
        """The learners' tasks, by the learner's name. A learner sees their own."""
        return related(self, info)


NODES: dict[str, Entity] = {"TaskPlan": PLAN}
TYPES: list[type] = []
