"""Pausing and limiting queues: what it changes, what it refuses, and what two who do it at once get."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from db.errors import Refused
from db.ledger import commands as ledger
from db.ledger.rules import WORK_IS_DUE, JobState
from db.session import Database
from tests.support.kinds import Keyed
from tests.support.ledger import EVER, WORKER, ask, execute, in_state, row_of, running, snapshot


async def queues_of(database: Database) -> list[Mapping[str, Any]]:
    return [dict(row) for row in await database.reader.fetch("SELECT * FROM queues ORDER BY name")]


async def pause(database: Database, name: str = "default", *, actor: Any = None, reason: str | None = None) -> bool:
    async with database.transaction() as tx:
        return await ledger.pause_queue(tx, name=name, actor_id=actor, reason=reason, now=tx.now)


async def test_the_first_to_pause_a_queue_is_remembered_and_the_second_changes_nothing(database: Database) -> None:
    ada, bob = uuid4(), uuid4()
    assert await pause(database, actor=ada, reason="  The store is down. ") is True
    first = await queues_of(database)
    assert (first[0]["paused_by"], first[0]["pause_reason"]) == (ada, "The store is down.")
    assert await pause(database, actor=bob, reason="Lunch.") is False
    assert await queues_of(database) == first


async def test_of_two_who_pause_at_once_one_is_first(database: Database) -> None:
    people = [uuid4() for _ in range(4)]
    done = await asyncio.gather(*[pause(database, actor=each, reason=str(each)) for each in people])
    assert sorted(done) == [False, False, False, True]
    (row,) = await queues_of(database)
    assert row["pause_reason"] == str(row["paused_by"]) == str(people[done.index(True)])


async def test_pausing_calls_back_what_was_handed_out_and_lets_go_on_what_runs(database: Database) -> None:
    runs = (await running(database)).job_id
    out, other = await in_state(database, JobState.DISPATCHED), await in_state(database, JobState.DISPATCHED)
    await execute(database, "UPDATE jobs SET queue = 'other' WHERE id = :id", id=other)
    before = [await row_of(database, each) for each in (runs, other)]
    assert await pause(database) is True
    called_back = await row_of(database, out)
    assert (called_back["state"], called_back["fence"], called_back["dispatched_at"]) == ("queued", 1, None)
    assert [await row_of(database, each) for each in (runs, other)] == before


async def test_resuming_wakes_the_dispatcher_where_it_changes_something(database: Database) -> None:
    async with database.transaction() as tx:
        assert await ledger.resume_queue(tx, name="default") is False
        assert WORK_IS_DUE not in tx.hints
    assert await queues_of(database) == []
    await pause(database, reason="Lunch.")
    async with database.transaction() as tx:
        assert await ledger.resume_queue(tx, name="default") is True
        assert WORK_IS_DUE in tx.hints
    (row,) = await queues_of(database)
    assert (row["paused_at"], row["paused_by"], row["pause_reason"]) == (None, None, None)


async def test_pausing_keeps_limits_and_limiting_keeps_the_pause(database: Database) -> None:
    async with database.transaction() as tx:
        await ledger.limit_queue(tx, name="default", max_running=4, max_running_per_key=1)
    await pause(database, reason="Lunch.")
    (paused,) = await queues_of(database)
    assert (paused["max_running"], paused["max_running_per_key"]) == (4, 1)
    async with database.transaction() as tx:
        assert await ledger.limits_of(tx, name="default") == (4, 1)
        await ledger.limit_queue(tx, name="default", max_running=None, max_running_per_key=2)
    (limited,) = await queues_of(database)
    assert limited == {**paused, "max_running": None, "max_running_per_key": 2}


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("set", "INSERT INTO queues (name) VALUES ('set')"),
        (
            "served",
            """INSERT INTO workers (name, queues, kinds, slots, started_at, seen_at)
            VALUES ('w', '{served}', '{}', 1, now(), now())""",
        ),
        ("waits", "UPDATE jobs SET queue = 'waits'"),
        ("ended", "UPDATE jobs SET queue = 'ended', state = 'cancelled', finished_at = now()"),
        ("default", "DELETE FROM jobs"),
    ],
)
async def test_a_queue_is_known_by_what_is_set_served_or_asked_for(database: Database, name: str, how: str) -> None:
    await ask(database)
    await execute(database, how)
    assert await pause(database, name) is True


async def test_an_unknown_queue_is_refused_with_the_names_that_there_are(database: Database) -> None:
    await ask(database)
    await execute(database, "UPDATE jobs SET queue = 'bulk'")
    before = await snapshot(database)
    async with database.transaction() as tx:
        with pytest.raises(Refused) as pausing:
            await ledger.pause_queue(tx, name="blk", actor_id=None, reason=None, now=tx.now)
        with pytest.raises(Refused) as resuming:
            await ledger.resume_queue(tx, name="blk")
        with pytest.raises(Refused) as limiting:
            await ledger.limit_queue(tx, name="blk", max_running=1, max_running_per_key=None)
    for refused in (pausing, resuming, limiting):
        (problem,) = refused.value.problems
        assert (problem.code, problem.path, problem.details) == (
            "NOT_FOUND",
            ("queue",),
            {"known": ["bulk", "default"]},
        )
        assert problem.message == "There is no queue of this name. There are: bulk, default."
    assert await queues_of(database) == []
    assert await snapshot(database) == before


@pytest.mark.parametrize(("limit", "per_key", "field"), [(0, None, "maxRunning"), (None, -1, "maxRunningPerKey")])
async def test_a_limit_below_one_is_refused(
    database: Database, limit: int | None, per_key: int | None, field: str
) -> None:
    async with database.transaction() as tx:
        with pytest.raises(Refused) as refused:
            await ledger.limit_queue(tx, name="default", max_running=limit, max_running_per_key=per_key)
    assert [(each.code, each.path) for each in refused.value.problems] == [("BAD_USER_INPUT", (field,))]
    assert await queues_of(database) == []


async def test_a_job_without_a_key_never_waits_behind_keys_that_are_full(database: Database) -> None:
    for _ in range(6):
        await ask(database, Keyed(key="busy"))
    other = await ask(database, Keyed())
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
        await ledger.limit_queue(tx, name="default", max_running=None, max_running_per_key=1)
    async with database.transaction() as tx:
        found = await ledger.dispatch_limited(tx, lease=EVER, limit=3)
    assert len(found.tickets) == 2
    assert other in {ticket.job_id for ticket in found.tickets}
