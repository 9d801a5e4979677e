"""Streams of one thing: as it is, then its newest state after every change, coalesced.

Hints make them quick; a version that is read again every now and then makes them right, also where Redis lost a hint.
That is one statement for all who watch things of a kind in this process. It shows nobody anything: who is to look again
reads with their own rights. Where the store is away, whoever is subscribed waits for it, and is told what is so then:
a client does not subscribe again after an error.
"""

import asyncio
import contextvars
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from db.accounts.rules import Role, Viewer
from db.errors import Outage, TimedOut
from db.feed import Feed, Listener
from db.reading import Reading
from db.session import STORE_ERRORS, Reader
from db.telemetry import get_logger
from resolvers.context import Context

log = get_logger(__name__)

V = TypeVar("V")
R = TypeVar("R")

# What a store that is away, or too slow, raises. Streams ask again: what they show is still there afterwards.
AWAY = (Outage, TimedOut, *STORE_ERRORS)
# Of these, what is wrong with the statement or with its values, and would be so again; SQLAlchemy only writes reads.
FAULTS = (asyncpg.SyntaxOrAccessError, asyncpg.DataError, SQLAlchemyError)
# How long the store is left alone after a failure: from this to twice as long, for many wait.
REST_SECONDS = 0.5
LEAST_GAP_SECONDS = 0.5
POLL_SECONDS = 1.5
# Who has lost the right to see it is told nothing more at once, and that it is so after this at the latest.
RECHECK_SECONDS = 30.0
# Sees whatever there is; only versions are read with it.
_EVERYBODY = Viewer(UUID(int=0), "versions", frozenset({Role.ADMIN}))


async def patiently(read: Callable[[], Awaitable[V]]) -> V:
    """What is read, as soon as it can be: while the store is away, again and again.

    Raises whatever else the read raises: a refusal, a fault.
    """
    is_told = False
    while True:
        try:
            return await read()
        except FAULTS:
            raise
        except AWAY as error:
            if not is_told:
                log.warning("watching.waits", error=type(error).__name__)
                is_told = True
        await asyncio.sleep(REST_SECONDS * random.uniform(1.0, 2.0))


class FellBehind(Exception):
    """More waits for a subscriber than is kept for one: it is to connect again."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A thing that is watched: of which kind it is, its key, and how the versions of many of its kind are read."""

    kind: Hashable
    key: UUID
    versions: Callable[[Reading, Sequence[UUID]], Awaitable[Mapping[UUID, Any]]]


class Poll:
    """Reads the versions of all watched things of a kind, and tells those who watch what has changed to look again."""

    def __init__(self, read: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, Any]]]) -> None:
        self._read = read
        self._watchers: dict[UUID, set[Listener]] = {}
        # Whose own look was before the first of ours.
        self._new: set[Listener] = set()
        self._known: Mapping[UUID, Any] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def told(self, listener: Listener, key: UUID) -> Iterator[None]:
        """For the block the listener hears where the thing has changed, as it hears a hint."""
        self._watchers.setdefault(key, set()).add(listener)
        self._new.add(listener)
        if self._task is None or self._task.done():
            # In a context of its own, for it outlives the request of whoever watches first.
            self._task = asyncio.create_task(self._run(), name="watching.poll", context=contextvars.Context())
        try:
            yield
        finally:
            self._new.discard(listener)
            self._watchers[key].discard(listener)
            if not self._watchers[key]:
                del self._watchers[key]
            if not self._watchers:
                self._task.cancel()
                self._task, self._known = None, {}

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._look()
            except AWAY as error:
                log.warning("watching.not_read", error=type(error).__name__)
            except Exception:
                log.exception("watching.failed")

    async def _look(self) -> None:
        asked, new = list(self._watchers), self._new
        self._new = set()
        try:
            found = await self._read(asked)
        except BaseException:
            self._new |= new
            raise
        for key in asked:
            is_other = key in self._known and found.get(key) != self._known[key]
            for listener in self._watchers.get(key, ()):
                if is_other or listener in new:
                    listener.hear(str(key))
        # A thing that is not there is known too.
        self._known = {key: found.get(key) for key in asked}


_POLLS: WeakKeyDictionary[Feed, dict[Hashable, Poll]] = WeakKeyDictionary()


def poll_of(feed: Feed, reader: Reader, watched: Watched) -> Poll:
    """The poll of a kind of things, as this process has it: one for each feed."""
    polls = _POLLS.setdefault(feed, {})
    poll = polls.get(watched.kind)
    if poll is None:
        reading = Reading(reader, _EVERYBODY)
        poll = polls[watched.kind] = Poll(lambda keys: watched.versions(reading, list(keys)))
    return poll


async def watch(
    context: Context,
    version: Callable[[], Awaitable[V]],
    shown: Callable[[], Awaitable[R | None]],
    *,
    topics: Callable[[V], Sequence[str]],
    watched: Watched,
) -> AsyncGenerator[R, None]:
    """Yield the thing at once, then whenever its version has changed, at most twice a second; never ends by itself.

    `version` reads that as whoever watches, and raises a refusal where there is nothing to be seen (any more); `shown`
    reads the thing. `watched` says how the versions of all are read together. `topics` names what to listen to at a
    version; where a change names others, those are listened to instead. Once the first version has been read, no outage
    ends it.
    """
    seen: list[V] = []
    current = await version()
    poll = poll_of(context.feed, context.database.reader, watched)
    while True:
        listened = topics(current)
        async with context.feed.listen(*listened) as listener:
            with poll.told(listener, watched.key):
                # Listen first, then read: a change between the two is in what is read, or is hinted at.
                while topics(current := await patiently(version)) == listened:
                    if seen != [current]:
                        seen = [current]
                        found = await patiently(shown)
                        if found is not None:
                            yield found
                        await asyncio.sleep(LEAST_GAP_SECONDS)
                    # Not all at once where many began together.
                    await listener.wait(RECHECK_SECONDS * random.uniform(0.5, 1.0))
