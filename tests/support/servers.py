"""The real servers a test run works with: one PostgreSQL for the run, one Valkey for each xdist worker.

Valkey's databases share their pub/sub channels, so a Valkey of its own (35 ms) is what keeps the workers of a run
apart. Everything lives in one directory that goes when the run ends; the servers also go when the run is killed,
and the directory it leaves then goes with the next run.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import asyncpg

from server.embedded.postgres import Postgres
from server.embedded.processes import Child, Program, RunAs
from server.embedded.valkey import Valkey
from server.migrations import upgrade

PREFIX = "hf-test-"
TEMPLATE = "template_of_tests"
# Copying the template took 6.4 ms by FILE_COPY and 8.6 ms by WAL_LOG in memory, and 143 to 277 ms on a disk,
# where making its 300 files is what takes the time: so a run lives in memory where there is enough.
STRATEGY = "FILE_COPY"
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 3 << 30


class CountingPostgres(Postgres):
    """Can count the statements of a database, where a test asks for it (tests/support/counting.py)."""

    SETTINGS = ("shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=none")

    def _program(self, run_as: RunAs | None) -> Program:
        program = super()._program(run_as)
        options = [part for setting in self.SETTINGS for part in ("-c", setting)]
        return replace(program, command=[*program.command, *options])


@dataclass
class Servers:
    """What a test may connect to. `directory` is the run's own; `postgres` is shared, `valkey` is this worker's."""

    directory: Path
    postgres: Postgres
    valkey: Valkey
    children: list[Child] = field(default_factory=list)

    @classmethod
    def at(cls, directory: Path) -> "Servers":
        """Where the run's servers are or will be; starts nothing."""
        own = directory / f"w{os.getpid()}"
        own.mkdir(mode=0o700, exist_ok=True)
        return cls(
            directory,
            CountingPostgres(directory / "postgres", directory / "s", directory / "postgres.log", durable=False),
            Valkey(own / "valkey", own, own / "valkey.log", durable=False),
        )

    @property
    def redis_url(self) -> str:
        """This worker's Valkey, as the settings want it."""
        return self.valkey.url()

    def stop(self) -> None:
        """End what this process started."""
        while self.children:
            self.children.pop().stop(patience_seconds=10)

    # --- databases -----------------------------------------------------------------------------------------

    def execute(self, statement: str) -> None:
        """Run one statement on the maintenance database."""
        asyncio.run(self._execute(statement))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres.url("postgres").replace("+asyncpg", ""))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def make_template(self) -> None:
        """Migrate the database that all others are copied from, once per run, by whichever worker comes first."""
        done = self.directory / "template.done"
        with locked(self.directory / "template.lock"):
            if done.exists():
                return
            self.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
            self.execute(f"CREATE DATABASE {TEMPLATE}")
            asyncio.run(upgrade(self.postgres.url(TEMPLATE)))
            # Nobody may be connected to a template while it is copied; this keeps even autovacuum out.
            self.execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")
            done.touch()

    @contextlib.contextmanager
    def fresh_database(self, *, migrated: bool = True) -> Iterator[str]:
        """A database of one's own, migrated or empty; its URL."""
        template = TEMPLATE if migrated else "template1"
        if migrated:
            self.make_template()
        name = f"t_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {STRATEGY}")
        try:
            yield self.postgres.url(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file against the run's other processes."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """The run's directory, with a path short enough for sockets; removes those that killed runs left."""
    parent = roomy_parent()
    for old in parent.glob(f"{PREFIX}*"):
        remove_if_abandoned(old)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    with (directory / "alive").open("a") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def roomy_parent() -> Path:
    """Memory where there is room for a run's databases and their log, else the usual temporary directory."""
    with contextlib.suppress(OSError):
        room = os.statvfs(MEMORY)
        if os.access(MEMORY, os.W_OK) and room.f_bavail * room.f_frsize >= MEMORY_BYTES:
            return MEMORY
    return Path(tempfile.gettempdir())


def remove_if_abandoned(directory: Path) -> None:
    """Remove the directory of a run that is dead: its lock is free."""
    with contextlib.suppress(OSError), (directory / "alive").open("r+") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def postgres_for_run() -> Iterator[Path]:
    """Start the run's PostgreSQL; the directory through which its workers find it."""
    with run_directory() as directory:
        servers = Servers.at(directory)
        servers.children.append(servers.postgres.start())
        try:
            yield directory
        finally:
            servers.stop()


@contextlib.contextmanager
def valkey_for_worker(directory: Path) -> Iterator[Servers]:
    """Start this worker's Valkey beside the run's PostgreSQL."""
    servers = Servers.at(directory)
    servers.children.append(servers.valkey.start())
    try:
        yield servers
    finally:
        servers.stop()
