"""What a GraphQL request says, whichever way it came: read from JSON or from a URL, and checked for its form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

from server.refusals import malformed


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one GraphQL request."""

    query: str | None
    document_id: str | None = None
    operation_name: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    extensions: dict[str, Any] = field(default_factory=dict)


def load_json(raw: bytes | str) -> Any:
    """The JSON value of a text. Raises RequestRefused where it is none, or nests too deeply to be one of ours."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise malformed(f"The body is not JSON in UTF-8: {error}.") from None
    except RecursionError:
        raise malformed("The body is JSON that nests too deeply.") from None


def params_from_json(value: Any) -> Params:
    """The parameters in a parsed body, or in the payload of a socket's message. Raises RequestRefused."""
    if isinstance(value, list):
        raise malformed("One request holds one operation: batches are not taken. Send them one by one.")
    if not isinstance(value, dict):
        raise malformed('The body must be a JSON object such as {"query": "{ __typename }"}.')
    query = _text(value, "query")
    document_id = _text(value, "documentId")
    if query is None and document_id is None:
        raise malformed("`query` is missing: it holds the text of the operation.")
    return Params(
        query=query,
        document_id=document_id,
        operation_name=_text(value, "operationName") or None,
        variables=_object(value, "variables"),
        extensions=_object(value, "extensions"),
    )


def params_from_url(query_string: bytes) -> Params:
    """The parameters of a GET. Objects are JSON texts. Raises RequestRefused."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise malformed("The URL's parameters cannot be read: percent-encode them as UTF-8.") from None
    given: dict[str, Any] = dict(pairs)
    for name in ("variables", "extensions"):
        if given.get(name):
            given[name] = load_json(given[name])
        else:
            given.pop(name, None)
    return params_from_json(given)


def _text(value: Mapping[str, Any], name: str) -> str | None:
    text = value.get(name)
    if text is not None and not isinstance(text, str):
        raise malformed(f"`{name}` must be a string.")
    return text


def _object(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise malformed(f"`{name}` must be an object.")
    return found
