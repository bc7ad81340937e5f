"""One attempt to hand an event to a webhook: a signed POST whose every ending is an answer."""

import errno
import ssl
import time
from functools import lru_cache
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

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
    (aiohttp.ClientResponseError, "answer is not HTTP"),
    (aiohttp.ClientOSError, "connection lost"),
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


class WebhookSender:
    """Sends webhooks over connections it keeps. Open it with `async with`. `version` goes into the user agent.

    It opens as many at once as it is asked for: with a limit over all routes, one that hangs would hold up the others.
    """

    def __init__(self, *, version: str) -> None:
        self._agent = f"vendorwire/{version}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=_connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self, target: Webhook, signer: Signer, body: bytes, *, event_id: str, attempt: int, timestamp: int
    ) -> Answer:
        """Post `body` (from `body_for`) once, within the target's time-out whatever the receiver does. Raises nothing.

        `attempt` counts from 1, `timestamp` is this attempt's time in Unix seconds.
        """
        started = time.monotonic()
        status, retry_after, error = None, None, ""
        try:
            headers = self._headers(target, signer, body, event_id, attempt, timestamp)
            async with self._session.post(
                URL(target.url, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=_deadline(target.timeout.total_seconds()),
            ) as reply:
                status, retry_after = reply.status, reply.headers.get("retry-after")
                await _drain(reply)
        except (aiohttp.ClientError, OSError, ValueError) as caught:
            # Once there is a status it stands, however the rest of the reply went: the receiver has said its word.
            error = "" if status is not None else _told(caught, target)
        return Answer(status=status, error=error, retry_after=retry_after, seconds=time.monotonic() - started)

    def _headers(
        self, target: Webhook, signer: Signer, body: bytes, event_id: str, attempt: int, timestamp: int
    ) -> dict[str, str]:
        headers = signer.headers(event_id, timestamp, body)
        headers["content-type"] = CONTENT_TYPE if target.format == "cloudevents" else "application/json"
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


def _connector() -> aiohttp.TCPConnector:
    # Node and uvicorn hang up after 5 idle seconds: we do so first, rather than send into a closing connection.
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0)


@lru_cache
def _deadline(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, ceil_threshold=seconds + 1)  # otherwise rounded up to a whole second


async def _drain(reply: aiohttp.ClientResponse) -> None:
    """Read a short body to its end. A longer one is left, and its connection closed with it."""
    left = READ_AT_MOST
    while left > 0 and (chunk := await reply.content.read(left)):
        left -= len(chunk)


def _told(error: Exception, target: Webhook) -> str:
    if isinstance(error, TimeoutError):
        return f"timed out after {target.timeout.total_seconds():g} s"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "connection refused"
    for kind, words in _ERRORS:
        if isinstance(error, kind):
            return words
    return "request cannot be made: a secret or a header is not usable"  # a ValueError: a file of theirs has changed
