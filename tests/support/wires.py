"""A TCP connection to one of the stores that can be cut as a cable is: nobody is told.

What a wire lets through goes to the store's Unix socket. Cut, the kernel does not even acknowledge what comes in (a
filter on its sockets drops each packet), as where a machine has lost its power. Frozen, it acknowledges and forwards
nothing, as a proxy does that has lost its way.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url

# Of Linux; Python does not name them.
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
# One instruction of the kernel's packet filter: keep 0 bytes.
DROP = struct.pack("HBBI", 0x06, 0, 0, 0)


class Wire:
    """Listens on a port of its own and carries everything to the socket, until it is cut or frozen."""

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._ways: set[asyncio.Task[None]] = set()
        self._deaf: list[socket.socket] = []
        self._lets_through = asyncio.Event()
        self._lets_through.set()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listening.getsockname()[1])

    def cut(self, *, for_good: bool = False) -> None:
        """Swallow all that comes on the connections there are. Unless they are lost for good, new ones too."""
        for client, _ in self._pairs:
            self._swallow(client)
        for way in self._ways:
            if for_good:
                way.cancel()
        if not for_good:
            self._lets_through.clear()
            self._swallow(self._listening)

    def freeze(self) -> None:
        """Acknowledge everything and let nothing through."""
        self._lets_through.clear()

    def mend(self) -> None:
        """Let through what comes, on the connections that are still there and on new ones."""
        for deaf in self._deaf:
            with contextlib.suppress(OSError):
                deaf.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self._deaf = []
        self._lets_through.set()

    async def carry(self) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        self._listening.setblocking(False)
        while True:
            client, _ = await loop.sock_accept(self._listening)
            store = socket.socket(socket.AF_UNIX)
            for end in (client, store):
                end.setblocking(False)
            await loop.sock_connect(store, str(self._upstream))
            self._pairs.add((client, store))
            for one, other in ((client, store), (store, client)):
                way = asyncio.create_task(self._carry(one, other))
                self._ways.add(way)

    async def close(self) -> None:
        """Let everything go."""
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)
        for pair in self._pairs:
            for end in pair:
                end.close()
        self._listening.close()

    async def _carry(self, one: socket.socket, other: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(one, 65536):
                await self._lets_through.wait()
                await loop.sock_sendall(other, data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def _swallow(self, end: socket.socket) -> None:
        code = ctypes.create_string_buffer(DROP)
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(code)))
            self._deaf.append(end)


@asynccontextmanager
async def wire(upstream: Path) -> AsyncIterator[Wire]:
    """A wire for the block."""
    laid = Wire(upstream)
    carrying = asyncio.create_task(laid.carry())
    try:
        yield laid
    finally:
        carrying.cancel()
        await laid.close()


@asynccontextmanager
async def wire_to_postgres(url: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the database, and the URL to use it by."""
    direct = make_url(url)
    async with wire(Path(str(direct.query["host"])) / ".s.PGSQL.5432") as laid:
        through = direct.set(host="127.0.0.1", port=laid.port).difference_update_query(["host"])
        yield laid, through.render_as_string(hide_password=False)


@asynccontextmanager
async def wire_to_valkey(url: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to Valkey, and the URL to use it by."""
    async with wire(Path(url.removeprefix("unix://").partition("?")[0])) as laid:
        yield laid, f"redis://127.0.0.1:{laid.port}/0"
