"""How plans are written: saving, asking for publication, publishing, and settling what did not go live."""

from db.plans.commands.publishing import (
    Batch,
    Publication,
    Superseded,
    begin,
    go_live,
    make_batch,
    sweep,
)
from db.plans.commands.saving import PlanChanges, Saved, TaskingWanted, create_plan, publish_plan, update_plan
from db.plans.commands.settling import follow_retry, lock_plan, settle_publication

__all__ = [
    "Batch",
    "PlanChanges",
    "Publication",
    "Saved",
    "Superseded",
    "TaskingWanted",
    "begin",
    "create_plan",
    "follow_retry",
    "go_live",
    "lock_plan",
    "make_batch",
    "publish_plan",
    "settle_publication",
    "sweep",
    "update_plan",
]
