"""Letting a request in: who asks, and whether they ask too often. The same for every way in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from db.accounts.rules import Viewer
from db.errors import Code, Outage, Unauthenticated
from resolvers.context import Context
from server.edge import Edge
from server.refusals import RequestRefused, unauthenticated


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody who was let in: the viewer, the token that proves it, and the RateLimit headers for the answer."""

    viewer: Viewer | None
    token: str | None
    headers: dict[str, str]


async def admit(edge: Edge, *, token: str | None, address: str) -> Admission:
    """Let a request in. Raises RequestRefused: 401 for a wrong token, 429 for too many requests, 503 in an outage."""
    wrong: Unauthenticated | None = None
    viewer = None
    try:
        viewer = await edge.authenticator.viewer(token)
    except Unauthenticated as error:
        # Guessing counts too, for the address that guesses.
        wrong = error
    except Outage as error:
        raise RequestRefused(Code.INTERNAL, str(error), status=503, isTransient=True) from None
    verdict = await edge.rates.take(viewer=str(viewer.user_id) if viewer else None, address=address)
    if not verdict.allowed:
        raise verdict.refusal()
    if wrong is not None:
        raise unauthenticated(str(wrong))
    return Admission(viewer, token, verdict.headers)


Follow: TypeAlias = Callable[[Context], AbstractContextManager[None]]


@contextmanager
def watched(edge: Edge, admission: Admission, on_end: Callable[[], None]) -> Iterator[Follow]:
    """Have the token of a stream watched while a block runs; `on_end` is called when it is no longer good.

    What is given keeps an operation's context up to date with the viewer's roles, while its own block runs.
    """
    if admission.token is None or admission.viewer is None:
        yield lambda _: nullcontext()
    else:
        with edge.sessions.hold(admission.token, admission.viewer, on_end) as session:
            yield session.follow
