"""A real server in the test's own loop, on a port of its own, with people who have tokens."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import strawberry
import uvicorn

from db.accounts.commands import issue_token
from db.accounts.rules import Role, Viewer
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from server.commands.serve import DrainingServer
from server.edge import Edge, EdgeSettings
from server.jwt import JwtSettings
from server.lifespan import Settings
from server.limits import LimitSettings
from server.routes import application
from server.transports.frames import BoundedSocket
from tests.support.people import person

# Tests share one address and are quick: what limits them is set by those that try the limit.
GENEROUS = {"address_burst": 100_000, "address_requests_per_second": 100_000, "burst": 100_000}


class Uvicorn(DrainingServer):
    """Leaves the signals to the test runner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


@dataclass
class Running:
    """A server that runs."""

    url: str
    server: Uvicorn
    client: httpx.AsyncClient

    @property
    def edge(self) -> Edge:
        """What the process holds."""
        edge: Edge = self.server.lifespan.state["edge"]
        return edge

    @property
    def ws_url(self) -> str:
        """Where sockets go."""
        return self.url.replace("http://", "ws://") + "/graphql"

    async def post(self, query: str | None = None, *, token: str | None = None, **more: Any) -> httpx.Response:
        """One GraphQL request as most clients send it; `headers` are added, other names go into the body."""
        headers = {"accept": "application/graphql-response+json", **more.pop("headers", {})}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        body = {"query": query, **more} if query is not None else more
        return await self.client.post("/graphql", json=body, headers=headers)


@asynccontextmanager
async def serving(
    database_url: str,
    redis_url: str,
    *,
    schema: strawberry.Schema,
    limits: dict[str, Any] | None = None,
    edge: dict[str, Any] | None = None,
    jwt: dict[str, Any] | None = None,
) -> AsyncIterator[Running]:
    """Serve a schema for as long as the block runs."""
    settings = Settings(
        edge=EdgeSettings(**({"log_requests": False} | (edge or {}))),
        limits=LimitSettings(**(GENEROUS | (limits or {}))),
        jwt=JwtSettings(**(jwt or {})),
        database=DatabaseSettings(url=database_url, read_pool=4, write_pool=4),
        redis=RedisSettings(url=redis_url),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application(settings, schema),
        log_config=None,
        access_log=False,
        lifespan="on",
        http="httptools",
        ws=BoundedSocket,
        timeout_graceful_shutdown=5,
    )
    server = Uvicorn(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        await _started(server, task)
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            yield Running(url, server, client)
    finally:
        server.should_exit = True
        await task
        listener.close()


async def _started(server: Uvicorn, task: "asyncio.Task[None]") -> None:
    while not server.started:
        assert not task.done(), "the server ended before it had started"
        await asyncio.sleep(0.005)


async def token_of(
    database: Database,
    viewer: Viewer | None = None,
    *,
    roles: tuple[Role, ...] = (Role.MEMBER,),
    expires_at: datetime | None = None,
) -> str:
    """A new token, of somebody new unless a viewer is given."""
    owner = viewer or await person(database, "Mia Member", *roles)
    async with database.transaction() as tx:
        issued = await issue_token(tx, user_id=owner.user_id, name="test", roles=roles, expires_at=expires_at)
    return issued.secret
