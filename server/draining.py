"""The uvicorn server, told apart by one thing: it tells the streams before it waits for connections to end.

Uvicorn says that it shuts down only after every connection has ended, and an event stream never ends by itself.
"""

import socket

import uvicorn

from server.edge import Edge


class DrainingServer(uvicorn.Server):
    """Use in place of uvicorn.Server."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams in a way that has clients connect again, then everything else."""
        edge = self.lifespan.state.get("edge")
        if isinstance(edge, Edge):
            edge.drain()
        await super().shutdown(sockets)
