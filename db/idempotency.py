"""Answers that are remembered for a day, so that a request which is sent twice takes effect once.

The key is written before the work and in its transaction: of two requests with one key the second waits for the first
to commit and then gets its outcome; a refused request rolls back and uses up no key.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from db.errors import Code, refuse
from db.session import Tx

KEPT_FOR = timedelta(hours=24)
MAX_KEY_LENGTH = 255

_CLAIM = text(
    """
    INSERT INTO idempotency_keys AS kept (caller_id, mutation, key, request_hash, created_at)
    VALUES (:caller_id, :mutation, :key, :request_hash, :now)
    ON CONFLICT (caller_id, mutation, key) DO UPDATE
       SET request_hash = excluded.request_hash, outcome = NULL, created_at = excluded.created_at
     WHERE kept.created_at <= :expired
    RETURNING 1
    """
)
_READ = text(
    "SELECT request_hash, outcome FROM idempotency_keys"
    " WHERE caller_id = :caller_id AND mutation = :mutation AND key = :key"
)
_REMEMBER = text(
    "UPDATE idempotency_keys SET outcome = CAST(:outcome AS jsonb)"
    " WHERE caller_id = :caller_id AND mutation = :mutation AND key = :key"
)
_FORGET = text(
    """
    DELETE FROM idempotency_keys WHERE (caller_id, mutation, key) IN (
        SELECT caller_id, mutation, key FROM idempotency_keys
        WHERE created_at <= :expired ORDER BY created_at LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    """
)


@dataclass(frozen=True, slots=True)
class Request:
    """One mutation by one caller under one key; `content` is its input, which a repetition must equal."""

    caller_id: UUID
    mutation: str
    key: str
    content: Any

    @property
    def names(self) -> dict[str, Any]:
        """The columns of the row's key."""
        return {"caller_id": self.caller_id, "mutation": self.mutation, "key": self.key}

    @property
    def digest(self) -> bytes:
        """What tells two inputs apart without keeping them: they may hold secrets."""
        return sha256(orjson.dumps(self.content, option=orjson.OPT_SORT_KEYS, default=str)).digest()


async def replay(tx: Tx, *, request: Request, now: datetime) -> dict[str, Any] | None:
    """The outcome of the first request with this key, or None: this is the first, and the key is now claimed.

    Raises Refused: IDEMPOTENCY_KEY_REUSED where the input is another one; BAD_USER_INPUT for an unusable key.
    """
    if not 1 <= len(request.key) <= MAX_KEY_LENGTH:
        message = f"`idempotencyKey` must have 1 to {MAX_KEY_LENGTH} characters."
        raise refuse(Code.BAD_USER_INPUT, message, "idempotencyKey", min=1, max=MAX_KEY_LENGTH)
    values = {**request.names, "request_hash": request.digest, "now": now, "expired": now - KEPT_FOR}
    if (await tx.execute(_CLAIM, values)).first() is not None:
        return None
    found = (await tx.execute(_READ, request.names)).one()
    if bytes(found.request_hash) != request.digest:
        message = "This idempotency key was used with another input. Use a new key for a new request."
        raise refuse(Code.IDEMPOTENCY_KEY_REUSED, message, "idempotencyKey")
    outcome: dict[str, Any] = found.outcome
    return outcome


async def remember(tx: Tx, *, request: Request, outcome: dict[str, Any]) -> None:
    """Keep the outcome, in the transaction of the work itself."""
    await tx.execute(_REMEMBER, {**request.names, "outcome": orjson.dumps(outcome, default=str).decode()})


async def forget(tx: Tx, *, now: datetime, limit: int) -> int:
    """Delete keys that count no more, oldest first. How many."""
    return await tx.affect(_FORGET, {"expired": now - KEPT_FOR, "limit": limit})
