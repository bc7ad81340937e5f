"""The browser's way back from a vendor's consent: a page on this machine that catches the code, or an address that was pasted."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import anyio
from aiohttp import web

LONGEST = 4096  # characters of a pasted address


class NotOurs(Exception):
    """What came back does not belong to this attempt, or holds no code. The message is a sentence."""


class Declined(Exception):
    """The person, or the vendor, said no."""


class Redirect:
    """Waits for the browser at `address`, as in http://127.0.0.1:8788/."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._came = anyio.Event()
        self._declined = False
        self._code = ""
        self.address = ""

    async def code(self) -> str:
        """The code, once it comes. Raises Declined."""
        await self._came.wait()
        if self._declined:
            raise Declined
        return self._code

    async def handle(self, request: web.Request) -> web.Response:
        """Whatever does not carry our state is refused, and the wait goes on."""
        try:
            self._code = code_in(request.query_string, self._state)
        except Declined:
            self._declined = True
        except NotOurs as error:
            return web.Response(status=400, text=f"{error}\n")
        self._came.set()
        return web.Response(text="That is all: back to the terminal.\n")


@asynccontextmanager
async def listening(host: str, port: int, state: str) -> AsyncIterator[Redirect]:
    """A page at which the browser ends, for as long as the block lasts. Raises OSError where it cannot listen there."""
    redirect = Redirect(state)
    application = web.Application()
    application.router.add_get("/{path:.*}", redirect.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        redirect.address = f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}/"
        yield redirect
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def pasted(text: str, state: str) -> str:
    """The code in what a person pasted: the whole address the browser ended at, or the code alone. Raises NotOurs, Declined."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        raise NotOurs("that is no code")
    if "://" not in text:
        return text
    try:
        query = urlsplit(text).query
    except ValueError:
        raise NotOurs("that is no address") from None
    return code_in(query, state)


def code_in(query: str, state: str) -> str:
    """The code in the query of an address. Raises NotOurs, Declined."""
    fields = parse_qs(query)
    given = fields.get("state", [""])[0]
    if not hmac.compare_digest(given.encode(errors="replace"), state.encode()):
        raise NotOurs("this address belongs to another attempt: its state is not the one that was given")
    if "error" in fields:
        raise Declined
    code = fields.get("code", [""])[0]
    if not code:
        raise NotOurs("there is no code in this address")
    return code
