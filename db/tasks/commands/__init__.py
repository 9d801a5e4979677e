"""How tasks are written. Every command is part of its caller's transaction and leaves nothing where it refuses."""

from db.tasks.commands.changing import TaskChanges, update_task, upsert_task_type
from db.tasks.commands.closing import cancel_below, cancel_task
from db.tasks.commands.giving import Assigned, Assignee, assign_task, create_task, reassign_task
from db.tasks.commands.holding import end_hold, expire_hold, note_failure, place_hold
from db.tasks.commands.trees import By
from db.tasks.commands.working import StepDone, complete_step, complete_task, start_task

__all__ = [
    "Assigned",
    "Assignee",
    "By",
    "StepDone",
    "TaskChanges",
    "assign_task",
    "cancel_below",
    "cancel_task",
    "complete_step",
    "complete_task",
    "create_task",
    "end_hold",
    "expire_hold",
    "note_failure",
    "place_hold",
    "reassign_task",
    "start_task",
    "update_task",
    "upsert_task_type",
]
