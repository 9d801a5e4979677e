"""Servers of a measurement's own, with data that is written as durably as in production."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from server.embedded.postgres import Postgres
from server.embedded.processes import Program, RunAs
from server.embedded.valkey import Valkey


class CountingPostgres(Postgres):
    """Also counts each statement by its text, and keeps the time of each commit."""

    SETTINGS = (
        "shared_preload_libraries=pg_stat_statements",
        "pg_stat_statements.track=all",
        "track_commit_timestamp=on",
    )

    def _program(self, run_as: RunAs | None) -> Program:
        program = super()._program(run_as)
        options = [part for setting in self.SETTINGS for part in ("-c", setting)]
        return replace(program, command=[*program.command, *options])


@contextlib.contextmanager
def stores(*, is_counting: bool = False) -> Iterator[tuple[Postgres, Valkey]]:
    """A PostgreSQL and a Valkey in a directory of their own, ended and removed with the block."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        make = CountingPostgres if is_counting else Postgres
        postgres = make(root / "postgres", root / "p", root / "postgres.log")
        valkey = Valkey(root / "valkey", root / "v", root / "valkey.log")
        with contextlib.ExitStack() as stack:
            for server in (postgres, valkey):
                stack.callback(server.start().stop, patience_seconds=30)
            yield postgres, valkey
