"""Servers of a measurement's own, with data that is written as durably as in production."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from server.embedded.postgres import Postgres
from server.embedded.valkey import Valkey


@contextlib.contextmanager
def stores() -> Iterator[tuple[Postgres, Valkey]]:
    """A PostgreSQL and a Valkey in a directory of their own, ended and removed with the block."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        postgres = Postgres(root / "postgres", root / "p", root / "postgres.log")
        valkey = Valkey(root / "valkey", root / "v", root / "valkey.log")
        with contextlib.ExitStack() as stack:
            for server in (postgres, valkey):
                stack.callback(server.start().stop, patience_seconds=30)
            yield postgres, valkey
