"""What every request gets: an id, a line in the log, and headers that hold a browser to what we mean."""

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import tracing
from db.telemetry import get_logger
from server import metrics
from server.edge import edge_of

log = get_logger(__name__)

# An id that a proxy or a client gave is kept, so that their log and ours meet; anything odd is replaced.
SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
QUIET_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Requests:
    """The outermost layer, for HTTP and sockets alike."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if SANE_ID.fullmatch(given) else uuid4().hex
        scope["state"]["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *HEADERS]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id), _traced(scope, headers) as span:
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                _note(scope, status, time.perf_counter() - started)
                state = scope["state"]
                tracing.served(
                    span,
                    kind=state.get("kind"),
                    field=state.get("operation"),
                    operation_name=state.get("operation_name"),
                    outcome=state.get("outcome"),
                    request_id=request_id,
                    status=status or None,
                )


def _traced(scope: Scope, headers: Headers) -> tracing.Span:
    """The span of a request to the API. Each operation on a socket has one of its own: websocket.py."""
    path = scope["path"]
    is_api = path == "/graphql" or path.startswith("/jobs/")
    if scope["type"] != "http" or scope["method"] == "OPTIONS" or not is_api:
        return tracing.NOTHING
    return tracing.serving(headers, method=scope["method"], path=path)


def _note(scope: Scope, status: int, seconds: float) -> None:
    """Write the line of a request that has ended, and count it."""
    state = scope["state"]
    operation, kind = state.get("operation"), state.get("kind")
    if state.get("outcome") is not None:
        metrics.REQUESTS.labels(kind or "unknown", operation or "unknown", state["outcome"]).inc()
        if kind in {"query", "mutation"}:
            metrics.SECONDS.labels(kind, operation).observe(seconds)
    if scope["path"] in QUIET_PATHS or not edge_of(scope).settings.log_requests:
        return
    facts = {"viewer_id": state.get("viewer_id"), "operation": operation, "outcome": state.get("outcome")}
    log.info(
        "request" if scope["type"] == "http" else "socket",
        method=scope.get("method", "WEBSOCKET"),
        path=scope["path"],
        status=status or None,
        milliseconds=round(seconds * 1000, 2),
        **{name: value for name, value in facts.items() if value is not None},
    )
