"""A webhook receiver as cheap as can be: `python -m benchmarks.receiver` prints its URL, answers 204 and keeps connections.

It reads no more of a request than where its body ends, and checks no signature: its work is nobody's figure.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio

from benchmarks.support import run

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class _Connection(asyncio.Protocol):
    """Answers each request once its body is there, then calls `got`."""

    def __init__(self, got: Callable[[], None]) -> None:
        self._got = got
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := _request_ends(self._buffer)) is not None and len(self._buffer) >= end:
            self._buffer = self._buffer[end:]
            self._transport.write(_ANSWER)
            self._got()


def _request_ends(buffer: bytes) -> int | None:
    """Where the first request ends; None while its head is incomplete. What has no length has no body."""
    head = buffer.find(_END)
    if head < 0:
        return None
    length = 0
    for line in buffer[:head].lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            length = int(line[len(_LENGTH) :])
    return head + len(_END) + length


@asynccontextmanager
async def receiving(got: Callable[[], None] = lambda: None) -> AsyncIterator[str]:
    """The URL of a receiver in this process; `got` is called after each answer."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(got), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"


async def main(_smoke: bool) -> None:
    """Receive until killed."""
    async with receiving() as url:
        print(url, flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    run(main)
