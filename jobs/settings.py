"""How a worker behaves. The defaults are for production; tests shorten the waits."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """Read from WORKER_… in the environment. All workers of a fleet must agree on `lease_seconds`."""

    model_config = SettingsConfigDict(env_prefix="WORKER_", extra="ignore")

    name: str = Field(default="", description="its name for people; empty: host and process id")
    slots: int = Field(default=10, ge=1, le=1_000, description="how many jobs run at once")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="the least that is logged"
    )

    heartbeat_seconds: float = Field(default=2.0, gt=0, description="how often it says that it lives")
    lease_seconds: float = Field(default=10.0, gt=0, description="not seen for so long, a worker is taken for dead")
    deadline_seconds: float = Field(default=8.0, gt=0, description="without a heartbeat for so long, it stops its jobs")

    poll_seconds: float = Field(default=0.75, gt=0, description="how often the tables are asked without a hint")
    arq_poll_seconds: float = Field(default=0.5, gt=0, description="how often the bus is asked without a hint")
    stock_arq: bool = Field(default=False, description="use ARQ's own loop, which polls and knows no hints")
    tickets_per_slot: int = Field(default=3, ge=1, le=100, description="how many jobs are kept in the bus, by slot")
    unclaimed_seconds: float = Field(default=5.0, gt=0, description="a ticket that nobody takes is made anew")
    batch: int = Field(default=500, ge=1, le=10_000, description="most rows taken by one statement of a sweep")

    cancel_grace_seconds: float = Field(default=5.0, ge=0, description="asked to stop for so long: interrupted")
    abandon_seconds: float = Field(default=30.0, gt=0, description="asked to stop for so long: taken away")
    drain_seconds: float = Field(default=25.0, ge=0, description="how long running jobs may take at shutdown")
    schedule_poll_seconds: float = Field(default=1.0, gt=0, description="how often the leader looks what is to tick")
    house_seconds: float = Field(default=600.0, gt=0, description="how often partitions are made ahead")

    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="where /metrics, /livez and /readyz are served; 0: any free port"
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="the address of that page; 0.0.0.0: every one",
        examples=["a name or address of this machine"],
    )

    @model_validator(mode="after")
    def _stops_before_it_is_taken_for_dead(self) -> Self:
        if not self.heartbeat_seconds < self.deadline_seconds < self.lease_seconds:
            raise ValueError("must be: heartbeat_seconds < deadline_seconds < lease_seconds")
        return self


class RetentionSettings(BaseSettings):
    """How long the ledger keeps what is over, read from RETENTION_… in the environment. What lives is always kept."""

    model_config = SettingsConfigDict(env_prefix="RETENTION_", extra="ignore")

    jobs_days: int = Field(default=30, ge=1, le=3_650, description="how long a job is kept after its end")
    events_days: int = Field(
        default=14, ge=1, le=3_650, description="how long a job's events and logs are kept after its end"
    )
    ticks_days: int = Field(default=30, ge=1, le=3_650, description="how long a schedule's ticks are kept")
    workers_hours: int = Field(
        default=1, ge=1, le=8_760, description="how long a worker is shown after it was last seen"
    )
    batch: int = Field(default=500, ge=1, le=10_000, description="rows of jobs that one transaction deletes at most")
