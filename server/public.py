"""Jobs by plain HTTP, for programs that speak no GraphQL: to poll, or to follow as server-sent events.

`GET /jobs/{uuid}` answers the facts of the API's `Job` with its last 200 lines of log. It names when to ask again
(`Retry-After`, while there is something to wait for) and what is known already (`ETag`, `If-None-Match`).
`GET /jobs/{uuid}/events` sends the events of `jobProgress`: from `?after=` on, resumed at `Last-Event-ID`. Where
nothing more is to come it answers 204, which ends an EventSource.
"""

import hashlib
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
from graphql import GraphQLError
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from db.errors import Code, Unauthenticated
from db.ledger.queries import JOB
from db.ledger.rules import JobStatus
from db.paging import empty_page
from db.reading import Want, want
from resolvers.context import Context
from resolvers.errors import present
from resolvers.ids import encode_id, with_ids
from server.admission import Admission, admit
from server.auth import bearer_token
from server.edge import address_of, edge_of
from server.graphql.params import Params
from server.refusals import RequestRefused, malformed, unauthenticated
from server.transports.framing import JobEvents
from server.transports.reply import cursor_in, reply, send_payload
from server.transports.streaming import stream

FACTS = (
    *("uuid", "kind", "queue", "status", "is_quarantined", "progress", "step", "done", "total", "attempt"),
    *("max_attempts", "priority", "params", "result", "error", "last_seq", "subject_label", "enqueued_at"),
    *("scheduled_at", "started_at", "finished_at", "cancel_requested_at", "cancel_reason", "can_cancel", "can_retry"),
)
LINE = ("seq", "at", "level", "message", "data")
PAGE, PAGES = 100, 2
EVENTS = """
subscription JobEvents($jobId: ID!) {
  jobProgress(jobId: $jobId) {
    seq at type message status progress step done total attempt log { level message data }
  }
}
"""
FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


async def job(scope: Scope, receive: Receive, send: Send) -> None:
    """`GET /jobs/{uuid}`, as an ASGI application."""
    await _answered(_job, scope, receive, send)


async def job_events(scope: Scope, receive: Receive, send: Send) -> None:
    """`GET /jobs/{uuid}/events`, as an ASGI application."""
    await _answered(_events, scope, receive, send)


