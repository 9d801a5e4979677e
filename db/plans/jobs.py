"""The work that plans ask for."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from db.ledger.jobs import Work


@dataclass(frozen=True)
class PublishPlan(Work):
    """Make every learner's task of one generation, then let it go live. A newer generation supersedes it.

    `keeps_tasks`: the plan was open when this was asked for, so tasks stay and only missing ones are made.
    """

    kind: ClassVar[str] = "plan.publish"
    timeout_seconds: ClassVar[int] = 3600

    plan_id: UUID
    generation: int
    keeps_tasks: bool


@dataclass(frozen=True)
class EnrollLearner(Work):
    """Make the tasks that one learner has not got of the published plans of a course.

    `moves`: they came from another class of the course, so what they have not touched goes by the new class now.
    """

    kind: ClassVar[str] = "plan.enroll"

    course_id: UUID
    user_id: UUID
    moves: bool = False


@dataclass(frozen=True)
class SweepPlan(Work):
    """Delete the tasks of generations that are over, in batches, after this one was published or was given up."""

    kind: ClassVar[str] = "plan.sweep"
    queue: ClassVar[str] = "default"
    priority: ClassVar[int] = 8
    timeout_seconds: ClassVar[int] = 3600

    plan_id: UUID
    generation: int

    def unique_key(self) -> str | None:
        """One sweep after each publication is enough."""
        return f"{self.plan_id}:{self.generation}"


@dataclass(frozen=True)
class RevertPlan(Work):
    """At a plan's opening: make what is saved what learners have, where the rest has not gone live until then."""

    kind: ClassVar[str] = "plan.revert"
    queue: ClassVar[str] = "default"

    plan_id: UUID
    live_generation: int

    def unique_key(self) -> str | None:
        """What learners have opens once."""
        return f"{self.plan_id}:{self.live_generation}"
