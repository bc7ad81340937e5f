"""A slow line to a server: a TCP proxy that keeps each chunk of bytes for a while before it passes it on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
from anyio.abc import SocketStream

GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class SlowLine:
    """`delay` in seconds holds for each chunk, both ways, from the next one on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.delay = 0.0
        self.connections = 0
        self.url = ""

    async def serve(self, near: SocketStream) -> None:
        self.connections += 1
        with suppress(*GONE):
            async with (
                near,
                await anyio.connect_tcp("127.0.0.1", self._port) as far,
                anyio.create_task_group() as group,
            ):
                group.start_soon(self._pass_on, near, far, group.cancel_scope)
                group.start_soon(self._pass_on, far, near, group.cancel_scope)

    async def _pass_on(self, one: SocketStream, other: SocketStream, scope: anyio.CancelScope) -> None:
        with suppress(*GONE):
            while True:
                chunk = await one.receive()
                await anyio.sleep(self.delay)
                await other.send(chunk)
        scope.cancel()


@asynccontextmanager
async def slow_line(port: int) -> AsyncIterator[SlowLine]:
    """A line to a port of this machine, not slow yet."""
    line = SlowLine(port)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        line.url = f"nats://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        group.start_soon(listener.serve, line.serve)
        yield line
        group.cancel_scope.cancel()
