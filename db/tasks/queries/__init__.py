"""What is read of tasks."""

from db.tasks.queries.queues import QUEUES, TaskCounts, own_counts
from db.tasks.queries.tasks import (
    TASK_TYPE,
    TASK_TYPES,
    WORK_TASK,
    HoldPolicy,
    Step,
    is_live,
    is_seen_by_learner,
    teaches,
)

__all__ = [
    "QUEUES",
    "TASK_TYPE",
    "TASK_TYPES",
    "WORK_TASK",
    "HoldPolicy",
    "Step",
    "TaskCounts",
    "is_live",
    "is_seen_by_learner",
    "own_counts",
    "teaches",
]
