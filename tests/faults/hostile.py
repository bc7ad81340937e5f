"""Vendors that turn hostile: fake vendors behind a socket of our own, which may answer as no framework would.

async with hostile(sandbox, "/courses") as vendor:
    vendor.trick = drips_its_body
    ...  # vendor.url
"""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, get_args

import anyio
import httpx
import msgspec

from agent.outcomes import Ended
from connectors.base import Connector
from connectors.every import Every
from connectors.sandbox.base import Sandbox
from connectors.sandbox.carbontrack import CarbontrackSandbox
from connectors.sandbox.ipro import IproSandbox
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.powerpro import PowerProSandbox
from schemas.records import Record
from schemas.settings import Duration
from tests.connectors.subjects import Vendor, vendor_of
from tests.polled import Account, Clock

KINDS: dict[str, type[Connector]] = {kind.__struct_config__.tag: kind for kind in get_args(Every) or (Every,)}
VENDORS = tuple(sorted(KINDS))
MEGABYTE = 2**20
ID = {"octorate": "id", "ipro": "BookingId", "carbontrack": "DeviceID", "powerpro": "id"}  # of an item, its name

Trick = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]
"""Answers in the vendor's place; it is given the body of the honest reply."""


def row(vendor: str) -> Vendor:
    """How a vendor is faked under the conformance suite."""
    return vendor_of(KINDS[vendor])


class Site:
    """A vendor with a few records, the same at every read, and what may happen there. `prepare` for records of one's own."""

    def __init__(self, vendor: str, now: Callable[[], Any], records: int = 3) -> None:
        self.vendor = vendor
        self.of = row(vendor)
        self.sandbox: Any = _make(vendor, now, records)

    @property
    def keys(self) -> list[str]:
        return sorted(self.of.records(self.sandbox))

    def change(self, number: int, key: str | None = None) -> str:
        """Something that is told of one record; another number, another change. The record's key."""
        key = key or self.keys[0]
        match self.sandbox:
            case OctorateSandbox():
                self.sandbox.change(int(key), {"totalGuest": 10 + number})
            case IproSandbox():
                self.sandbox.change(int(key), {"Adults": 10 + number})
            case CarbontrackSandbox():
                self.sandbox.change_device(key, {"DeviceName": f"number {number}"})
            case PowerProSandbox():
                self.sandbox.change_course(int(key), {"capacity": 1000 + number})
        return key


def _make(vendor: str, now: Callable[[], Any], records: int) -> Sandbox:
    match vendor:
        case "octorate":
            return OctorateSandbox(now, seed=records, limit=10**9, noise=False)
        case "ipro":
            return IproSandbox(now, seed=records, noise=False, unasked="refused")
        case "carbontrack":
            return CarbontrackSandbox(now, seed=records, noise=False, reporting=timedelta(hours=1))
        case _:
            return PowerProSandbox(now, seed=records, noise=False)


class Watching(Account):
    """An account of a site in memory, read by the real poller."""

    def __init__(self, vendor: str, records: int = 3) -> None:
        clock = Clock()
        self.site = Site(vendor, clock, records)
        self.resource = self.site.of.resource
        connector = msgspec.structs.replace(self.site.of.connector(), reconcile=Duration(minutes=1))
        super().__init__(connector, self.site.sandbox, clock)

    async def known(self) -> dict[str, Record]:
        return await self.stored(self.resource)

    async def read(self) -> Ended:
        """Poll all there is, a minute after the last time."""
        return await self.poll(self.resource)

    def twist(self, change: Callable[[bytes], bytes]) -> None:
        """From now on the vendor's listing is what this makes of it."""
        plain = self.site.sandbox

        def answer(request: httpx.Request) -> httpx.Response:
            reply: httpx.Response = plain(request)
            if self.site.of.listing not in request.url.path or reply.status_code != httpx.codes.OK:
                return reply
            headers = {"Date": reply.headers["Date"], "Content-Type": "application/json"}
            return httpx.Response(200, headers=headers, content=change(reply.content))

        self.vendor = answer

    def heal(self) -> None:
        self.vendor = self.site.sandbox


# The vendor's socket


