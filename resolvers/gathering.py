"""Reads that are asked for one by one and done together."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Gathered(Generic[K, V]):
    """One read at a time, for all keys asked for since the last one began.

    What is asked while a read runs is in the next one, never in that one: an answer is never older than its question.
    """

    def __init__(self, read: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._asked: dict[K, asyncio.Future[V | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """What a read that begins from now on finds for this key. Raises what the read raises."""
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="gathered")
        # Others wait for the same: whoever is cancelled leaves it to them.
        return await asyncio.shield(future)

    async def _work(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self._read(asked.keys())
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # seen, even where nobody waits any more
            else:
                for key, future in asked.items():
                    future.set_result(found.get(key))
        self._task = None
