"""Every address that the server answers, and what stands before them all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import strawberry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from server.graphiql import graphiql, to_graphiql
from server.lifespan import Settings, opened
from server.metrics import metrics
from server.middleware import Requests
from server.probes import livez, readyz
from server.public import job, job_events
from server.transports import http, websocket


class _Endpoint:
    """An ASGI application as the endpoint of a route: Starlette wraps plain functions in a Request, which we skip."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def application(settings: Settings, schema: strawberry.Schema) -> Starlette:
    """The application over a schema. Stores are opened when the server starts, not here."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with opened(settings, schema) as edge:
            yield {"edge": edge}

    layers = [Middleware(Requests)]
    if settings.edge.cors_origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.edge.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=[
                    "authorization",
                    "content-type",
                    "last-event-id",
                    "x-request-id",
                    "traceparent",
                    "tracestate",
                ],
                expose_headers=["x-request-id", "retry-after", "ratelimit-remaining", "etag"],
                max_age=3600,
            )
        )
    return Starlette(
        routes=[
            Route("/", to_graphiql),
            Route("/graphql", _Endpoint(http.graphql), methods=None),
            WebSocketRoute("/graphql", _Endpoint(websocket.graphql)),
            Route("/graphiql", graphiql),
            Route("/graphiql/{path:path}", graphiql),
            Route("/jobs/{uuid}", _Endpoint(job), methods=["GET"]),
            Route("/jobs/{uuid}/events", _Endpoint(job_events), methods=["GET"]),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ],
        middleware=layers,
        lifespan=lifespan,
    )
