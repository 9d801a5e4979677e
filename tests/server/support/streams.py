"""Reading streamed HTTP answers as they come."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.server.support.serving import Running


@dataclass
class Stream:
    """An open answer."""

    response: httpx.Response
    chunks: AsyncIterator[bytes]
    buffer: bytes = b""

    async def until(self, mark: bytes) -> bytes:
        """What comes up to a mark, without it."""
        while mark not in self.buffer:
            self.buffer += await anext(self.chunks)
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    async def event(self) -> dict[str, Any]:
        """The next server-sent event, comments passed over: its fields, `data` parsed."""
        while True:
            lines = (await self.until(b"\n\n")).decode().split("\n")
            fields = dict(line.split(":", 1) for line in lines if not line.startswith(":"))
            if fields:
                stripped = {name: value.strip() for name, value in fields.items()}
                return stripped | {"data": json.loads(stripped["data"]) if stripped["data"] else None}

    async def part(self) -> dict[str, Any]:
        """The next part of a multipart body, heartbeats passed over."""
        while True:
            head, _, body = (await self.until(b"\r\n--graphql")).partition(b"\r\n\r\n")
            if body and (parsed := json.loads(body)) != {}:
                assert b"content-type: application/json" in head
                return dict(parsed)

    async def rest(self) -> bytes:
        """Everything to the end."""
        return self.buffer + b"".join([chunk async for chunk in self.chunks])


@asynccontextmanager
async def streamed(
    server: Running,
    query: str,
    *,
    accept: str,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    **variables: Any,
) -> AsyncIterator[Stream]:
    """Ask for a stream."""
    sent = {"accept": accept, **(headers or {})}
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    body = {"query": query, "variables": variables}
    async with server.client.stream("POST", "/graphql", json=body, headers=sent) as response:
        yield Stream(response, response.aiter_raw())
