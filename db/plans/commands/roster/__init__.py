"""What joining, moving and leaving mean for plans that were published, or are being published."""

from db.plans.commands.roster.joining import ask_to_enroll, enroll_learner
from db.plans.commands.roster.leaving import cancel_untouched, drop_learners

__all__ = ["ask_to_enroll", "cancel_untouched", "drop_learners", "enroll_learner"]
