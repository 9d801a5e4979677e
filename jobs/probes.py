"""A worker's page for those who watch it: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes.

Served by a thread of its own, so that a handler that keeps the event loop busy keeps nobody from seeing so. Off unless
WORKER_METRICS_PORT is set.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from db.environment import SetupError
from db.session import Database
from db.telemetry import get_logger
from jobs.metrics import REGISTRY
from jobs.settings import WorkerSettings

log = get_logger(__name__)

# A handler that keeps the event loop busy for so long keeps every other job of this worker from ending, and cannot be
# interrupted: the process is better started anew, which counts as a crash of the jobs it ran.
STUCK_SECONDS = 60.0
TURN_SECONDS = 1.0

_RUNNING = Gauge("holdfast_worker_running", "Jobs that this worker runs now", registry=REGISTRY)
_SLOTS = Gauge("holdfast_worker_slots", "How many jobs this worker runs at once at most", registry=REGISTRY)
_POOL_USED = Gauge("holdfast_pool_used", "Connections to the database in use, by pool", ["pool"], registry=REGISTRY)
_POOL_MOST = Gauge("holdfast_pool_most", "Connections that a pool may have", ["pool"], registry=REGISTRY)


class Beating(Protocol):
    """What the page asks of the heartbeat. A store that is away keeps it from beating, and not from trying."""

    is_draining: bool

    @property
    def seconds_since_beat(self) -> float:
        """How long ago the newest beat that arrived was begun."""

    @property
    def seconds_since_try(self) -> float:
        """How long ago the newest beat was begun, whatever became of it."""


class Page:
    """The page of one worker process."""

    def __init__(
        self, *, settings: WorkerSettings, heartbeat: Beating, database: Database, running: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._heartbeat = heartbeat
        self._database = database
        self._running = running
        self._server: ThreadingHTTPServer | None = None
        self._turned = time.monotonic()
        self._turning: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int | None:
        """Where it is served; None where it is not."""
        return None if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Serve it where the settings say so. Raises SetupError where the port cannot be had."""
        port = self._settings.metrics_port
        if port is None:
            return
        host = self._settings.metrics_host
        try:
            self._server = ThreadingHTTPServer((host, port), self._handler())
        except OSError as error:
            raise SetupError(
                f"WORKER_METRICS_PORT={port}: cannot listen there on {host} ({error.strerror}). Set it to another "
                "port, to 0 for any free one, or leave it out for no page."
            ) from None
        self._measure()
        self._turn()
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()
        log.info("worker.page", url=f"http://{host}:{self.port}/metrics")

    async def stop(self) -> None:
        """Serve it no more."""
        if self._server is None:
            return
        if self._turning is not None:
            self._turning.cancel()
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()

    # ---------------------------------------------------------------------------------------- what it says

    def trouble(self) -> str | None:
        """Why this process should be started anew; None where it lives.

        A database that is away is no reason: then every worker would be started anew, and none would be the better.
        """
        if self._heartbeat.seconds_since_try > 2 * self._settings.lease_seconds:
            return "The heartbeat's thread is stuck or has died."
        turned = time.monotonic() - self._turned
        if turned > STUCK_SECONDS:
            return f"The event loop has not turned for {turned:.0f} s: a handler keeps it busy."
        return None

    def obstacle(self) -> str | None:
        """Why this worker takes no jobs now; None where it does."""
        if self._heartbeat.is_draining:
            return "It is about to stop."
        if self._heartbeat.seconds_since_beat > self._settings.deadline_seconds:
            return "It cannot tell the database that it lives."
        return None

    def _turn(self) -> None:
        self._turned = time.monotonic()
        self._turning = asyncio.get_running_loop().call_later(TURN_SECONDS, self._turn)

    def _measure(self) -> None:
        _SLOTS.set(self._settings.slots)
        _RUNNING.set_function(self._running)
        for name, pool in self._database.pool_sizes().items():
            _POOL_MOST.labels(name).set(pool.most)
            _POOL_USED.labels(name).set_function(partial(self._used, name))

    def _used(self, pool: str) -> int:
        return self._database.pool_sizes()[pool].used

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request. Asks nobody outside this process."""

            # Somebody who connects and says nothing must not keep a thread for ever.
            timeout = 10

            def do_GET(self) -> None:
                """One of the three addresses."""
                match self.path.partition("?")[0]:
                    case "/metrics":
                        self._say(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
                    case "/livez":
                        self._tell("stuck", page.trouble())
                    case "/readyz":
                        self._tell("unavailable", page.obstacle())
                    case _:
                        self._say(404, "text/plain", b"Not found.")

            def _tell(self, otherwise: str, reason: str | None) -> None:
                told = {"status": "ok"} if reason is None else {"status": otherwise, "reason": reason}
                self._say(200 if reason is None else 503, "application/json", json.dumps(told).encode())

            def _say(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: probes come every few seconds."""

        return Handler
