"""What statements have to read, in blocks: the same on a busy machine as on an idle one."""

from collections.abc import Sequence
from typing import Any

import orjson

from db.session import Reader


class Recorded:
    """What a reader executes while it is watched."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.executed: list[tuple[str, Sequence[Any]]] = []
        self._fetch = reader.fetch
        reader.fetch = self.fetch  # type: ignore[method-assign]  # watched, not replaced

    async def fetch(self, sql: str, arguments: Sequence[Any] = (), **more: Any) -> Any:
        self.executed.append((sql, arguments))
        return await self._fetch(sql, arguments, **more)

    async def blocks(self) -> int:
        """How many blocks the statements since the last call have to read."""
        executed, self.executed = self.executed, []
        read = 0
        for sql, arguments in executed:
            told = await self._fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", arguments)
            plan = orjson.loads(told[0][0])[0]["Plan"] if isinstance(told[0][0], str) else told[0][0][0]["Plan"]
            read += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return read
