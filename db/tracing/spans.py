"""The spans that there are: their names, and what they say in the terms of OpenTelemetry's semantic conventions.

None says anything that a person wrote or a caller keeps to themselves: no document, no variable, no argument, no
token, no text of an exception.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from db.errors import Code
from db.tracing.recording import NOTHING, Fact, Recorder, Role, Span

SYSTEM = "holdfast"
# What an operation is called until it is known, or where it never is: it was refused before it was read.
UNKNOWN = "GraphQL Operation"
# A client's name for its operation may be as long as its document.
LONGEST_NAME = 100
# Codes that are our fault. All others are answers that somebody else can do something about.
FAULTS = frozenset({Code.INTERNAL, Code.TIMEOUT})
LOST = "LOST"

_recorder: Recorder | None = None
NO_IDS: Mapping[str, str] = {}


def record_with(recorder: Recorder | None) -> None:
    """Have spans recorded by this one. None: traces are off."""
    global _recorder  # noqa: PLW0603 - one for the process, like the log
    _recorder = recorder


def recorder() -> Recorder | None:
    """Who records now."""
    return _recorder


def carried() -> str | None:
    """The span around us, to be kept with a job: its attempts go on from there, in other processes."""
    return None if _recorder is None else _recorder.carried()


def ids() -> Mapping[str, str]:
    """`trace_id` and `span_id` of the span around us, if there is one."""
    return NO_IDS if _recorder is None else _recorder.ids()


def serving(headers: Mapping[str, str], *, path: str, method: str | None = None) -> Span:
    """A request that is answered, or an operation on a socket (no method). The caller's `traceparent` is its parent."""
    if _recorder is None:
        return NOTHING
    facts = {"http.request.method": method, "url.path": path}
    return _recorder.span(Role.SERVER, method or UNKNOWN, facts, parent=headers)


def served(
    span: Span,
    *,
    kind: str | None,
    field: str | None,
    operation_name: str | None,
    outcome: str | None,
    request_id: str,
    status: int | None = None,
) -> None:
    """Tell what was asked for and what came of it. `field` is the root field, `outcome` "ok" or a code."""
    if _recorder is None:
        return
    if kind is not None and field is not None:
        span.rename(f"{kind} {field}")
    is_refused = outcome in Code.__members__.values()
    span.tell(
        {
            "graphql.operation.type": kind,
            "graphql.operation.name": operation_name and operation_name[:LONGEST_NAME],
            "http.response.status_code": status,
            "holdfast.request_id": request_id,
            "holdfast.outcome": outcome,
            "error.type": outcome if is_refused else None,
        }
    )
    if outcome in FAULTS or (status or 0) >= 500:
        span.fail()


def asking(*, kinds: Collection[str], queues: Collection[str], count: int = 1, instead_of: str | None = None) -> Span:
    """Jobs that are written by one statement. `instead_of`: what the job carried that is tried again."""
    if _recorder is None:
        return NOTHING
    kind, queue = _only(kinds), _only(queues)
    facts: dict[str, Fact | None] = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": queue,
        "messaging.batch.message_count": count if count != 1 else None,
        "holdfast.job.kind": kind,
    }
    return _recorder.span(Role.PRODUCER, f"enqueue {kind or 'several'}", facts, links=[instead_of])


def _only(names: Collection[str]) -> str | None:
    found = set(names)
    return found.pop() if len(found) == 1 else None


def asked(span: Span, *, job_id: UUID, is_known: bool = False) -> None:
    """Tell which job it became. `is_known`: one that does the same work was there already."""
    if _recorder is not None:
        span.tell({"messaging.message.id": str(job_id), "holdfast.job.is_known": is_known or None})


def attempting(
    *, job_id: UUID, kind: str, queue: str, number: int, waited_seconds: float, worker: str, trace_context: str | None
) -> Span:
    """One attempt at a job: a child of the span that asked for it, and linked to it as the conventions have it."""
    if _recorder is None:
        return NOTHING
    facts: dict[str, Fact | None] = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "attempt",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "messaging.message.id": str(job_id),
        "messaging.client.id": worker,
        "holdfast.job.kind": kind,
        "holdfast.job.attempt": number,
        "holdfast.job.waited_seconds": waited_seconds,
    }
    return _recorder.span(Role.CONSUMER, f"attempt {kind}", facts, parent=trace_context or "", links=[trace_context])


def attempted(span: Span, *, outcome: str | None, code: str | None = None, words: str | None = None) -> None:
    """Tell how an attempt ended. `outcome` None: the job was taken away. `words` are ours, told of a fault alone."""
    if _recorder is None:
        return
    failed = LOST if outcome is None else code
    span.tell({"holdfast.job.outcome": outcome or LOST, "error.type": failed})
    if failed is not None:
        span.fail(words if code in FAULTS else None)
