"""Where the server listens and where `up` keeps its data."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent


class ServerSettings(BaseSettings):
    """The address that is listened on. Port 0 means any free one."""

    model_config = SettingsConfigDict(env_prefix="SERVER_", extra="ignore")

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="the address to listen on; 0.0.0.0: every one",
        examples=["a name or address of this machine"],
    )
    port: int = Field(default=8000, ge=0, le=65535, description="the port to listen on; 0: any free one")
    drain_seconds: float = Field(
        default=10.0, ge=0, le=600, description="how long requests may go on when the server stops"
    )


class HomeSettings(BaseSettings):
    """Where `up` keeps the data of the servers it starts, their sockets and their logs."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="ignore")

    data: Path = Field(
        default=CHECKOUT / ".holdfast",
        description="where `up` keeps data, sockets and logs, and where other commands look for an `up` that runs",
        examples=["a directory, made where it does not exist"],
    )
