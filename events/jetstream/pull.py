"""Pulling from a consumer so that silence is noticed: requests with heartbeats, published by hand.

nats-py's own `fetch` sits out its time-out when the server has gone, and knows no pinned clients.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import msgspec
from nats.aio.msg import Msg

from events.jetstream.connection import Bus
from events.jetstream.errors import BusError

HEARTBEAT = 1.0  # seconds; a request without any sign for 2.5 of them is taken for lost
EXPIRES = 10.0  # seconds; less than any lease, else a hung agent is sent again what it did not handle
NEWS = 1.0  # seconds in which all servers of a cluster have heard of a consumer that was just made
ASK_AGAIN = 0.02  # seconds, meanwhile
_NANO = 1_000_000_000


class ConsumerGone(Exception):
    """The consumer is not there (any more), or not as we ask of it: make it again, or mend it."""


class Message(msgspec.Struct, frozen=True):
    """One delivered message. `delivered` counts from 1; `pending` is what the consumer still holds behind it."""

    subject: str
    data: bytes
    headers: dict[str, str]
    sequence: int
    delivered: int
    published_at: float  # Unix seconds
    pending: int
    received_at: float  # on the monotonic clock
    reply: str
    bus: Bus

    @property
    def consumer(self) -> str:
        """Which consumer of which stream it comes from, as its acknowledgements say."""
        return self.reply.rsplit(".", 5)[0]

    async def ack(self) -> None:
        """Done; waits for the server to know it. Raises BusUnavailable: then it will come again."""
        await self.bus.request(self.reply, b"+ACK")

    async def retry(self, seconds: float) -> None:
        """Not now: deliver it again after so many seconds."""
        await self._tell(b'-NAK {"delay": %d}' % int(max(seconds, 0) * _NANO))

    async def progress(self) -> None:
        """Still at it: the time to acknowledge starts anew."""
        await self._tell(b"+WPI")

    async def drop(self) -> None:
        """Never deliver it again."""
        await self._tell(b"+TERM")

    async def _tell(self, what: bytes) -> None:
        await self.bus.publish_plain(self.reply, what)


async def ack_all(messages: Sequence[Message]) -> None:
    """All of one consumer are done; waits for the server to know it. Raises BusUnavailable: then they may come again.

    The server handles what comes over one connection to one consumer in its order. So its answer about the last is an
    answer about all.
    """
    await messages[-1].bus.request_last([message.reply for message in messages], b"+ACK")


class Puller:
    """Takes messages from one consumer, as many as there is room for. One task may take at a time."""

    def __init__(self, bus: Bus, stream: str, consumer: str, group: str | None) -> None:
        self._bus = bus
        self.inbox = bus.client.new_inbox()
        self._consumer = consumer
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._group = group
        self.pin: str | None = None  # which agent the server has chosen; changes when another takes over
        self._queue: deque[Message] = deque()
        self._asked = 0  # messages asked for and not yet received
        self._heard = 0.0
        self._gone = False
        self._known_by = time.monotonic() + NEWS  # 0 once the consumer has answered
        self._woken = anyio.Event()
        self.ended = False

    async def take(self, limit: int, wait: float = 5.0) -> list[Message]:
        """Up to `limit` messages; an empty list when none came within `wait` seconds. Raises ConsumerGone, BusUnavailable."""
        deadline = time.monotonic() + wait
        while not self._queue and not self.ended and (left := deadline - time.monotonic()) > 0:
            if self._gone:
                if time.monotonic() > self._known_by:
                    raise ConsumerGone(f"the consumer {self._consumer} is not there, or takes no request like ours")
                self._gone = False
                await anyio.sleep(ASK_AGAIN)
            if self._asked and time.monotonic() - self._heard > 2.5 * HEARTBEAT:
                self._asked = 0
            if self._asked <= limit // 2:  # not each time there is room for one more
                await self._ask(limit - self._asked)
            self._woken = anyio.Event()
            with anyio.move_on_after(min(left, HEARTBEAT)):
                await self._woken.wait()
        return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    def end(self) -> None:
        """Nobody is to wait for messages any more."""
        self.ended = True
        self._woken.set()

    async def give_back(self) -> None:
        """Let the server deliver to others what has come and was not taken."""
        while self._queue:
            await self._queue.popleft().retry(0)

    async def _ask(self, batch: int) -> None:
        request: dict[str, object] = {
            "batch": batch,
            "expires": int(EXPIRES * _NANO),
            "idle_heartbeat": int(HEARTBEAT * _NANO),
        }
        if self._group:
            request["group"] = self._group
        if self.pin:
            request["id"] = self.pin
        if not self._asked:
            self._heard = time.monotonic()
        self._asked += batch
        await self._bus.publish_plain(self._next, msgspec.json.encode(request), reply=self.inbox)

    async def stay(self) -> None:
        """Remain the group's chosen client: the server forgets one that has sent no request for `priority_timeout`.

        However many requests wait there, and whether or not there is room for a message. So it asks for one of at most a
        byte, which there is not, and does not listen to the answer.
        """
        if self.pin:
            request = {"batch": 1, "no_wait": True, "max_bytes": 1, "group": self._group, "id": self.pin}
            await self._bus.publish_plain(self._next, msgspec.json.encode(request), reply=f"{self.inbox}.unheard")

    async def receive(self, msg: Msg) -> None:
        """A message or a status has come to the inbox."""
        self._heard = time.monotonic()
        status = msg.headers.get("Status") if msg.headers and not msg.data else None
        if status != "503":
            self._known_by = 0.0
        if status is None:
            self._asked = max(self._asked - 1, 0)
            message = _message(msg, self._bus)
            self.pin = message.headers.get("Nats-Pin-Id", self.pin)
            self._queue.append(message)
        elif status != "100":
            self._refused(status, msg.headers or {})
        self._woken.set()

    def _refused(self, status: str, headers: dict[str, str]) -> None:
        reason = str(headers.get("Description", ""))
        if status in {"400", "503"} or "Consumer Deleted" in reason:
            self._gone = True
        if status == "423":
            self.pin = None
        self._asked = max(self._asked - int(headers.get("Nats-Pending-Messages", self._asked)), 0)


@asynccontextmanager
async def pulling(
    bus: Bus, stream: str, consumer: str, group: str | None = None, *, acks: bool = True
) -> AsyncIterator[Puller]:
    """A puller with its inbox, for as long as the block lasts.

    With `acks`, what came and was not taken is given back at the end: the server would wait for its acknowledgement.
    """
    puller = Puller(bus, stream, consumer, group)
    subscription = await bus.subscribe(puller.inbox, puller.receive)
    try:
        yield puller
    finally:
        await bus.unsubscribe(subscription, drain=acks)
        if acks:
            with anyio.move_on_after(1, shield=True), suppress(BusError):
                await puller.give_back()


def _message(msg: Msg, bus: Bus) -> Message:
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<timestamp>.<pending>
    *_, delivered, sequence, _consumer, stamp, pending = msg.reply.split(".")
    return Message(
        subject=msg.subject,
        data=msg.data,
        headers=msg.headers or {},
        sequence=int(sequence),
        delivered=int(delivered),
        published_at=int(stamp) / _NANO,
        pending=int(pending),
        received_at=time.monotonic(),
        reply=msg.reply,
        bus=bus,
    )
