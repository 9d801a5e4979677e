"""`serve`: the server process alone."""

import socket
from typing import Annotated

import typer
import uvicorn

from server.listening import listen, url_of
from server.settings import ServerSettings, load


def serve(
    fd: Annotated[int | None, typer.Option(help="A listening socket, given by the process that started us.")] = None,
) -> None:
    """Serve GraphQL and HTTP on SERVER_HOST:SERVER_PORT, with the stores at DATABASE_URL and REDIS_URL."""
    settings = load(ServerSettings)
    listener = listen(settings.host, settings.port) if fd is None else socket.socket(fileno=fd)
    if fd is None:
        typer.echo(f"Listening on {url_of(listener, settings.host)}", err=True)
    config = uvicorn.Config(
        "server.app:create_app",
        factory=True,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
    uvicorn.Server(config).run(sockets=[listener])
