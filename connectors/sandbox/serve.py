"""A sandbox behind a port on this machine, and the webhooks it calls."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import aiohttp
import anyio
import httpx
from aiohttp import web

from connectors.sandbox.base import Call, Hang, Sandbox

CALL_WITHIN = 5.0  # seconds for a webhook to answer
CALL_AGAIN = (0.2, 0.5, 1, 2, 5, 10)  # seconds until one that did not answer 200 is called again
NO_MORE = 406  # an answer after which it is not


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
    calling = _Calling()
    if isinstance(sandbox, Sandbox):
        sandbox.call = calling.begin
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        with anyio.CancelScope(shield=True):
            await calling.end()
            await runner.cleanup()


class _Calling:
    """Webhooks on their way. They go out beside whatever changes the sandbox, which may be no coroutine."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(_call(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _call(call: Call) -> None:
    patience = aiohttp.ClientTimeout(total=CALL_WITHIN)
    async with aiohttp.ClientSession(timeout=patience, headers={"Content-Type": "application/json"}) as session:
        for pause in (*CALL_AGAIN, None):
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(call.url, data=call.body, allow_redirects=False) as reply:
                    if reply.status in {200, NO_MORE}:
                        return
            if pause is not None:
                await asyncio.sleep(pause)


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
