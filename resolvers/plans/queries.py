"""The queries of plans."""

from typing import Annotated, Any

import strawberry

from db.plans.queries import PLAN
from resolvers.context import Info
from resolvers.fields import query
from resolvers.ids import decode_id
from resolvers.paging import described
from resolvers.plans.types import TaskPlan
from resolvers.selection import wanted


@query
async def plan(info: Info, id: Annotated[strawberry.ID, described("The plan's id.")]) -> TaskPlan | None:
    """A plan by its id. Null for an id that is malformed or unknown, and for a plan the viewer may not see."""
    key = decode_id(id, "TaskPlan")
    found: TaskPlan | None = await info.context.reading.one(PLAN, wanted(info), key) if key is not None else None
    return found


QUERIES: list[Any] = [plan]
