"""How waiting jobs become tickets: no more than the fleet can soon use, by priority and age, within every limit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Integer, Interval, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.compiled import Write
from db.ledger.commands.running import Ticket
from db.session import Row, Tx, Writer

_PROMOTE = text("""
WITH due AS (
    SELECT id FROM jobs
    WHERE state = 'scheduled' AND scheduled_at <= CAST(:now AS timestamptz)
    ORDER BY scheduled_at LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'queued' FROM due WHERE jobs.id = due.id AND state = 'scheduled'
RETURNING jobs.id
""")


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The tickets of one round, the first first, to be pushed once it has committed; and what it has left."""

    tickets: Sequence[Ticket]
    # There was room for no more: whoever finishes some work asks again.
    is_held_back: bool
    # Others dispatched some of the same jobs at this moment, or hold them: there may be more soon.
    is_contended: bool
    # Queues with limits have jobs that wait: see `dispatch_limited`.
    has_limited: bool


# How many tickets may be under way: some for each slot of the fleet, less those that wait to be picked up.
_ROOM = """
room AS MATERIALIZED (
    SELECT CASE WHEN CAST(:tickets_per_slot AS integer) IS NULL THEN CAST(:limit AS integer)
    ELSE greatest(0, least(CAST(:limit AS integer),
        (
            SELECT coalesce(sum(slots), 0) FROM workers
            WHERE NOT is_draining AND seen_at > $now - CAST(:lease AS interval)
        ) * CAST(:tickets_per_slot AS integer)
        - (SELECT count(*) FROM jobs WHERE state = 'dispatched')
    )) END AS free
)"""

# The lock comes last, so that nothing is locked and then left. There is always a row: one without a ticket at least.
_MARK = """
due AS (
    SELECT jobs.id FROM jobs JOIN next ON next.id = jobs.id WHERE state = 'queued'
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
),
moved AS (
    UPDATE jobs SET state = 'dispatched', dispatched_at = $now
    FROM due WHERE jobs.id = due.id AND state = 'queued'
    RETURNING jobs.id, fence, priority, scheduled_at
)
SELECT room.free, EXISTS (SELECT FROM lane WHERE is_limited) AS has_limited,
    (SELECT count(*) FROM next) AS meant, moved.*
FROM room LEFT JOIN moved ON true
ORDER BY priority, scheduled_at, id
"""
_BOUNDS = (
    bindparam("lease", type_=Interval()),
    bindparam("limit", type_=Integer()),
    bindparam("tickets_per_slot", type_=Integer()),
)

# The first of every lane, then the first of those.
_DISPATCH = Write(
    """
WITH $room,
lane AS MATERIALIZED (SELECT * FROM open_lanes($now - CAST(:lease AS interval))),
next AS (
    SELECT job.id FROM lane CROSS JOIN LATERAL (
        SELECT id, priority, scheduled_at FROM jobs
        WHERE state = 'queued' AND queue = lane.queue AND kind = lane.kind
        ORDER BY priority, scheduled_at, id LIMIT (SELECT free FROM room)
    ) AS job
    WHERE NOT lane.is_limited
    ORDER BY job.priority, job.scheduled_at, job.id LIMIT (SELECT free FROM room)
),
$mark""".replace("$room", _ROOM).replace("$mark", _MARK),
    *_BOUNDS,
)

# Whoever counts what a queue has under way holds its row, so that two dispatchers never fill the same gap.
_LIMITED = text("""
WITH limited AS (
    SELECT name FROM queues
    WHERE paused_at IS NULL AND (max_running IS NOT NULL OR max_running_per_key IS NOT NULL)
        AND EXISTS (SELECT FROM jobs WHERE state = 'queued' AND queue = queues.name)
),
held AS (
    SELECT queues.name FROM queues JOIN limited ON limited.name = queues.name
    ORDER BY queues.name
    FOR NO KEY UPDATE OF queues SKIP LOCKED
)
SELECT limited.name, held.name IS NOT NULL AS is_held FROM limited LEFT JOIN held ON held.name = limited.name
""")

# A key's jobs are looked for key by key, so that a busy key with many waiting jobs never keeps the others from theirs.
_DISPATCH_LIMITED = Write(
    """
WITH RECURSIVE $room,
mine AS (SELECT * FROM queues WHERE name = ANY (:names)),
lane AS MATERIALIZED (
    SELECT lane.* FROM open_lanes($now - CAST(:lease AS interval)) AS lane JOIN mine ON mine.name = lane.queue
),
keys AS (
    (
        SELECT queue, concurrency_key FROM jobs
        WHERE state = 'queued' AND concurrency_key IS NOT NULL
            AND queue IN (SELECT name FROM mine WHERE max_running_per_key IS NOT NULL)
        ORDER BY queue, concurrency_key LIMIT 1
    )
    UNION ALL
    SELECT another.queue, another.concurrency_key FROM keys CROSS JOIN LATERAL (
        SELECT queue, concurrency_key FROM jobs
        WHERE state = 'queued' AND concurrency_key IS NOT NULL
            AND queue IN (SELECT name FROM mine WHERE max_running_per_key IS NOT NULL)
            AND (queue, concurrency_key) > (keys.queue, keys.concurrency_key)
        ORDER BY queue, concurrency_key LIMIT 1
    ) AS another
),
busy AS MATERIALIZED (
    SELECT queue, concurrency_key FROM jobs WHERE state = 'dispatched' AND queue = ANY (:names)
    UNION ALL
    SELECT queue, concurrency_key FROM jobs WHERE state = 'running' AND queue = ANY (:names)
),
busy_keys AS MATERIALIZED (
    SELECT queue, concurrency_key, count(*) AS taken FROM busy WHERE concurrency_key IS NOT NULL GROUP BY 1, 2
),
-- Keys that are full are left out first: however many they are, they keep none that is not from its turn.
free_keys AS (
    SELECT keys.queue, keys.concurrency_key, mine.max_running_per_key - coalesce(busy_keys.taken, 0) AS free
    FROM keys JOIN mine ON mine.name = keys.queue LEFT JOIN busy_keys USING (queue, concurrency_key)
    WHERE mine.max_running_per_key > coalesce(busy_keys.taken, 0) LIMIT 10000
),
of_key AS (
    SELECT job.* FROM free_keys CROSS JOIN LATERAL (
        SELECT jobs.id, jobs.queue, jobs.priority, jobs.scheduled_at FROM jobs
        JOIN lane ON lane.queue = jobs.queue AND lane.kind = jobs.kind
        WHERE state = 'queued' AND jobs.queue = free_keys.queue AND concurrency_key = free_keys.concurrency_key
        ORDER BY priority, scheduled_at, id LIMIT free_keys.free
    ) AS job
),
of_none AS (
    SELECT job.id, job.queue, job.priority, job.scheduled_at FROM lane JOIN mine ON mine.name = lane.queue
    CROSS JOIN LATERAL (
        SELECT id, queue, priority, scheduled_at FROM jobs
        WHERE state = 'queued' AND queue = lane.queue AND kind = lane.kind
            AND (mine.max_running_per_key IS NULL OR concurrency_key IS NULL)
        ORDER BY priority, scheduled_at, id LIMIT (SELECT free FROM room)
    ) AS job
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY queue ORDER BY priority, scheduled_at, id) AS place
    FROM (SELECT * FROM of_key UNION ALL SELECT * FROM of_none) AS candidate
),
next AS (
    SELECT ranked.id FROM ranked JOIN mine ON mine.name = ranked.queue
    WHERE mine.max_running IS NULL
        OR ranked.place <= mine.max_running - (SELECT count(*) FROM busy WHERE busy.queue = ranked.queue)
    ORDER BY priority, scheduled_at, ranked.id LIMIT (SELECT free FROM room)
),
$mark""".replace("$room", _ROOM).replace("$mark", _MARK),
    bindparam("names", type_=ARRAY(Text)),
    *_BOUNDS,
)

_UNCLAIMED = text("""
SELECT id, fence FROM jobs
WHERE state = 'dispatched' AND dispatched_at <= CAST(:before AS timestamptz)
ORDER BY dispatched_at LIMIT :limit
""")

_RECALL = text("""
WITH stale AS (
    SELECT jobs.id FROM jobs JOIN unnest(:ids, :fences) AS ticket (id, fence)
        ON jobs.id = ticket.id AND jobs.fence = ticket.fence
    WHERE state = 'dispatched'
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
)
UPDATE jobs SET state = 'queued', fence = fence + 1, dispatched_at = NULL
FROM stale WHERE jobs.id = stale.id AND state = 'dispatched'
RETURNING jobs.id
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("fences", type_=ARRAY(BigInteger)))

_SPARE = text("""
WITH spared AS (
    SELECT jobs.id FROM jobs JOIN unnest(:ids, :fences) AS ticket (id, fence)
        ON jobs.id = ticket.id AND jobs.fence = ticket.fence
    WHERE state = 'dispatched'
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
)
UPDATE jobs SET dispatched_at = CAST(:now AS timestamptz)
FROM spared WHERE jobs.id = spared.id AND state = 'dispatched'
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("fences", type_=ARRAY(BigInteger)))

_HAND_BACK = text("""
UPDATE jobs SET state = 'queued', fence = jobs.fence + 1, dispatched_at = NULL
FROM unnest(:ids, :fences) AS ticket (id, fence)
WHERE jobs.id = ticket.id AND jobs.fence = ticket.fence AND state = 'dispatched'
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("fences", type_=ARRAY(BigInteger)))


async def promote(tx: Tx, *, now: datetime, limit: int) -> int:
    """Queue the scheduled jobs whose time has come. How many."""
    return len((await tx.execute(_PROMOTE, {"now": now, "limit": limit})).all())


async def dispatch(writer: Writer, *, lease: timedelta, limit: int, tickets_per_slot: int | None = None) -> Dispatched:
    """Mark the next due jobs as dispatched: at most `limit`, and with `tickets_per_slot` what the fleet has room for.

    Left out are paused queues, queues with limits (`dispatch_limited`), and kinds that no worker knows that was seen
    within a lease.
    """
    values = {"lease": lease, "limit": limit, "tickets_per_slot": tickets_per_slot}
    return _dispatched(await writer.fetch(_DISPATCH, values))


async def dispatch_limited(tx: Tx, *, lease: timedelta, limit: int, tickets_per_slot: int | None = None) -> Dispatched:
    """The same for the queues that have limits: of a queue, and of each concurrency key, only so many are under way.

    A queue that another dispatcher looks after at this moment is left to it; then `is_contended` says that what has
    changed since it looked may have gone unnoticed.
    """
    limited = (await tx.execute(_LIMITED)).all()
    names = [queue.name for queue in limited if queue.is_held]
    is_contended = len(names) < len(limited)
    if not names:
        return Dispatched((), is_held_back=False, is_contended=is_contended, has_limited=is_contended)
    # A statement of its own, so that it sees what those have committed whom the lock has kept us waiting for.
    values = {"names": names, "lease": lease, "limit": limit, "tickets_per_slot": tickets_per_slot}
    found = _dispatched(await tx.fetch(_DISPATCH_LIMITED, values))
    return replace(found, is_contended=found.is_contended or is_contended)


async def unclaimed(tx: Tx, *, now: datetime, since: timedelta, limit: int) -> list[Ticket]:
    """The tickets that were handed out so long ago and never claimed: lost, or waiting for a slot. The oldest first."""
    rows = await tx.execute(_UNCLAIMED, {"before": now - since, "limit": limit})
    return [Ticket(row.id, row.fence) for row in rows.all()]


async def recall(tx: Tx, *, tickets: Sequence[Ticket]) -> int:
    """Queue again the jobs of these tickets under a new fence, unless they have been claimed. How many."""
    return len((await tx.execute(_RECALL, _named(tickets))).all())


async def spare(tx: Tx, *, tickets: Sequence[Ticket], now: datetime) -> None:
    """These tickets are not lost: their time counts from now on."""
    await tx.execute(_SPARE, {**_named(tickets), "now": now})


async def hand_back(tx: Tx, *, tickets: Sequence[Ticket]) -> None:
    """Queue again what was dispatched by these tickets and will not be claimed with them."""
    await tx.execute(_HAND_BACK, _named(sorted(tickets, key=lambda ticket: ticket.job_id)))


def _named(tickets: Sequence[Ticket]) -> dict[str, list[Any]]:
    return {"ids": [each.job_id for each in tickets], "fences": [each.fence for each in tickets]}


def _dispatched(rows: Sequence[Row]) -> Dispatched:
    tickets = [Ticket(row["id"], row["fence"]) for row in rows if row["id"] is not None]
    return Dispatched(
        tickets,
        is_held_back=len(tickets) >= rows[0]["free"],
        is_contended=len(tickets) < rows[0]["meant"],
        has_limited=rows[0]["has_limited"],
    )
