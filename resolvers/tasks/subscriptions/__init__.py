"""The streams of tasks."""

from typing import Any

from resolvers.tasks.subscriptions.changes import task_changed
from resolvers.tasks.subscriptions.queues import queue_changed

SUBSCRIPTIONS: list[Any] = [task_changed, queue_changed]
