"""How many streams and sockets are open here: for each connection, viewer and address, counted in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from server.refusals import too_much


class Slots:
    """Counted places of one sort. A key holds at most `allowed` of them."""

    def __init__(self, limit: str, allowed: int, what: str) -> None:
        self._limit = limit
        self._allowed = allowed
        self._what = what
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken in all."""
        return self._taken.total()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Take a place for as long as the block runs. Raises RequestRefused where there is none."""
        asked = self._taken[key] + 1
        if asked > self._allowed:
            message = f"Too many {self._what}: {self._allowed} may be open at once. Close some first."
            raise too_much(message, limit=self._limit, allowed=self._allowed, asked=asked, status=429)
        self._taken[key] = asked
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
