"""How connections to both stores are opened, so that each notices when its other end is gone.

A server that ends says so. One whose machine has lost its power, or whose packets go nowhere any more, says nothing:
the kernel would wait a quarter of an hour for an answer to what was sent, and for ever where nothing was. So the kernel
asks who is silent (keepalive), and gives up on what has not been acknowledged in time (TCP_USER_TIMEOUT, Linux).
Whatever acknowledges and does not answer is left to the time limits of whoever asks.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg

from db.settings import DatabaseSettings, RedisSettings, keepalive

if TYPE_CHECKING:
    # Only for the type checker can it be subscripted.
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

# A connection that does not end in good order within this is cut.
CLOSE_SECONDS = 0.5
# Redis carries hints only: there is nothing to be gained by waiting for it.
REDIS_SILENCE_SECONDS = 4.0


def socket_options(silence_seconds: float) -> dict[int, int]:
    """What to set on a TCP socket, as far as this system has it."""
    idle, interval, count = keepalive(silence_seconds)
    wanted = {
        # macOS has another name for it.
        "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE": idle,
        "TCP_KEEPINTVL": interval,
        "TCP_KEEPCNT": count,
        "TCP_USER_TIMEOUT": int(silence_seconds * 1000),
    }
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def redis_options(settings: RedisSettings) -> dict[str, Any]:
    """What every client of Redis is made with."""
    if settings.url.startswith("unix://"):
        return {}
    return {"socket_keepalive": True, "socket_keepalive_options": socket_options(REDIS_SILENCE_SECONDS)}


def driver_options(settings: DatabaseSettings) -> dict[str, Any]:
    """What every connection to Postgres is opened with.

    Where Postgres has not even said that a statement's time is over, a margin after that TimeoutError is raised.
    """
    return {
        "timeout": settings.connect_timeout_ms / 1000,
        "command_timeout": settings.answer_seconds,
        "server_settings": settings.server_settings,
        "connection_class": _connection_class(settings.silence_timeout_ms / 1000),
    }


@lru_cache
def _connection_class(silence_seconds: float) -> type[_Connection]:
    class Connection(_Connection):
        """Gives up on a server that says nothing for so long."""

        def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
            super().__init__(protocol, transport, *rest)
            own = transport.get_extra_info("socket")
            if own.family in {socket.AF_INET, socket.AF_INET6}:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in socket_options(silence_seconds).items():
                    own.setsockopt(socket.IPPROTO_TCP, option, value)

        async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own name
            """End it in good order, or soon."""
            await super().close(timeout=min(CLOSE_SECONDS, timeout or CLOSE_SECONDS))

    return Connection


@asynccontextmanager
async def lent(
    pool: "asyncpg.Pool[asyncpg.Record]", *, patience_seconds: float | None
) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"]:
    """A connection of the pool for the block. Raises TimeoutError where there is none in time.

    It is given back at once, or cut: whoever was cancelled does not wait for a server to acknowledge it.
    """
    async with asyncio.timeout(patience_seconds):
        connection = await pool.acquire()
    try:
        yield connection
    finally:
        # It has been cut then; what was read is read.
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await pool.release(connection, timeout=CLOSE_SECONDS)
