"""The house's ways to declare fields: each takes its description from the docstring, and asks for sign-in.

- `attr("…")`: a plain attribute of a row. Nothing runs.
- `node_id()`: the opaque id of a row.
- `@listed` and `related(self, info)`: a field with arguments, whose rows the planner has loaded already.
- `@computed`: a field of a type that has something to resolve; `needs` names what it reads of its row.
- `@query`, `@mutation`, `@subscription`: module-level functions that become fields of the roots.
"""

import dataclasses
import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from enum import Enum
from types import NoneType
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints
from uuid import UUID

import strawberry
from strawberry.types.field import StrawberryField

from db import idempotency
from db.accounts.rules import Viewer
from db.errors import MOST_PROBLEMS, Refused
from db.reading import Entity
from db.session import Tx, is_retryable
from resolvers.context import Context, Info
from resolvers.errors import UserError, user_errors
from resolvers.ids import encode_id
from resolvers.inputs import check_arguments, check_input
from resolvers.selection import slot, wanted

ATTEMPTS = 3
P = TypeVar("P")
E = TypeVar("E", bound=Enum)
F = TypeVar("F", bound=Callable[..., Any])


class Row:
    """A type whose objects are rows of the planner: they say themselves which type they are."""

    @classmethod
    def is_type_of(cls, source: Any, _info: Any) -> bool:
        """Whether a row is of this type."""
        return isinstance(source, cls) or getattr(source, "type_name", None) == cls.__name__


class RowInterface:
    """An interface that rows implement."""

    @classmethod
    def resolve_type(cls, source: Any, _info: Any, _type: Any) -> str:
        """The name of a row's type."""
        name: str = source.type_name
        return name


def attr(
    description: str,
    *,
    name: str | None = None,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    deprecated: str | None = None,
) -> Any:
    """A plain attribute, with what a front-end developer needs to know of it."""
    return strawberry.field(
        description=description,
        name=name,
        default=default,
        default_factory=default_factory,
        deprecation_reason=deprecated,
    )


class _NodeId(StrawberryField):
    """An id made from a row's key and type: no resolver, so it costs what an attribute costs."""

    def get_result(self, source: Any, info: Any, args: list[Any], kwargs: Any) -> str:
        return encode_id(source.type_name, source.id)


def node_id(description: str = "Opaque and unique over all types. `node(id:)` finds it again.") -> Any:
    """The `id` of a type whose rows have a key."""
    field = _NodeId(python_name=None, graphql_name=None, description=description)
    field.type_annotation = None
    return field


@strawberry.interface(description="Whatever has an id that `node(id:)` finds again.")
class Node(RowInterface):
    """Relay's interface of things with an id."""

    id: strawberry.ID = node_id()


def related(source: Any, info: Info) -> Any:
    """What the planner loaded for a field with arguments."""
    return getattr(source, slot(info))


def listed(function: Callable[..., Any]) -> Any:
    """A field with arguments, written as `return related(self, info)`; the docstring is its description."""
    return strawberry.field(resolver=function, description=_described(function))


def listed_with(*needs: str) -> Callable[[Callable[..., Any]], Any]:
    """The same, where the function reads other attributes of its row too: `needs` names them."""

    def decorate(function: Callable[..., Any]) -> Any:
        return strawberry.field(resolver=function, description=_described(function), metadata={"needs": needs})

    return decorate


def computed(*, needs: tuple[str, ...] = (), description: str | None = None) -> Callable[[F], Any]:
    """A field that is resolved by a function; the docstring is its description, `needs` the attributes it reads."""

    def decorate(function: F) -> Any:
        return strawberry.field(
            resolver=function,
            description=description or _described(function),
            metadata={"needs": needs, "is_computed": True},
        )

    return decorate


def shown(entity: Entity, key: str, description: str, *, name: str | None = None) -> Any:
    """A field of a payload: the row whose key is the payload's attribute `key`; null where that is None."""

    async def load(self: Any, info: Info) -> Any:
        found = getattr(self, key)
        return None if found is None else await info.context.reading.one(entity, wanted(info), found)

    return strawberry.field(resolver=load, description=description, name=name)


def enum_type(enum: type[E], *, name: str, description: str, values: Mapping[str, str]) -> type[E]:
    """Make an enum of the domains one of the API, with a description for each of its values.

    Raises KeyError where a value has none.
    """
    made = strawberry.enum(enum, name=name, description=description)
    for value in made.__strawberry_definition__.values:  # type: ignore[attr-defined]  # Strawberry adds it
        value.description = values[value.name]
    return made


def query(function: F) -> Any:
    """A root field for whoever is signed in. Raises Unauthenticated for anybody else."""

    @functools.wraps(function)
    async def resolve(*args: Any, info: Info, **kwargs: Any) -> Any:
        assert info.context.signed_in  # noqa: S101 - raises by itself
        check_arguments(kwargs)
        return await function(*args, info=info, **kwargs)

    return strawberry.field(resolver=resolve, description=_described(function))


