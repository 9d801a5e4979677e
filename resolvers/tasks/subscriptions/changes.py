"""`taskChanged`: one task, or one hold, as it is and after every change."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import strawberry

from db.reading import Want
from db.tasks.rules import task_topic
from resolvers.context import Info
from resolvers.fields import subscription
from resolvers.ids import decode_any, not_found
from resolvers.paging import described
from resolvers.selection import wanted
from resolvers.tasks.types import NODES, Task
from resolvers.watching import Watched, watch

# Withdrawing a plan changes all of its tasks, and the rows of none.
_VERSION = Want("", (Want("version"), Want("is_withdrawn", on=frozenset({"WorkTask"}))))


@subscription
async def task_changed(
    info: Info, task_id: Annotated[strawberry.ID, described("The id of a task or of a hold.")]
) -> AsyncGenerator[Task, None]:
    """A task or a hold as it is, then its newest state after every change: its status, notes, dates, steps, its hold,
    and what opens and closes directly below it.

    At most twice a second. What changes by the clock alone (`isReady`, `isOverdue`) sends nothing. After a reconnect it
    begins with the task as it is again.
    """
    decoded = decode_any(task_id)
    entity = NODES.get(decoded[0]) if decoded is not None else None
    if decoded is None or entity is None:
        raise not_found("task", "taskId")
    key, tree, context = decoded[1], wanted(info), info.context

    async def version() -> Any:
        found = await context.reading_now.one(entity, _VERSION, key)
        if found is None:
            raise not_found("task", "taskId")
        return found

    async def shown() -> Task | None:
        return await context.reading_now.one(entity, tree, key)

    watched = Watched(decoded[0], key, lambda reading, keys: reading.by_ids(entity, _VERSION, keys))
    async for task in watch(context, version, shown, topics=lambda _: [task_topic(key)], watched=watched):
        yield task
