"""One attempt to hand an event to a webhook: a signed POST whose every ending is an answer.

It goes over aiohttp's connections, TLS and parser, without aiohttp's session: no redirect is followed, no cookie kept, no
proxy asked and nothing unpacked, and what a session does for each request costs as much as the rest of a delivery.

What `events.addresses` refuses is never dialled: the very address that a socket is opened for is checked, each time.
"""

import asyncio
import errno
import socket
import ssl
import time
from functools import lru_cache
from types import TracebackType
from typing import Self

import aiodns.error
import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from yarl import URL

from events.addresses import REFUSED, REFUSED_PRIVATE, refusal
from events.routes import Format, Webhook
from events.signing import Signer
from schemas.envelope import CONTENT_TYPE

READ_AT_MOST = 64 * 1024  # bytes of a reply's body; they are only read so that its connection can serve again

# Most specific first. Fixed words: a receiver's owner reads them, and our network is none of their business.
_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "TLS certificate refused"),
    (aiohttp.ClientConnectorSSLError, "TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, "host name not found"),
    (aiohttp.ServerDisconnectedError, "connection closed without an answer"),
    (aiohttp.ClientConnectorError, "connection failed"),
    (aiohttp.InvalidURL, REFUSED),  # an address in an odd spelling
    (HttpProcessingError, "answer is not HTTP"),
    (aiohttp.ClientOSError, "connection lost"),
    (aiohttp.ClientConnectionResetError, "connection lost"),
    (aiohttp.ClientError, "request failed"),
    (ssl.SSLError, "TLS handshake failed"),
    (OSError, "connection failed"),
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended after `seconds`: with an HTTP `status`, or with none and an `error` saying what went wrong."""

    status: int | None
    error: str = ""
    retry_after: str | None = None  # the header as sent
    seconds: float


class _Event(msgspec.Struct):
    type: str
    time: str
    data: msgspec.Raw


class _Standard(msgspec.Struct):
    """The body that Standard Webhooks proposes."""

    type: str
    timestamp: str
    data: msgspec.Raw


_decoder = msgspec.json.Decoder(_Event)


class _Place:
    """What all requests to one URL have in common. `request` is never sent: it tells the connector where to."""

    def __init__(self, address: str) -> None:
        url = URL(address, encoded=True)
        loop = asyncio.get_running_loop()
        self.request = aiohttp.ClientRequest("POST", url, skip_auto_headers=["accept-encoding"], loop=loop)
        self.line = f"POST {url.raw_path_qs} HTTP/1.1"
        self.headers = self.request.headers


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


class WebhookSender:
    """Sends webhooks over connections it keeps. Open it with `async with`. `version` goes into the user agent.

    It opens as many at once as it is asked for: with a limit over all routes, one that hangs would hold up the others.
    `resolver` tells the addresses of a name, and is closed with the sender; where none is given it is one without threads,
    which look-ups that hang would use up. It reads the hosts file and asks the name servers that the system is set to.
    `open_socket` makes the socket to dial an address that has passed the check.
    """

    def __init__(
        self,
        *,
        version: str,
        resolver: AbstractResolver | None = None,
        open_socket: aiohttp.SocketFactoryType = _socket,
    ) -> None:
        self._agent = f"vendorwire/{version}"
        self._resolver = resolver
        self._open_socket = open_socket

    async def __aenter__(self) -> Self:
        self._asked = self._resolver or aiohttp.AsyncResolver()
        # By `allow_private`: a connection that one route may open must not serve another that may not.
        self._connectors = {
            each: _connector(self._asked, self._open_socket, allow_private=each) for each in (False, True)
        }
        self._place = lru_cache(maxsize=1000)(_Place)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connector in self._connectors.values():
            await connector.close()
        await self._asked.close()

    async def send(
        self, target: Webhook, signer: Signer, body: bytes, *, event_id: str, attempt: int, timestamp: int
    ) -> Answer:
        """Post `body` (from `body_for`) once, within the target's time-out whatever the receiver does. Raises nothing.

        `attempt` counts from 1, `timestamp` is this attempt's time in Unix seconds.
        """
        started = time.monotonic()
        status, retry_after, error = None, None, ""
        try:
            place = self._place(target.url)
            headers = self._headers(target, signer, body, event_id, attempt, timestamp)
            async with asyncio.timeout(target.timeout.total_seconds()):
                connector = self._connectors[target.allow_private]
                connection = await connector.connect(place.request, traces=[], timeout=_NO_OTHER)
                try:
                    reply, content = await _exchange(connection, place, headers, body)
                    status, retry_after = reply.code, reply.headers.get("retry-after")
                    await _drain(content)
                except BaseException:
                    _hang_up(connection)
                    raise
                _release(connection)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as caught:
            # Once there is a status it stands, however the rest of the reply went: the receiver has said its word.
            error = "" if status is not None else _told(caught, target)
        return Answer(status=status, error=error, retry_after=retry_after, seconds=time.monotonic() - started)

    def _headers(
        self, target: Webhook, signer: Signer, body: bytes, event_id: str, attempt: int, timestamp: int
    ) -> dict[str, str]:
        headers = signer.headers(event_id, timestamp, body)
        headers["content-type"] = CONTENT_TYPE if target.format == "cloudevents" else "application/json"
        headers["content-length"] = str(len(body))
        headers["user-agent"] = self._agent
        headers["vendorwire-attempt"] = str(attempt)
        for name, value in target.headers.items():
            headers[name] = value.reveal()
        return headers


def body_for(form: Format, event: bytes) -> bytes:
    """The body of a webhook, from the event's bytes. Raises msgspec.DecodeError for what is not an event."""
    if form == "cloudevents":
        return event
    read = _decoder.decode(event)
    return msgspec.json.encode(_Standard(read.type, read.time, read.data))


class _NoAddress(OSError):
    """There is no address of a receiver to dial. The text says why."""


class _Allowed(AbstractResolver):
    """Answers with those addresses of a name that may be dialled, so that the others are not even tried."""

    def __init__(self, resolver: AbstractResolver, *, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await self._resolver.resolve(_plain(host), port, family)
        except OSError as failed:
            match failed.__cause__:
                case aiodns.error.DNSError(args=(aiodns.error.ARES_ETIMEOUT, *_)):
                    raise _NoAddress("host name look-up timed out") from failed
            raise
        judged = [(each, refusal(each["host"], allow_private=self._allow_private)) for each in found]
        if allowed := [each for each, why in judged if not why]:
            return allowed
        if not found:
            raise OSError("a name without addresses")
        reasons = {why for _, why in judged}
        raise _NoAddress(REFUSED_PRIVATE if REFUSED_PRIVATE in reasons else REFUSED)

    async def close(self) -> None:
        """The sender closes what this one asks."""


def _plain(host: str) -> str:
    """An IPv4 address in a spelling that only the system's resolver knows (0x7f.1), as four decimals. A name as it is."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return host


def _connector(
    resolver: AbstractResolver, open_socket: aiohttp.SocketFactoryType, *, allow_private: bool
) -> aiohttp.TCPConnector:
    def checked(address: aiohttp.AddrInfoType) -> socket.socket:
        if why := refusal(str(address[4][0]), allow_private=allow_private):
            raise _NoAddress(why)
        return open_socket(address)

    # Node and uvicorn hang up after 5 idle seconds: we do so first, rather than send into a closing connection.
    return aiohttp.TCPConnector(
        limit=0, keepalive_timeout=4.0, resolver=_Allowed(resolver, allow_private=allow_private), socket_factory=checked
    )


_NO_OTHER = aiohttp.ClientTimeout()  # than the one over the whole attempt


async def _exchange(
    connection: Connection, place: _Place, headers: dict[str, str], body: bytes
) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """Send a request; the head of its reply, and its body as it comes."""
    protocol = connection.protocol
    if protocol is None or protocol.should_close:  # something came unasked: it must not pass for this event's answer
        raise aiohttp.ClientConnectionResetError
    all_headers = place.headers.copy()
    all_headers.update(headers)
    protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=READ_AT_MOST)
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    await writer.write_headers(place.line, all_headers)
    await writer.write(body, drain=False)  # a receiver may answer before it has read all, or hang up
    while True:
        reply, content = await protocol.read()
        if not 100 <= reply.code < 200 or reply.code == 101:  # interim replies
            return reply, content


async def _drain(content: aiohttp.StreamReader) -> None:
    """Read a short body to its end. A longer one is left, and its connection closed with it."""
    left = READ_AT_MOST
    while left > 0 and (chunk := await content.read(left)):
        left -= len(chunk)


def _release(connection: Connection) -> None:
    """Let it serve again. One whose receiver has answered before it took the whole request may never take another."""
    if connection.transport is not None and connection.transport.get_write_buffer_size():
        _hang_up(connection)
    else:
        connection.release()  # which closes one that is not at the end of its reply


def _hang_up(connection: Connection) -> None:
    """At once: to close it in good order would wait until a hung receiver takes what is still to be sent."""
    if connection.protocol is not None:
        connection.protocol.abort()
    connection.close()


def _told(error: Exception, target: Webhook) -> str:
    if isinstance(error, TimeoutError):
        return f"timed out after {target.timeout.total_seconds():g} s"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "connection refused"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _NoAddress):
        return str(error.os_error)
    for kind, words in _ERRORS:
        if isinstance(error, kind):
            return words
    return "request cannot be made: a secret or a header is not usable"  # a ValueError: a file of theirs has changed
