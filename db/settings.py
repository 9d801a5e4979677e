"""Where the two stores are, and how long anyone waits for them."""

from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError


def keepalive(silence_seconds: float) -> tuple[int, int, int]:
    """When to ask who is silent (after so many seconds), how often, and how many times: within `silence_seconds`."""
    idle = max(1, int(silence_seconds / 2))
    interval = max(1, int(silence_seconds / 4))
    return idle, interval, max(1, int((silence_seconds - idle) / interval))


class DatabaseSettings(BaseSettings):
    """PostgreSQL ≥ 18. Durations are milliseconds where the name says so."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_", extra="ignore")

    url: str = Field(
        description="the database; PostgreSQL 18 or newer",
        examples=["postgresql://user:password@host:port/name, or …@/name?host=/socket/directory"],
    )
    write_pool: int = Field(default=10, ge=1, le=500, description="most connections of one process that write")
    read_pool: int = Field(default=10, ge=1, le=500, description="most connections of one process that read")
    statement_timeout_ms: int = Field(default=10_000, ge=0, description="how long a statement may take; 0: no limit")
    lock_timeout_ms: int = Field(default=5_000, ge=0, description="how long to wait for a lock; 0: no limit")
    idle_in_transaction_timeout_ms: int = Field(
        default=30_000, ge=0, description="how long an open transaction may do nothing; 0: no limit"
    )
    connect_timeout_ms: int = Field(default=5_000, ge=100, description="how long a new connection may take")
    silence_timeout_ms: int = Field(
        default=5_000, ge=1_000, description="after so long without a sign of life from the other end it is gone"
    )
    application_name: str = Field(default="holdfast", description="the name of connections in `pg_stat_activity`")

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        try:
            name = make_url(value).get_backend_name()
        except (ArgumentError, ValueError):
            name = ""
        if name not in {"postgresql", "postgres"}:
            raise ValueError("must be a URL such as postgresql://user:password@host:5432/holdfast")
        return value

    @property
    def parsed(self) -> URL:
        """The URL in SQLAlchemy's form, with its driver."""
        return make_url(self.url).set(drivername="postgresql+asyncpg")

    @property
    def sqlalchemy_url(self) -> str:
        """The URL for SQLAlchemy, password included: never log it."""
        return self.parsed.render_as_string(hide_password=False)

    @property
    def driver_dsn(self) -> str:
        """The URL for asyncpg itself, password included: never log it."""
        return self.parsed.set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def answer_seconds(self) -> float | None:
        """Until when Postgres has answered, be it that the statement's time is over. None: it may take for ever."""
        return (self.statement_timeout_ms + self.silence_timeout_ms) / 1000 if self.statement_timeout_ms else None

    @property
    def server_settings(self) -> dict[str, str]:
        """What each connection sets for itself at its start."""
        idle, interval, count = keepalive(self.silence_timeout_ms / 1000)
        return {
            "application_name": self.application_name,
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(self.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(self.idle_in_transaction_timeout_ms),
            # The same for the server's end: a client that is gone keeps no lock.
            "tcp_user_timeout": str(self.silence_timeout_ms),
            "tcp_keepalives_idle": str(idle),
            "tcp_keepalives_interval": str(interval),
            "tcp_keepalives_count": str(count),
            "timezone": "UTC",
            # Statements are planned for many rows or for one; compiling them costs more than it gains here.
            "jit": "off",
        }


class RedisSettings(BaseSettings):
    """Valkey or Redis: the carrier of hints and tickets, never of facts."""

    model_config = SettingsConfigDict(env_prefix="REDIS_", extra="ignore")

    url: str = Field(
        description="Valkey or Redis", examples=["redis://host:port/0, rediss://…, or unix:///path/to/socket?db=0"]
    )

    @field_validator("url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        try:
            is_url = value.startswith(("redis://", "rediss://", "unix://")) and urlsplit(value).port != 0
        except ValueError:
            is_url = False
        if not is_url:
            raise ValueError("must be a URL such as redis://localhost:6379/0")
        return value
