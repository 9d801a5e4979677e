"""The mutations of tasks."""

from typing import Any

from resolvers.tasks.mutations.giving import assign_task, create_task, reassign_task, update_task
from resolvers.tasks.mutations.holding import end_hold, place_hold, upsert_task_type
from resolvers.tasks.mutations.working import cancel_task, complete_step, complete_task, start_task

MUTATIONS: list[Any] = [
    upsert_task_type,
    create_task,
    update_task,
    start_task,
    complete_task,
    cancel_task,
    assign_task,
    reassign_task,
    complete_step,
    place_hold,
    end_hold,
]
