"""What workers share among themselves: questions whether rows are due, and a lead that one of them has.

No row has a lease here. Jobs have a fence, which whoever writes for one names; a timer is locked by the transaction
that ends it. `Lead` is for what one process does so that the others need not: no row is due there, and nothing that is
written may depend on it.
"""

from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import Select

from db.connecting import driver_options
from db.settings import DatabaseSettings


@dataclass(frozen=True, slots=True)
class DueSource:
    """Rows that fall due, by name. `question` selects them; it is only asked whether there is one.

    Its time is `sql_now()`. It must be answered from an index, for every worker asks it every second.
    """

    name: str
    question: Select[Any]


class Lead:
    """A lock that one process has at a time, held by a connection of its own for as long as that lives.

    A process that dies loses it at once. One that is frozen or cut off loses it when it has not used the connection for
    `lease_seconds`: Postgres ends the session.
    """

    def __init__(self, connection: "asyncpg.Connection[Any]", number: int) -> None:
        self.connection = connection
        self._number = number

    @classmethod
    async def open(cls, settings: DatabaseSettings, *, number: int, lease_seconds: float) -> "Lead":
        """Connect; the lock is not held yet. `number` says which lock, among all of the database."""
        lease_ms = int(lease_seconds * 1000)
        settings = settings.model_copy(
            update={
                "application_name": f"{settings.application_name} lead",
                "silence_timeout_ms": min(settings.silence_timeout_ms, lease_ms // 2),
            }
        )
        options = driver_options(settings)
        options["server_settings"]["idle_session_timeout"] = str(lease_ms)
        connection = await asyncpg.connect(
            settings.driver_dsn, **{**options, "timeout": lease_seconds, "command_timeout": lease_seconds}
        )
        return cls(connection, number)

    async def take(self) -> bool:
        """Take the lock if nobody has it. Whether it is ours; to be asked while it is not."""
        return bool(await self.connection.fetchval("SELECT pg_try_advisory_lock($1)", self._number))

    async def close(self) -> None:
        """Let the lock go and the connection too."""
        try:
            await self.connection.close(timeout=1)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.connection.terminate()
