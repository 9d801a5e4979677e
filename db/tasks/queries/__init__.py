"""What is read of tasks."""

from db.tasks.queries.access import is_live, is_seen_by_learner, own_teams, teaches
from db.tasks.queries.due import due_timers, timer_source
from db.tasks.queries.health import TaskHealth, task_health
from db.tasks.queries.holds import TIMED_HOLD, TIMER
from db.tasks.queries.lists import ANY_TASK, TASKS, tasks_page
from db.tasks.queries.queues import (
    MOST_WATCHED,
    QUEUES,
    TEAM_QUEUES,
    TaskCounts,
    own_counts,
    queue_marks,
    queue_versions,
    task_version,
    team_counts,
)
from db.tasks.queries.tasks import TASK_TYPE, TASK_TYPES, WORK_TASK, Step
from db.tasks.rules import HoldPolicy

__all__ = [
    "ANY_TASK",
    "MOST_WATCHED",
    "QUEUES",
    "TASKS",
    "TASK_TYPE",
    "TASK_TYPES",
    "TEAM_QUEUES",
    "TIMED_HOLD",
    "TIMER",
    "WORK_TASK",
    "HoldPolicy",
    "Step",
    "TaskCounts",
    "TaskHealth",
    "due_timers",
    "is_live",
    "is_seen_by_learner",
    "own_counts",
    "own_teams",
    "queue_marks",
    "queue_versions",
    "task_health",
    "task_version",
    "tasks_page",
    "teaches",
    "team_counts",
    "timer_source",
]
