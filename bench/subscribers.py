"""A process of WebSocket subscribers that cost next to nothing: frames are counted where they arrive, not parsed.

`python -m bench.subscribers` reads its task from standard input, says when all are subscribed, reads how many frames
are to come, and says what it has counted when they have. The server's frames are small, whole and unmasked: no more of
the protocol is read.
"""

import asyncio
import base64
import json
import os
import sys
import time
from array import array
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvloop

PING, PONG = b'{"type":"ping"}', '{"type":"pong"}'
TOLD_AT = b'"message":"'
# The time at which an event was told is read from one frame of so many that arrive together.
SAMPLED = 4


@dataclass
class Count:
    """What all subscribers of the process have seen."""

    frames: int = 0
    snapshots: int = 0
    closed: int = 0
    # Of the sampled frames: when each was told, and when it came.
    told: "array[float]" = field(default_factory=lambda: array("d"))
    came: "array[float]" = field(default_factory=lambda: array("d"))


class Subscriber(asyncio.Protocol):
    """One socket with one `jobProgress` on it."""

    def __init__(self, count: Count, host: str, token: str, query: str, variables: dict[str, Any]) -> None:
        self._count = count
        self._host = host
        self._hello = (
            json.dumps({"type": "connection_init", "payload": {"token": token}}),
            json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}}),
        )
        self._rest = b""
        self._is_open = False
        self._acknowledged = False
        self._has_snapshot = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /graphql HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def connection_lost(self, _: Exception | None) -> None:
        """Counted: nobody should lose it."""
        self._count.closed += 1

    def data_received(self, data: bytes) -> None:
        """Count the whole frames in it."""
        data = self._rest + data
        if not self._is_open:
            head, separator, rest = data.partition(b"\r\n\r\n")
            self._rest = data if not separator else rest
            if not separator:
                return
            if b" 101 " not in head:
                raise RuntimeError(head.decode())
            self._is_open, data = True, rest
            self._say(self._hello[0])
        self._rest = data[self._read(data) :]

    def _read(self, data: bytes) -> int:
        """Go through the whole frames; up to where."""
        now = time.time()
        frames = at = 0
        end = len(data)
        while end - at >= 4:
            length, begin = data[at + 1], at + 2
            if length == 126:
                length, begin = int.from_bytes(data[at + 2 : at + 4]), at + 4
            if end - begin < length:
                break
            if length == len(PING) and data.startswith(PING, begin):
                self._say(PONG)
            elif not self._has_snapshot:
                self._greet(data[begin : begin + length])
            else:
                if not frames % SAMPLED:
                    self._sample(data, begin, now)
                frames += 1
            at = begin + length
        self._count.frames += frames
        return at

    def _sample(self, data: bytes, begin: int, now: float) -> None:
        found = data.find(TOLD_AT, begin)
        if found >= 0:
            found += len(TOLD_AT)
            self._count.told.append(float(data[found : data.index(b'"', found)]))
            self._count.came.append(now)

    def _greet(self, message: bytes) -> None:
        """What comes before the first event."""
        if not self._acknowledged:
            self._acknowledged = True
            self._say(self._hello[1])
        elif b"SNAPSHOT" in message:
            self._has_snapshot = True
            self._count.snapshots += 1
        else:
            raise RuntimeError(message.decode())

    def _say(self, text: str) -> None:
        payload = text.encode()
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
        # Masked with zeros: the protocol asks for a mask, and any will do.
        self._transport.write(b"\x81" + length + bytes(4) + payload)


def _the(one: Subscriber) -> Subscriber:
    return one


async def main() -> None:
    """Subscribe, count, tell."""
    task = json.loads(sys.stdin.readline())
    count = Count()
    loop = asyncio.get_running_loop()
    host = f"{task['host']}:{task['port']}"
    for number in range(task["subscribers"]):
        variables = {"id": task["jobs"][number % len(task["jobs"])]}
        one = Subscriber(count, host, task["tokens"][number % len(task["tokens"])], task["query"], variables)
        await loop.create_connection(partial(_the, one), task["host"], task["port"])
    while count.snapshots < task["subscribers"]:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    # The number of frames that are to come.
    expected = int(await loop.run_in_executor(None, sys.stdin.readline))
    while count.frames < expected and not count.closed:
        await asyncio.sleep(0.05)
    seen = {"told": list(count.told), "came": list(count.came)}
    print(json.dumps({"frames": count.frames, "closed": count.closed, **seen}), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
