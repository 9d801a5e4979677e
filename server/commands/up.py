"""`up`: everything on one machine, with its own PostgreSQL and Valkey where none are given."""

import typer

from server.up import run


def up() -> None:
    """Start everything on this machine, until ^C: PostgreSQL, Valkey, a worker and the server.

    DATABASE_URL and REDIS_URL name other stores to use instead. Migrates, and loads the demo data. Data and logs are in
    the directory HOLDFAST_DATA (unset: .holdfast in this checkout), the address is SERVER_HOST:SERVER_PORT (unset:
    127.0.0.1:8000; port 0: any free one). All settings: docs/settings.md.
    """
    raise typer.Exit(run())
