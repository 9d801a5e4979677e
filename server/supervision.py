"""Keeps children running and ends them in order: a store's end ends all, the others are started again.

The supervising process does nothing else. It imports little, so that it stays small and alive, and it runs one
thread, because a child's life is tied to the thread that started it.
"""

import contextlib
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from server.embedded.processes import Child, start, tail

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
# A child that ran this long was well: if it ends now, the wait before its next start begins small again.
WELL_AFTER_SECONDS = 60.0

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAskedError(Exception):
    """Somebody asked us to stop: ^C, a signal, or a closed terminal."""


class StoreEndedError(Exception):
    """A store ended by itself. Nothing can go on without it."""


@dataclass
class Signals:
    """The first signal that asks for a stop raises StopAskedError, and a later one calls `again`.

    Set `stopping` where all is being stopped for another reason: then the first asks for nothing new.
    """

    again: Callable[[], None]
    asked: int = 0
    stopping: bool = False

    @contextlib.contextmanager
    def handled(self) -> Iterator[socket.socket]:
        """Handle them inside the block. The socket becomes readable whenever a child ends."""
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        before = {number: signal.getsignal(number) for number in (*STOPPING_SIGNALS, signal.SIGCHLD)}
        for number in STOPPING_SIGNALS:
            signal.signal(number, self._asked)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        old = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            reading.close()
            writing.close()

    def _asked(self, _number: int, _frame: object) -> None:
        self.asked += 1
        if self.asked > 1:
            self.again()
        elif not self.stopping:
            self.stopping = True
            raise StopAskedError


@dataclass
class Waits:
    """Longer and longer waits between the attempts at what fails."""

    next_seconds: float = FIRST_WAIT_SECONDS

    def take(self) -> float:
        """This wait, in seconds; the next one is twice as long."""
        taken = self.next_seconds
        self.next_seconds = min(LONGEST_WAIT_SECONDS, 2 * taken)
        return taken


@dataclass
class Watched:
    """A child under supervision. `restarts` is False for a store."""

    child: Child
    restarts: bool
    patience_seconds: float
    started_at: float = field(default_factory=time.monotonic)
    waits: Waits = field(default_factory=Waits)
    start_again_at: float | None = None
    is_refused: bool = False  # its new start, by the system


@dataclass
class Supervisor:
    """Children, those that stop last first. `say` tells the person at the terminal what happened."""

    say: Callable[[str], None]
    watched: list[Watched] = field(default_factory=list)
    is_killed: bool = False
    # When `changed` is to be called after a new start, and the waits once that failed.
    tell_at: float | None = None
    tell_waits: Waits | None = None

    def add(
        self, child: Child, *, restarts: bool, patience_seconds: float, stopped_after: Child | None = None
    ) -> Child:
        """Take a started child under supervision. It will stop first of all, or next after the one named."""
        children = [one.child for one in self.watched]
        place = len(children) if stopped_after is None else children.index(stopped_after)
        self.watched.insert(place, Watched(child, restarts, patience_seconds))
        return child

    def remove(self, child: Child) -> None:
        """Forget a child that has done its work."""
        self.watched = [one for one in self.watched if one.child is not child]

    def pids(self) -> dict[str, int]:
        """Who runs now, by the program's name."""
        return {one.child.program.name: one.child.pid for one in self.watched if one.start_again_at is None}

    def watch(self, ended: socket.socket, *, changed: Callable[[], None]) -> None:
        """Until somebody asks to stop, or a store ends (StoreEndedError). `changed` is called after a new start.

        Where that or a new start raises OSError, as on a full disk, it is said once and tried again: what runs goes on.
        """
        while True:
            for one in self.watched:
                self._look_at(one)
            self._tell(changed)
            waits = [at for at in (self.tell_at, *(one.start_again_at for one in self.watched)) if at is not None]
            timeout = max(0.0, min(waits) - time.monotonic()) if waits else None
            select.select([ended], [], [], timeout)
            with contextlib.suppress(BlockingIOError):
                ended.recv(4096)

    def _tell(self, changed: Callable[[], None]) -> None:
        if self.tell_at is None or time.monotonic() < self.tell_at:
            return
        try:
            changed()
        except OSError as error:
            if self.tell_waits is None:
                self.say(f"What runs now cannot be written down ({error}); trying again.")
                self.tell_waits = Waits()
            self.tell_at = time.monotonic() + self.tell_waits.take()
        else:
            self.tell_at = self.tell_waits = None

    def _start_again(self, one: Watched, now: float) -> None:
        name = one.child.program.name
        try:
            one.child = start(one.child.program)
        except OSError as error:
            if not one.is_refused:
                self.say(f"{name} cannot be started ({error}); trying again.")
            one.is_refused = True
            one.start_again_at = now + one.waits.take()
            return
        one.started_at, one.start_again_at, one.is_refused = now, None, False
        self.say(f"{name} was started again (process {one.child.pid}).")
        self.tell_at = now

    def _look_at(self, one: Watched) -> None:
        now = time.monotonic()
        name = one.child.program.name
        if one.start_again_at is not None:
            if now >= one.start_again_at:
                self._start_again(one, now)
            return
        code = one.child.ended()
        if code is None:
            return
        if not one.restarts:
            raise StoreEndedError(f"{name} ended with {code}, so everything stops:\n{tail(one.child.program.log)}")
        one.child.kill()  # what it may have left of its process group
        if now - one.started_at >= WELL_AFTER_SECONDS:
            one.waits = Waits()
        wait = one.waits.take()
        self.say(f"{name} ended with {code}; starting it again in {wait:g} s. Its log: {one.child.program.log}")
        one.start_again_at = now + wait

    def stop(self) -> None:
        """End all, last started first, each with its own patience, unless `kill` comes in between."""
        for one in reversed(self.watched):
            if one.child.ended() is None and not self.is_killed:
                self.say(f"Stopping {one.child.program.name} …")
            one.child.stop(patience_seconds=one.patience_seconds)
        if self.is_killed:
            self.say("Killed what was left.")

    def kill(self) -> None:
        """End all at once.

        For a signal's handler, which may come while we wait or print: it does neither.
        """
        self.is_killed = True
        for one in reversed(self.watched):
            one.child.kill()
