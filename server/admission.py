"""Letting a request in: who asks, and whether they ask too often. The same for every way in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from db.accounts.rules import Viewer
from db.errors import Code, Outage, Unauthenticated
from resolvers.context import Context
from server.auth import Session
from server.edge import Edge
from server.graphql.operations import Refresh
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


@contextmanager
def watched(edge: Edge, admission: Admission, on_end: Callable[[], None]) -> Iterator[Refresh]:
    """Have the token of a stream watched while a block runs.

    `on_end` is called when it is no longer good. What is given brings an operation's context up to date with the
    viewer's roles of now; each event calls it.
    """
    if admission.token is None or admission.viewer is None:
        yield lambda _: None
        return
    with edge.sessions.hold(admission.token, admission.viewer, on_end) as session:
        yield lambda context: _bring_up_to_date(context, session)


def _bring_up_to_date(context: Context, session: Session) -> None:
    if context.viewer != session.viewer:
        context.viewer = session.viewer
        # Reads are bound to the viewer they were made for.
        context.__dict__.pop("reading", None)
