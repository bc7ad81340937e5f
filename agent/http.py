"""What the agent serves by itself: /livez, /readyz and /metrics. Others add their pages: the console, and what vendors call.

Liveness asks only whether the process makes progress: a vendor or a bus that is down never restarts it. Readiness asks for
the bus, and answers in time whatever the bus does.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import msgspec
from aiohttp import web

from agent.metrics import Metrics

READY_WITHIN = 3.0  # seconds; below the usual time-out of a probe plus its period
CLOSE_WITHIN = 0.5  # seconds for answers under way when the agent stops; aiohttp waits this long twice
LARGEST_BODY = 64 * 1024  # bytes
IDLE = 75.0  # seconds a connection is kept without a request

HEADERS = {
    "Server": "vendorwire",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
UNLESS_SAID = {"Content-Security-Policy": "default-src 'none'", "Cache-Control": "no-store"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Live = Callable[[], list[str]]
Ready = Callable[[], Awaitable[list[str]]]
Pages = Callable[[web.Application], None]
"""Adds routes of its own to what is served."""


class ListenError(OSError):
    """The address of `http.listen` cannot be served on. The message says why."""

    def __init__(self, listen: str, reason: str) -> None:
        super().__init__(f"cannot listen on {listen}: {reason}; set http.listen")


@asynccontextmanager
async def serve(
    listen: str, *, metrics: Metrics, live: Live, ready: Ready, pages: Sequence[Pages] = ()
) -> AsyncIterator[str]:
    """Serve on `host:port` (`[host]:port` for IPv6, port 0 for any free one) and give the address bound.

    `live` and `ready` give the reasons against, none when all is well; `pages` are served beside. Raises ListenError.
    """
    host, port = _address(listen)
    runner = web.AppRunner(
        _application(metrics, live, ready, pages),
        access_log=None,
        handler_cancellation=True,  # a prober that hung up leaves no bus round trip behind
        keepalive_timeout=IDLE,
        shutdown_timeout=CLOSE_WITHIN,
    )
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenError(listen, _reason(error)) from None
        bound = runner.addresses[0]
        yield f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    finally:
        with anyio.move_on_after(4 * CLOSE_WITHIN, shield=True):
            await runner.cleanup()


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ListenError(listen, "write host:port")
    return host, int(port)


def _reason(error: OSError) -> str:
    # asyncio's own text repeats the address; a name that does not resolve has a negative number and a text of its own
    number = error.errno or 0
    return os.strerror(number).lower() if number > 0 else str(error.strerror or error).lower()


def _application(metrics: Metrics, live: Live, ready: Ready, pages: Sequence[Pages]) -> web.Application:
    async def livez(_: web.Request) -> web.Response:
        return _probe("live", live())

    async def readyz(_: web.Request) -> web.Response:
        reasons = ["bus round trip timed out"]
        with anyio.move_on_after(READY_WITHIN):
            reasons = await ready()
        return _probe("ready", reasons)

    async def scrape(request: web.Request) -> web.Response:
        # in a thread: ten thousand series take longer than the loops should wait
        body, kind = await anyio.to_thread.run_sync(metrics.render, ", ".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"Content-Type": kind})

    application = web.Application(middlewares=[_refuse_in_json], client_max_size=LARGEST_BODY)
    application.on_response_prepare.append(_add_headers)
    application.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    for add_to in pages:
        add_to(application)
    return application


def _probe(name: str, reasons: list[str]) -> web.Response:
    answer: dict[str, object] = {name: not reasons}
    if reasons:
        answer["reasons"] = reasons
    return _json(answer, 503 if reasons else 200)


def _json(answer: dict[str, object], status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), status=status, content_type="application/json")


@web.middleware
async def _refuse_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refused:
        answer = _json({"error": refused.reason.lower()}, refused.status)
        if "Allow" in refused.headers:
            answer.headers["Allow"] = refused.headers["Allow"]
        return answer


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    for name, value in UNLESS_SAID.items():
        response.headers.setdefault(name, value)
