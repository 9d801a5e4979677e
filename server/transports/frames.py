"""uvicorn's WebSocket connection, bounded where no application can bound it: in the frames beneath its messages."""

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class BoundedSocket(WebSocketsSansIOProtocol):
    """What a client that does not read can have us keep for it is little, and not for ever.

    uvicorn answers each ping at once, however much waits to be sent, and closes a connection once all of that is sent.
    """

    _owed = b""
    _abort: asyncio.TimerHandle | None = None

    def handle_ping(self) -> None:
        """Answer the pings that have come: where much waits to be sent, the latest only, and later (RFC 6455 5.5.3)."""
        pongs = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._owed = pongs[-1]

    def resume_writing(self) -> None:
        """There is room again."""
        super().resume_writing()
        owed, self._owed = self._owed, b""
        if owed and not self.close_sent:
            self.transport.write(owed)

    async def run_asgi(self) -> None:
        """Serve the connection. Whoever has not read the rest some time after its end will not."""
        await super().run_asgi()
        if not self.disconnected:
            self._abort = self.loop.call_later(self.close_timeout, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        if self._abort is not None:
            self._abort.cancel()
        super().connection_lost(exc)
