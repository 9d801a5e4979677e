"""`up`: everything on one machine, with its own PostgreSQL and Valkey where none are given."""

import typer

from server.up import run


def up() -> None:
    """Start everything on this machine, until ^C: PostgreSQL, Valkey, a worker and the server.

    DATABASE_URL and REDIS_URL name other stores to use instead. Migrates, and loads the demo data.
    """
    raise typer.Exit(run())