async def _answered(answer: Any, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await answer(scope, receive, send)
    except RequestRefused as refusal:
        scope["state"]["outcome"] = refusal.code
        await reply(send, refusal.body, status=refusal.status, headers=refusal.headers)
    except Exception as error:  # noqa: BLE001 - the last resort: present() masks and logs it
        scope["state"]["outcome"] = Code.INTERNAL
        shown = present(GraphQLError(str(error), original_error=error), request_id=scope["state"]["request_id"])
        await reply(send, {"errors": [shown]}, status=503 if shown["extensions"].get("isTransient") else 500)


async def _job(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    key, admission, context = await _asked(scope)
    row = await context.reading.one(JOB, WANTED, key)
    if row is None:
        raise _unknown()
    page, lines = row.logs, list(row.logs.nodes)
    for _ in range(PAGES - 1):
        if page.has_next_page:
            older = await context.reading.one(JOB, want(_logs(page.page_info.end_cursor)), key)
            page = older.logs if older is not None else empty_page()
            lines += page.nodes
    payload = orjson.dumps(_facts(row, lines), option=orjson.OPT_UTC_Z)
    tag = f'"{hashlib.sha256(payload).hexdigest()[:24]}"'
    headers = admission.headers | {"etag": tag, "cache-control": "private, no-cache", "vary": "authorization"}
    if row.status not in FINAL:
        headers["retry-after"] = str(_wait(row))
    if tag in Headers(scope=scope).get("if-none-match", ""):
        await send_payload(send, b"", status=304, headers=headers)
    else:
        await send_payload(send, payload, headers=headers)


async def _events(scope: Scope, receive: Receive, send: Send) -> None:
    edge = edge_of(scope)
    key, admission, context = await _asked(scope)
    context.last_event_id = _cursor(scope, context.last_event_id)
    row = await context.reading.one(JOB, want("status", "last_seq"), key)
    if row is None:
        raise _unknown()
    if context.last_event_id is not None and context.last_event_id > row.last_seq:
        raise malformed(f"The cursor is beyond the job's last event, {row.last_seq}.", status=400)
    has_ended = row.status in FINAL
    if has_ended and context.last_event_id == row.last_seq:
        # What tells an EventSource, which connects again by itself, that there will be no more.
        await send_payload(send, b"", status=204, headers=admission.headers)
        return
    operation = edge.operations.prepare(Params(query=EVENTS, variables={"jobId": encode_id("Job", key)}))
    scope["state"]["operation"], scope["state"]["kind"] = operation.label, operation.kind.value
    await stream(
        scope,
        receive,
        send,
        operation=operation,
        context=context,
        admission=admission,
        framing=JobEvents("jobProgress", final_seq=row.last_seq if has_ended else None),
    )


async def _asked(scope: Scope) -> tuple[UUID, Admission, Context]:
    """Which job is asked for, and by whom. Raises RequestRefused."""
    edge, headers, state = edge_of(scope), Headers(scope=scope), scope["state"]
    try:
        token = bearer_token(headers.get("authorization"))
    except Unauthenticated as error:
        raise unauthenticated(str(error)) from None
    admission = await admit(edge, token=token, address=address_of(scope))
    if admission.viewer is None:
        raise unauthenticated("Sign in: send `Authorization: Bearer <token>`.")
    state["viewer_id"] = str(admission.viewer.user_id)
    try:
        key = UUID(scope["path_params"]["uuid"])
    except ValueError:
        raise _unknown() from None
    cursor = cursor_in(headers.get("last-event-id"))
    return key, admission, edge.context(viewer=admission.viewer, request_id=state["request_id"], last_event_id=cursor)


def _cursor(scope: Scope, last_event_id: int | None) -> int | None:
    """Where the events begin: what a client says that connects again by itself goes before what it was told to ask.

    Raises RequestRefused for an `after` that is no number: a program that asks so would see the wrong part.
    """
    after = QueryParams(scope["query_string"]).get("after")
    if after is not None and cursor_in(after) is None:
        raise malformed(
            "`after` must be the number of an event: 0, or the `id` of the last one that you have.", status=400
        )
    return cursor_in(after) if last_event_id is None else last_event_id


def _logs(after: str | None = None) -> Want:
    args = {"first": PAGE, "newest_first": True} | ({"after": after} if after else {})
    return Want("logs", want(*LINE).wants, args)


WANTED = want(
    *FACTS,
    Want("subject", want("id").wants),
    Want("requested_by", want("name").wants),
    Want("retry_of", want("uuid").wants),
    Want("retried_as", want("uuid").wants),
    _logs(),
)


def _facts(row: Any, lines: list[Any]) -> dict[str, Any]:
    """The body: the names and values of the API's `Job`."""
    facts = {_camel(name): getattr(row, name) for name in FACTS}
    subject = row.subject
    return facts | {
        "id": encode_id("Job", row.uuid),
        "error": row.error and replace(row.error, details=with_ids(row.error.details)),
        "subject": subject and {"type": type(subject).type_name, "id": encode_id(type(subject).type_name, subject.id)},
        "requestedBy": {"name": row.requested_by.name},
        "retryOf": row.retry_of and row.retry_of.uuid,
        "retriedAs": row.retried_as and row.retried_as.uuid,
        # As they are read in a terminal: oldest first, though the newest are the ones that are kept.
        "logs": [{name: getattr(line, name) for name in LINE} for line in reversed(lines)],
    }


def _wait(row: Any) -> int:
    """In how many seconds there may be news."""
    return 1 if row.status is JobStatus.RUNNING else 2


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _unknown() -> RequestRefused:
    return RequestRefused(Code.NOT_FOUND, "There is no such job.", status=404)
