"""The streams of plans."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any
from uuid import UUID

import strawberry

from db.ledger.rules import job_topic
from db.plans.queries import PLAN, PlanVersion, plan_version
from db.plans.rules import plan_topic
from db.reading import Want
from resolvers.context import Info
from resolvers.fields import subscription
from resolvers.ids import not_found, require_id
from resolvers.paging import described
from resolvers.plans.types import TaskPlan
from resolvers.selection import wanted
from resolvers.watching import Watched, watch

_VERSION = Want("", (Want("version"), Want("publish_job", (Want("state"),))))


@subscription
async def plan_changed(
    info: Info, plan_id: Annotated[strawberry.ID, described("The plan's id.")]
) -> AsyncGenerator[TaskPlan, None]:
    """The plan as it is, then its newest state after every change of it, of its tasking plans or of its job's status.

    At most twice a second. Not the job's progress (that is `jobProgress`), and not the learners' work. After a
    reconnect it begins with the plan as it is again.
    """
    key = require_id(plan_id, "planId", types=("TaskPlan",), thing="plan")
    tree = wanted(info)
    context = info.context

    async def version() -> PlanVersion:
        found = await plan_version(context.reading_now, key)
        if found is None:
            raise not_found("plan", "planId")
        return found

    async def shown() -> TaskPlan | None:
        return await context.reading_now.one(PLAN, tree, key)

    watched = Watched("TaskPlan", key, lambda reading, keys: reading.by_ids(PLAN, _VERSION, keys))
    async for plan in watch(context, version, shown, topics=lambda found: _topics(key, found), watched=watched):
        yield plan


def _topics(key: UUID, state: PlanVersion) -> list[str]:
    topics = [plan_topic(key)]
    if state.job_id is not None:
        topics.append(job_topic(state.job_id))
    return topics


SUBSCRIPTIONS: list[Any] = [plan_changed]
