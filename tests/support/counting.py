"""What is asked of the two stores: commands by Valkey's own count, statements by pg_stat_statements."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import asyncpg
from redis.asyncio import Redis

# The ends of transactions are part of a commit and no question of their own; what a test looks at is marked.
_NOT_COUNTED = r"^\s*(BEGIN|COMMIT|ROLLBACK|;)|/\* looking \*/|pg_stat_statements"
_OUR_COMMANDS = frozenset({"info", "config|resetstat", "flushall"})


@dataclass
class Counting:
    """Counts from `begin` on, for the test's own database and Valkey. Connections opened before `open` do not count."""

    connection: "asyncpg.Connection[Any]"
    redis: Redis

    @classmethod
    async def open(cls, *, database_url: str, redis_url: str) -> "Counting":
        """Have this database's statements counted; those of other tests are not."""
        connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET pg_stat_statements.track = 'all'")
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        return cls(connection, Redis.from_url(redis_url))

    async def close(self) -> None:
        """Let the connections go."""
        await self.connection.close()
        await self.redis.aclose()

    async def begin(self) -> None:
        """Count from now on."""
        await self.connection.execute(
            "SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = current_database()"
        )
        await self.redis.config_resetstat()

    async def commands(self) -> Counter[str]:
        """How often each command of Redis was executed, those inside transactions and scripts included."""
        found = await self.redis.info("commandstats")
        names = {name.removeprefix("cmdstat_"): facts["calls"] for name, facts in found.items()}
        return Counter({name: calls for name, calls in names.items() if name not in _OUR_COMMANDS})

    async def statements(self) -> Counter[str]:
        """How often each statement was executed."""
        rows = await self.connection.fetch(
            "SELECT query, sum(calls)::int AS calls FROM pg_stat_statements JOIN pg_database ON oid = dbid"
            " WHERE datname = current_database() AND query !~* $1 GROUP BY query",
            _NOT_COUNTED,
        )
        return Counter({row["query"]: row["calls"] for row in rows})
