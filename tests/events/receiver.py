"""A receiver on loopback that writes its answers by hand, and the parts of a sender that can be exchanged."""

import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import anyio
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from events.routes import Webhook, decode_hook
from events.signing import Signer, generate
from events.webhook import Answer, WebhookSender
from schemas.settings import Secret

SECRET = generate()
Respond = Callable[[ByteStream], Awaitable[None]]


class Receiver:
    """A server on loopback that reads whole requests and lets `respond` write what it likes."""

    def __init__(self, respond: Respond, tls: ssl.SSLContext | None) -> None:
        self.respond = respond
        self.tls = tls
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, raw: ByteStream) -> None:
        self.connections += 1
        try:
            stream = await TLSStream.wrap(raw, server_side=True, ssl_context=self.tls) if self.tls else raw
            while True:
                self.requests.append(await read_request(stream))
                await self.respond(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError):
            pass  # the sender has had enough
        finally:
            with anyio.CancelScope(shield=True):
                await raw.aclose()

    def headers(self, place: int = -1) -> dict[str, str]:
        lines = self.requests[place].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def body(self, place: int = -1) -> bytes:
        return self.requests[place].partition(b"\r\n\r\n")[2]


async def read_request(stream: ByteStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < size:
        body += await stream.receive()
    return head + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def receiver(respond: Respond, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    here = Receiver(respond, tls)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        here.port = int(listener.extra(anyio.abc.SocketAttribute.local_port))
        group.start_soon(listener.serve, here.serve)
        yield here
        group.cancel_scope.cancel()


def answering(*parts: bytes, close: bool = False) -> Respond:
    async def respond(stream: ByteStream) -> None:
        for part in parts:
            await stream.send(part)
        if close:
            await stream.aclose()

    return respond


def dripping(first: bytes, again: bytes, every: float) -> Respond:
    """Sends `again` for ever: a reply that goes on without ever ending."""

    async def respond(stream: ByteStream) -> None:
        await stream.send(first)
        while True:
            await stream.send(again)
            await anyio.sleep(every)

    return respond


def webhook(port: int, **fields: Any) -> Webhook:
    url = f"http://127.0.0.1:{port}/hooks?a=%2B"
    plain = {"url": url, "secret": SECRET, "timeout": "5s", "allow_private": True}
    return msgspec.convert({**plain, **fields}, Webhook, dec_hook=decode_hook)


async def send(target: Webhook, body: bytes = b"{}", attempt: int = 1, **parts: Any) -> Answer:
    async with WebhookSender(version="1.2.3", **parts) as sender:
        return await post(sender, target, body, attempt)


async def post(sender: WebhookSender, target: Webhook, body: bytes = b"{}", attempt: int = 1) -> Answer:
    now = int(datetime.now(UTC).timestamp())
    signer = Signer([Secret(SECRET)])
    return await sender.send(target, signer, body, event_id="e-1", attempt=attempt, timestamp=now)


class Dialler:
    """Opens sockets to loopback only, and notes what else it was asked for."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    def __call__(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = address
        self.dialled.append(str(where[0]))
        if where[0] not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"not dialled: {where[0]}")
        return socket.socket(family, kind, protocol)


class Names(AbstractResolver):
    """Answers each question with the next list of addresses, and from then on with the last."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ResolveResult(hostname=host, host=each, port=port, family=0, proto=0, flags=0) for each in answer]

    async def close(self) -> None:
        self.closed = True


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
