"""Hints: "look again at this topic". Postgres holds facts, Redis carries hints.

A hint has no content. Losing one, or all of Redis, costs whoever waits the time until their next poll and nothing else:
so nothing here raises because Redis is away, and no commit waits for it.

One connection for each process publishes, coalescing what comes while it is busy, and one listens for all listeners.
The topics of one family (`job.<id>`: the word before the dot) share a channel, and a message on it names topics: what
hundreds of jobs do at once is one command, and whoever comes to watch another job subscribes to nothing new.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from db.cancelling import end_tasks
from db.connecting import redis_options
from db.settings import RedisSettings
from db.telemetry import get_logger

log = get_logger(__name__)

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
# How long to leave Redis alone after a failure.
REST_SECONDS = 0.5
# How long a new listener waits to be sure that it is subscribed. Without Redis it goes on with its polls.
SUBSCRIBED_SECONDS = 0.5
# So many topics in one message at most.
MOST_TOPICS = 1_000
AWAY = (RedisError, OSError, TimeoutError)


def family_of(topic: str) -> str:
    """The family of a topic: what is before its first dot."""
    return topic.partition(".")[0]


class Listener:
    """Waits for hints on some topics. Hints that come while nobody waits are kept, as one for each topic."""

    def __init__(self, topics: Iterable[str]) -> None:
        self.topics = frozenset(topics)
        self._heard: set[str] = set()
        self._bell = asyncio.Event()

    def hear(self, topic: str) -> None:
        """A hint has come, or may have been missed."""
        self._heard.add(topic)
        self._bell.set()

    async def wait(self, timeout_seconds: float | None = None) -> frozenset[str]:
        """The topics hinted at since the last wait; empty when the time is over."""
        if not self._heard:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._bell.wait()
        heard, self._heard = frozenset(self._heard), set()
        self._bell.clear()
        return heard


class Feed:
    """The hints of one process: publishes its own, and hands those that come to its listeners."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pending: dict[str, None] = {}
        self._has_pending = asyncio.Event()
        self._listeners: dict[str, set[Listener]] = {}
        # How many listeners each family has.
        self._families: Counter[str] = Counter()
        self._pubsub: PubSub | None = None
        self._asked: set[str] = set()
        self._subscribed: set[str] = set()
        self._wanted_changed = asyncio.Event()
        self._subscribed_changed = asyncio.Condition()
        self._asking = asyncio.Lock()

    @classmethod
    def open(cls, settings: RedisSettings) -> "Feed":
        """Make the feed. Nothing is connected before the first use."""
        redis = Redis.from_url(
            settings.url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            **redis_options(settings),
        )
        # Redis' databases share their channels, so the database's number is part of ours.
        number = redis.connection_pool.connection_kwargs.get("db", 0)
        return cls(redis, prefix=f"holdfast:{number}:")

    async def close(self) -> None:
        """Publish what is pending, stop listening and let the connections go."""
        if self._pending:
            await self._publish_pending()
        await end_tasks(self._tasks.values())
        with contextlib.suppress(*AWAY):
            await self._redis.aclose()

    def _keep_running(self, name: str, work: Any) -> None:
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(work(), name=f"feed.{name}")

    # ------------------------------------------------------------------------------------------- publishing

    async def publish(self, topics: Iterable[str]) -> None:
        """Tell everybody who listens, soon. Never waits and never raises: a lost hint costs latency only."""
        self._pending.update(dict.fromkeys(topics))
        self._has_pending.set()
        self._keep_running("publish", self._publish)

    async def _publish(self) -> None:
        while True:
            await self._has_pending.wait()
            if not await self._publish_pending():
                await asyncio.sleep(REST_SECONDS)

    async def _publish_pending(self) -> bool:
        topics, self._pending = list(self._pending), {}
        self._has_pending.clear()
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for channel, message in self._messages(topics):
                    pipe.publish(channel, message)
                await pipe.execute()
        except AWAY as error:
            log.warning("feed.not_published", topics=len(topics), error=type(error).__name__)
            return False
        return True

    def _messages(self, topics: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The channels and messages for these topics: one for each family, unless there are very many."""
        by_family: dict[str, list[str]] = {}
        for topic in topics:
            by_family.setdefault(family_of(topic), []).append(topic)
        for family, of_family in by_family.items():
            for start in range(0, len(of_family), MOST_TOPICS):
                yield self._prefix + family, "\n".join(of_family[start : start + MOST_TOPICS])

    # -------------------------------------------------------------------------------------------- listening

    @asynccontextmanager
    async def listen(self, *topics: str) -> AsyncIterator[Listener]:
        """Hear the hints on these topics from now on: listen first, then read what is stored.

        A family's name alone hears all hints of the family, each by its own topic. Where Redis was away, each listener
        hears all of its topics once, for what may have been missed; of a family, then, its name.
        """
        listener = Listener(topics)
        families = Counter(map(family_of, topics))
        for topic in topics:
            self._listeners.setdefault(topic, set()).add(listener)
        self._families.update(families)
        try:
            self._wanted_changed.set()
            self._keep_running("listen", self._listen)
            if not families.keys() <= self._subscribed:
                await self._subscribe_as_wanted()
                await self._until_subscribed(families.keys())
            yield listener
        finally:
            for topic in topics:
                self._listeners[topic].discard(listener)
                if not self._listeners[topic]:
                    del self._listeners[topic]
            self._families -= families
            if not families.keys() <= self._families.keys():
                await self._subscribe_as_wanted()

    async def _until_subscribed(self, families: Collection[str]) -> None:
        async with self._subscribed_changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SUBSCRIBED_SECONDS):
                    await self._subscribed_changed.wait_for(lambda: self._subscribed.issuperset(families))

    async def _subscribe_as_wanted(self) -> None:
        async with self._asking:
            pubsub = self._pubsub
            if pubsub is None:
                return
            wanted = set(self._families)
            more, less = wanted - self._asked, self._asked - wanted
            # From now on, not from the answer on: who comes to listen meanwhile has to ask anew.
            self._subscribed -= less
            with contextlib.suppress(*AWAY):
                if more:
                    await pubsub.subscribe(*[self._prefix + family for family in more])
                if less:
                    await pubsub.unsubscribe(*[self._prefix + family for family in less])
                # Unless the connection has been replaced meanwhile: the new one has been asked for nothing yet.
                if self._pubsub is pubsub:
                    self._asked = wanted

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except AWAY as error:
                log.warning("feed.not_listening", error=type(error).__name__)
            self._pubsub = None
            self._asked, self._subscribed = set(), set()
            await asyncio.sleep(REST_SECONDS)

    async def _hear(self) -> None:
        while not self._listeners:
            self._wanted_changed.clear()
            await self._wanted_changed.wait()
        async with self._redis.pubsub() as pubsub:
            # The first subscription connects; a topic of our own keeps the connection subscribed to something.
            await pubsub.subscribe(self._prefix + "alive")
            self._pubsub = pubsub
            await self._subscribe_as_wanted()
            is_asked = False
            while True:
                message = await pubsub.get_message(timeout=ANSWER_SECONDS)
                if message is not None:
                    is_asked = False
                    await self._take(message)
                elif is_asked:
                    raise TimeoutError("Redis has said nothing for long, not even when it was asked.")
                else:
                    # It has nothing to tell, or is not there any more.
                    await pubsub.ping()
                    is_asked = True

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "pong":
            return
        family = message["channel"].decode().removeprefix(self._prefix)
        match message["type"]:
            case "message":
                for topic in message["data"].decode().split("\n"):
                    self._tell(topic)
            case "subscribe":
                # What was hinted at before is lost for us: whoever listens looks once.
                for topic in [topic for topic in self._listeners if family_of(topic) == family]:
                    self._tell(topic)
                async with self._subscribed_changed:
                    self._subscribed.add(family)
                    self._subscribed_changed.notify_all()
            case "unsubscribe":
                self._subscribed.discard(family)

    def _tell(self, topic: str) -> None:
        for listener in self._listeners.get(topic, ()):
            listener.hear(topic)
        family = family_of(topic)
        if family != topic:
            for listener in self._listeners.get(family, ()):
                listener.hear(topic)
