"""The words of graphql-transport-ws: messages read and written, and the codes a socket is closed with.

The legacy `graphql-ws` subprotocol is another language and is not spoken.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

SUBPROTOCOL = "graphql-transport-ws"


class CloseCode(IntEnum):
    """Why a socket is closed. Clients connect again by themselves after those that say so."""

    NORMAL = 1000
    TOO_LARGE = 1009
    SERVICE_RESTART = 1012  # clients connect again
    TRY_AGAIN_LATER = 1013  # clients connect again
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INIT_TIMEOUT = 4408  # clients connect again
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITS = 4429
    TERMINATED = 4499  # clients connect again


class Closed(Exception):
    """The socket is to be closed with this code and reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of a client."""

    type: str
    id: str
    payload: dict[str, Any] | None


def read(text: str) -> Incoming:
    """The message in a frame. Raises Closed (4400) where it is none."""
    try:
        message = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        raise Closed(CloseCode.BAD_REQUEST, "A message must be JSON.") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Closed(CloseCode.BAD_REQUEST, "A message must be an object with a `type`.")
    payload = message.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise Closed(CloseCode.BAD_REQUEST, "A message's `payload` must be an object.")
    id_ = message.get("id", "")
    kind = message["type"]
    if kind in {"subscribe", "complete"} and not (isinstance(id_, str) and 0 < len(id_) <= 256):
        raise Closed(CloseCode.BAD_REQUEST, f"A `{kind}` message needs an `id` of 1 to 256 characters.")
    if kind == "subscribe" and payload is None:
        raise Closed(CloseCode.BAD_REQUEST, "A `subscribe` message needs a `payload`.")
    return Incoming(kind, id_ if isinstance(id_, str) else "", payload)


ACK = '{"type":"connection_ack"}'
PING = '{"type":"ping"}'


def pong(payload: dict[str, Any] | None) -> str:
    """The answer to a client's ping, with what it sent along."""
    return orjson.dumps({"type": "pong", "payload": payload} if payload is not None else {"type": "pong"}).decode()


def next_(id_: str, body: dict[str, Any]) -> str:
    """A result of an operation."""
    return orjson.dumps({"id": id_, "type": "next", "payload": body}).decode()


def opening_of(id_: str) -> str:
    """How every event of an operation begins: an event is encoded once, for whichever operations it goes to."""
    return orjson.dumps({"id": id_, "type": "next", "payload": None}).decode().removesuffix("null}")


def error(id_: str, errors: list[dict[str, Any]]) -> str:
    """An operation that cannot start or go on. It is over."""
    return orjson.dumps({"id": id_, "type": "error", "payload": errors}).decode()


def complete(id_: str) -> str:
    """An operation that is over."""
    return orjson.dumps({"id": id_, "type": "complete"}).decode()


def token_of(payload: dict[str, Any] | None) -> str | None:
    """The bearer token in the payload of `connection_init`: as `token`, or as an Authorization header would be."""
    for name, value in (payload or {}).items():
        if name.lower() in {"token", "authorization"} and isinstance(value, str) and value.strip():
            scheme, _, rest = value.strip().partition(" ")
            return rest.strip() if rest and scheme.lower() == "bearer" else value.strip()
    return None