class Hostile:
    """A sandbox behind a socket; while there is a trick, it answers whatever asks for a path that holds `match`."""

    def __init__(self, sandbox: Callable[[httpx.Request], httpx.Response], match: str) -> None:
        self.url = ""
        self.trick: Trick | None = None
        self.tricked = 0  # requests that a trick answered, or began to
        self._sandbox = sandbox
        self._match = match

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side has had enough."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await _request(reader)
                reply = self._sandbox(request)
                if self.trick is not None and self._match in request.url.path:
                    self.tricked += 1
                    await self.trick(writer, reply.content)
                    break
                writer.write(_as_it_should_be(reply))
                await writer.drain()
        writer.close()


async def _request(reader: asyncio.StreamReader) -> httpx.Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = int(httpx.Headers(headers).get("content-length", "0"))
    return httpx.Request(method, f"http://127.0.0.1{path}", headers=headers, content=await reader.readexactly(length))


def _as_it_should_be(answer: httpx.Response) -> bytes:
    kept = [(name, value) for name, value in answer.headers.multi_items() if name.lower() != "content-length"]
    lines = [f"{name}: {value}" for name, value in [*kept, ("Content-Length", len(answer.content))]]
    return "\r\n".join([f"HTTP/1.1 {answer.status_code} As it is", *lines, "", ""]).encode() + answer.content


@asynccontextmanager
async def hostile(sandbox: Callable[[httpx.Request], httpx.Response], match: str) -> AsyncIterator[Hostile]:
    """Such a vendor on a free port."""
    vendor, open_ = Hostile(sandbox, match), set[asyncio.Task[None]]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            await vendor.serve(reader, writer)
        finally:
            open_.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    vendor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield vendor
    finally:
        server.close()
        for task in open_:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*open_, return_exceptions=True)


# Tricks


def reply(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A reply of HTTP/1.1, with its length unless it says otherwise."""
    known = len(body) if length is None else length
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {known}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes, size: int = 100) -> bytes:
    """The same in chunks."""
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    packed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + packed + b"0\r\n\r\n"


def without_length(body: bytes) -> bytes:
    """The same as HTTP/1.0 has it: it ends where the connection does."""
    return b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body


def says(make: Callable[[bytes], bytes]) -> Trick:
    """Answers what is made of the honest body."""

    async def trick(writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(make(body))
        await writer.drain()

    return trick


def dripping(begin: bytes, drop: bytes, every: float = 0.05) -> Trick:
    """Never ends, and is never silent."""

    async def trick(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(begin)
        while True:
            writer.write(drop)
            await writer.drain()
            await anyio.sleep(every)

    return trick


async def hangs(_: asyncio.StreamWriter, __: bytes) -> None:
    await anyio.sleep_forever()


SLOW: dict[str, Trick] = {
    "drips its headers": dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "drips its body": dripping(reply(b"[", length=10**6), b" "),
    "says 100 Continue for ever": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "says nothing": hangs,
}


def flooding(begin: bytes, piece: bytes, pieces: int) -> Trick:
    """So many times the same, as fast as it is taken."""

    async def trick(writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(begin)
        for _number in range(pieces):
            writer.write(piece)
            await writer.drain()

    return trick


def bomb() -> Trick:
    """4 GB of blanks, gzipped to 4 MB."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    piece = packer.compress(b" " * MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    begin = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10]
    return flooding(begin, piece, 4096)


def packed(*encodings: str) -> Trick:
    """gzipped as often as it says, by encodings that may be others."""

    def make(body: bytes) -> bytes:
        for _ in encodings:
            body = gzip.compress(body)
        return reply(body, f"Content-Encoding: {', '.join(encodings)}")

    return says(make)


def full(item: bytes, listing: Callable[[bytes], bytes], size: int = 15 * MEGABYTE) -> Trick:
    """A page of nothing but this item, again and again, gzipped: little to send and much to take in."""
    body = gzip.compress(listing(b",".join([item] * (size // (len(item) + 1)))), 1)
    return says(lambda _: reply(body, "Content-Encoding: gzip"))


def listing(vendor: str) -> Callable[[bytes], bytes]:
    """A page of a vendor's listing, of items that are given as they are."""
    begin = {"octorate": b'{"data":[', "ipro": b'{"Items":[', "carbontrack": b'{"Devices":[', "powerpro": b'{"data":['}
    return lambda items: begin[vendor] + items + b"]}"
