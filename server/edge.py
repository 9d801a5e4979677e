"""What one server process holds: its settings, its stores, and everything made once and used by every request."""

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio import Redis
from starlette.types import Scope

from db.accounts.rules import Viewer
from db.environment import Words
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

# What browsers leave out of an Origin.
USUAL_PORTS = {"http": 80, "https": 443}


def _origins(given: list[str]) -> list[str]:
    """Refuse what no browser ever says: it would let nobody in, without a word."""
    for origin in given:
        if origin != "*" and origin != (right := _origin(origin)):
            raise ValueError(f"{origin} is never the Origin of a page" + (f", {right} may be" if right else ""))
    return given


def _origin(url: str) -> str | None:
    """The Origin of a page with this address, as a browser says it; None where it can have none."""
    if "://" not in url:
        url = f"http://{url}" if url.startswith(("localhost", "127.", "[")) else f"https://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if not host.isascii() or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + ("" if port in {None, USUAL_PORTS.get(parts.scheme)} else f":{port}")


class EdgeSettings(BaseSettings):
    """Switches of the edge."""

    model_config = SettingsConfigDict(env_prefix="EDGE_", extra="ignore")

    introspection: bool = Field(
        default=True, description="whether the schema may be asked for, and GraphiQL is there; false in production"
    )
    trusted_documents: Mode = Field(
        default="off",
        description="log: note which operations are not registered; enforce: run registered ones only",
    )
    trusted_documents_file: Path | None = Field(
        default=None, description="the register of operations", examples=["a file with a JSON object from id to text"]
    )
    cors_origins: Annotated[Words, AfterValidator(_origins)] = Field(
        default=[],
        description="the pages of other sites that may ask this server; *: all",
        examples=["https://app.example.org, several with commas between them, or a JSON list"],
    )
    metrics: bool = Field(default=True, description="whether there is /metrics")
    metrics_token: SecretStr | None = Field(
        default=None, description="the bearer token that /metrics asks for; unset: none"
    )
    log_requests: bool = Field(default=True, description="whether each request is a line of the log")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="the least that is logged"
    )

    @model_validator(mode="after")
    def _has_a_register(self) -> "EdgeSettings":
        if self.trusted_documents == "enforce" and self.trusted_documents_file is None:
            raise ValueError("to enforce, EDGE_TRUSTED_DOCUMENTS_FILE must name the register of trusted_documents")
        return self


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
