"""What may become true of plans: states, saving, publishing, and the steps that settings make."""

from db.plans.rules.saving import CourseWindow, Draft, SaveDecision, Target, Tasking, decide_save
from db.plans.rules.settings import (
    SCHEMAS,
    Content,
    Item,
    Step,
    dynamic_count,
    make_steps,
    needs_steps,
    page_keys,
)
from db.plans.rules.states import (
    NEW_PLAN,
    PLAN,
    PlanAction,
    PlanFacts,
    PlanState,
    PlanType,
    available_actions,
    is_open,
    locked_fields,
    plan_topic,
    settled_state,
)

__all__ = [
    "NEW_PLAN",
    "PLAN",
    "SCHEMAS",
    "Content",
    "CourseWindow",
    "Draft",
    "Item",
    "PlanAction",
    "PlanFacts",
    "PlanState",
    "PlanType",
    "SaveDecision",
    "Step",
    "Target",
    "Tasking",
    "available_actions",
    "decide_save",
    "dynamic_count",
    "is_open",
    "locked_fields",
    "make_steps",
    "needs_steps",
    "page_keys",
    "plan_topic",
    "settled_state",
]
