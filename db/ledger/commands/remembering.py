"""Requests that may be sent again: the first outcome is kept under the caller's key and given back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB

from db.errors import Code, refuse
from db.ledger.commands.telling import as_json
from db.session import Tx

KEPT_FOR = timedelta(hours=24)

# Of two requests with one key at once, the second waits here until the first has committed or rolled back.
_RESERVE = text("""
INSERT INTO idempotency_keys (caller_id, mutation, key, request_hash, created_at)
VALUES (:caller_id, :mutation, :key, :request_hash, CAST(:now AS timestamptz))
ON CONFLICT (caller_id, mutation, key) DO UPDATE
    SET request_hash = excluded.request_hash, outcome = NULL, created_at = excluded.created_at
    WHERE idempotency_keys.created_at <= CAST(:expired AS timestamptz)
RETURNING true
""")

_READ = text("""
SELECT request_hash, outcome FROM idempotency_keys
WHERE caller_id = :caller_id AND mutation = :mutation AND key = :key
""").columns(outcome=JSONB)

_KEEP = text("""
UPDATE idempotency_keys SET outcome = :outcome
WHERE caller_id = :caller_id AND mutation = :mutation AND key = :key
""").bindparams(as_json("outcome"))


async def reserve_key(
    tx: Tx, *, caller_id: UUID, mutation: str, key: str, request_hash: bytes, now: datetime
) -> Mapping[str, Any] | None:
    """Reserve a key for this request. None: it is new, go on. Else the outcome of the first request.

    A refusal rolls the reservation back, so that it uses up no key. Raises Refused (IDEMPOTENCY_KEY_REUSED) where the
    key belongs to another request of the last 24 hours.
    """
    values = {
        "caller_id": caller_id,
        "mutation": mutation,
        "key": key,
        "request_hash": request_hash,
        "now": now,
        "expired": now - KEPT_FOR,
    }
    if (await tx.execute(_RESERVE, values)).scalar() is not None:
        return None
    kept = (await tx.execute(_READ, values)).one()
    if kept.request_hash != request_hash:
        raise refuse(
            Code.IDEMPOTENCY_KEY_REUSED, "This key belongs to another request; use a new one.", "idempotencyKey"
        )
    outcome: Mapping[str, Any] = kept.outcome
    return outcome


async def keep_outcome(tx: Tx, *, caller_id: UUID, mutation: str, key: str, outcome: Mapping[str, Any]) -> None:
    """Keep the outcome under the reserved key: the ids of the objects, never their contents."""
    await tx.execute(_KEEP, {"caller_id": caller_id, "mutation": mutation, "key": key, "outcome": dict(outcome)})
