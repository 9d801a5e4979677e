"""GraphQL over WebSocket: graphql-transport-ws, several operations on one connection.

A connection is one task that reads; one that sends what waits in its outbox; and one for each operation. Whatever ends
the connection (a message against the protocol, a token that is revoked, a reader too slow, a shutdown) names a close
code, and is carried out in one place, `_Connection.serve`.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, aclosing, contextmanager, nullcontext

from graphql import GraphQLError, OperationType
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from db import tracing
from db.cancelling import end_tasks
from db.errors import Unauthenticated
from resolvers.errors import present
from resolvers.watching import FellBehind
from server import metrics
from server.admission import Admission, Follow, admit, watched
from server.auth import AWAY, bearer_token
from server.edge import Edge, address_of, edge_of
from server.graphql.operations import Operation
from server.graphql.params import params_from_json
from server.graphql.size import hold_to_size
from server.refusals import Rejected, RequestRefused, too_much
from server.transports import protocol
from server.transports.interrupt import Interruptible, alongside
from server.transports.outbox import Outbox
from server.transports.protocol import SUBPROTOCOL, CloseCode, Closed, Incoming
from server.transports.streaming import LAST_WORD_SECONDS, SIGNED_OUT

# The length to which the standard wants a `tracestate` to be carried.
LONGEST_STATE = 512
TOO_SLOW = (CloseCode.TRY_AGAIN_LATER, "Too much waits for you: connect again")
# Why a stream ends that is ended with its whole connection; where there is no reason, the client has gone.
ENDINGS = {
    CloseCode.UNAUTHORIZED: "signed out",
    CloseCode.SERVICE_RESTART: "draining",
    CloseCode.TRY_AGAIN_LATER: "slow",
}
# What sending raises where nobody is there any more.
GONE = (RuntimeError, OSError, WebSocketDisconnect)


async def graphql(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint, as an ASGI application."""
    edge = edge_of(scope)
    socket = WebSocket(scope, receive, send)
    with ExitStack() as places:
        try:
            places.enter_context(edge.streams.per_address.hold(address_of(scope)))
        except RequestRefused as refusal:
            scope["state"]["outcome"] = refusal.code
            await socket.send_denial_response(JSONResponse(refusal.body, status_code=refusal.status))
            return
        if SUBPROTOCOL not in scope["subprotocols"]:
            # Accepted first, for only then can the client be told why.
            await socket.accept()
            await socket.close(CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE, f"Speak {SUBPROTOCOL}.")
            return
        with metrics.SOCKETS.track_inprogress():
            await _Connection(edge, socket).serve()


