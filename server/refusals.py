"""A request that is answered before, or instead of, an operation: what the client gets, over whatever transport."""

from collections.abc import Mapping
from typing import Any

from db.errors import Code


class RequestRefused(Exception):
    """A request that goes no further. `status` is for HTTP; sockets send `error` alone."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.headers = dict(headers or {})
        self.facts = facts

    @property
    def error(self) -> dict[str, Any]:
        """The one error, in GraphQL's form."""
        facts = {name: value for name, value in self.facts.items() if value is not None}
        return {"message": str(self), "extensions": {"code": self.code, **facts}}

    @property
    def body(self) -> dict[str, Any]:
        """The answer, in GraphQL's form: no `data`, since nothing was run."""
        return {"errors": [self.error]}


class Rejected(Exception):
    """A well-formed request whose operation cannot be run: its document, its variables, its limits."""

    def __init__(self, errors: list[dict[str, Any]], *, extensions: dict[str, Any] | None = None) -> None:
        super().__init__(errors[0]["message"])
        self.errors = errors
        self.extensions = extensions

    @property
    def body(self) -> dict[str, Any]:
        """The answer, in GraphQL's form: no `data`, since nothing was run."""
        body: dict[str, Any] = {"errors": self.errors}
        if self.extensions:
            body["extensions"] = self.extensions
        return body


def malformed(message: str, *, status: int = 400) -> RequestRefused:
    """A request that is not GraphQL at all."""
    return RequestRefused(Code.BAD_USER_INPUT, message, status=status)


def too_much(message: str, *, limit: str, allowed: float, asked: float | None, status: int = 400) -> RequestRefused:
    """More than one request may ask for."""
    return RequestRefused(Code.LIMIT_EXCEEDED, message, status=status, limit=limit, allowed=allowed, asked=asked)


def unauthenticated(message: str) -> RequestRefused:
    """A token that is wrong, expired or revoked."""
    headers = {"www-authenticate": 'Bearer error="invalid_token"'}
    return RequestRefused(Code.UNAUTHENTICATED, message, status=401, headers=headers)
