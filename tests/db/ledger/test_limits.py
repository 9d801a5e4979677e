"""Of a queue, and of each key in it, only so many jobs are under way; nobody waits behind those that may not run."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import orjson
from sqlalchemy import text

from db.ledger import commands as ledger
from db.ledger.commands.dispatching import _DISPATCH_LIMITED
from db.session import Database, count_statements
from tests.support.kinds import Empty
from tests.support.ledger import EVER, WORKER, ask, claimed, dispatched, execute, row_of

KINDS = ("test.empty", "test.keyed", "test.urgent")
_COPIES = """
INSERT INTO jobs (
    kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds, enqueued_at, scheduled_at,
    last_seq, concurrency_key
)
SELECT kind, queue, 'queued', priority, args, args_version, max_attempts, timeout_seconds, enqueued_at, scheduled_at,
    last_seq, :prefix || lpad(number::text, 5, '0')
FROM jobs CROSS JOIN generate_series(1, :copies) AS number WHERE id = :first
"""
CARD = ledger.WorkerCard(WORKER.id, WORKER.name, ("default", "narrow"), KINDS, 10)


@dataclass(frozen=True)
class Keyed(Empty):
    """Shares a limit with others of its key."""

    kind: ClassVar[str] = "test.keyed"
    queue: ClassVar[str] = "narrow"
    key: str | None = None

    def concurrency_key(self) -> str | None:
        return self.key


@dataclass(frozen=True)
class Urgent(Keyed):
    """Comes before the others."""

    kind: ClassVar[str] = "test.urgent"
    priority: ClassVar[int] = 0


async def limit(database: Database, *, running: int | None = None, per_key: int | None = None) -> None:
    async with database.transaction() as tx:
        await ledger.beat(tx, card=CARD, is_draining=False, now=tx.now)
    await execute(
        database,
        "INSERT INTO queues (name, max_running, max_running_per_key) VALUES ('narrow', :running, :per_key)",
        running=running,
        per_key=per_key,
    )


async def limited(database: Database, *, limit: int = 100) -> list[UUID]:
    """Dispatch from the queues that have limits. The jobs, in order."""
    async with database.transaction() as tx:
        found = await ledger.dispatch_limited(tx, lease=EVER, limit=limit)
    return [ticket.job_id for ticket in found.tickets]


async def compared(database: Database) -> int:
    """How many rows a look at the limited queue reads and leaves out again. It dispatches nothing."""
    async with database.engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        values = {"names": ["narrow"], "lease": EVER, "limit": 100, "tickets_per_slot": None}
        taken = raw.transaction()
        await taken.start()
        now = await raw.fetchval("SELECT now()")
        sql, arguments = _DISPATCH_LIMITED.inside.sql, _DISPATCH_LIMITED.arguments_inside({"now": now, **values})
        told = await raw.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", *arguments)
        await taken.rollback()
    (plan,) = [each["Plan"] for each in (orjson.loads(told) if isinstance(told, str | bytes) else told)]
    return _left_out(plan)


def _left_out(node: Mapping[str, Any]) -> int:
    removed = node.get("Rows Removed by Join Filter", 0) + node.get("Rows Removed by Filter", 0)
    below = sum(_left_out(each) for each in node.get("Plans", ()))
    return int(removed * node["Actual Loops"]) + below


async def complete(database: Database, job_id: UUID) -> None:
    await execute(
        database,
        "UPDATE jobs SET state = 'cancelled', dispatched_at = NULL, worker_id = NULL, timeout_at = NULL,"
        " finished_at = now() WHERE id = :id",
        id=job_id,
    )


async def test_of_a_queue_only_so_many_are_dispatched_or_running(database: Database) -> None:
    await limit(database, running=2)
    ids = [await ask(database, Keyed()) for _ in range(5)]
    assert await limited(database) == ids[:2]
    assert await claimed(database, ledger.Ticket(ids[0], 0), worker=CARD) is not None
    assert await limited(database) == []
    await complete(database, ids[1])
    assert await limited(database) == [ids[2]]


async def test_a_queue_without_limits_is_dispatched_as_ever_and_says_that_others_wait(database: Database) -> None:
    await limit(database, running=1)
    narrow, free = await ask(database, Keyed()), await ask(database)
    async with database.transaction() as tx:
        found = await ledger.dispatch(tx, lease=EVER, limit=10)
    assert ([ticket.job_id for ticket in found.tickets], found.has_limited) == ([free], True)
    assert (await row_of(database, narrow))["state"] == "queued"


async def test_of_each_key_only_so_many_and_a_busy_key_keeps_nobody_waiting(database: Database) -> None:
    await limit(database, per_key=1)
    busy = [await ask(database, Keyed("a")) for _ in range(30)]
    other, none = await ask(database, Keyed("b")), await ask(database, Keyed())
    assert await limited(database, limit=50) == [busy[0], other, none]
    await complete(database, busy[0])
    assert await limited(database, limit=50) == [busy[1]]


async def test_both_limits_hold_together_and_priority_decides_who_is_first(database: Database) -> None:
    await limit(database, running=3, per_key=2)
    slow = [await ask(database, Keyed("a")) for _ in range(4)]
    first = [await ask(database, Urgent("b")) for _ in range(4)]
    assert await limited(database) == [first[0], first[1], slow[0]]


async def test_a_key_counts_in_its_own_queue_only(database: Database) -> None:
    await limit(database, per_key=1)
    await execute(database, "INSERT INTO queues (name, max_running_per_key) VALUES ('default', 1)")
    one, two = await ask(database, Keyed("a")), await ask(database, Keyed("a"))
    await execute(database, "UPDATE jobs SET queue = 'default' WHERE id = :id", id=two)
    assert await limited(database) == [one, two]


async def test_a_paused_queue_with_limits_waits(database: Database) -> None:
    await limit(database, running=1)
    job_id = await ask(database, Keyed())
    await execute(database, "UPDATE queues SET paused_at = now()")
    assert await limited(database) == []
    await execute(database, "UPDATE queues SET paused_at = NULL")
    assert await limited(database) == [job_id]


async def test_a_kind_that_nobody_knows_takes_no_place_of_a_limit(database: Database) -> None:
    await limit(database, running=1, per_key=1)
    unknown = await ask(database, Keyed("a"))
    await execute(database, "UPDATE jobs SET kind = 'test.unknown' WHERE id = :id", id=unknown)
    known = await ask(database, Keyed("a"))
    assert await limited(database) == [known]


async def test_many_dispatchers_at_once_never_go_past_a_limit(database: Database) -> None:
    await limit(database, running=7, per_key=2)
    keys = {await ask(database, Keyed(f"{number % 5}")): f"{number % 5}" for number in range(60)}
    under_way: set[UUID] = set()
    while keys.keys() - under_way:
        rounds = await asyncio.gather(*[limited(database) for _ in range(4)])
        new = [job_id for found in rounds for job_id in found]
        under_way |= set(new)
        rows = await database.reader.fetch("SELECT id FROM jobs WHERE state = 'dispatched'")
        now = Counter(keys[row["id"]] for row in rows)
        assert now.total() <= 7
        assert max(now.values()) <= 2
        for row in rows:
            await complete(database, row["id"])


async def test_it_costs_two_statements_whatever_waits(database: Database) -> None:
    await limit(database, running=2, per_key=1)
    async with database.transaction() as tx:
        asked = [ledger.Asked(Keyed(f"{number % 50}")) for number in range(500)]
        await ledger.enqueue_many(tx, asked=asked, actor_id=None)
    counter = count_statements(database)
    async with database.transaction() as tx:
        before = counter["statements"]
        assert len((await ledger.dispatch_limited(tx, lease=EVER, limit=100)).tickets) == 2
        assert counter["statements"] - before == 2


async def test_a_dispatcher_that_died_with_its_queue_in_hand_blocks_nobody(database: Database) -> None:
    await limit(database, running=1)
    job_id = await ask(database, Keyed())
    async with database.transaction() as tx:
        await tx.execute(text("SELECT FROM queues WHERE name = 'narrow' FOR UPDATE"))
        assert await limited(database) == []
    assert await limited(database) == [job_id]


async def test_jobs_that_wait_for_a_limit_keep_no_room_from_others(database: Database) -> None:
    await limit(database, running=1)
    for _ in range(3):
        await ask(database, Keyed())
    free = await ask(database)
    assert [ticket.job_id for ticket in await dispatched(database, limit=1)] == [free]
    async with database.transaction() as tx:
        found = await ledger.dispatch(tx, lease=timedelta(seconds=10), limit=10, tickets_per_slot=3)
    assert (list(found.tickets), found.is_held_back) == ([], False)


async def test_however_many_keys_are_full_one_that_is_not_has_its_turn(database: Database) -> None:
    await limit(database, per_key=1)
    # Ten thousand keys are busy, each with a job more that waits; the last of all keys is not.
    first = await ask(database, Keyed("k00000"))
    await execute(database, _COPIES, first=first, copies=10_000, prefix="k")
    await execute(database, "UPDATE jobs SET state = 'dispatched', dispatched_at = now()")
    await execute(database, _COPIES, first=first, copies=10_000, prefix="k")
    free = await ask(database, Keyed("z"))
    await execute(database, "ANALYZE jobs")
    # Comparing each key with each would be a hundred million.
    assert await compared(database) < 200_000
    assert await limited(database) == [free]