class _Connection:
    """One socket, from its handshake to its end."""

    def __init__(self, edge: Edge, socket: WebSocket) -> None:
        self._edge = edge
        self._socket = socket
        self._address = address_of(socket.scope)
        self._state = socket.scope["state"]
        limits = edge.limits
        self._outbox = Outbox(limits.waiting_events, limits.waiting_bytes, patience_seconds=limits.slow_reader_seconds)
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._admission: Admission | None = None
        self._admitted = asyncio.Event()
        self._follow: Follow = lambda _: nullcontext()
        self._watch = ExitStack()
        self._work = Interruptible()
        self._ending: Closed | None = None
        self._was_heard = True

    async def serve(self) -> None:
        """Read messages until the client leaves or there is a reason to close."""
        await self._socket.accept(SUBPROTOCOL)
        others = alongside(self._send(), self._time_init(), self._beat(), self._close_on_drain())
        with self._watch:
            async with self._work, others:
                try:
                    await self._read()
                except Closed as closed:
                    self._ending = closed
        open_operations = list(self._operations)
        await end_tasks(list(self._operations.values()))
        if self._ending is not None:
            self._state["outcome"] = self._ending.code.name.lower()
            await self._say_last(self._ending, open_operations)

    def _close(self, code: CloseCode, reason: str) -> None:
        """Close the socket, from any task. The first reason counts."""
        if self._ending is None:
            self._ending = Closed(code, reason)
            self._work.interrupt("closing")

    async def _say_last(self, closed: Closed, open_operations: list[str]) -> None:
        """Send what waits, unless it must not be sent, and the reason, to a client that still reads."""
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                if closed.code is CloseCode.UNAUTHORIZED:
                    self._outbox.drop()
                    for id_ in open_operations:
                        self._outbox.put(protocol.error(id_, [SIGNED_OUT]))
                if closed.code is not CloseCode.TRY_AGAIN_LATER:
                    await self._outbox.flush(self._socket.send)
                await self._socket.close(closed.code, closed.reason[:120])
        except (TimeoutError, *GONE):
            # Gone meanwhile, or not reading. The connection is dropped when we return.
            return

    # ------------------------------------------------------------------------------------------- what watches

    async def _time_init(self) -> None:
        try:
            async with asyncio.timeout(self._edge.limits.init_seconds):
                await self._admitted.wait()
        except TimeoutError:
            self._close(CloseCode.INIT_TIMEOUT, "Connection initialisation timeout")

    async def _beat(self) -> None:
        """Ask now and then whether the client still answers, and let go of one that has nothing to do here."""
        limits = self._edge.limits
        idle_seconds = 0.0
        while True:
            await asyncio.sleep(limits.ping_seconds)
            # One that is not listened to, because it does not read what it asked for, has its own time limit.
            if not self._was_heard and not self._outbox.is_full():
                self._close(CloseCode.TERMINATED, "No answer to ping")
            idle_seconds = 0.0 if self._operations else idle_seconds + limits.ping_seconds
            if idle_seconds >= limits.idle_seconds:
                self._close(CloseCode.NORMAL, "Idle")
            self._was_heard = False
            self._outbox.put(protocol.PING)

    async def _send(self) -> None:
        try:
            await self._outbox.send_all(self._socket.send)
        except GONE:
            # Perhaps nobody reads from the socket now, to notice it there.
            self._work.interrupt("gone")

    async def _close_on_drain(self) -> None:
        await self._edge.streams.draining.wait()
        self._close(CloseCode.SERVICE_RESTART, "The server restarts: connect again")

    # ------------------------------------------------------------------------------------------- what is read

    async def _read(self) -> None:
        while True:
            # Nobody can ask for more than they read: until then what they send waits at their end.
            if not await self._outbox.has_room():
                raise Closed(*TOO_SLOW)
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._was_heard = True
            text = message.get("text")
            if text is None:
                raise Closed(CloseCode.BAD_REQUEST, "Messages must be text.")
            limits = self._edge.limits
            signed_in = self._admission is not None and self._admission.viewer is not None
            if len(text) > (limits.body_bytes if signed_in else limits.anonymous_body_bytes):
                raise Closed(CloseCode.TOO_LARGE, "The message is too large.")
            await self._take(protocol.read(text), len(text))

    async def _take(self, message: Incoming, size: int) -> None:
        match message.type:
            case "connection_init":
                await self._init(message)
            case "ping":
                self._outbox.put(protocol.pong(message.payload))
            case "pong":
                pass
            case "subscribe":
                self._subscribe(message, size)
            case "complete":
                if message.id in self._operations:
                    await end_tasks([self._operations[message.id]])
                    # One that had not begun has not gone by itself.
                    self._operations.pop(message.id, None)
            case _:
                raise Closed(CloseCode.BAD_REQUEST, f"There is no message of type {message.type[:40]!r}.")

    async def _init(self, message: Incoming) -> None:
        if self._admission is not None:
            raise Closed(CloseCode.TOO_MANY_INITS, "Too many initialisation requests")
        try:
            token = protocol.token_of(message.payload)
            if token is None:
                token = bearer_token(Headers(scope=self._socket.scope).get("authorization"))
            admission = await admit(self._edge, token=token, address=self._address)
        except Unauthenticated as error:
            raise Closed(CloseCode.UNAUTHORIZED, f"UNAUTHENTICATED: {error}") from None
        except RequestRefused as refusal:
            code = CloseCode.UNAUTHORIZED if refusal.status == 401 else CloseCode.TRY_AGAIN_LATER
            raise Closed(code, f"{refusal.code}: {refusal}") from None
        except AWAY:
            raise Closed(CloseCode.TRY_AGAIN_LATER, "The server cannot check who you are now.") from None
        self._admission = admission
        self._state["viewer_id"] = str(admission.viewer.user_id) if admission.viewer else None
        signed_out = (CloseCode.UNAUTHORIZED, "UNAUTHENTICATED: the token has expired or was revoked")
        self._follow = self._watch.enter_context(watched(self._edge, admission, lambda: self._close(*signed_out)))
        self._admitted.set()
        self._outbox.put(protocol.ACK)

    # ------------------------------------------------------------------------------------------- operations

    def _subscribe(self, message: Incoming, size: int) -> None:
        if self._admission is None:
            raise Closed(CloseCode.UNAUTHORIZED, "Unauthorized: send connection_init first")
        if message.id in self._operations:
            raise Closed(CloseCode.SUBSCRIBER_EXISTS, f"Subscriber for {message.id[:80]} already exists")
        allowed = self._edge.limits.subscriptions_per_connection
        if len(self._operations) >= allowed:
            text = f"Too many operations on one connection: {allowed} may run at once."
            refusal = too_much(
                text, limit="subscriptionsPerConnection", allowed=allowed, asked=len(self._operations) + 1
            )
            self._outbox.put(protocol.error(message.id, [refusal.error]))
            return
        work = self._answer(message, size, self._admission)
        self._operations[message.id] = asyncio.get_running_loop().create_task(work)

    async def _answer(self, message: Incoming, size: int, admission: Admission) -> None:
        """Run one operation to its end, whatever that is."""
        outcome = "ok"
        operation: Operation | None = None
        with tracing.serving(self._callers(message), path=self._socket.scope["path"]) as span:
            try:
                operation = await self._prepare(message, size, admission)
                if operation.kind is OperationType.SUBSCRIPTION:
                    await self._stream(message.id, operation, admission)
                else:
                    outcome = await self._run(message.id, operation, admission)
            except RequestRefused as refusal:
                outcome = refusal.code
                self._outbox.put(protocol.error(message.id, [refusal.error]))
            except FellBehind:
                outcome = "slow"
                self._close(*TOO_SLOW)
            except Rejected as rejection:
                outcome = rejection.errors[0]["extensions"]["code"]
                self._outbox.put(protocol.error(message.id, rejection.errors))
            except Exception as error:  # noqa: BLE001 - the last resort: present() masks and logs it
                outcome = "INTERNAL"
                shown = present(GraphQLError(str(error), original_error=error), request_id=self._state["request_id"])
                self._outbox.put(protocol.error(message.id, [shown]))
            finally:
                self._note(span, operation, outcome)
                if self._operations.get(message.id) is asyncio.current_task():
                    del self._operations[message.id]

    def _note(self, span: tracing.Span, operation: Operation | None, outcome: str) -> None:
        kind = label = name = None
        if operation is not None:
            kind, label, name = operation.kind.value, operation.label, operation.name
        metrics.REQUESTS.labels(kind or "unknown", label or "unknown", outcome).inc()
        request_id = self._state["request_id"]
        tracing.served(span, kind=kind, field=label, operation_name=name, outcome=outcome, request_id=request_id)

    def _callers(self, message: Incoming) -> Mapping[str, str]:
        """Where the caller's trace is named: a browser sets no header of a socket, so the message's extensions may."""
        extensions = (message.payload or {}).get("extensions")
        if not isinstance(extensions, dict) or "traceparent" not in extensions:
            return Headers(scope=self._socket.scope)
        given = {name: extensions.get(name) for name in ("traceparent", "tracestate")}
        return {name: text for name, text in given.items() if isinstance(text, str) and len(text) <= LONGEST_STATE}

    async def _prepare(self, message: Incoming, size: int, admission: Admission) -> Operation:
        viewer = str(admission.viewer.user_id) if admission.viewer else None
        verdict = await self._edge.rates.take(viewer=viewer, address=self._address)
        if not verdict.allowed:
            raise verdict.refusal()
        operation = self._edge.operations.prepare(params_from_json(message.payload))
        hold_to_size(operation, size, self._edge.limits)
        return operation

    async def _run(self, id_: str, operation: Operation, admission: Admission) -> str:
        context = self._edge.context(viewer=admission.viewer, request_id=self._state["request_id"])
        with self._follow(context):
            outcome = await self._edge.operations.run(operation, context)
        if outcome.executed:
            self._outbox.put(protocol.next_(id_, outcome.body))
            self._outbox.put(protocol.complete(id_))
        else:
            self._outbox.put(protocol.error(id_, outcome.body["errors"]))
        return outcome.code

    async def _stream(self, id_: str, operation: Operation, admission: Admission) -> None:
        context = self._edge.context(viewer=admission.viewer, request_id=self._state["request_id"])
        place = str(admission.viewer.user_id) if admission.viewer else f"address:{self._address}"
        with self._edge.streams.per_viewer.hold(place), self._counted(), self._follow(context):
            opening = protocol.opening_of(id_)
            async with aclosing(self._edge.operations.events(operation, context)) as events:
                async for event in events:
                    if not await self._outbox.put_event(id_, opening + event.text + "}"):
                        raise FellBehind
        self._outbox.put(protocol.complete(id_))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a stream, and why it ends."""
        with metrics.open_stream("websocket") as stream:
            try:
                yield
                stream.reason = "ok"
            except FellBehind:
                stream.reason = "slow"
                raise
            except asyncio.CancelledError:
                stream.reason = "gone" if self._ending is None else ENDINGS.get(self._ending.code, "error")
                raise
