"""What one server process holds: its settings, its stores, and everything made once and used by every request."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio import Redis
from starlette.types import Scope

from db.accounts.rules import Viewer
from db.feed import Feed
from db.session import Database
from resolvers.context import Context
from server.auth import Authenticator, Sessions
from server.gauges import Gauges
from server.graphql.operations import Operations
from server.graphql.trusted import Mode
from server.limits import LimitSettings
from server.rates import Rates
from server.slots import Slots


class EdgeSettings(BaseSettings):
    """Switches of the edge."""

    model_config = SettingsConfigDict(env_prefix="EDGE_", extra="ignore")

    introspection: bool = Field(default=True, description="false in production: no introspection, no GraphiQL")
    trusted_documents: Mode = Field(default="off", description="off, log or enforce")
    trusted_documents_file: Path | None = Field(default=None, description="a JSON object from document id to text")
    cors_origins: list[str] = Field(default=[], description='a JSON list such as ["https://app.example.org"]')
    metrics: bool = Field(default=True, description="true or false")
    metrics_token: SecretStr | None = Field(default=None, description="the bearer token that /metrics asks for")
    log_requests: bool = Field(default=True, description="true or false")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR"
    )


@dataclass(eq=False)
class Streams:
    """The open streams and sockets of this process: counted, and told when the server shuts down."""

    per_viewer: Slots
    per_address: Slots
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def limited(cls, limits: LimitSettings) -> "Streams":
        """With the numbers of the settings."""
        return cls(
            per_viewer=Slots("subscriptionsPerViewer", limits.subscriptions_per_viewer, "subscriptions"),
            per_address=Slots("socketsPerAddress", limits.sockets_per_address, "streams from this address"),
        )


@dataclass(eq=False)
class Edge:
    """One server process."""

    settings: EdgeSettings
    limits: LimitSettings
    database: Database
    feed: Feed
    operations: Operations
    authenticator: Authenticator
    sessions: Sessions
    rates: Rates
    streams: Streams
    redis: Redis
    newest_revision: str | None
    gauges: Gauges

    def context(self, *, viewer: Viewer | None, request_id: str, last_event_id: int | None = None) -> Context:
        """What the resolvers of one operation are handed."""
        return Context(
            database=self.database,
            feed=self.feed,
            request_id=request_id,
            viewer=viewer,
            last_event_id=last_event_id,
        )

    def drain(self) -> None:
        """Shutdown begins: streams end in a way that has clients connect again, and we say that we are not ready."""
        self.streams.draining.set()

    @property
    def is_draining(self) -> bool:
        """Whether shutdown has begun."""
        return self.streams.draining.is_set()


def edge_of(scope: Scope) -> Edge:
    """The edge that a request has come to."""
    return cast("Edge", scope["state"]["edge"])


def address_of(scope: Scope) -> str:
    """Where a request comes from, as far as the server or its trusted proxy can tell."""
    client: Any = scope.get("client")
    return str(client[0]) if client else "unknown"
