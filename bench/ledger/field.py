"""Where everything is measured: the two stores, and a database and a Valkey number for each queue."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
from redis.asyncio import Redis

from bench.ledger.counting import Counting
from bench.ledger.peers import Missing, Places, Queue, load
from bench.ledger.peers.ours_queue import Queue as Ours
from server.embedded.postgres import Postgres
from server.embedded.valkey import Valkey


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in each round."""

    rounds: int = 5
    jobs: int = 5_000
    jobs_together: int = 2_000
    calls: int = 1_000
    seconds: float = 10.0
    cancels: int = 200
    tellers: int = 100
    lines: int = 500


SMALL = Sizes(rounds=2, jobs=500, jobs_together=300, calls=100, seconds=2.0, cancels=40, tellers=50, lines=100)


@dataclass
class Field:
    """The stores, the queues that are there, and why others are not."""

    sizes: Sizes
    postgres: Postgres
    valkey: Valkey
    connection: "asyncpg.Connection[asyncpg.Record]"
    redis: Redis
    places: dict[str, Places] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> Ours:
        """Our queue."""
        ours = self.queues["ours"]
        assert isinstance(ours, Ours)
        return ours

    def counting(self, name: str) -> Counting:
        """Counts what a queue asks of the stores."""
        return Counting(self.connection, self.redis, _database(name))

    async def settle(self, name: str) -> None:
        """Planner's statistics, and nothing left to write from before."""
        connection = await asyncpg.connect(self.places[name].dsn)
        try:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()


def _database(name: str) -> str:
    return f"bench_{name}"


@asynccontextmanager
async def laid_out(names: Sequence[str], postgres: Postgres, valkey: Valkey, sizes: Sizes) -> AsyncIterator[Field]:
    """Make the databases and open the queues; those that are not installed are kept with the reason."""
    connection = await asyncpg.connect(postgres.url("postgres").replace("+asyncpg", ""))
    redis = Redis.from_url(valkey.url(0))
    found = Field(sizes, postgres, valkey, connection, redis)
    try:
        for number, name in enumerate(names):
            await connection.execute(f"CREATE DATABASE {_database(name)}")
            places = Places(postgres.url(_database(name)).replace("+asyncpg", ""), valkey.url(number))
            try:
                queue = load(name, places)
            except Missing as error:
                found.missing[name] = str(error)
                continue
            await queue.open()
            found.places[name], found.queues[name] = places, queue
        yield found
    finally:
        for queue in found.queues.values():
            await queue.close()
        await redis.aclose()
        await connection.close()
