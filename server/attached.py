"""Which deployment a command of an operator looks after where its settings name none: the one that `up` runs here."""

import json
import os

import typer

from db.environment import load
from server.embedded.processes import arguments_of
from server.home import Home
from server.settings import HomeSettings

STORES = {"DATABASE_URL": "database_url", "REDIS_URL": "redis_url"}


def attach() -> None:
    """Take DATABASE_URL and REDIS_URL from a running `up` where neither is set, and say so on standard error.

    For commands that look after what runs, and no others: what serves, works or migrates is told its stores. One
    variable alone means another deployment whose setup is not whole, which is for `load` to say.
    """
    if any(os.environ.get(name) for name in STORES):
        return
    home = Home(load(HomeSettings).data.absolute())
    try:
        state = json.loads(home.state.read_text())
        urls = {name: str(state[key]) for name, key in STORES.items()}
        # A killed `up` leaves the file behind, and by now its number may be another program's.
        is_alive = {"server", "up"} <= set(arguments_of(int(state["pids"]["up"])) or [])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if is_alive:
        os.environ.update(urls)
        typer.echo(f"Using the stores of the `up` that runs on {home.path}.", err=True)
