"""How plans are written: saving, asking for publication, publishing, and settling what did not go live."""

from db.plans.commands.extending import Extended, extend_plan
from db.plans.commands.publishing import (
    Batch,
    Publication,
    Superseded,
    begin,
    go_live,
    look_on,
    make_batch,
    sweep,
)
from db.plans.commands.requesting import Saved
from db.plans.commands.roster import ask_to_enroll, ask_to_redate, drop_learners, enroll_learner, wait_for_publications
from db.plans.commands.saving import PlanChanges, TaskingWanted, create_plan, publish_plan, update_plan
from db.plans.commands.settling import follow_retry, lock_plan, revert_plan, settle_publication
from db.plans.commands.withdrawing import Withdrawn, delete_plan, restore_plan, withdraw_plan

__all__ = [
    "Batch",
    "Extended",
    "PlanChanges",
    "Publication",
    "Saved",
    "Superseded",
    "TaskingWanted",
    "Withdrawn",
    "ask_to_enroll",
    "ask_to_redate",
    "begin",
    "create_plan",
    "delete_plan",
    "drop_learners",
    "enroll_learner",
    "extend_plan",
    "follow_retry",
    "go_live",
    "lock_plan",
    "look_on",
    "make_batch",
    "publish_plan",
    "restore_plan",
    "revert_plan",
    "settle_publication",
    "sweep",
    "update_plan",
    "wait_for_publications",
    "withdraw_plan",
]
