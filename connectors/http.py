"""The one place where a request to a vendor leaves, for reading and for signing in: whole, capped and in time.

What cannot be read gets a sentence of fixed words and the path: never a value, a query or a body.
"""

import functools
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from connectors.errors import Misconfigured, Unavailable, Unreadable

DEADLINE = 30.0  # seconds for a whole request, from the first byte sent to the last byte read
MAX_BYTES = 16 * 2**20  # of a reply, unpacked
MOST_VALUES = 2**20  # in a reply, reckoned by its commas; beside its bytes, each costs some 70 more once it is decoded
MAX_ERROR_BYTES = 64 * 2**10  # of a reply that is an error: more than any vendor has to say about it
CHUNK = 256 * 2**10  # bytes of a reply that are handled at once
KEEP_ALIVE = 50.0  # seconds a connection waits for the next poll: less than servers and balancers commonly keep theirs
UNSENDABLE = "a credential holds a character that no header can carry"
KNOWN = "vendorwire.known"
# What the HTTP client refuses, under a ValueError that may quote it.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_OF_THE_WIRE = {"content-encoding", "content-length", "transfer-encoding"}
HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "vendorwire"}


Pieces = Sequence[bytes]
IsKnown = Callable[[Pieces], bool]
"""Whether a body has been read before."""


def nothing_is_known(_: Pieces) -> bool:
    return False


def told(request: httpx.Request) -> str:
    """A request as errors tell it: method and path, without host, query, headers or body."""
    return f"{request.method} {request.url.raw_path.split(b'?', 1)[0].decode('ascii')}"


class Sender:
    """Sends a request and reads its reply whole: `deadline` seconds for all of it, `max_bytes` of it unpacked."""

    def __init__(
        self, http: httpx.AsyncBaseTransport, *, deadline: float = DEADLINE, max_bytes: int = MAX_BYTES
    ) -> None:
        self._http = http
        self._deadline = deadline
        self._max_bytes = max_bytes

    async def send(self, request: httpx.Request, is_known: IsKnown = nothing_is_known) -> httpx.Response:
        """The reply with its body, whatever its status. Raises Unavailable, Unreadable for a body of the wrong kind, and
        Misconfigured for a header that cannot be sent.

        The body of a 200 that is known has been looked at and is left out; the reply's extensions say KNOWN. To put the pieces
        of a large one together costs as much as to fetch them.
        """
        if _CONTROL.search(b" ".join([value for _, value in request.headers.raw])):
            raise Misconfigured(f"{told(request)}: {UNSENDABLE}")
        for name, value in HEADERS.items():
            request.headers.setdefault(name, value)
        failure = f"no answer within {self._deadline:g} s"
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._deadline):
                return await self._exchange(request, is_known)
        except (
            httpx.HTTPError,
            aiohttp.ClientError,
            OSError,
            ValueError,
        ) as error:  # ValueError: a head that is no text
            failure = f"the connection failed ({type(error.__cause__ or error).__name__})"
        # Raised here so that it does not carry the first error along, whose words may be the full address.
        raise Unavailable(f"{told(request)}: {failure}")

    async def _exchange(self, request: httpx.Request, is_known: IsKnown) -> httpx.Response:
        reply = await self._http.handle_async_request(request)
        reply.request = request
        well = reply.status_code < 300
        try:
            pieces = await _read(reply, self._max_bytes if well else MAX_ERROR_BYTES)
        except Unreadable as error:
            if well:
                raise Unreadable(f"{told(request)}: {error}") from None
            pieces = []  # the status tells enough
        finally:
            await reply.aclose()
        for name in _OF_THE_WIRE:
            reply.headers.pop(name, None)
        if reply.status_code == httpx.codes.OK and is_known(pieces):
            reply.extensions[KNOWN], pieces = True, []
        elif well and sum(piece.count(b",") for piece in pieces) >= MOST_VALUES:
            raise Unreadable(
                f"{told(request)}: the reply holds more than {MOST_VALUES:,} values: ask for smaller pages"
            )
        reply._content = b"".join(pieces)  # noqa: SLF001 - no public way to read a reply knows a cap
        return reply


async def _read(reply: httpx.Response, limit: int) -> Pieces:
    body = _Body(reply.headers.get("Content-Encoding", ""), limit)
    # Not aiter_raw(), which refuses the replies of a fake vendor because they come already read.
    async for chunk in cast("httpx.AsyncByteStream", reply.stream):
        body.feed(chunk)
    return body.pieces()


class _Body:
    """A reply's bytes, unpacked as they come. Never makes room for more than `limit` of them. Raises Unreadable."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = encoding.strip().lower() or "identity"
        if self._encoding not in {"identity", "gzip", "x-gzip", "deflate"}:
            raise Unreadable("the reply is packed in a way that was not asked for")
        self._limit = limit
        self._room = limit
        self._pieces: list[bytes] = []
        self._zip: Any = None  # zlib has no public name for this type

    def feed(self, chunk: bytes) -> None:
        piece = chunk if self._encoding == "identity" else self._unpack(chunk)
        self._room -= len(piece)
        if self._room < 0:
            raise Unreadable(f"the reply is longer than {self._limit} bytes")
        self._pieces.append(piece)

    def pieces(self) -> Pieces:
        if self._zip is not None and not self._zip.eof:
            raise Unreadable("the reply was cut short")
        return self._pieces

    def _unpack(self, chunk: bytes) -> bytes:
        if not chunk:
            return b""
        if self._zip is None:
            self._zip = zlib.decompressobj(self._window(chunk[0]))
        try:
            piece: bytes = self._zip.decompress(chunk, self._room + 1)
        except zlib.error:
            raise Unreadable("the reply is packed wrongly") from None
        if self._zip.unused_data:
            raise Unreadable("the reply goes on after its packed end")
        return piece

    def _window(self, first: int) -> int:
        if self._encoding != "deflate":
            return 16 + zlib.MAX_WBITS
        # `deflate` means zlib's format; some servers send the bare stream, whose first byte never looks like that.
        return zlib.MAX_WBITS if first & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS


class _Transport(AiohttpTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reply = await super().handle_async_request(request)
        if isinstance(reply.stream, AiohttpResponseStream):
            reply.stream.CHUNK_SIZE = CHUNK
        return reply


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once: loading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


@asynccontextmanager
async def open_http(
    *, tls: ssl.SSLContext | None = None, connections: int = 8
) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """An HTTP client for one account: no cookies, no redirects, no proxy from the environment, one shared TLS context.

    It has no time-outs of its own, `Sender` sets the deadline from outside.
    """
    context = tls or _tls()

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=connections, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            read_bufsize=CHUNK,
            trust_env=False,
        )

    async with _Transport(verify=context, trust_env=False, client=session) as http:
        yield http
