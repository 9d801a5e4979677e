"""Starts everything on one machine, keeps it running, and stops it in order.

The order: lock the directory, take the port, PostgreSQL, Valkey, migrations and demo data, worker and server.
At the end: server, worker, Valkey, PostgreSQL. Nothing here knows GraphQL or SQL.
"""

import contextlib
import http.client
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from subprocess import TimeoutExpired
from urllib.parse import urlsplit

from db.environment import SetupError, load
from server.embedded.postgres import STOP_PATIENCE_SECONDS as POSTGRES_PATIENCE_SECONDS
from server.embedded.postgres import Postgres
from server.embedded.processes import Child, Program, ServerFailedError, start, tail, wait_until
from server.embedded.valkey import STOP_PATIENCE_SECONDS as VALKEY_PATIENCE_SECONDS
from server.embedded.valkey import Valkey
from server.home import Home
from server.listening import listen, url_of
from server.settings import CHECKOUT, HomeSettings, ServerSettings
from server.supervision import Signals, StopAskedError, StoreEndedError, Supervisor
from server.terminal import Terminal
from server.welcome import welcome

PREPARE_PATIENCE_SECONDS = 600.0
SERVER_PATIENCE_SECONDS = 60.0
# Longer than the worker's own drain, which lets a running batch end and gives the rest back.
WORKER_STOP_SECONDS = 40.0
REFUSED, FAILED = 2, 1


@dataclass
class Run:
    """One `up`, from its start to its stop."""

    home: Home
    settings: ServerSettings
    listener: socket.socket
    terminal: Terminal
    supervisor: Supervisor
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def url(self) -> str:
        """Where the server answers."""
        return url_of(self.listener, self.settings.host)

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        began = time.monotonic()
        self.start_stores()
        # Importing is most of a start, so the server does it while another process prepares the database. It is
        # not ready before the database is.
        server = self.start_server()
        with self.terminal.step("schema", "migrations and demo data"):
            self.prepare()
        worker = self.start_worker(stopped_after=server)
        with self.terminal.step("server", f"an answer from {self.url}/readyz"):
            wait_until(lambda: answers(self.url), child=server, patience_seconds=SERVER_PATIENCE_SECONDS)
        if worker.ended() is not None:
            raise ServerFailedError(f"worker ended with {worker.ended()}:\n{tail(worker.program.log)}")
        welcome(self.terminal.console, self.url, self.home.tokens(), self.home.path, time.monotonic() - began)
        self.write_state()

    def start_stores(self) -> None:
        """PostgreSQL and Valkey, unless the settings name others."""
        sockets = self.home.sockets()
        if not self.environment.get("DATABASE_URL"):
            postgres = Postgres(self.home.postgres, sockets, self.home.log("postgres"))
            waiting = "its start" if self.home.postgres.exists() else "its data directory and its first start"
            with self.terminal.step("postgres", waiting):
                child = postgres.begin()
                # At once, for its recovery may be long, and whoever stops it meanwhile wants it stopped in order.
                self.supervisor.add(child, restarts=False, patience_seconds=POSTGRES_PATIENCE_SECONDS)
                postgres.wait(child, say=self.terminal.say)
            self.environment["DATABASE_URL"] = postgres.url()
        if not self.environment.get("REDIS_URL"):
            valkey = Valkey(self.home.valkey, sockets, self.home.log("valkey"))
            with self.terminal.step("valkey", "its start"):
                child = valkey.start()
            self.supervisor.add(child, restarts=False, patience_seconds=VALKEY_PATIENCE_SECONDS)
            self.environment["REDIS_URL"] = valkey.url()

    def prepare(self) -> None:
        """Migrate and load the demo data in a process of its own, which takes its memory with it."""
        log = self.home.log("prepare")
        log.unlink(missing_ok=True)
        program = self.python("prepare", "-m", "server", "prepare", "--tokens", str(self.home.demo))
        child = self.supervisor.add(start(program), restarts=False, patience_seconds=5)
        try:
            code = child.process.wait(PREPARE_PATIENCE_SECONDS)
        except TimeoutExpired:
            code = child.stop(patience_seconds=5)
        self.supervisor.remove(child)
        if code != 0:
            raise ServerFailedError(log.read_text(errors="replace").strip() or f"prepare failed; its log is {log}")

    def start_worker(self, *, stopped_after: Child) -> Child:
        """One worker process."""
        child = start(self.python("worker", "-m", "jobs"))
        return self.supervisor.add(
            child, restarts=True, patience_seconds=WORKER_STOP_SECONDS, stopped_after=stopped_after
        )

    def start_server(self) -> Child:
        """The server process, on the socket that stays ours."""
        descriptor = self.listener.fileno()
        program = self.python("server", "-m", "server", "serve", "--fd", str(descriptor), pass_fds=(descriptor,))
        return self.supervisor.add(start(program), restarts=True, patience_seconds=self.settings.drain_seconds + 5)

    def python(self, name: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Program:
        """A Python process of ours, marked with the directory it belongs to."""
        return Program(
            name=name,
            command=[sys.executable, "-X", self.home.marker, *arguments],
            environment=self.environment,
            directory=CHECKOUT,
            log=self.home.log(name),
            pass_fds=pass_fds,
        )

    def write_state(self) -> None:
        """Tell scripts and tests where everything is."""
        self.home.write_state(
            {
                "url": self.url,
                "database_url": self.environment["DATABASE_URL"],
                "redis_url": self.environment["REDIS_URL"],
                "pids": {"up": os.getpid(), **self.supervisor.pids()},
                "tokens": self.home.tokens(),
            }
        )


def run() -> int:
    """All of `up`; its exit code."""
    terminal = Terminal()
    try:
        settings, home = load(ServerSettings), Home(load(HomeSettings).data.absolute())
        with home.locked(), listen(settings.host, settings.port) as listener:
            return supervise(Run(home, settings, listener, terminal, Supervisor(terminal.say)))
    except SetupError as error:
        terminal.refuse(str(error))
        return REFUSED
    except StopAskedError:
        return 0


def supervise(run: Run) -> int:
    """Start, watch, and stop in order, whatever ended it. A failure's exit code stays if a stop is asked after it."""
    code = 0
    signals = Signals(again=run.supervisor.kill)
    with signals.handled() as ended:
        try:
            run.start()
            run.supervisor.watch(ended, changed=run.write_state)
        except StopAskedError:
            run.terminal.say("Stopping. ^C again kills.")
        except (ServerFailedError, StoreEndedError) as error:
            signals.stopping, code = True, FAILED
            run.terminal.refuse(str(error))
        except OSError as error:
            signals.stopping, code = True, FAILED
            run.terminal.refuse(run.home.refusal(error))
        finally:
            signals.stopping = True
            with contextlib.suppress(OSError):
                run.home.state.unlink(missing_ok=True)
            run.supervisor.stop()
    run.terminal.say("Stopped.")
    return code


def answers(url: str) -> bool:
    """Whether the server says that it is ready."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=1)
    try:
        connection.request("GET", "/readyz", headers={"Connection": "close"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
