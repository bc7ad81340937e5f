"""A connection that died a moment ago, which nats-py has not noticed yet: whoever writes to it hears that the bus is away."""

import asyncio
from collections.abc import Callable

import pytest
from nats.aio.transport import TcpTransport

from events.jetstream.errors import BusUnavailable
from tests.agent.harness import reading
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


async def test_a_write_to_a_connection_that_has_just_died_finds_the_bus_away(
    nats: NatsServer, measured: Callable[[str, str, str], None]
) -> None:
    async with reading(nats.url) as bus:
        asking = bus._ask()
        client = asking._client
        assert client._flusher_task is not None
        assert isinstance(client._transport, TcpTransport)
        assert client._transport._io_writer is not None
        client._flusher_task.cancel()  # as it ends where it was the first to write
        await asyncio.sleep(0)
        client._transport._io_writer.transport.abort()
        for write in (asking.send("a.subject", b"", None, ""), asking.written(), asking.write(b"PING\r\n")):
            with pytest.raises(BusUnavailable):
                await write
    measured("it resumes by itself", "a write to a connection that has just died", "heard as: the bus is away")