def subscription(function: Callable[..., AsyncGenerator[Any, None]]) -> Any:
    """A stream for whoever is signed in. Raises Unauthenticated for anybody else, before anything is sent."""

    @functools.wraps(function)
    async def resolve(*args: Any, info: Info, **kwargs: Any) -> AsyncIterator[Any]:
        assert info.context.signed_in  # noqa: S101 - raises by itself
        check_arguments(kwargs)
        # Closed with the stream, not when it is collected: what it holds is let go of at once.
        async with aclosing(function(*args, info=info, **kwargs)) as events:
            async for event in events:
                yield event

    return strawberry.subscription(resolver=resolve, description=_described(function))


@strawberry.interface(description="What every payload has: one fragment reads the errors of all mutations.")
class MutationPayload:
    """The base of payloads: dataclasses of keys and plain values; objects are loaded from the keys when selected.

    Fields named in `TRANSIENT` are never stored for a repeated request.
    """

    TRANSIENT: ClassVar[frozenset[str]] = frozenset()

    user_errors: list[UserError] = attr(
        f"Why nothing was done: all reasons at once; of more than {MOST_PROBLEMS} the first ones, and a last one that "
        "says so. Empty where the mutation took effect.",
        default_factory=list,
    )


def mutation(function: Callable[..., Awaitable[Any]]) -> Any:
    """A mutation, written as `async def publish_plan(tx, viewer, input) -> Payload`.

    One transaction: an idempotency key is looked up, the function runs, the outcome is remembered, all is committed.
    A refusal rolls back and becomes `userErrors`. A deadlock or serialization failure runs it again from the start.
    """
    hints = get_type_hints(function, include_extras=True)
    payload_type: type[MutationPayload] = hints["return"]
    name = function.__name__

    async def resolve(info: Info, input: Any) -> Any:
        context = info.context
        viewer = context.signed_in
        try:
            check_input(input)
            return await _write(context, viewer, function, payload_type, input)
        except Refused as refusal:
            return payload_type(user_errors=user_errors(refusal))

    resolve.__name__ = name
    resolve.__module__ = function.__module__
    given = hints["input"]
    argument = strawberry.argument(description=given.__strawberry_definition__.description)
    resolve.__annotations__ = {"info": Info, "input": Annotated[given, argument], "return": payload_type | None}
    return strawberry.field(resolver=resolve, description=_described(function))


async def _write(
    context: Context,
    viewer: Viewer,
    function: Callable[..., Awaitable[Any]],
    payload_type: type[MutationPayload],
    input: Any,
) -> Any:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with context.database.transaction() as tx:
                return await _once(tx, viewer, function, payload_type, input)
        except Exception as error:
            if attempt == ATTEMPTS or not is_retryable(error):
                raise
    raise AssertionError("unreachable")


async def _once(
    tx: Tx,
    viewer: Viewer,
    function: Callable[..., Awaitable[Any]],
    payload_type: type[MutationPayload],
    input: Any,
) -> Any:
    key = getattr(input, "idempotency_key", None)
    if key is None:
        return await function(tx, viewer, input)
    content = {name: value for name, value in strawberry.asdict(input).items() if name != "idempotency_key"}
    request = idempotency.Request(viewer.user_id, function.__name__, key, content)
    outcome = await idempotency.replay(tx, request=request, now=tx.now)
    if outcome is not None:
        return _restored(payload_type, outcome)
    payload = await function(tx, viewer, input)
    await idempotency.remember(tx, request=request, outcome=_stored(payload))
    return payload


def _stored(payload: MutationPayload) -> dict[str, Any]:
    skipped = {"user_errors", *payload.TRANSIENT}
    return {
        field.name: getattr(payload, field.name)
        for field in dataclasses.fields(payload)
        if field.init and field.name not in skipped
    }


def _restored(payload_type: type[MutationPayload], outcome: Mapping[str, Any]) -> MutationPayload:
    hints = get_type_hints(payload_type)
    return payload_type(**{name: _typed(hints.get(name), value) for name, value in outcome.items()})


def _typed(hint: Any, value: Any) -> Any:
    # Payloads hold keys, numbers, texts and lists of keys; JSON has no keys, so they come back as text.
    if isinstance(value, str) and UUID in _members(hint):
        return UUID(value)
    if isinstance(value, list):
        return [UUID(each) if UUID in _members(hint) else each for each in value]
    return value


def _members(hint: Any) -> set[Any]:
    arguments = getattr(hint, "__args__", ())
    found = {hint, *arguments}
    for argument in arguments:
        found |= _members(argument)
    return found - {NoneType}


def _described(function: Callable[..., Any]) -> str:
    described = inspect.getdoc(function)
    if not described:
        raise TypeError(f"{function.__module__}.{function.__name__} needs a docstring: it is the field's description")
    return described
