"""A console without an agent: the real page over an API that answers what a test, or a picture, asks for.

For what a real agent cannot show in a second: ten thousand accounts, every kind of trouble at once, a burst of changes. What it
answers are the product's own structs, so it cannot tell the page anything that the real API could not. Held to the door's own
policy of the page. By hand: `python -m tests.console.browser.stand_in [ACCOUNTS]` prints its address.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
from aiohttp import web

from agent.console import pages
from tests.console.browser import invented

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandIn:
    """What it shows can be changed while a page looks at it. `asked`: the bodies of all actions, by their path;
    `followed`: what was asked of the stream."""

    def __init__(self, accounts: int = 8) -> None:
        self.world = invented.World(accounts)
        self.asked: list[tuple[str, Any]] = []
        self.followed: list[dict[str, str]] = []
        self.done: tuple[int, dict[str, str]] = (200, {"done": "It is done."})  # what each action answers
        self.url = ""
        self.session = {"needed": False, "signed_in": True, "may_act": True, "csrf": "c", "actions": True}
        self._token = ""
        self._lines: dict[web.StreamResponse, asyncio.Transport] = {}

    async def tell(self, kind: str, data: object) -> None:
        """An event to every page that listens."""
        for line in list(self._lines):
            await line.write(f"event: {kind}\ndata: {json.dumps(msgspec.to_builtins(data))}\n\n".encode())

    async def hang_up(self) -> None:
        """End every line, as an agent that stops does."""
        for transport in self._lines.values():
            transport.abort()

    def lock(self, token: str) -> None:
        """Nobody reads before he has given this token."""
        self._token = token
        self.session = {"needed": True, "signed_in": False, "may_act": False, "csrf": None, "actions": True}

    async def _sign_in(self, request: web.Request) -> web.Response:
        if (await request.json())["token"] != self._token:
            return web.json_response({"error": "this is not the admin token (http.admin_token)"}, status=401)
        self.session |= {"signed_in": True, "may_act": True, "csrf": "c"}
        return web.Response(status=204)

    async def _sign_out(self, _: web.Request) -> web.Response:
        self.lock(self._token)
        await self.hang_up()
        return web.Response(status=204)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/api/session", self._answer(lambda _: self.session))
        application.router.add_get("/api/overview", self._answer(self._overview))
        application.router.add_get("/api/history", self._answer(lambda r: self.world.history(r.query["of"])))
        application.router.add_get("/api/events", self._answer(lambda _: self.world.events()))
        application.router.add_get("/api/events/{id}", self._answer(lambda _: self.world.story()))
        application.router.add_get("/api/dead", self._answer(lambda _: self.world.letters()))
        application.router.add_get("/api/dead/{id}", self._answer(lambda _: self.world.letter()))
        application.router.add_get("/api/deletes", self._answer(lambda _: self.world.deletes()))
        application.router.add_get("/api/quarantine", self._answer(lambda _: self.world.quarantine()))
        application.router.add_get("/api/audit", self._answer(lambda _: self.world.audit()))
        application.router.add_get("/api/live", self._live)
        application.router.add_post("/api/session", self._sign_in)
        application.router.add_delete("/api/session", self._sign_out)
        application.router.add_post("/api/{act:.*}", self._act)
        return application

    def _overview(self, request: web.Request) -> object:
        offset, limit = (int(part) for part in request.query.get("accounts", "0,100").split(","))
        return self.world.overview(offset, limit, request.query.get("q", ""), request.query.get("state", ""))

    def _answer(self, make: Callable[[web.Request], object]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return web.Response(body=msgspec.json.encode(make(request)), content_type="application/json")

        return handle

    async def _act(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, await request.json()))
        status, answer = self.done
        return web.json_response(answer, status=status)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if not self.session["signed_in"]:
            return web.json_response({"error": "sign in"}, status=401)
        self.followed.append(dict(request.query))
        line = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await line.prepare(request)
        assert request.transport is not None
        self._lines[line] = request.transport
        try:
            first = json.dumps(msgspec.to_builtins(self.world.overview(0, 100)))
            await line.write(f"event: overview\ndata: {first}\n\n".encode())
            while True:
                await anyio.sleep(5)
                await line.write(b": still here\n\n")
        finally:
            del self._lines[line]


@asynccontextmanager
async def standing_in(accounts: int = 8, port: int = 0) -> AsyncIterator[StandIn]:
    """The page over an invented API, on a free port."""
    stand_in = StandIn(accounts)
    application = stand_in.application()
    pages.add_to(application)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield stand_in
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def _by_hand(accounts: int) -> None:
    async with standing_in(accounts, port=8799) as stand_in:
        print(stand_in.url, flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(_by_hand, int(sys.argv[1]) if len(sys.argv) > 1 else 8)
