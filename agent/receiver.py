"""The endpoint that the demo's webhooks arrive at.

It checks signatures as any receiver would, from the specification alone (https://www.standardwebhooks.com) and sharing no
line with the sender. Now and then it is busy and answers 503, so that retries can be seen.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

TOLERANCE = 300  # seconds between a request's timestamp and our clock
BUSY_EVERY = 12  # requests
_ID = re.compile(r"[A-Za-z0-9_-]+")
_TIME = re.compile(r"[0-9]{1,12}")


class Receiver:
    """Answers 204 to what is signed with `secret`, 401 to anything else. `clock` in Unix seconds."""

    def __init__(self, secret: str, clock: Callable[[], float], busy_every: int = BUSY_EVERY) -> None:
        self._secret = secret
        self._clock = clock
        self._busy_every = busy_every
        self.requests = 0
        self.refused = 0
        self.busy = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """One request."""
        body = await request.read()
        self.requests += 1
        if not is_signed(request.headers, body, self._secret, self._clock()):
            self.refused += 1
            return web.Response(status=401)
        if self.requests % self._busy_every == 0:
            self.busy += 1
            return web.Response(status=503)
        return web.Response(status=204)

    def __str__(self) -> str:
        signatures = "every signature verified" if not self.refused else f"{self.refused} signatures refused"
        return f"{self.requests} webhooks, {signatures}, {self.busy} answered 503 on purpose"


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Whether one of the signatures is ours: HMAC-SHA256 over `id.timestamp.body`, not older than TOLERANCE."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(event_id) or not _TIME.fullmatch(timestamp) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    versions = (each.partition(",") for each in headers.get("webhook-signature", "").split())
    return any(hmac.compare_digest(_decoded(text), wanted) for version, _, text in versions if version == "v1")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


@asynccontextmanager
async def serve(receiver: Receiver) -> AsyncIterator[str]:
    """Serve it on a free port of this machine; gives the URL to send webhooks to."""
    runner = web.ServerRunner(web.Server(receiver.answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
