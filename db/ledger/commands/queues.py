"""What operators set for a queue: whether it is paused, and how much of it runs at once."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from db.errors import Code, refuse
from db.ledger.rules import WORK_IS_DUE, reason_of
from db.session import Tx

_IS_KNOWN = text("""
SELECT :name = 'default'
    OR EXISTS (SELECT FROM queues WHERE name = :name)
    OR EXISTS (SELECT FROM workers WHERE :name = ANY (queues))
    OR EXISTS (SELECT FROM jobs WHERE state IN ('scheduled', 'queued', 'dispatched', 'running') AND queue = :name)
    OR EXISTS (SELECT FROM jobs WHERE finished_at IS NOT NULL AND queue = :name)
""")

_KNOWN = text("""
SELECT 'default' AS name
UNION SELECT name FROM queues
UNION SELECT unnest(queues) FROM workers
UNION SELECT queue FROM jobs WHERE state IN ('scheduled', 'queued', 'dispatched', 'running')
ORDER BY name
""")

# Of two who pause it at once, the first one's reason stays.
_PAUSE = text("""
INSERT INTO queues (name, paused_at, paused_by, pause_reason)
VALUES (:name, CAST(:now AS timestamptz), CAST(:actor_id AS uuid), :reason)
ON CONFLICT (name) DO UPDATE
    SET paused_at = excluded.paused_at, paused_by = excluded.paused_by, pause_reason = excluded.pause_reason
    WHERE queues.paused_at IS NULL
""")

# What was handed out and not begun waits in the table again, under a new fence: its tickets are out of date.
# A job that somebody claims at this moment is begun.
_CALL_BACK = text("""
WITH handed_out AS (
    SELECT id FROM jobs WHERE state = 'dispatched' AND queue = :name
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'queued', fence = fence + 1, dispatched_at = NULL
FROM handed_out WHERE jobs.id = handed_out.id AND state = 'dispatched'
""")

_RESUME = text("""
UPDATE queues SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
WHERE name = :name AND paused_at IS NOT NULL
""")

_LIMIT = text("""
INSERT INTO queues (name, max_running, max_running_per_key) VALUES (:name, :max_running, :max_running_per_key)
ON CONFLICT (name) DO UPDATE
    SET max_running = excluded.max_running, max_running_per_key = excluded.max_running_per_key
""")

_LIMITS = text("SELECT max_running, max_running_per_key FROM queues WHERE name = :name FOR NO KEY UPDATE")


async def pause_queue(tx: Tx, *, name: str, actor_id: UUID | None, reason: str | None, now: datetime) -> bool:
    """Begin nothing new in this queue; what runs goes on. False: it was paused already, and nothing has changed.

    `actor_id` None: nobody who is known here did it (the command line). Raises Refused (NOT_FOUND; BAD_USER_INPUT for a
    reason of more than 500 characters).
    """
    why = reason_of(reason)
    await _require_known(tx, name)
    values = {"name": name, "actor_id": actor_id, "reason": why, "now": now}
    if not await tx.affect(_PAUSE, values):
        return False
    await tx.affect(_CALL_BACK, {"name": name})
    return True


async def resume_queue(tx: Tx, *, name: str) -> bool:
    """Go on with this queue, at once. False: it was not paused, and nothing has changed. Raises Refused (NOT_FOUND)."""
    await _require_known(tx, name)
    is_resumed = await tx.affect(_RESUME, {"name": name}) > 0
    if is_resumed:
        tx.hint(WORK_IS_DUE)
    return is_resumed


async def limit_queue(tx: Tx, *, name: str, max_running: int | None, max_running_per_key: int | None) -> None:
    """Set how many jobs of this queue run at once, in all and of one concurrency key; None: as many as there are slots.

    What runs goes on; what was handed out and not begun waits again. Raises Refused (NOT_FOUND; BAD_USER_INPUT for a
    limit below 1: to run none, pause the queue).
    """
    for field, limit in (("maxRunning", max_running), ("maxRunningPerKey", max_running_per_key)):
        if limit is not None and not 1 <= limit < 2**31:
            raise refuse(Code.BAD_USER_INPUT, "A limit is 1 or more; to run nothing, pause the queue.", field, min=1)
    await _require_known(tx, name)
    values = {"name": name, "max_running": max_running, "max_running_per_key": max_running_per_key}
    await tx.execute(_LIMIT, values)
    await tx.affect(_CALL_BACK, {"name": name})
    # Where there is more room than before, somebody waits for it.
    tx.hint(WORK_IS_DUE)


async def limits_of(tx: Tx, *, name: str) -> tuple[int | None, int | None]:
    """What is set, in all and per key; nobody else changes it until this transaction ends."""
    row = (await tx.execute(_LIMITS, {"name": name})).one_or_none()
    return (None, None) if row is None else (row.max_running, row.max_running_per_key)


async def _require_known(tx: Tx, name: str) -> None:
    if (await tx.execute(_IS_KNOWN, {"name": name})).scalar_one():
        return
    known = list((await tx.execute(_KNOWN)).scalars())
    message = f"There is no queue of this name. There are: {', '.join(known)}."
    raise refuse(Code.NOT_FOUND, message, "queue", known=known)
