"""A sandbox behind a port on this machine."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
import httpx
from aiohttp import web

from connectors.sandbox.base import Hang


@asynccontextmanager
async def serve(
    sandbox: Callable[[httpx.Request], httpx.Response], host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve a sandbox over HTTP; gives its base URL. Port 0 takes a free one. OSError where the port is taken."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        url = f"http://{request.host}{request.raw_path}"
        asked = httpx.Request(request.method, url, headers=list(request.headers.items()), content=await request.read())
        try:
            response = sandbox(asked)
        except Hang:
            await anyio.sleep_forever()
        return await _send(request, response)

    # Without handler_cancellation a client that gave up would leave its hanging request here for good.
    runner = web.ServerRunner(
        web.Server(handle, access_log=None, handler_cancellation=True),
        shutdown_timeout=0.1,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def _send(request: web.BaseRequest, response: httpx.Response) -> web.StreamResponse:
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("a sandbox answers with a body that can be read asynchronously")
    reply = web.StreamResponse(status=response.status_code)
    reply.headers.extend(response.headers.multi_items())
    with suppress(ConnectionResetError):  # the client has left
        async with aclosing(stream):
            await reply.prepare(request)
            async for chunk in stream:
                await reply.write(chunk)
            await reply.write_eof()
    return reply
