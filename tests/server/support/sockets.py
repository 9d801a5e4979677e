"""A client of graphql-transport-ws that says exactly what a test wants it to say."""

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.server.support.serving import Running

PROTOCOL = "graphql-transport-ws"


class Socket:
    """One connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, type_: str, id_: str | None = None, payload: Any = None) -> None:
        """Send a message."""
        message = {"type": type_, "id": id_, "payload": payload}
        await self.connection.send(json.dumps({name: value for name, value in message.items() if value is not None}))

    async def init(self, token: str | None = None) -> None:
        """Sign in, or not, and be acknowledged."""
        await self.send("connection_init", payload={"token": token} if token else None)
        assert await self.receive() == {"type": "connection_ack"}

    async def subscribe(self, id_: str, query: str, **variables: Any) -> None:
        """Start an operation."""
        await self.send("subscribe", id_, {"query": query, "variables": variables})

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def closed(self) -> tuple[int, str]:
        """Read what still comes, to the end: the code and reason it is closed with."""
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self.connection.recv()
        code, reason = self.connection.close_code, self.connection.close_reason
        assert code is not None, "the connection broke off"
        return code, reason or ""


@asynccontextmanager
async def socket_to(server: Running, *, protocol: str | None = PROTOCOL, **more: Any) -> AsyncIterator[Socket]:
    """Connect."""
    subprotocols: Any = [protocol] if protocol else None
    async with connect(server.ws_url, subprotocols=subprotocols, ping_interval=None, **more) as connection:
        yield Socket(connection)
