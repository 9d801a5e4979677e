"""The queries of tasks: single ones, lists, the queues of people and teams with their counts, types, health."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, cast

import strawberry

from db.accounts.queries import TEAM
from db.errors import AccessDenied
from db.paging import MAX_FIRST, empty_page
from db.reading import Want
from db.tasks import queries as stored
from db.tasks.queries import QUEUES, TASK_TYPE, TASK_TYPES, TEAM_QUEUES, TIMED_HOLD, WORK_TASK, own_counts, tasks_page
from db.tasks.rules import QueueTab, TaskStatus, TeamTab
from resolvers.context import Info
from resolvers.fields import attr, enum_type, query
from resolvers.ids import decode_any, decode_id
from resolvers.paging import After, Connection, First, described
from resolvers.selection import wanted
from resolvers.tasks.types import Task, TaskCounts, TaskType, WorkTask

ENTITIES = {"WorkTask": WORK_TASK, "TimedHoldTask": TIMED_HOLD}
ID_ONLY = Want("", (Want("id"),))


class TaskOrder(StrEnum):
    """Orders of a list of tasks."""

    CREATED_ASC = "CREATED_ASC"
    CREATED_DESC = "CREATED_DESC"
    DUE_ASC = "DUE_ASC"
    DUE_DESC = "DUE_DESC"
    HOLD_ENDS_ASC = "HOLD_ENDS_ASC"
    ASSIGNED_ASC = "ASSIGNED_ASC"
    ASSIGNED_DESC = "ASSIGNED_DESC"
    CLOSED_DESC = "CLOSED_DESC"


enum_type(
    TaskOrder,
    name="TaskOrder",
    description="The order of a list of tasks. What lacks the date of an order comes last.",
    values={
        "CREATED_ASC": "The oldest first.",
        "CREATED_DESC": "The newest first.",
        "DUE_ASC": "What is first due comes first.",
        "DUE_DESC": "What is last due comes first.",
        "HOLD_ENDS_ASC": "By the end of the open hold, the soonest first.",
        "ASSIGNED_ASC": "By `assignedAt`, the oldest first.",
        "ASSIGNED_DESC": "By `assignedAt`, the newest first.",
        "CLOSED_DESC": "By `closedAt`, the newest first.",
    },
)


@strawberry.input(
    description="Which tasks: all that is given must hold, the tab of a queue too. A list means any of its values."
)
class TaskFilter:
    """A filter of tasks."""

    statuses: list[TaskStatus] | None = attr("Their statuses.", default=None)
    types: list[str] | None = attr(
        "The names of their types. Holds are only listed where `timed_hold` is among them, and never in a queue.",
        default=None,
    )
    assignee_id: strawberry.ID | None = attr("Whose they are: a person or a team.", default=None)
    plan_id: strawberry.ID | None = attr("The plan that made them.", default=None)
    root_id: strawberry.ID | None = attr(
        "The tree that they are in, by the task at its top, which is part.", default=None
    )
    course_id: strawberry.ID | None = attr("The course of their plan.", default=None)
    class_id: strawberry.ID | None = attr(
        "The class: tasks of its course's plans for its active members.", default=None
    )
    due_from: datetime | None = attr("Due at this instant or later.", default=None)
    due_before: datetime | None = attr("Due before this instant.", default=None)
    overdue_only: bool = attr("Only open ones whose due date has passed; not those of withdrawn plans.", default=False)
    overdue_timers_only: bool = attr(
        "Only holds whose end has passed and that are open all the same, for operators; in a queue, the tasks that "
        "such holds are on.",
        default=False,
    )
    search: str | None = attr("Part of their title, regardless of case.", default=None)


@strawberry.type(description="Numbers that are all zero where tasks, holds and timers fit together.")
class TaskHealth:
    """Health of tasks."""

    overdue_timers: int = attr("Timers that should have run more than 10 seconds ago: is a worker alive?")
    failing_timers: int = attr("Pending timers that have failed: `TaskTimer.lastError` says why.")
    on_hold_without_open_child: int = attr("Tasks that are ON_HOLD though nothing below them is open.")
    open_child_of_task_not_on_hold: int = attr("Open tasks and holds below a task that is not ON_HOLD.")


# --- one, and all -----------------------------------------------------------------------------------------------------


@query
async def task(info: Info, id: Annotated[strawberry.ID, described("The id of a task or of a hold.")]) -> Task | None:
    """A task or a hold by its id. Null for an id that is malformed or unknown, and for what the viewer may not see."""
    decoded = decode_any(id)
    entity = ENTITIES.get(decoded[0]) if decoded is not None else None
    if decoded is None or entity is None:
        return None
    return cast("Task | None", await info.context.reading.one(entity, wanted(info), decoded[1]))


async def _every_task(
    info: Info,
    filter: Annotated[TaskFilter | None, described("Which tasks; absent: all that the viewer may see.")] = None,
    order_by: Annotated[TaskOrder, described("Their order.")] = TaskOrder.CREATED_DESC,
    first: First = None,
    after: After = None,
) -> Connection[Task] | None:
    """Tasks that the viewer may see: their own, those they gave, their teams', their plans' as a teacher; all of them
    for EDITOR and ADMIN. Holds only where the filter asks for them.
    """
    return cast("Connection[Task]", await tasks_page(info.context.reading, wanted(info)))


# --- queues -----------------------------------------------------------------------------------------------------------


async def _own_tasks(
    info: Info,
    *,
    tab: Annotated[QueueTab, described("Which part of the queue.")] = QueueTab.ASSIGNED,
    first: First = None,
    after: After = None,
    order_by: Annotated[TaskOrder | None, described("Their order; absent: that of the tab.")] = None,
    filter: Annotated[TaskFilter | None, described("Which tasks of the tab; absent: all.")] = None,
) -> Connection[WorkTask] | None:
    """The viewer's own queue. A plan's task is in it from the moment that it opens; holds are not listed."""
    own = info.context.signed_in.user_id
    found = await info.context.reading.below(WORK_TASK, wanted(info), QUEUES[tab], [own], name=f"queue.{tab.value}")
    return found.get(own) or cast("Connection[WorkTask]", empty_page())


async def _own_counts(info: Info) -> TaskCounts | None:
    """How many tasks each tab of the viewer's own queue has."""
    return cast("TaskCounts", await own_counts(info.context.reading))


