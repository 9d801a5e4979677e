"""Ending a block from outside."""

import asyncio

import pytest

from server.transports import interrupt
from server.transports.interrupt import Interruptible


async def test_a_block_that_swallows_its_cancellation_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As redis-py does before Python 3.12."""
    monkeypatch.setattr(interrupt, "AGAIN_SECONDS", 0.05)
    heard = 0
    for_ever = asyncio.Event()
    async with Interruptible() as work:
        asyncio.get_running_loop().call_soon(work.interrupt, "gone")
        while heard < 2:
            try:
                await for_ever.wait()
            except asyncio.CancelledError:
                heard += 1
        await for_ever.wait()
    assert (work.reason, heard) == ("gone", 2)
    task = asyncio.current_task()
    # Whoever runs us is not taken for cancelled.
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_by_somebody_else_counts() -> None:
    async def block() -> None:
        async with Interruptible() as work:
            work.interrupt("gone")
            own = asyncio.current_task()
            assert own is not None
            own.cancel()
            await asyncio.Event().wait()

    running = asyncio.create_task(block())
    await asyncio.wait([running])
    assert running.cancelled()
