"""Ids as clients see them: opaque, and unique over all types.

The text inside is `Type:uuid`; clients must not rely on it. A malformed id is treated like an unknown one.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BadBase64
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from db.errors import Code, Refused, refuse

# An id that names nothing: what a malformed one becomes in a filter, so that it matches no row.
NOTHING = UUID(int=0)


def encode_id(type_name: str, key: UUID | str) -> str:
    """The opaque id of a thing."""
    return urlsafe_b64encode(f"{type_name}:{key}".encode()).decode().rstrip("=")


def with_ids(details: Any) -> Any:
    """Details of an error as clients see them: what is named in them as `{type, id, …}` has an id that `node` takes.

    Where they are made and stored the id is a key; what has no type, as older jobs name it, stays as it is.
    """
    match details:
        case {"type": str(type_name), "id": str(key)}:
            return {**details, "id": encode_id(type_name, key)}
        case Mapping():
            return {name: with_ids(value) for name, value in details.items()}
        case list() | tuple():
            return [with_ids(value) for value in details]
        case _:
            return details


def decode_any(value: str) -> tuple[str, UUID] | None:
    """The type and key of an id, or None where it is none of ours."""
    try:
        text = urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4)).decode("ascii")
        type_name, _, key = text.partition(":")
        return type_name, UUID(key)
    except (ValueError, BadBase64, UnicodeError):
        return None


def decode_id(value: str, *type_names: str) -> UUID | None:
    """The key of an id of one of these types, or None."""
    decoded = decode_any(value)
    return decoded[1] if decoded is not None and decoded[0] in type_names else None


def not_found(thing: str, *path: str) -> Refused:
    """The refusal for an id that is malformed, unknown, of another type or not visible: they all look alike."""
    return refuse(Code.NOT_FOUND, f"There is no such {thing}.", *path)


def require_id(value: str, *path: str, types: tuple[str, ...], thing: str) -> UUID:
    """The key of an id in a mutation's input. Raises Refused (NOT_FOUND at `path`) where it is none."""
    key = decode_id(value, *types)
    if key is None:
        raise not_found(thing, *path)
    return key


def decode_ids(values: Iterable[str], *type_names: str) -> list[UUID]:
    """The keys of ids in their order, for a command to refuse: NOTHING stands in the place of each that is none."""
    return [decode_id(value, *type_names) or NOTHING for value in values]


def decode_pair(value: str, type_name: str) -> tuple[UUID, UUID] | None:
    """The two keys of something that is known by two: a learner's step by its task and its template. Or None."""
    try:
        text = urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4)).decode("ascii")
        prefix, _, keys = text.partition(":")
        first, second = keys.split(".")
        return (UUID(first), UUID(second)) if prefix == type_name else None
    except (ValueError, BadBase64, UnicodeError):
        return None
