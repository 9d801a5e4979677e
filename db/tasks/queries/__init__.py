"""What is read of tasks."""

from db.tasks.queries.access import is_live, is_seen_by_learner, teaches
from db.tasks.queries.due import due_timers, timer_source
from db.tasks.queries.queues import QUEUES, TaskCounts, own_counts
from db.tasks.queries.tasks import (
    TASK_TYPE,
    TASK_TYPES,
    WORK_TASK,
    Step,
)
from db.tasks.rules import HoldPolicy

__all__ = [
    "QUEUES",
    "TASK_TYPE",
    "TASK_TYPES",
    "WORK_TASK",
    "HoldPolicy",
    "Step",
    "TaskCounts",
    "due_timers",
    "is_live",
    "is_seen_by_learner",
    "own_counts",
    "teaches",
    "timer_source",
]
