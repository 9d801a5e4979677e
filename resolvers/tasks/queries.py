"""The queries of tasks."""

from typing import Annotated, Any

import strawberry

from db.paging import MAX_FIRST, empty_page
from db.reading import Want
from db.tasks.queries import QUEUES, TASK_TYPE, TASK_TYPES, WORK_TASK, own_counts
from db.tasks.rules import QueueTab
from resolvers.context import Info
from resolvers.fields import query
from resolvers.ids import decode_id
from resolvers.paging import After, Connection, First, described
from resolvers.selection import wanted
from resolvers.tasks.types import Task, TaskCounts, TaskType, WorkTask


@query
async def task(info: Info, id: Annotated[strawberry.ID, described("The task's id.")]) -> Task | None:
    """A task by its id. Null for an id that is malformed or unknown, and for a task the viewer may not see."""
    key = decode_id(id, "WorkTask")
    found: Task | None = await info.context.reading.one(WORK_TASK, wanted(info), key) if key is not None else None
    return found


@query
async def task_types(info: Info) -> list[TaskType] | None:
    """Every kind of task, by name, and what holds it allows."""
    tree = wanted(info)
    every = Want("", tree.wants, {"first": MAX_FIRST})
    page = await info.context.reading.page(TASK_TYPE, every, TASK_TYPES, name="types")
    return page.nodes


@query
async def tasks(
    info: Info,
    tab: Annotated[QueueTab, described("Which part of the queue.")] = QueueTab.ASSIGNED,
    first: First = None,
    after: After = None,
) -> Connection[WorkTask] | None:
    """The viewer's own queue. A plan's task is in it from the moment that it opens; holds are not listed."""
    viewer = info.context.signed_in
    queue = QUEUES[tab]
    found = await info.context.reading.below(
        WORK_TASK, wanted(info), queue, [viewer.user_id], name=f"queue.{tab.value}"
    )
    page: Any = found.get(viewer.user_id) or empty_page()
    return page


@query
async def task_counts(info: Info) -> TaskCounts | None:
    """How many tasks each tab of the viewer's own queue has."""
    counts: Any = await own_counts(info.context.reading)
    return counts


QUERIES: list[Any] = [task, task_types]
VIEWER_FIELDS: list[Any] = [tasks, task_counts]
