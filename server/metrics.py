"""What this process counts, for Prometheus; what the tables say is in gauges.py.

No label holds anything that a client can choose freely.
"""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from server.edge import edge_of

REQUESTS = Counter(
    "holdfast_requests_total", "Requests by root field and by what came of them", ["kind", "operation", "outcome"]
)
SECONDS = Histogram(
    "holdfast_request_seconds",
    "Time from a request's first byte to its answer, streams left out",
    ["kind", "operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
STREAMS = Gauge("holdfast_streams", "Open subscriptions by transport", ["transport"])
SOCKETS = Gauge("holdfast_sockets", "Open WebSocket connections")
EVENTS = Counter("holdfast_stream_events_total", "Events sent to subscribers")
ENDED = Counter("holdfast_streams_ended_total", "Streams that ended, by why", ["transport", "reason"])


@dataclass(slots=True)
class OpenStream:
    """A stream that is open. `reason` is why it ends, one of a few words: "error" unless whoever serves it says."""

    reason: str = "error"


@contextmanager
def open_stream(transport: str) -> Iterator[OpenStream]:
    """Count a stream for as long as it is open, and its end."""
    stream, gauge = OpenStream(), STREAMS.labels(transport)
    gauge.inc()
    try:
        yield stream
    finally:
        gauge.dec()
        ENDED.labels(transport, stream.reason).inc()


async def metrics(request: Request) -> Response:
    """The page that Prometheus reads: what this process counts, and what the tables say."""
    edge = edge_of(request.scope)
    settings = edge.settings
    token = settings.metrics_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not settings.metrics:
        return Response("Not found.", status_code=404, media_type="text/plain")
    if token is not None and not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
        return Response("Unauthorized.", status_code=401, headers={"www-authenticate": "Bearer"})
    return Response(generate_latest() + await edge.gauges.page(), media_type=CONTENT_TYPE_LATEST)
