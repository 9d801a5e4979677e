"""The schema asked directly, without HTTP: for tests of what the API shows, not of how it is carried."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db.accounts.rules import Viewer
from db.session import Database, count_statements
from resolvers.context import Context
from resolvers.errors import present
from resolvers.ids import encode_id
from resolvers.schema import schema


@dataclass(frozen=True)
class Api:
    """The API in somebody's hands; nobody's where `viewer` is None."""

    database: Database
    viewer: Viewer | None

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer as a client gets it: data and errors."""
        context = Context(database=self.database, feed=None, request_id="test", viewer=self.viewer)  # type: ignore[arg-type]  # nothing here listens
        answer = await schema.execute(query, variable_values=variables, context_value=context)
        errors = [present(error, request_id="test") for error in getattr(answer, "errors", None) or []]
        body = {"data": getattr(answer, "data", None)}
        return {**body, "errors": errors} if errors else body

    async def data(self, query: str, **variables: Any) -> Any:
        """The data of an answer that has no errors."""
        body = await self.ask(query, **variables)
        assert "errors" not in body, body["errors"]
        return body["data"]

    async def does(self, mutation: str, input: dict[str, Any], selection: str) -> Any:
        """The payload of a mutation that took effect."""
        payload = await self._payload(mutation, input, selection)
        assert payload["userErrors"] == []
        return payload

    async def refused(self, mutation: str, input: dict[str, Any]) -> list[tuple[str, str]]:
        """Why a mutation was refused: code and dotted path of each reason."""
        payload = await self._payload(mutation, input, "__typename")
        assert payload["userErrors"] != []
        return [(error["code"], ".".join(error["field"])) for error in payload["userErrors"]]

    async def statements(self, query: str, **variables: Any) -> int:
        """How many statements a query costs."""
        written = count_statements(self.database)
        before = self.database.reader.statements
        await self.data(query, **variables)
        return self.database.reader.statements - before + written["statements"]

    async def _payload(self, mutation: str, input: dict[str, Any], selection: str) -> Any:
        input_type = mutation[0].upper() + mutation[1:] + "Input!"
        query = (
            f"mutation ($input: {input_type}) {{ {mutation}(input: $input)"
            f" {{ {selection} userErrors {{ code field message }} }} }}"
        )
        return (await self.data(query, input=input))[mutation]


def id_of(type_name: str, key: UUID) -> str:
    """The id that clients see."""
    return encode_id(type_name, key)
