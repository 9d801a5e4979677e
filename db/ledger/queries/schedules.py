"""When recurring work is due: asked by whoever leads, on the connection that makes it the leader."""

from typing import Any, TypeAlias

import asyncpg

from db.clock import Clock

Connection: TypeAlias = "asyncpg.Connection[Any]"

_UPCOMING = """
SELECT name, extract(epoch FROM next_tick_at - (statement_timestamp() + $1))::float8 AS seconds
FROM schedules WHERE next_tick_at IS NOT NULL ORDER BY next_tick_at
"""


async def upcoming_ticks(connection: "asyncpg.Connection[Any]", *, clock: Clock) -> list[tuple[str, float]]:
    """Every schedule that ticks, with the seconds until it does: the next first, zero or less where it is due."""
    return [(row["name"], row["seconds"]) for row in await connection.fetch(_UPCOMING, clock.shift)]
