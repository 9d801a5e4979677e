"""Spans as OpenTelemetry's SDK records and sends them. Loaded only where the environment asks for traces."""

import threading
from collections.abc import Mapping, Sequence
from contextvars import Token
from functools import lru_cache
from importlib.metadata import entry_points
from types import TracebackType
from typing import Self

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from db.errors import SetupError
from db.tracing.recording import Fact, Recorder, Role, Span

GROUP = "opentelemetry_traces_exporter"
# What the SDK calls a process that nobody named.
UNNAMED = "unknown_service"
# A receiver that does not answer keeps a process from its end no longer than this.
LAST_SECONDS = 3.0
KINDS = {role: SpanKind[role.name] for role in Role}
# A vendor's own words are carried along, as long as they are no longer than the standard asks for.
LONGEST_STATE = 512
W3C = TraceContextTextMapPropagator()


def recorder(exporters: Sequence[str], *, service: str) -> Recorder:
    """Records by the settings of the environment, and sends by these exporters.

    Raises SetupError for an exporter that is not installed, and ValueError for what an exporter does not take.
    """
    sending = [_exporter(name) for name in exporters]
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith(UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    provider = TracerProvider(resource=resource)
    for exporter in sending:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return Exporting(provider)


def _exporter(name: str) -> SpanExporter:
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        package = f"opentelemetry-exporter-{name.replace('_', '-')}"
        raise SetupError(
            f"OTEL_TRACES_EXPORTER or OTEL_EXPORTER_OTLP_PROTOCOL asks for the exporter {name!r}, which is not "
            f"installed. Install it ({package}), or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf. "
            "OTEL_TRACES_EXPORTER=none turns traces off."
        )
    exporter: SpanExporter = found.load()()
    return exporter


class Exporting:
    """Records with a provider, which hands ended spans to a thread that sends them."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("holdfast")

    def span(
        self,
        role: Role,
        name: str,
        facts: Mapping[str, Fact | None],
        *,
        parent: str | Mapping[str, str] | None = None,
        links: Sequence[str | None] = (),
    ) -> Span:
        """See Recorder."""
        begun = self._tracer.start_span(
            name,
            context=_context(parent),
            kind=KINDS[role],
            attributes=_known(facts),
            links=[Link(found) for each in links if each and (found := _place(each)).is_valid],
            record_exception=False,
            set_status_on_exception=False,
        )
        return _Recorded(begun)

    def carried(self) -> str | None:
        """See Recorder. The two headers of W3C's Trace Context, the second one after a space if there is one."""
        headers: dict[str, str] = {}
        W3C.inject(headers)
        parent, state = headers.get("traceparent"), headers.get("tracestate", "")
        return f"{parent} {state}" if parent and 0 < len(state) <= LONGEST_STATE else parent

    def ids(self) -> Mapping[str, str]:
        """See Recorder."""
        here = trace.get_current_span().get_span_context()
        if not here.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(here.trace_id), "span_id": trace.format_span_id(here.span_id)}

    def stop(self) -> None:
        """See Recorder."""
        sending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(LAST_SECONDS)


class _Recorded(Span):
    """A span that the SDK records; or one that was not sampled, which still hands its context on."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Token[Context] | None = None

    def __enter__(self) -> Self:
        self._token = contexts.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            contexts.detach(self._token)
        if isinstance(error, Exception):
            # Its class alone: what it says may be anybody's data.
            self._span.set_attribute("error.type", type(error).__qualname__)
            self.fail()
        self._span.end()

    def rename(self, name: str) -> None:
        """See Span."""
        self._span.update_name(name)

    def tell(self, facts: Mapping[str, Fact | None]) -> None:
        """See Span."""
        self._span.set_attributes(_known(facts))

    def fail(self, words: str | None = None) -> None:
        """See Span."""
        self._span.set_status(Status(StatusCode.ERROR, words))


def _known(facts: Mapping[str, Fact | None]) -> dict[str, Fact]:
    return {name: fact for name, fact in facts.items() if fact is not None}


def _context(parent: str | Mapping[str, str] | None) -> Context | None:
    """Where a span hangs. None: on what is around it. Never on both: others' spans are around a worker's loops."""
    if parent is None:
        return None
    if isinstance(parent, str):
        return trace.set_span_in_context(trace.NonRecordingSpan(_place(parent)), Context())
    return propagate.extract(parent, context=Context())


# Jobs that were asked for together carry the same, and a job's parent is linked to as well.
@lru_cache(maxsize=1_000)
def _place(carried: str) -> trace.SpanContext:
    """The span that a job carries. It is invalid where that says nothing."""
    parent, _, state = carried.partition(" ")
    headers = {"traceparent": parent, "tracestate": state}
    return trace.get_current_span(W3C.extract(headers, context=Context())).get_span_context()
