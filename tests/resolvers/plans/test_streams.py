"""`planChanged`: what it tells, to whom, and that it outlives the database's absence."""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from db.feed import Feed
from db.plans.queries import PLAN, PlanVersion, plan_version
from db.plans.rules import plan_topic
from db.reading import want
from db.session import Database
from resolvers.context import Context
from resolvers.watching import Watched, watch
from tests.support.api import id_of
from tests.support.ledger import execute
from tests.support.outages import far_away
from tests.support.people import person
from tests.support.plans import World
from tests.support.streams import stream

CHANGED = "subscription ($id: ID!) { planChanged(planId: $id) { title state publishJob { status } } }"
DRAFT = {"title": "Read about forces", "state": "DRAFT", "publishJob": None}


async def test_a_plan_is_shown_as_it_is_and_after_every_change(world: World, feed: Feed) -> None:
    key = (await world.create()).plan_id
    async with stream(world.database, feed, world.teacher, CHANGED, id=id_of("TaskPlan", key)) as events:
        assert await events.next() == DRAFT
        await world.update(key, title="Anew")
        assert await events.next() == {**DRAFT, "title": "Anew"}
        await world.publish(key)
        assert await events.next() == {"title": "Anew", "state": "PUBLISHING", "publishJob": {"status": "QUEUED"}}
        await world.withdraw(key)
        assert (await events.next())["publishJob"] == {"status": "CANCELLED"}


async def test_what_may_not_be_seen_cannot_be_watched(world: World, feed: Feed) -> None:
    key = (await world.create()).plan_id
    stranger = await person(world.database)
    for viewer, id_ in ((stranger, id_of("TaskPlan", key)), (world.teacher, id_of("TaskPlan", uuid4()))):
        async with stream(world.database, feed, viewer, CHANGED, id=id_) as events:
            assert (await events.refusal())["extensions"]["code"] == "NOT_FOUND"


async def test_a_plan_that_is_deleted_ends_the_stream(world: World, feed: Feed) -> None:
    key = (await world.create()).plan_id
    async with stream(world.database, feed, world.teacher, CHANGED, id=id_of("TaskPlan", key)) as events:
        await events.next()
        await world.delete(key)
        assert (await events.refusal())["extensions"]["code"] == "NOT_FOUND"


async def test_an_outage_ends_no_stream_and_what_changed_meanwhile_is_told(
    world: World, feed: Feed, database_url: str
) -> None:
    key = (await world.create()).plan_id
    async with (
        far_away(database_url) as far,
        stream(far.database, feed, world.teacher, CHANGED, id=id_of("TaskPlan", key)) as events,
    ):
        assert await events.next() == DRAFT
        told = asyncio.ensure_future(events.next())
        far.wire.freeze()
        await world.update(key, title="Meanwhile")
        await far.until_waiting(1)
        await world.publish(key)
        far.wire.mend()
        assert await told == {"title": "Meanwhile", "state": "PUBLISHING", "publishJob": {"status": "QUEUED"}}
        # The job that it has now is listened to.
        await world.withdraw(key)
        assert (await events.next())["publishJob"] == {"status": "CANCELLED"}


async def test_an_outage_between_the_version_and_the_plan_loses_no_change(
    world: World, feed: Feed, database_url: str
) -> None:
    key = (await world.create()).plan_id
    async with far_away(database_url) as far:
        context = Context(far.database, feed, "test", world.teacher)
        is_to_break = asyncio.Event()

        async def version() -> PlanVersion | None:
            return await plan_version(context.reading_now, key)

        async def shown() -> Any:
            if is_to_break.is_set():
                is_to_break.clear()
                far.wire.freeze()
            return await context.reading_now.one(PLAN, want("title"), key)

        watched = Watched("TaskPlan", key, lambda reading, keys: reading.by_ids(PLAN, want("version"), keys))
        async with aclosing(
            watch(context, version, shown, topics=lambda _: [plan_topic(key)], watched=watched)
        ) as plans:
            assert (await anext(plans)).title == "Read about forces"
            is_to_break.set()
            told = asyncio.ensure_future(anext(plans))
            await world.update(key, title="Meanwhile")
            await far.until_waiting(1)
            far.wire.mend()
            assert (await told).title == "Meanwhile"


async def test_a_stream_that_begins_in_an_outage_says_so(world: World, feed: Feed, database_url: str) -> None:
    key = (await world.create()).plan_id
    async with far_away(database_url) as far:
        far.wire.freeze()
        async with stream(far.database, feed, world.teacher, CHANGED, id=id_of("TaskPlan", key)) as events:
            assert (await events.refusal())["extensions"]["isTransient"]


async def test_a_fault_ends_the_stream(world: World, feed: Feed, database: Database) -> None:
    key = (await world.create()).plan_id
    async with stream(database, feed, world.teacher, CHANGED, id=id_of("TaskPlan", key)) as events:
        await events.next()
        await execute(database, "ALTER TABLE plans RENAME TO others")
        await feed.publish([plan_topic(key)])
        assert (await events.refusal())["extensions"]["code"] == "INTERNAL"
