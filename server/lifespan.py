"""What happens between the start of a server process and its end: stores opened, watches kept, all closed again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import strawberry
from alembic.script import ScriptDirectory
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from db.connecting import redis_options
from db.environment import load
from db.feed import Feed
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from db.telemetry import get_logger
from server.auth import AWAY, Authenticator, Sessions
from server.edge import Edge, EdgeSettings, Streams
from server.gauges import Gauges
from server.graphql.operations import Operations
from server.graphql.trusted import TrustedDocuments
from server.jwt import JwtSettings, JwtVerifier
from server.limits import LimitSettings
from server.migrations import configuration
from server.rates import Rates

log = get_logger(__name__)

# The rate limit is asked on the way of every request, so it is not waited for long.
REDIS_SECONDS = 0.25
NOTE_USE_SECONDS = 15.0


@dataclass(frozen=True)
class Settings:
    """All settings that the server reads, each from the environment."""

    edge: EdgeSettings = field(default_factory=lambda: load(EdgeSettings))
    limits: LimitSettings = field(default_factory=lambda: load(LimitSettings))
    jwt: JwtSettings = field(default_factory=lambda: load(JwtSettings))
    database: DatabaseSettings = field(default_factory=lambda: load(DatabaseSettings))
    redis: RedisSettings = field(default_factory=lambda: load(RedisSettings))
    trusted: TrustedDocuments = field(init=False)

    def __post_init__(self) -> None:
        """Read the register with the settings, so that a wrong one ends the start like a wrong setting."""
        trusted = TrustedDocuments.load(self.edge.trusted_documents, self.edge.trusted_documents_file)
        object.__setattr__(self, "trusted", trusted)


@asynccontextmanager
async def opened(settings: Settings, schema: strawberry.Schema) -> AsyncIterator[Edge]:
    """Everything that serves requests, for as long as the block runs."""
    async with AsyncExitStack() as stack:
        feed = Feed.open(settings.redis)
        stack.push_async_callback(feed.close)
        database = await Database.open(settings.database, feed=feed)
        stack.push_async_callback(database.close)
        redis = Redis.from_url(
            settings.redis.url,
            socket_connect_timeout=REDIS_SECONDS,
            socket_timeout=REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
            **redis_options(settings.redis),
        )
        stack.push_async_callback(redis.aclose)
        edge = _edge(settings, schema, database, feed, redis)
        for name, work in (("sessions", edge.sessions.watch), ("uses", _note_uses(edge.authenticator))):
            task = asyncio.create_task(_supervised(name, work), name=f"edge.{name}")
            stack.push_async_callback(_cancelled, task)
        yield edge
        edge.drain()


def _edge(settings: Settings, schema: strawberry.Schema, database: Database, feed: Feed, redis: Redis) -> Edge:
    edge, limits = settings.edge, settings.limits
    return Edge(
        settings=edge,
        limits=limits,
        database=database,
        feed=feed,
        operations=Operations(schema, limits, introspection=edge.introspection, trusted=settings.trusted),
        authenticator=Authenticator(database, JwtVerifier(settings.jwt)),
        sessions=Sessions(database, check_seconds=limits.identity_check_seconds),
        rates=Rates(redis, limits),
        streams=Streams.limited(limits),
        redis=redis,
        newest_revision=ScriptDirectory.from_config(configuration()).get_current_head(),
        gauges=Gauges(database),
    )


def _note_uses(authenticator: Authenticator) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        while True:
            await asyncio.sleep(NOTE_USE_SECONDS)
            try:
                await authenticator.note_use()
            except AWAY as error:
                log.warning("tokens.use_not_noted", error=type(error).__name__)

    return work


async def _supervised(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Keep a watch going: a fault in one round is logged, and the next round comes all the same."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("edge.watch_failed", watch=name)
            await asyncio.sleep(1)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
