"""GraphQL over HTTP: one request, one answer, or the start of a stream."""

import asyncio

from graphql import GraphQLError, OperationType
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from db.errors import Code, Unauthenticated
from resolvers.errors import present
from server.admission import Admission, admit
from server.auth import bearer_token
from server.edge import Edge, address_of, edge_of
from server.graphql.operations import Operation, Outcome
from server.graphql.params import Params, load_json, params_from_json, params_from_url
from server.graphql.size import hold_to_size
from server.refusals import Rejected, RequestRefused, malformed, too_much, unauthenticated
from server.transports.framing import framing_of
from server.transports.interrupt import WhilePresent
from server.transports.negotiation import Media, acceptable, answer_media, error_media
from server.transports.reply import ClientGone, cursor_in, read_body, reply, send_payload, status_of
from server.transports.streaming import send_events, stream

METHODS = "GET, POST, OPTIONS"


async def graphql(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint, as an ASGI application."""
    headers = Headers(scope=scope)
    accepted = acceptable(headers.get("accept"))
    try:
        if not await _answer_aside(scope, send, headers):
            await _answer(scope, receive, send, headers, accepted)
    except ClientGone:
        scope["state"]["outcome"] = "gone"
    except RequestRefused as refusal:
        scope["state"]["outcome"] = refusal.code
        if error_media(accepted) is Media.EVENTS and refusal.status == 401:
            # Nothing to retry: a client that reads events is told so by one, which it can read.
            await send_events(send, [refusal.body], headers=refusal.headers)
        else:
            await reply(send, refusal.body, status=refusal.status, headers=refusal.headers, media=error_media(accepted))
    except Exception as error:  # noqa: BLE001 - the last resort: present() masks and logs it
        scope["state"]["outcome"] = Code.INTERNAL
        shown = present(GraphQLError(str(error), original_error=error), request_id=scope["state"]["request_id"])
        status = 503 if shown["extensions"].get("isTransient") else 500
        await reply(send, {"errors": [shown]}, status=status, media=error_media(accepted))


async def _answer_aside(scope: Scope, send: Send, headers: Headers) -> bool:
    """Answer what is no GraphQL and yet no mistake: which methods there are, and somebody looking with a browser."""
    if scope["method"] == "OPTIONS":
        await send_payload(send, b"", status=204, headers={"allow": METHODS})
        return True
    if scope["method"] == "GET" and not scope["query_string"] and "text/html" in headers.get("accept", ""):
        await send_payload(send, b"", status=303, headers={"location": "/graphiql"})
        return True
    return False


async def _answer(scope: Scope, receive: Receive, send: Send, headers: Headers, accepted: tuple[Media, ...]) -> None:
    edge = edge_of(scope)
    state = scope["state"]
    if not accepted:
        raise malformed(f"Accept must name one of {', '.join(Media)}.", status=406)
    if scope["method"] not in {"GET", "POST"}:
        refusal = malformed(f"GraphQL takes {METHODS}.", status=405)
        refusal.headers["allow"] = METHODS
        raise refusal
    if scope["method"] == "POST":
        _hold_to_json(headers)
    admission = await _admit(edge, scope, headers)
    state["viewer_id"] = str(admission.viewer.user_id) if admission.viewer else None
    params, size = await _params(edge, scope, receive, headers, admission)
    try:
        operation = edge.operations.prepare(params)
        hold_to_size(operation, size, edge.limits)
    except Rejected as rejection:
        state["outcome"] = rejection.errors[0]["extensions"]["code"]
        await _reply_outcome(send, Outcome(rejection.body, executed=False), error_media(accepted), admission)
        return
    state["operation"], state["kind"] = operation.label, operation.kind.value
    state["operation_name"] = operation.name
    media = _media(scope["method"], operation, accepted)
    context = edge.context(
        viewer=admission.viewer, request_id=state["request_id"], last_event_id=cursor_in(headers.get("last-event-id"))
    )
    if operation.kind is OperationType.SUBSCRIPTION:
        await stream(
            scope, receive, send, operation=operation, context=context, admission=admission, framing=framing_of(media)
        )
        return
    async with WhilePresent(receive) as present_client:
        outcome = await edge.operations.run(operation, context)
    if present_client.reason is not None:
        raise ClientGone
    state["outcome"] = outcome.code
    await _reply_outcome(send, outcome, media, admission)


async def _reply_outcome(send: Send, outcome: Outcome, media: Media, admission: Admission) -> None:
    if media is Media.EVENTS:
        await send_events(send, [outcome.body], headers=admission.headers)
    else:
        await reply(send, outcome.body, status=status_of(outcome, media), headers=admission.headers, media=media)


async def _admit(edge: Edge, scope: Scope, headers: Headers) -> Admission:
    try:
        token = bearer_token(headers.get("authorization"))
    except Unauthenticated as error:
        raise unauthenticated(str(error)) from None
    return await admit(edge, token=token, address=address_of(scope))


def _hold_to_json(headers: Headers) -> None:
    """Refuse what a page of another site could send without asking: a form, plain text, a body without a type."""
    name, _, parameters = headers.get("content-type", "").partition(";")
    if name.strip().lower() != "application/json":
        raise malformed("The body must be sent with `Content-Type: application/json`.", status=415)
    named = {each.strip().lower().replace('"', "") for each in parameters.split(";")}
    if any(each.startswith("charset=") for each in named - {"charset=utf-8", "charset=utf8"}):
        raise malformed("The body must be JSON in UTF-8.", status=415)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise malformed("The body must not be compressed.", status=415)


async def _params(
    edge: Edge, scope: Scope, receive: Receive, headers: Headers, admission: Admission
) -> tuple[Params, int]:
    if scope["method"] == "GET":
        query = scope["query_string"]
        return params_from_url(query), len(query)
    allowed = edge.limits.anonymous_body_bytes if admission.viewer is None else edge.limits.body_bytes
    try:
        async with asyncio.timeout(edge.limits.body_seconds):
            body = await read_body(receive, headers, allowed)
    except TimeoutError:
        raise malformed("The body did not come in time.", status=408) from None
    params = params_from_json(load_json(body))
    if params.query is not None and len(params.query) > edge.limits.plain_body_bytes:
        raise too_much(
            "The text of the document is too long. Send values as `variables`.",
            limit="documentBytes",
            allowed=edge.limits.plain_body_bytes,
            asked=len(params.query),
            status=413,
        )
    return params, len(body)


def _media(method: str, operation: Operation, accepted: tuple[Media, ...]) -> Media:
    """The form of the answer. Raises RequestRefused where method, operation and Accept do not go together."""
    media = answer_media(accepted, operation.kind)
    if method == "GET" and operation.kind is OperationType.MUTATION:
        refusal = malformed("GET is for queries and event streams: send a mutation by POST.", status=405)
        refusal.headers["allow"] = "POST"
        raise refusal
    if media is None:
        message = (
            f"A subscription is a stream: ask for it with `Accept: {Media.EVENTS}` or "
            f"`Accept: {Media.MULTIPART};subscriptionSpec=1.0`, or over a WebSocket."
            if operation.kind is OperationType.SUBSCRIPTION
            else f"The answer is JSON: ask for it with `Accept: {Media.RESPONSE}` or `Accept: {Media.JSON}`."
        )
        raise malformed(message, status=406)
    return media
