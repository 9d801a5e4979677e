"""What a person at the terminal sees while things start and stop."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console


class Forgiving:
    """A text stream whose reader may be gone: a closed terminal or pipe must not stop the supervision."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        """Write as far as anybody still reads."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self._let_go()
            return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._let_go()

    def _let_go(self) -> None:
        """Send the rest nowhere: Python flushes once more at its exit, and its failing would be our exit code."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """The descriptor below."""
        return self._stream.fileno()


class Terminal:
    """Steps with a spinner and their time, single lines, and whole blocks."""

    def __init__(self, stream: TextIO | None = None) -> None:
        # Forgiving is all of a text stream that rich uses.
        self.console = Console(file=Forgiving(stream or sys.stdout), highlight=False, soft_wrap=True)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def step(self, name: str, waiting_for: str) -> Iterator[None]:
        """Show what is waited for; when it is there, say so with the time it took."""
        began = time.monotonic()
        with self.console.status(f"[bold]{name}[/]  {waiting_for} …"):
            yield
        self.console.print(f"[green]✓[/] {name:<11}[dim]{time.monotonic() - began:5.2f} s[/]")

    def say(self, line: str) -> None:
        """One line, with the time of day left to the logs."""
        self.console.print(line, markup=False)

    def refuse(self, reason: str) -> None:
        """Why it does not start."""
        self.console.print(reason, style="red", markup=False)
