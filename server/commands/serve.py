"""`serve`: the server process alone."""

import gc
import signal
import socket
from typing import Annotated

import typer
import uvicorn

from db import tracing
from db.environment import SetupError, load
from server.limits import LimitSettings
from server.listening import listen, url_of
from server.settings import ServerSettings
from server.transports.frames import BoundedSocket

# How many new objects, and how many collections of the younger ones, until older ones are looked through.
COLLECT_AFTER = (10_000, 20, 50)


class DrainingServer(uvicorn.Server):
    """Tells the application at the beginning of the shutdown, not at its end.

    uvicorn waits for open connections first and ends the application's lifespan afterwards; streams that only end
    with the lifespan would use up all of that wait.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Have streams closed with a code that clients retry, then wait for the rest."""
        edge = self.lifespan.state.get("edge")
        if edge is not None:
            edge.drain()
        await super().shutdown(sockets)


class LastingServer(DrainingServer):
    """Has a process of its own, for long: the collector leaves alone what is there from the start.

    Python looks through everything that lives to find garbage that refers to itself. With the schema, its modules and
    a thousand subscribers that took a third of a second each time, in which nobody was sent anything.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and take what is there now for what stays."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)


def serve(
    fd: Annotated[int | None, typer.Option(help="A listening socket, given by the process that started us.")] = None,
) -> None:
    """Serve GraphQL and HTTP on SERVER_HOST:SERVER_PORT, with the stores at DATABASE_URL and REDIS_URL."""
    settings = load(ServerSettings)
    listener = listen(settings.host, settings.port) if fd is None else _given(fd)
    config = uvicorn.Config(
        "server.app:create_app",
        factory=True,
        loop="uvloop",
        http="httptools",
        ws=BoundedSocket,
        ws_max_size=load(LimitSettings).body_bytes,
        # Events are small: packing each costs a busy server more than it saves.
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
    config.load()  # a wrong setting ends the start here, with its message and no traceback
    if fd is None:
        typer.echo(f"Listening on {url_of(listener, settings.host)}", err=True)
    # uvicorn raises the signal that stopped it once more when it is done; an orderly stop exits with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        LastingServer(config).run(sockets=[listener])
    finally:
        tracing.stop()


def _given(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        raise SetupError(f"--fd {fd} is no socket that this process was given ({error.strerror}).") from None
