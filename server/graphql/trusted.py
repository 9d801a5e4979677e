"""Trusted documents: operations that were registered when a client was built, asked for by their hash.

`off`: only texts are taken. `log`: an id is taken too, and a text that is not registered is logged. `enforce`: nothing
else than registered documents is run.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import orjson

from db.environment import WrongSettingError
from db.errors import Code
from db.telemetry import get_logger
from server.graphql.params import Params
from server.refusals import RequestRefused, malformed

log = get_logger(__name__)

Mode = Literal["off", "log", "enforce"]


def document_id(text: str) -> str:
    """The id of a document: the hash of its text, with the name of the hash."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class TrustedDocuments:
    """The registered documents of one server, by id."""

    def __init__(self, mode: Mode, documents: Mapping[str, str]) -> None:
        self.mode = mode
        self._documents = documents

    @classmethod
    def load(cls, mode: Mode, path: Path | None) -> "TrustedDocuments":
        """Read the register: a JSON object from id (or bare hash) to text. Raises WrongSettingError if it is none."""
        if mode == "off" or path is None:
            return cls(mode, {})
        try:
            register = orjson.loads(path.read_bytes())
        except OSError as error:
            raise WrongSettingError(f"EDGE_TRUSTED_DOCUMENTS_FILE={path}: {error.strerror}.") from None
        except orjson.JSONDecodeError as error:
            raise WrongSettingError(f"EDGE_TRUSTED_DOCUMENTS_FILE={path}: it is no JSON: {error}.") from None
        if not isinstance(register, dict) or not all(isinstance(text, str) for text in register.values()):
            raise WrongSettingError(
                f"EDGE_TRUSTED_DOCUMENTS_FILE={path}: must be a JSON object from document id to text."
            )
        # Clients hash what they send, so the text decides, not what the register calls it.
        return cls(mode, {document_id(text): text for text in register.values()})

    def text(self, params: Params) -> str:
        """The text to run. Raises RequestRefused where it is not registered and must be."""
        if params.query is None:
            return self._registered(params.document_id or "")
        if self.mode != "off" and (known := document_id(params.query)) not in self._documents:
            if self.mode == "enforce":
                raise RequestRefused(Code.FORBIDDEN, "This server runs registered documents only.", status=403)
            log.warning("document.not_registered", document_id=known, operation_name=params.operation_name)
        return params.query

    def _registered(self, asked: str) -> str:
        if self.mode == "off":
            raise malformed("This server knows no registered documents: send the text as `query`.")
        text = self._documents.get(asked)
        if text is None:
            raise RequestRefused(Code.NOT_FOUND, "No document is registered under this `documentId`.", status=404)
        return text
