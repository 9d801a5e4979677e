"""What a worker asks of the two stores: commands by Valkey's own count, statements by pg_stat_statements."""

from collections import Counter

import asyncpg
from redis.asyncio import Redis

# Our own looking, and the ends of transactions, which are part of a commit and no question of their own.
NOT_COUNTED = r"^\s*(BEGIN|COMMIT|ROLLBACK|START TRANSACTION|;)|/\* measuring \*/"
OUR_COMMANDS = frozenset({"info", "config|resetstat"})


class Counting:
    """Counts from the last `begin`. The connection is to another database than the one that is looked at."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", redis: Redis, database: str) -> None:
        self._connection = connection
        self._redis = redis
        self._database = database

    async def begin(self) -> None:
        """From now on."""
        await self._connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await self._connection.execute("SELECT pg_stat_statements_reset()")
        await self._redis.config_resetstat()

    async def commands(self) -> Counter[str]:
        """How often each command of Redis was executed, those inside transactions and scripts included."""
        found = await self._redis.info("commandstats")
        names = {name.removeprefix("cmdstat_"): facts["calls"] for name, facts in found.items()}
        return Counter({name: calls for name, calls in names.items() if name not in OUR_COMMANDS})

    async def statements(self) -> Counter[str]:
        """How often each statement was executed in the database."""
        rows = await self._connection.fetch(
            "SELECT query, sum(calls)::int AS calls FROM pg_stat_statements JOIN pg_database ON oid = dbid"
            " WHERE datname = $1 AND query !~* $2 GROUP BY query",
            self._database,
            NOT_COUNTED,
        )
        return Counter({row["query"]: row["calls"] for row in rows})
