"""What joining, moving and leaving mean for plans that were published, or are being published."""

from db.plans.commands.roster.joining import ask_to_enroll, ask_to_redate, enroll_learner
from db.plans.commands.roster.leaving import cancel_untouched, drop_learners, wait_for_publications

__all__ = [
    "ask_to_enroll",
    "ask_to_redate",
    "cancel_untouched",
    "drop_learners",
    "enroll_learner",
    "wait_for_publications",
]
