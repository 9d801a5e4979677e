"""The one mapping of errors to GraphQL: refusals become `userErrors`, everything else a coded top-level error."""

import re
import traceback
from typing import Any

import asyncpg
import strawberry
from graphql import GraphQLError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.errors import Code, HoldfastError, LimitExceeded, Outage, Problem, Refused
from db.session import sqlstate
from db.telemetry import get_logger
from resolvers.codes import CODES
from resolvers.ids import with_ids
from resolvers.scalars import JSON

log = get_logger(__name__)

_ERROR_CODE: Any = strawberry.enum(
    Code,
    name="ErrorCode",
    description="Stable codes of refusals and errors. Treat one that you do not know as BAD_USER_INPUT.",
)
for _value in _ERROR_CODE.__strawberry_definition__.values:
    _value.description = CODES[_value.name]

INTERNAL_MESSAGE = "Something went wrong on the server. Quote the request id when you report it."
OUTAGES = (
    Outage,
    OperationalError,
    InterfaceError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    PoolTimeoutError,
    OSError,
)
# query_canceled (the statement's time is over) and lock_not_available.
GAVE_UP = frozenset({"57014", "55P03"})
# Connections that broke, a server that stops or starts, and one that has no connection left.
LOST = frozenset({"08", "57", "53"})
# What graphql-core says of variables.
_OF_VARIABLE = re.compile(r"Variable '\$(\w+)' has invalid value(?: at (\S+))?: (.*)", re.DOTALL)
_FOUND = re.compile(r",? [fF]ound: .*", re.DOTALL)
_NAMED = re.compile(r"to include (?:required|unknown) field '(\w+)'")


@strawberry.type(description="One reason why a mutation was refused. Nothing was written.")
class UserError:
    """A problem, as a client sees it."""

    code: Code = strawberry.field(description="What kind of problem it is: stable, for programs.")
    field: list[str] = strawberry.field(
        description="The path from the mutation's arguments, list positions as text: "
        '["input", "taskingPlans", "0", "dueAt"]. Empty where it is about the whole request.'
    )
    message: str = strawberry.field(
        description="What is wrong and what would be right, for people. Wording may change."
    )
    details: JSON | None = strawberry.field(
        description="The values of the message (min, max, locked fields …), for a text of the client's own.",
        default=None,
    )


def user_errors(refusal: Refused) -> list[UserError]:
    """A refusal as data."""
    return [_user_error(problem) for problem in refusal.problems]


def _user_error(problem: Problem) -> UserError:
    path = ["input", *problem.path] if problem.path else []
    details = JSON(with_ids(problem.details)) if problem.details else None
    return UserError(code=problem.code, field=path, message=problem.message, details=details)


def present(error: GraphQLError, *, request_id: str) -> dict[str, Any]:
    """A top-level error as a client gets it: always with `extensions.code`; faults masked, with the request id."""
    shown: dict[str, Any] = {"message": error.message}
    if error.locations:
        shown["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path:
        shown["path"] = error.path
    cause = _cause(error)
    match cause:
        case None:
            # GraphQL's own: syntax, validation, variables. A resolver never raises a bare GraphQLError.
            shown["extensions"] = {"code": Code.BAD_USER_INPUT, **(error.extensions or {})}
            _name_variable(shown)
        case LimitExceeded():
            facts = {"limit": cause.limit, "allowed": cause.allowed, "asked": cause.asked}
            shown["message"] = str(cause)
            shown["extensions"] = {
                "code": cause.code,
                **{name: value for name, value in facts.items() if value is not None},
            }
        case Refused():
            first = cause.problems[0]
            shown["message"] = str(cause)
            shown["extensions"] = {"code": first.code, "argument": list(first.path), "details": with_ids(first.details)}
        case HoldfastError() if cause.code is not Code.INTERNAL:
            shown["message"] = str(cause)
            shown["extensions"] = {"code": cause.code}
        case Exception() if sqlstate(cause) in GAVE_UP:
            shown["message"] = "The server gave up waiting for others who write the same. Try again."
            shown["extensions"] = {"code": Code.TIMEOUT}
        case _:
            _log_fault(cause, error, request_id)
            shown["message"] = INTERNAL_MESSAGE
            shown["extensions"] = {"code": Code.INTERNAL, "requestId": request_id}
            if _is_outage(cause):
                shown["extensions"]["isTransient"] = True
    return shown


def _is_outage(cause: BaseException) -> bool:
    if isinstance(cause, DBAPIError) and cause.connection_invalidated:
        return True
    return isinstance(cause, OUTAGES) or (sqlstate(cause) or "")[:2] in LOST


def _cause(error: GraphQLError) -> BaseException | None:
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _name_variable(shown: dict[str, Any]) -> None:
    """Where a variable has a wrong value, say where in it, as `field` of a UserError does: GraphQL has it in words."""
    found = _OF_VARIABLE.match(shown["message"])
    if found is None:
        return
    name, below, rest = found.groups()
    named = _NAMED.search(rest)
    argument = [name, *re.findall(r"\w+", below or ""), *(named.groups() if named else ())]
    why = rest.replace(" not to be None.", ", which must not be null.")
    if named:
        # What was sent is known to who has sent it, and is shown as Python writes it.
        why = _FOUND.sub("", rest)
        why += "" if why.endswith("?") else "."
    shown["message"] = f"Variable '${name}' has invalid value{f' at {below}' if below else ''}: {why}"
    shown["extensions"]["argument"] = argument


def _log_fault(cause: BaseException, error: GraphQLError, request_id: str) -> None:
    log.error(
        "request.fault",
        request_id=request_id,
        path=".".join(map(str, error.path or ())),
        error=type(cause).__name__,
        trace="".join(traceback.format_exception(cause)),
    )
