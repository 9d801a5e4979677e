"""`python -m server …`: every command of the project.

Each command is a module of its own in server/commands and is loaded only when it is asked for: `up` supervises for
days and should not carry the whole application with it, and a command starts twice as fast.
"""

import sys
from importlib import import_module
from typing import Any

try:
    import typer
    from typer.core import TyperGroup
    from typer.main import get_command

    from db.environment import WRONG_SETUP, SetupError
    from db.errors import HoldfastError, Refused
except ModuleNotFoundError as missing:
    sys.stderr.write(
        f"{sys.executable} has no module {missing.name!r}. Use the checkout's own Python, which `make up` installs: "
        ".venv/bin/python -m server …\n"
    )
    sys.exit(2)  # WRONG_SETUP, which may be what is missing

COMMANDS = ("up", "serve", "worker", "migrate", "demo", "token", "queue", "schema", "settings", "doctor")
HIDDEN = ("prepare",)


class LoadedOnDemand(TyperGroup):
    """A group whose commands are the functions (or groups of their own) of the same name in server/commands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is typer's
        """In the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is typer's
        """Load one command; None where there is no such command."""
        if cmd_name not in (*COMMANDS, *HIDDEN):
            return None
        found = getattr(import_module(f"server.commands.{cmd_name}"), cmd_name)
        if isinstance(found, typer.Typer):
            return get_command(found)
        one = typer.Typer(add_completion=False)
        one.command(cmd_name)(found)
        return get_command(one)


app = typer.Typer(cls=LoadedOnDemand, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Holdfast: one GraphQL server for work that takes time."""


if __name__ == "__main__":
    try:
        app(prog_name="python -m server")
    except (SetupError, HoldfastError) as error:
        typer.echo(str(error), err=True)
        # Where a store is away or too slow, the same command may do a moment later.
        sys.exit(WRONG_SETUP if isinstance(error, SetupError | Refused) else 1)
