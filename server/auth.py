"""Who asks: a bearer token becomes a viewer, and a stream ends soon after its token stops being good.

Tokens come in the Authorization header, or in a socket's `connection_init`; never in a cookie or a URL. Ours are random
and stored as hashes; all others are of an identity provider, where one is set (see jwt.py).
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from db.accounts.commands import link_identity, note_tokens_used
from db.accounts.queries import authenticate, still_good, viewer_for_identity
from db.accounts.rules import Viewer, hash_token, is_api_token
from db.errors import Outage, TimedOut, Unauthenticated
from db.session import Database
from db.telemetry import get_logger
from resolvers.context import Context
from server.jwt import JwtVerifier

log = get_logger(__name__)

# Longer ones are neither ours nor any provider's.
LONGEST_TOKEN = 8192
# What a database that is away, or too slow, raises.
AWAY = (Outage, TimedOut, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, SQLAlchemyError)


def bearer_token(authorization: str | None) -> str | None:
    """The token in an Authorization header; None where there is no header. Raises Unauthenticated."""
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("The Authorization header must be `Bearer <token>`.")
    return token.strip()


class Authenticator:
    """Turns tokens into viewers."""

    def __init__(self, database: Database, jwt: JwtVerifier) -> None:
        self._database = database
        self._jwt = jwt
        self._linked: set[str] = set()
        self._used: set[UUID] = set()

    async def viewer(self, token: str | None) -> Viewer | None:
        """Who a token belongs to; None without one. Raises Unauthenticated where it is wrong, expired or revoked."""
        if token is None:
            return None
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise Unauthenticated("The token is not valid here.")
        if self._jwt.is_on and not is_api_token(token):
            viewer = await self._identified(token)
        else:
            viewer = await authenticate(self._database.reader, token_hash=hash_token(token))
        if viewer is None:
            raise Unauthenticated("The token is wrong, expired or revoked, or its owner is no longer active.")
        if viewer.token_id is not None:
            self._used.add(viewer.token_id)
        return viewer

    async def _identified(self, token: str) -> Viewer | None:
        claims = await self._jwt.verify(token)
        viewer = await viewer_for_identity(
            self._database.reader,
            subject=claims.subject,
            email=claims.email,
            roles=claims.roles,
            expires_at=claims.expires_at,
        )
        if viewer is not None and claims.subject not in self._linked:
            async with self._database.transaction() as tx:
                await link_identity(tx, user_id=viewer.user_id, subject=claims.subject)
            self._linked.add(claims.subject)
        return viewer

    async def note_use(self) -> None:
        """Write down which tokens were used since the last call: in the background, and not for each request."""
        used, self._used = self._used, set()
        if used:
            async with self._database.transaction() as tx:
                await note_tokens_used(tx, token_ids=used, now=tx.now)


@dataclass(eq=False)
class Session:
    """A token in use by streams: the viewer as they were last seen, and whom to tell when it ends."""

    token: str
    viewer: Viewer
    is_over: bool = False
    holders: dict[int, Callable[[], None]] = field(default_factory=dict)
    _contexts: dict[int, Context] = field(default_factory=dict)

    @contextlib.contextmanager
    def follow(self, context: Context) -> Iterator[None]:
        """Keep the viewer of a stream's context as they are now, new roles included, while the block runs."""
        _see(context, self.viewer)
        self._contexts[id(context)] = context
        try:
            yield
        finally:
            del self._contexts[id(context)]

    def found(self, viewer: Viewer) -> None:
        """The viewer as they are now."""
        self.viewer = viewer
        for context in self._contexts.values():
            _see(context, viewer)

    def end(self) -> None:
        """The token is no longer good: say so to everybody who uses it, once."""
        if not self.is_over:
            self.is_over = True
            for tell in tuple(self.holders.values()):
                tell()


class Sessions:
    """All tokens that streams of this process use, looked at again every two seconds in one statement.

    A token counts once however many streams use it. What is found, new roles included, holds for the events from then
    on; where a token is revoked or expired by now, or its owner inactive, its streams are told to end.
    """

    def __init__(self, database: Database, *, check_seconds: float) -> None:
        self._database = database
        self._check_seconds = check_seconds
        # Seconds since 1970, by the clock that a provider's tokens are checked with.
        self.clock: Callable[[], float] = time.time
        self._open: dict[str, Session] = {}
        self._numbers = itertools.count()

    @property
    def open(self) -> tuple[Session, ...]:
        """The sessions in use."""
        return tuple(self._open.values())

    @contextlib.contextmanager
    def hold(self, token: str, viewer: Viewer, on_end: Callable[[], None]) -> Iterator[Session]:
        """Have a token watched for as long as the block runs. `on_end` is called at most once, and must not block."""
        session = self._open.setdefault(token, Session(token, viewer))
        session.found(viewer)
        number = next(self._numbers)
        session.holders[number] = on_end
        try:
            yield session
        finally:
            del session.holders[number]
            if not session.holders and self._open.get(token) is session:
                del self._open[token]

    async def watch(self) -> None:
        """Look at all tokens again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._check_seconds)
            await self.check()

    async def check(self) -> None:
        """Look at all tokens now."""
        sessions = list(self.open)
        self._end_expired(sessions)
        sessions = [session for session in sessions if not session.is_over]
        if not sessions:
            return
        try:
            async with asyncio.timeout(self._check_seconds):
                found = await still_good(self._database.reader, viewers=[session.viewer for session in sessions])
        except AWAY as error:
            # Nobody can say which are still good. Without the database nothing can be read with them either.
            log.warning("sessions.not_checked", error=type(error).__name__)
            return
        for session, viewer in zip(sessions, found, strict=True):
            if viewer is None:
                self._end(session)
            else:
                session.found(viewer)

    def _end_expired(self, sessions: list[Session]) -> None:
        # Of our own tokens the database says so; a provider's says it itself, by the clock it was checked with.
        now = datetime.fromtimestamp(self.clock(), UTC)
        for session in sessions:
            expires_at = session.viewer.expires_at
            if session.viewer.token_id is None and expires_at is not None and expires_at <= now:
                self._end(session)

    def _end(self, session: Session) -> None:
        if self._open.get(session.token) is session:
            del self._open[session.token]
        session.end()


def _see(context: Context, viewer: Viewer) -> None:
    if context.viewer != viewer:
        context.viewer = viewer
        # Reads are bound to the viewer they were made for.
        context.__dict__.pop("reading", None)
