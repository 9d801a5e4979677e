"""What a plan may become: its states and what leads from one to another."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from db.errors import Code, Problem
from db.machine import Machine


class PlanType(StrEnum):
    """What kind of work a plan gives out."""

    READING = "READING"
    HOMEWORK = "HOMEWORK"
    EXTERNAL = "EXTERNAL"
    EVENT = "EVENT"


class PlanState(StrEnum):
    """Where a plan is. PUBLISHED only once every task exists."""

    DRAFT = "DRAFT"
    PUBLISHING = "PUBLISHING"
    PUBLISHED = "PUBLISHED"
    PUBLISH_FAILED = "PUBLISH_FAILED"
    WITHDRAWN = "WITHDRAWN"


class PlanAction(StrEnum):
    """What a viewer may do with a plan."""

    UPDATE = "UPDATE"
    PUBLISH = "PUBLISH"
    EXTEND = "EXTEND"
    WITHDRAW = "WITHDRAW"
    RESTORE = "RESTORE"
    CANCEL_PUBLISH = "CANCEL_PUBLISH"
    DELETE = "DELETE"


_S = PlanState

PLAN = Machine(
    name="plan",
    states=PlanState,
    initial=_S.DRAFT,
    edges={
        (_S.DRAFT, _S.PUBLISHING): "publication is requested",
        (_S.PUBLISHED, _S.PUBLISHING): "published again",
        (_S.PUBLISH_FAILED, _S.PUBLISHING): "published again",
        (_S.PUBLISHING, _S.PUBLISHED): "every task exists",
        (_S.PUBLISHING, _S.PUBLISH_FAILED): "the first publication failed",
        (_S.PUBLISHING, _S.DRAFT): "the first publication is cancelled",
        (_S.PUBLISHING, _S.WITHDRAWN): "withdrawn in mid-publication",
        (_S.PUBLISHED, _S.WITHDRAWN): "withdrawn",
        (_S.PUBLISH_FAILED, _S.WITHDRAWN): "withdrawn",
        (_S.WITHDRAWN, _S.PUBLISHING): "restored",
    },
)

_REQUESTED = frozenset({_S.PUBLISHING, _S.PUBLISHED, _S.PUBLISH_FAILED})

# In which states each action makes sense; anywhere else it is refused.
ALLOWED_IN: Mapping[PlanAction, frozenset[PlanState]] = {
    PlanAction.UPDATE: _REQUESTED | {_S.DRAFT},
    PlanAction.PUBLISH: _REQUESTED | {_S.DRAFT},
    PlanAction.EXTEND: _REQUESTED,
    PlanAction.WITHDRAW: _REQUESTED,
    PlanAction.RESTORE: frozenset({_S.WITHDRAWN}),
    PlanAction.CANCEL_PUBLISH: frozenset({_S.PUBLISHING}),
    # A draft was never published: no state leads back to it, and the table holds that too.
    PlanAction.DELETE: frozenset({_S.DRAFT}),
}

# What learners do with a task counts from here on, so these are all that can still change.
CHANGEABLE_AFTER_OPEN = ("title", "description")
LOCKED_AFTER_OPEN = ("settings", "taskingPlans")


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """A plan as the rules see it. `live_opens_at`: when the first task that learners have opens, if any.

    `is_replacing`: a publication that replaces their tasks is under way.
    """

    state: PlanState
    live_opens_at: datetime | None = None
    first_published_at: datetime | None = None
    publish_last_requested_at: datetime | None = None
    has_course_ended: bool = False
    is_replacing: bool = False


NEW_PLAN = PlanFacts(PlanState.DRAFT)


def is_open(facts: PlanFacts, *, now: datetime) -> bool:
    """Whether any learner's task is past its opening."""
    return facts.live_opens_at is not None and facts.live_opens_at <= now


def locked_fields(facts: PlanFacts, *, now: datetime) -> tuple[str, ...]:
    """The fields of `UpdatePlanInput` that can no longer change."""
    if facts.has_course_ended or facts.state is _S.WITHDRAWN:
        return (*CHANGEABLE_AFTER_OPEN, *LOCKED_AFTER_OPEN)
    return LOCKED_AFTER_OPEN if is_open(facts, now=now) else ()


def available_actions(facts: PlanFacts, *, may_write: bool) -> tuple[PlanAction, ...]:
    """What this viewer may do with the plan now."""
    if not may_write or facts.has_course_ended:
        return ()
    return tuple(action for action in PlanAction if facts.state in ALLOWED_IN[action])


def standing_problems(facts: PlanFacts, action: PlanAction) -> list[Problem]:
    """Why the plan cannot be written like this as it stands, whatever is asked for."""
    problems = []
    if facts.has_course_ended:
        problems.append(Problem(Code.COURSE_ENDED, "The course has ended; its plans no longer change."))
    if facts.state not in ALLOWED_IN[action]:
        problems.append(_out_of_place(facts.state, action))
    return problems


def _out_of_place(state: PlanState, action: PlanAction) -> Problem:
    if state is _S.WITHDRAWN:
        return Problem(Code.PLAN_WITHDRAWN, "The plan is withdrawn. Restore it first.")
    if action is PlanAction.RESTORE:
        return Problem(Code.PLAN_NOT_WITHDRAWN, "The plan is not withdrawn.")
    message = "This is a draft, of which learners have nothing: change it with `updatePlan`, or delete it."
    return Problem(Code.CONFLICT, message, (), {"state": state.value})


def settled_state(*, before: PlanState, was_published: bool, was_cancelled: bool) -> PlanState:
    """Where a plan is after its newest publication ended without going live.

    A failure shows as PUBLISH_FAILED unless learners have an earlier publication, which stands. A cancelled request
    leaves the plan as it was before it, withdrawn where it was being restored.
    """
    if was_cancelled and before is PlanState.WITHDRAWN:
        return PlanState.WITHDRAWN
    if was_published:
        return PlanState.PUBLISHED
    if was_cancelled:
        return before if before is not PlanState.PUBLISHING else PlanState.DRAFT
    return PlanState.PUBLISH_FAILED


def plan_topic(plan_id: UUID) -> str:
    """The topic of hints about a plan: "look at it again"."""
    return f"plan.{plan_id}"
