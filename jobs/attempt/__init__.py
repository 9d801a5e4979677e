"""What a handler is given and may raise. Handlers import from here, and from nowhere else in this room.

    @handles(PublishPlan)
    async def publish_plan(attempt: Attempt, work: PublishPlan) -> Mapping[str, Any] | None:
        async with attempt.transaction() as tx:      # a batch: rolled back where the job is not ours any more
            ...
        await attempt.progress(done=500, total=1000, step="Making tasks")
        async with attempt.completing() as end:      # the last writes and COMPLETED, in one transaction
            end.result = {"tasks_created": 1000}

A handler may be run again from its start at any time; what it wrote in its transactions is there, what it had not
committed is not. It fails for good by raising Refused, and is tried again after any other exception.
"""

from jobs.attempt.attempt import COMPLETED, Attempt, Completing
from jobs.attempt.declaring import DECLARED, Declared, Handler, handles
from jobs.attempt.journal import Journal, Notes
from jobs.attempt.signals import Cancelled, LeaseLost, Snooze, Stop

__all__ = [
    "COMPLETED",
    "DECLARED",
    "Attempt",
    "Cancelled",
    "Completing",
    "Declared",
    "Handler",
    "Journal",
    "LeaseLost",
    "Notes",
    "Snooze",
    "Stop",
    "handles",
]
