"""Which form an answer takes: the first type in Accept that fits the operation decides."""

from collections.abc import Iterator
from enum import StrEnum

from graphql import OperationType


class Media(StrEnum):
    """The forms of an answer."""

    RESPONSE = "application/graphql-response+json"
    JSON = "application/json"
    EVENTS = "text/event-stream"
    MULTIPART = "multipart/mixed"


ANSWERS = {Media.RESPONSE, Media.JSON, Media.EVENTS}
STREAMS = {Media.EVENTS, Media.MULTIPART}


def acceptable(accept: str | None) -> tuple[Media, ...]:
    """The forms that an Accept header names, best first: by weight, then in the order written.

    No header, and a wildcard, mean plain JSON, which every client understands.
    """
    if accept is None or not accept.strip():
        return (Media.JSON,)
    weighted = sorted(_named(accept), key=lambda each: -each[0])
    return tuple(dict.fromkeys(media for weight, media in weighted if weight > 0))


def answer_media(accepted: tuple[Media, ...], kind: OperationType) -> Media | None:
    """The form for an operation of this kind; None where the client takes none that fits."""
    fitting = STREAMS if kind is OperationType.SUBSCRIPTION else ANSWERS
    return next((media for media in accepted if media in fitting), None)


def error_media(accepted: tuple[Media, ...]) -> Media:
    """The form of an answer about a request whose operation is not known."""
    return accepted[0] if accepted else Media.JSON


def _named(accept: str) -> Iterator[tuple[float, Media]]:
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        known = _known(name, parameters)
        if known is not None:
            yield _weight(parameters), known


def _known(name: str, parameters: list[str]) -> Media | None:
    match name:
        case "*/*" | "application/*":
            return Media.JSON
        case "text/*":
            return Media.EVENTS
        case Media.MULTIPART:
            # Apollo Client names the same type for @defer, which is something else.
            return Media.MULTIPART if any(each.startswith("subscriptionspec=") for each in parameters) else None
        case Media.RESPONSE | Media.JSON | Media.EVENTS:
            return Media(name)
        case _:
            return None


def _weight(parameters: list[str]) -> float:
    for each in parameters:
        if each.startswith("q="):
            try:
                return float(each[2:])
            except ValueError:
                return 0.0
    return 1.0
