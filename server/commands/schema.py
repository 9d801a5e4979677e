"""`schema`: the GraphQL schema as text, for clients and for reviews."""

from typing import Annotated

import typer

from db.environment import SetupError
from resolvers.schema import schema_text
from server.settings import CHECKOUT

FILE = CHECKOUT / "schema.graphql"


def schema(
    check: Annotated[bool, typer.Option("--check", help="Only say whether the file is up to date.")] = False,
) -> None:
    """Write schema.graphql anew."""
    text = schema_text()
    if not check:
        FILE.write_text(text)
        typer.echo(f"Wrote {FILE}.")
        return
    if not FILE.exists() or FILE.read_text() != text:
        raise SetupError(
            "schema.graphql is not what the code says. Run `make schema`, look at the difference, commit it."
        )
    typer.echo("schema.graphql is up to date.")