@query
async def team_tasks(
    info: Info,
    *,
    team_id: Annotated[strawberry.ID, described("The team.")],
    tab: Annotated[TeamTab, described("Which part of its queue.")],
    order_by: Annotated[
        TaskOrder | None, described("Their order; absent: that of the tab, as in `viewer.tasks`.")
    ] = None,
    filter: Annotated[TaskFilter | None, described("Which tasks of the tab; absent: all.")] = None,
    first: First = None,
    after: After = None,
) -> Connection[WorkTask] | None:
    """A team's queue, for its members, EDITOR and ADMIN; null for others, and where there is no such team.

    Tasks of its members are in theirs: below the team's, where they were given out of this queue.
    """
    key = decode_id(team_id, "Team")
    reading = info.context.reading
    if key is None or await reading.one(TEAM, ID_ONLY, key) is None:
        return None
    found = await reading.below(WORK_TASK, wanted(info), TEAM_QUEUES[tab], [key], name=f"team.{tab.value}")
    return found.get(key) or cast("Connection[WorkTask]", empty_page())


# --- types and health -------------------------------------------------------------------------------------------------


@query
async def task_types(info: Info) -> list[TaskType] | None:
    """Every type of task, by name, and what holds it allows."""
    tree = wanted(info)
    types: list[TaskType] = []
    after = None
    while True:
        asked = Want("", tree.wants, {"first": MAX_FIRST, "after": after})
        page = await info.context.reading.page(TASK_TYPE, asked, TASK_TYPES, name="types")
        types += page.nodes
        if not page.has_next_page:
            return types
        after = page.cursors[-1]


@query
async def task_health(info: Info) -> TaskHealth | None:
    """Whether tasks, holds and timers fit together, as numbers that should all be zero. FORBIDDEN but for ADMIN."""
    if not info.context.signed_in.is_admin:
        raise AccessDenied("Only an ADMIN may look at the health of tasks.")
    return cast("TaskHealth", await stored.task_health(info.context.reading))


_every_task.__name__ = _own_tasks.__name__ = "tasks"
_own_counts.__name__ = "task_counts"

QUERIES: list[Any] = [task, query(_every_task), team_tasks, task_types, task_health]
VIEWER_FIELDS: list[Any] = [query(_own_tasks), query(_own_counts)]
