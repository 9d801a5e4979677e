"""Documents: parsed, measured, held to the limits and validated once, then remembered by their text."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationType,
    parse,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from db.errors import Code, LimitExceeded
from resolvers.errors import present
from server.graphql.measure import DocumentMeasure, OperationMeasure, measure
from server.limits import LimitSettings
from server.refusals import Rejected

# What Strawberry itself adds to the specification's rules, in its order. One tuple for the life of the process.
RULES: tuple[type[ASTValidationRule], ...] = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
# Numbers in an answer stay below what every client can read.
MOST_TOLD = 2**53 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A document that may be run. Two of them are equal where they are the same object."""

    node: DocumentNode
    measure: DocumentMeasure

    def operation(self, name: str | None) -> OperationMeasure:
        """The operation that a request means. Raises Rejected where that is none of them or not clear."""
        operations = self.measure.operations
        if name is None:
            if len(operations) == 1:
                return operations[0]
            message = "Must provide operation name if query contains multiple operations."
        else:
            for operation in operations:
                if operation.node.name is not None and operation.node.name.value == name:
                    return operation
            message = f"Unknown operation named '{name}'."
        raise Rejected([{"message": message, "extensions": {"code": Code.BAD_USER_INPUT}}])


class Documents:
    """The documents that clients send, least recently used forgotten first.

    What is remembered is bounded by the number of documents and by the length of their texts, since the tree of a
    document takes some hundred times its text. Rejections are remembered as the plain errors that they are.
    """

    def __init__(self, schema: GraphQLSchema, limits: LimitSettings, *, introspection: bool) -> None:
        self._schema = schema
        self._limits = limits
        self._introspection = introspection
        self._rules = RULES if introspection else (*RULES, NoSchemaIntrospectionCustomRule)
        self._known: OrderedDict[bytes, tuple[int, Document | list[dict[str, Any]]]] = OrderedDict()
        self._bytes = 0

    def find(self, text: str) -> Document:
        """The document of a text. Raises Rejected with all that is wrong with it."""
        key = sha256(text.encode("utf-8", "surrogatepass")).digest()
        entry = self._known.get(key)
        if entry is None:
            found = self._examine(text)
            self._remember(key, len(text), found)
        else:
            self._known.move_to_end(key)
            found = entry[1]
        if isinstance(found, Document):
            return found
        raise Rejected(found)

    def _remember(self, key: bytes, size: int, found: Document | list[dict[str, Any]]) -> None:
        self._known[key] = size, found
        self._bytes += size
        while self._known and (
            len(self._known) > self._limits.cached_documents or self._bytes > self._limits.cached_document_bytes
        ):
            _, (forgotten, _) = self._known.popitem(last=False)
            self._bytes -= forgotten

    def _examine(self, text: str) -> Document | list[dict[str, Any]]:
        limits = self._limits
        try:
            node = parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.comments)
            measured = measure(self._schema, node, default_first=limits.default_first)
            _hold_to_limits(measured, limits)
        except GraphQLError as error:
            return [_shown(_too_many_tokens(error, limits))]
        except LimitExceeded as error:
            return [_shown(GraphQLError(str(error), original_error=error))]
        errors = validate(self._schema, node, self._rules, max_errors=20, hide_suggestions=not self._introspection)
        return [_shown(error) for error in errors] if errors else Document(node, measured)


def hold(limit: str, asked: int, allowed: int, message: str) -> None:
    """Raises LimitExceeded where more is asked for than is allowed."""
    if asked > allowed:
        asked = min(asked, MOST_TOLD)
        message = f"{message}: {asked} are asked for, {allowed} allowed."
        raise LimitExceeded(message, limit=limit, allowed=allowed, asked=asked)


def _hold_to_limits(measured: DocumentMeasure, limits: LimitSettings) -> None:
    hold("aliases", measured.aliases, limits.aliases, "Too many aliases in one document")
    hold("directives", measured.directives, limits.directives, "Too many directives in one document")
    for operation in measured.operations:
        hold("depth", operation.depth, limits.depth, "The operation is nested too deeply (levels)")
        hold("rootFields", operation.root_keys, limits.root_fields, "Too many root fields in one operation")
        if operation.node.operation is OperationType.MUTATION:
            hold("mutations", operation.root_keys, limits.mutations, "Too many mutations in one operation")
    # Validation compares fields of one name pairwise, so what it may compare is bounded before it starts.
    hold("overlaps", measured.overlaps, limits.overlaps, "Too many fields of the same name on one type (pairs)")
    for first in measured.firsts:
        if first.variable is None:
            hold("first", first.rows, limits.rows, "Too many rows on one page")


def _too_many_tokens(error: GraphQLError, limits: LimitSettings) -> GraphQLError:
    """Tell a text that is too long for us from one that is wrong."""
    for limit, allowed in (("tokens", limits.tokens), ("comments", limits.comments)):
        if f"contains more than {allowed} {limit}" in error.message:
            # Counting stops at the first one too many, so no more is known of how many there are.
            message = f"The document is too long: more than {allowed} {limit}."
            refusal = LimitExceeded(message, limit=limit, allowed=allowed, asked=allowed + 1)
            return GraphQLError(message, original_error=refusal)
    return error


def _shown(error: GraphQLError) -> dict[str, Any]:
    return present(error, request_id="")
