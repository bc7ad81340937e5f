"""Where a route's events go: a webhook, or a subject on the bus."""

import hashlib
import time
from typing import Protocol

from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from events.routes import RETRIES, Webhook
from events.signing import Signer
from events.webhook import Answer, WebhookSender, body_for
from schemas.envelope import CONTENT_TYPE
from schemas.settings import Duration

SUBJECT_CONCURRENCY = 16
SUBJECT_TIMEOUT = 10.0


class Receiver(Protocol):
    """`concurrency` events at once, each answered within `timeout` seconds; `rate` in events a second.

    `target` tells the receiver from another, without telling where it is.
    """

    target: str
    concurrency: int
    timeout: float
    rate: float | None
    retries: tuple[Duration, ...]

    async def send(self, event: bytes, *, event_id: str, attempt: int) -> Answer:
        """One attempt to hand over an event, as the bytes on the bus."""
        ...


class WebhookReceiver:
    """An HTTP endpoint that gets signed requests."""

    def __init__(self, target: Webhook, sender: WebhookSender) -> None:
        self._target = target
        self._sender = sender
        self.target = _name(target.url)
        self._signer = Signer(target.secret)  # reads the secrets anew each time, so that a rotated one signs at once
        self.concurrency = target.concurrency
        self.timeout = target.timeout.total_seconds()
        self.rate = target.rate
        self.retries = target.retries

    async def send(self, event: bytes, *, event_id: str, attempt: int) -> Answer:
        """Post it once."""
        return await self._sender.send(
            self._target,
            self._signer,
            body_for(self._target.format, event),
            event_id=event_id,
            attempt=attempt,
            timestamp=int(time.time()),
        )


class SubjectReceiver:
    """A NATS subject outside of the bus's own."""

    def __init__(self, subject: str, bus: Bus) -> None:
        self._subject = subject
        self._bus = bus
        self.target = _name(subject)
        self.concurrency = SUBJECT_CONCURRENCY
        self.timeout = SUBJECT_TIMEOUT
        self.rate: float | None = None
        self.retries = RETRIES

    async def send(self, event: bytes, *, event_id: str, attempt: int) -> Answer:
        """Publish it and make sure the server has taken it."""
        started = time.monotonic()
        headers = {"Nats-Msg-Id": event_id, "Content-Type": CONTENT_TYPE, "Vendorwire-Attempt": str(attempt)}
        try:
            await self._bus.publish_flushed(self._subject, event, headers)
        except BusError as error:
            return Answer(status=None, error=str(error), retry_after=None, seconds=time.monotonic() - started)
        return Answer(status=200, error="", retry_after=None, seconds=time.monotonic() - started)


def _name(address: str) -> str:
    """A URL may be as good as a password."""
    return hashlib.blake2b(address.encode(), digest_size=8).hexdigest()
