"""Operations over the Strawberry schema, run by graphql-core itself: once for an answer, or as a stream of events.

Strawberry's own `execute` and its views are bypassed: they cost half the time of a small request. What they add and we
keep: two validation rules (see documents.py), the executor class that hands `operation_extensions` to resolvers, and
the cheaper test for awaitables. Schema extensions are not run: the schema has none.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, cast

import strawberry
from graphql import ExecutionResult, Executor, GraphQLError, GraphQLSchema, OperationType, create_source_event_stream
from strawberry.execution import optimized_is_awaitable

from db.errors import Code, LimitExceeded
from db.telemetry import get_logger
from resolvers.context import Context
from resolvers.errors import present
from resolvers.watching import FellBehind
from server.graphql.documents import MOST_TOLD, Document, Documents, hold
from server.graphql.events import Event, answer_key
from server.graphql.measure import OperationMeasure, longest_list
from server.graphql.params import Params
from server.graphql.trusted import TrustedDocuments
from server.limits import LimitSettings
from server.refusals import Rejected

log = get_logger(__name__)

Running: TypeAlias = Executor[Any]

is_awaitable = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, ready to run: what is to be run, with which variables, and what it costs."""

    document: Document
    measure: OperationMeasure
    params: Params
    cost: int

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.measure.node.operation

    @property
    def name(self) -> str | None:
        """What the client calls it."""
        name = self.measure.node.name
        return None if name is None else name.value

    @property
    def label(self) -> str:
        """A name for logs and metrics that a client cannot choose: the root field, one of few."""
        fields = self.measure.root_fields
        return fields[0] if len(fields) == 1 else "several"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to an operation. `executed`: it began, so that an answer without data is still an answer."""

    body: dict[str, Any]
    executed: bool = True
    timed_out: bool = False

    @property
    def code(self) -> str:
        """What came of it, in a word: "ok", or the code of the first error."""
        errors = self.body.get("errors")
        return str(errors[0]["extensions"]["code"]) if errors else "ok"


class Operations:
    """Everything that runs operations, made once for a process."""

    def __init__(
        self, schema: strawberry.Schema, limits: LimitSettings, *, introspection: bool, trusted: TrustedDocuments
    ) -> None:
        # The one place that reaches for the schema inside Strawberry's: there is no public name for it.
        self.schema: GraphQLSchema = schema._schema  # noqa: SLF001
        self._executor = schema.execution_context_class
        self._limits = limits
        self._hide_suggestions = not introspection
        self._trusted = trusted
        self.documents = Documents(self.schema, limits, introspection=introspection)

    def prepare(self, params: Params) -> Operation:
        """Find, measure and check what a request asks for. Raises Rejected or RequestRefused; runs nothing."""
        document = self.documents.find(self._trusted.text(params))
        measured = document.operation(params.operation_name)
        cost = min(measured.cost.value(params.variables), MOST_TOLD)
        try:
            self._hold_to_limits(document, measured, params, cost)
        except LimitExceeded as error:
            shown = present(GraphQLError(str(error), original_error=error), request_id="")
            raise Rejected([shown], extensions={"cost": cost}) from None
        return Operation(document, measured, params, cost)

    async def run(self, operation: Operation, context: Context) -> Outcome:
        """Run a query or a mutation to its end, within the time limit."""
        executor = self._build(operation, context)
        if isinstance(executor, list):
            errors = self._shown(executor, context)
            return Outcome({"errors": errors, "extensions": {"cost": operation.cost}}, executed=False)
        try:
            async with asyncio.timeout(self._limits.operation_seconds) as timer:
                result: Any = executor.execute_operation()
                if is_awaitable(result):
                    result = await result
        except TimeoutError:
            if not timer.expired():
                raise
            return Outcome(self._timeout_body(operation), timed_out=True)
        return Outcome(self._body(result, operation, context))

    async def events(self, operation: Operation, context: Context) -> AsyncGenerator[Event, None]:
        """The events of a subscription. Raises Rejected where it cannot start, or must end early; FellBehind."""
        executor, source = await self._start(operation, context)
        key = answer_key(operation.document, operation.measure.node, operation.params.variables, operation.cost)
        try:
            while True:
                try:
                    payload = await anext(source)
                    answers = getattr(payload, "answers", None)
                    event = None if answers is None else answers.get(key)
                    if event is None:
                        event = await self._event(executor, payload, operation, context)
                        # Errors carry the id of the request that they happened in.
                        if answers is not None and "errors" not in event.body and not context.extensions:
                            answers[key] = event
                except StopAsyncIteration:
                    return
                except FellBehind:
                    raise
                except Exception as error:  # noqa: BLE001 - present() masks and logs what it does not know
                    # A source that cannot start says so with its first event, not when it is made.
                    raise Rejected(self._shown([self._located(error, operation)], context)) from None
                yield event
        finally:
            if hasattr(source, "aclose"):
                await source.aclose()

    async def _start(self, operation: Operation, context: Context) -> tuple[Running, Any]:
        executor = self._build(operation, context)
        if isinstance(executor, list):
            raise Rejected(self._shown(executor, context))
        stream: Any = create_source_event_stream(executor)
        if is_awaitable(stream):
            stream = await stream
        if isinstance(stream, ExecutionResult):
            raise Rejected(self._shown(stream.errors or [], context))
        return executor, aiter(stream)

    async def _event(self, executor: Running, payload: Any, operation: Operation, context: Context) -> Event:
        try:
            async with asyncio.timeout(self._limits.operation_seconds) as timer:
                result: Any = executor.build_per_event_executor(payload).execute_operation(serially=False)
                if is_awaitable(result):
                    result = await result
        except TimeoutError:
            if not timer.expired():
                raise
            return Event(self._timeout_body(operation))
        seq = getattr(payload, "seq", None) if self._is_resumable(operation) else None
        return Event(self._body(result, operation, context), seq if isinstance(seq, int) else None)

    def _is_resumable(self, operation: Operation) -> bool:
        """Whether the number of an event is a cursor: only where the stream can be asked for what comes after it."""
        root: Any = self.schema.subscription_type
        return root is not None and any("after" in root.fields[name].args for name in operation.measure.root_fields)

    def _build(self, operation: Operation, context: Context) -> list[GraphQLError] | Running:
        params = operation.params
        return self._executor.build(
            self.schema,
            operation.document.node,
            context_value=context,
            raw_variable_values=params.variables,
            operation_name=params.operation_name,
            max_coercion_errors=20,
            is_awaitable=is_awaitable,
            hide_suggestions=self._hide_suggestions,
            operation_extensions=params.extensions,
        )

    def _hold_to_limits(self, document: Document, measured: OperationMeasure, params: Params, cost: int) -> None:
        limits = self._limits
        hold("cost", cost, limits.cost, "The operation costs too much (fields times the `first` above them)")
        for first in document.measure.firsts:
            if first.variable is not None:
                hold("first", first.value(params.variables), limits.rows, "Too many rows on one page")
        allowed = limits.bulk_rows if measured.node.operation is OperationType.MUTATION else limits.rows
        longest = max(document.measure.longest_list, longest_list(params.variables))
        hold("listLength", longest, allowed, "A list in the arguments is too long (items)")

    def _body(self, result: ExecutionResult, operation: Operation, context: Context) -> dict[str, Any]:
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = self._shown(result.errors, context)
        body["extensions"] = {"cost": operation.cost, **context.extensions}
        return body

    def _timeout_body(self, operation: Operation) -> dict[str, Any]:
        allowed = self._limits.operation_seconds
        facts = {"code": Code.TIMEOUT, "limit": "operationSeconds", "allowed": allowed}
        message = f"The operation took longer than {allowed:g} seconds and was stopped. Ask for less at once."
        return {"errors": [{"message": message, "extensions": facts}], "extensions": {"cost": operation.cost}}

    def _located(self, error: Exception, operation: Operation) -> GraphQLError:
        if isinstance(error, GraphQLError):
            return error
        path = list(operation.measure.root_fields[:1])
        return GraphQLError(str(error), operation.measure.node, path=path, original_error=error)

    @staticmethod
    def _shown(errors: list[GraphQLError], context: Context) -> list[dict[str, Any]]:
        return [present(error, request_id=context.request_id) for error in errors]
