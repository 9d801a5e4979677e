"""Recurring work: which there is, and its ticks. One tick makes one job, whoever ticks and however many do."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Interval, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.ledger.commands.asking import enqueue
from db.ledger.commands.telling import as_json
from db.ledger.jobs import Recurring, Timetable
from db.session import Tx

SCHEDULES = "schedules"

_TAKE_LEAD = text("""
INSERT INTO leaders AS leader (role, epoch, worker_id, worker_name, since)
VALUES (:role, 1, CAST(:worker_id AS uuid), :worker_name, CAST(:now AS timestamptz))
ON CONFLICT (role) DO UPDATE SET
    epoch = leader.epoch + 1, worker_id = excluded.worker_id, worker_name = excluded.worker_name, since = excluded.since
RETURNING epoch
""")

# What has not changed is not written, and keeps the tick that it waits for.
_DECLARE = text("""
INSERT INTO schedules AS known (name, kind, args, rule, time_zone, next_tick_at)
SELECT name, kind, args, rule, time_zone, next_tick_at
FROM jsonb_to_recordset(:declared) AS declared (
    name text, kind text, args jsonb, rule text, time_zone text, next_tick_at timestamptz
)
ORDER BY name
ON CONFLICT (name) DO UPDATE SET
    kind = excluded.kind, args = excluded.args, rule = excluded.rule, time_zone = excluded.time_zone,
    next_tick_at = CASE
        WHEN (known.rule, known.time_zone) = (excluded.rule, excluded.time_zone)
            THEN coalesce(known.next_tick_at, excluded.next_tick_at)
        ELSE excluded.next_tick_at
    END
WHERE known.next_tick_at IS NULL OR (known.kind, known.args, known.rule, known.time_zone)
    IS DISTINCT FROM (excluded.kind, excluded.args, excluded.rule, excluded.time_zone)
""").bindparams(as_json("declared"))

# Workers that know the same kinds as the leader are taken to run the same code.
_STOP_OTHERS = text("""
UPDATE schedules SET next_tick_at = NULL
WHERE next_tick_at IS NOT NULL AND name <> ALL (:names) AND NOT EXISTS (
    SELECT FROM workers
    WHERE seen_at > CAST(:now AS timestamptz) - CAST(:lease AS interval) AND schedules.kind = ANY (workers.kinds)
        AND NOT (workers.kinds @> :kinds AND workers.kinds <@ :kinds)
)
RETURNING name
""").bindparams(
    bindparam("names", type_=ARRAY(Text)), bindparam("kinds", type_=ARRAY(Text)), bindparam("lease", type_=Interval())
)

# One that somebody else is ticking at this moment is left out: it needs nothing from us.
_DUE = text("""
SELECT rule, time_zone, next_tick_at FROM schedules
WHERE name = :name AND next_tick_at <= CAST(:now AS timestamptz)
FOR NO KEY UPDATE SKIP LOCKED
""")

_MOVE = text("""
UPDATE schedules SET last_tick_at = CAST(:tick_at AS timestamptz), next_tick_at = CAST(:then AS timestamptz)
WHERE name = :name AND next_tick_at = CAST(:due AS timestamptz)
    AND EXISTS (SELECT FROM leaders WHERE role = :role AND epoch = :epoch)
RETURNING EXISTS (
    SELECT FROM schedule_ticks WHERE schedule_name = schedules.name AND tick_at = CAST(:tick_at AS timestamptz)
)
""")

_RECORD = text("""
INSERT INTO schedule_ticks (schedule_name, tick_at, job_id)
VALUES (:name, CAST(:tick_at AS timestamptz), CAST(:job_id AS uuid))
""")


async def take_lead(tx: Tx, *, worker_id: UUID, worker_name: str, now: datetime) -> int:
    """Say that this worker makes the ticks from now on. The epoch of its lead: whoever led before can tick no more."""
    values = {"role": SCHEDULES, "worker_id": worker_id, "worker_name": worker_name, "now": now}
    return int((await tx.execute(_TAKE_LEAD, values)).scalar_one())


async def declare_schedules(tx: Tx, *, recurring: Sequence[Recurring], now: datetime) -> None:
    """Make the table say what the code says: new ones begin, changed ones change. The others are left alone.

    A new one, and one whose rule has changed, first ticks at its next time after now.
    """
    declared = [
        {
            "name": each.name,
            "kind": each.work.kind,
            "args": each.work.stored(),
            "rule": each.timetable.rule,
            "time_zone": each.timetable.time_zone,
            "next_tick_at": each.timetable.after(now).isoformat(),
        }
        for each in recurring
    ]
    await tx.execute(_DECLARE, {"declared": declared})


async def stop_schedules(
    tx: Tx, *, recurring: Sequence[Recurring], kinds: Sequence[str], lease: timedelta, now: datetime
) -> Sequence[str]:
    """Stop the schedules that neither the leader's code has (`recurring`, of `kinds`) nor any other live worker's may.

    For whoever leads. Their rows stay; who declares one again has it begin again. The names of those stopped.
    """
    values = {"names": [each.name for each in recurring], "kinds": list(kinds), "lease": lease, "now": now}
    return list((await tx.execute(_STOP_OTHERS, values)).scalars())


async def tick(tx: Tx, *, recurring: Recurring, epoch: int, now: datetime) -> UUID | None:
    """Make the job of a tick that is due, if there is one: of several, only of the newest. The job.

    None: it is not due any more, somebody else has ticked or ticks now, or we lead no more; no job is made then.
    Raises ValueError where the rule in the table is one that this code does not understand.
    """
    found = (await tx.execute(_DUE, {"name": recurring.name, "now": now})).one_or_none()
    if found is None:
        return None
    tick = Timetable(found.rule, found.time_zone).tick(due=found.next_tick_at, now=now)
    values = {"name": recurring.name, "tick_at": tick.at}
    moving = {**values, "due": found.next_tick_at, "then": tick.then, "role": SCHEDULES, "epoch": epoch}
    is_made_already = (await tx.execute(_MOVE, moving)).scalar()
    if is_made_already is None or is_made_already:
        return None
    asked = await enqueue(tx, work=recurring.work, actor_id=None)
    await tx.execute(_RECORD, {**values, "job_id": asked.job_id})
    return asked.job_id
