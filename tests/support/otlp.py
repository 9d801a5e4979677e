"""A receiver of traces: takes OTLP over HTTP as a collector does, and shows what came."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

NO_SPAN = ""


@dataclass(frozen=True)
class Received:
    """A span that came."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: list[tuple[str, str]]
    facts: Mapping[str, Any]
    is_error: bool
    words: str

    @property
    def place(self) -> tuple[str, str]:
        """What a child or a link names."""
        return self.trace_id, self.span_id


class Receiver:
    """What has come so far, in the order of its coming."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.spans: list[Received] = []
        self.url = ""

    def take(self, body: bytes) -> None:
        """One request of an exporter."""
        request = ExportTraceServiceRequest.FromString(body)
        self.bodies.append(body)
        for batch in request.resource_spans:
            service = {each.key: each.value.string_value for each in batch.resource.attributes}["service.name"]
            self.spans += [_read(service, span) for scope in batch.scope_spans for span in scope.spans]

    def named(self, name: str, **facts: Any) -> list[Received]:
        """The spans of this name, with these attributes (dots as two underscores)."""
        wanted = {key.replace("__", "."): value for key, value in facts.items()}
        return [span for span in self.spans if span.name == name and wanted.items() <= span.facts.items()]


def _read(service: str, span: Span) -> Received:
    return Received(
        service=service,
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        facts={each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in span.attributes},
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        words=span.status.message,
    )


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Take spans on a port of our own for as long as the block runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            receiver.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
