"""A PostgreSQL and a Valkey of one's own, to be killed, frozen and started again."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.embedded.postgres import DATABASE, Postgres
from server.embedded.processes import Child
from server.embedded.valkey import Valkey
from server.migrations import upgrade
from tests.support.servers import roomy_parent


class Stores:
    """Both servers, migrated. Start and end them in the thread that lives as long as they are to live."""

    def __init__(self, directory: Path) -> None:
        self._postgres = Postgres(directory / "postgres", directory / "s", directory / "postgres.log", durable=False)
        self._valkey = Valkey(directory / "valkey", directory / "v", directory / "valkey.log", durable=False)
        self._children: dict[str, Child] = {}

    @property
    def database_url(self) -> str:
        """The migrated database."""
        return self._postgres.url(DATABASE)

    @property
    def redis_url(self) -> str:
        """Where Valkey is."""
        return self._valkey.url()

    def start_postgres(self) -> None:
        """Start it, or start it again."""
        self._children["postgres"] = self._postgres.start()

    def start_valkey(self) -> None:
        """Start it, or start it again: empty."""
        self._children["valkey"] = self._valkey.start()

    def stop_postgres(self, sign: signal.Signals = signal.SIGINT) -> None:
        """End it: in order, its clients disconnected; or with SIGKILL, as where the machine loses its power."""
        self._children["postgres"].stop(patience_seconds=20, sign=sign)

    def kill_valkey(self) -> None:
        """End it without a word."""
        self._children["valkey"].stop(patience_seconds=5, sign=signal.SIGKILL)

    def freeze_valkey(self) -> None:
        """Let it answer nothing, and keep its connections open."""
        os.kill(self._children["valkey"].pid, signal.SIGSTOP)

    def thaw_valkey(self) -> None:
        """Let it go on."""
        os.kill(self._children["valkey"].pid, signal.SIGCONT)

    def stop(self) -> None:
        """End both."""
        for child in self._children.values():
            child.stop(patience_seconds=10)


@contextmanager
def own_stores() -> Iterator[Stores]:
    """Both servers for the block."""
    with tempfile.TemporaryDirectory(prefix="hf-own-", dir=roomy_parent(), ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        stores = Stores(Path(name))
        try:
            stores.start_postgres()
            stores.start_valkey()
            asyncio.run(upgrade(stores.database_url))
            yield stores
        finally:
            stores.stop()
