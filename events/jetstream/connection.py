"""The connection to the bus: opened, checked, watched, and opened again by itself when it is lost.

Each connection is a nats-py client of its own. nats-py's reconnecting is left aside: it closes for good on most server
errors (an expired JWT, a changed permission), sends later what was given up before, and waits for a hung server to take
its bytes. So a loss is felt at once: whatever waits for an answer gets `BusUnavailable`, and goes on after `ready()`.
Subscriptions are made again on the next connection.
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio
import msgspec
from nats import errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from events.jetstream.asking import Asking, Outgoing, accepted, end
from events.jetstream.batch import publish_batch
from events.jetstream.checks import explain, explain_api, refuse_unfit, without_jetstream
from events.jetstream.client import OneConnection
from events.jetstream.errors import ApiError, BusRefused, BusUnavailable, NobodyListens
from events.jetstream.options import BusOptions
from schemas.facts import BusState

TIMEOUT = 5.0  # seconds for an answer, unless the caller says otherwise
PING_TIMEOUT = 2.0
_TELL_THE_TIME = (
    "STREAM.INFO.",
    "CONSUMER.INFO.",
)  # others may answer with the time at which they noted what they tell
_LONGEST_PAUSE = 2.0  # seconds between two attempts to connect: work resumes within 5 s of the server's return

Headers = Mapping[str, str]
_object = msgspec.json.Decoder(dict[str, Any])


class Subscription:
    """A subject and who is told of its messages, across connections."""

    def __init__(self, subject: str, tell: Callable[[Msg], Awaitable[None]]) -> None:
        self.subject = subject
        self._tell = tell
        self._made: NatsSubscription | None = None

    async def make(self, asking: Asking) -> None:
        self._made = await asking.subscribe(self.subject, self._tell)

    async def end(self, *, drain: bool) -> None:
        if self._made is not None:
            await end(self._made, drain=drain)


class Bus:
    """The bus as the rest of the agent sees it. Made by `connect`.

    Its calls raise BusUnavailable while there is no connection and when it is lost, BusRefused where a permission lacks.
    """

    def __init__(self, options: BusOptions, on_state: Callable[[BusState], None]) -> None:
        self._options = options
        self._on_state = on_state
        self._state: BusState | None = None
        self._client: OneConnection | None = None
        self._asking: Asking | None = None  # what goes over that client
        self._connections = 0  # how many there were; the present one is among them
        self._refused = ""  # why, when it was refused before it was ever up: nothing is tried again
        self._changed = anyio.Event()
        self._subscriptions: set[Subscription] = set()
        self._last_error: Exception | None = None
        self._zero = time.time() - time.monotonic()  # the server's time when our monotonic clock began

    def now(self) -> float:
        """The server's time, in Unix seconds: it says what is due, and agents tell one another times in it.

        It goes on by our monotonic clock, and is set by what the server says. A wall clock that is off moves nothing.
        """
        return self._zero + time.monotonic()

    @property
    def connected(self) -> bool:
        """Whether there is a checked connection at this moment."""
        return self._client is not None

    @property
    def client(self) -> OneConnection:
        """nats-py's client of the present connection; hold it no longer than one step."""
        if self._client is None:
            raise self._not_connected()
        return self._client

    @property
    def server(self) -> tuple[str, str]:
        """Name and version of the server at the other end."""
        return self.client.server_name, self.client.server_version

    @property
    def trouble(self) -> str:
        """Why there is no connection; empty while there is one."""
        return self._state.detail if self._state else "the bus is not connected yet"

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, headers included, in bytes."""
        return self.client.max_payload

    async def ready(self) -> None:
        """Wait until there is a checked connection. Raises BusRefused when the bus refused us before it was ever up."""
        while self._client is None:
            if self._refused:
                raise BusRefused(self._refused)
            await self._changed.wait()

    async def ready_anew(self, after: int) -> int:
        """Wait until there is a connection later than the one of this number, and give its own; the first is 1."""
        while self._client is None or self._connections <= after:
            await self._changed.wait()
        return self._connections

    async def request(
        self, subject: str, data: bytes = b"", headers: Headers | None = None, timeout: float = TIMEOUT
    ) -> Msg:
        """The first answer to a message. After BusUnavailable nobody knows whether it was carried out."""
        return await self._ask().request(subject, data, headers, timeout)

    async def request_last(self, subjects: Sequence[str], data: bytes) -> None:
        """Send the same to each subject, all at once, and wait for the last one's answer only."""
        await self._ask().request_last([(subject, data) for subject in subjects], TIMEOUT)

    async def api(self, suffix: str, body: Mapping[str, Any] | None = None, timeout: float = TIMEOUT) -> dict[str, Any]:
        """JetStream's answer to `$JS.API.<suffix>`. Raises ApiError where it refuses."""
        asked = time.monotonic()
        answer = await _api(self._ask(), suffix, body, timeout)
        if suffix.startswith(_TELL_THE_TIME) and isinstance(told := answer.get("ts"), str):
            self._hear_time(datetime.fromisoformat(told).timestamp(), asked)
        return answer

    async def publish(
        self, subject: str, data: bytes = b"", headers: Headers | None = None, timeout: float = TIMEOUT
    ) -> int:
        """Store a message in the stream that takes its subject; its sequence there. Raises ApiError where refused."""
        return accepted((await self.request(subject, data, headers, timeout)).data)

    async def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Store messages (subject, data) in one stream, sent all at once; waits for the answer to the last one only.

        That answer comes after the stream has handled those before it. Raises ApiError where the last is refused.
        """
        accepted((await self._ask().request_last(messages, TIMEOUT)).data)

    async def publish_batch(
        self,
        messages: Iterable[Outgoing],
        last: Outgoing,
        timeout: float = TIMEOUT,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        """Store messages together, or none of them; the last one's sequence. See `events.jetstream.batch`."""
        return await publish_batch(self._ask(), messages, last, timeout, meanwhile)

    async def publish_plain(
        self, subject: str, data: bytes = b"", headers: Headers | None = None, reply: str = ""
    ) -> None:
        """Send a message and wait for nothing. Raises ApiError where it is too large."""
        await self._ask().send(subject, data, headers, reply)

    async def publish_flushed(self, subject: str, data: bytes = b"", headers: Headers | None = None) -> None:
        """Send a message that nobody answers, and wait until the server has let it pass. Raises ApiError where too large."""
        asking = self._ask()
        with asking.heeding([subject]):  # a denial comes before the answer to whatever is asked after it
            await asking.send(subject, data, headers, "")
            await _api(asking, "INFO", None, PING_TIMEOUT)

    async def request_many(
        self, subject: str, data: bytes, timeout: float = TIMEOUT
    ) -> list[tuple[dict[str, str], bytes]]:
        """Every answer to a batched direct get, as headers and body, up to its end mark; empty where nothing matches.

        `timeout` is the longest silence. Raises ApiError where the stream refuses the request.
        """
        return await self._ask().request_many(subject, data, timeout)

    async def subscribe(self, subject: str, tell: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Tell of each message on `subject`, one after the other, until `unsubscribe`; also on later connections."""
        subscription = Subscription(subject, tell)
        await subscription.make(self._ask())
        self._subscriptions.add(subscription)
        return subscription

    async def unsubscribe(self, subscription: Subscription, *, drain: bool = False) -> None:
        """End it, connected or not; takes no more than a second, also when cancelled.

        With `drain`, whatever the server sent before it knew is told first.
        """
        self._subscriptions.discard(subscription)
        await subscription.end(drain=drain)

    async def ping(self) -> float:
        """Seconds for a round trip to JetStream.

        Not nats-py's `flush` or `rtt`: a PONG that comes after their time-out ends its read loop.
        """
        start = anyio.current_time()
        await self.api("INFO", timeout=PING_TIMEOUT)
        return anyio.current_time() - start

    def _hear_time(self, told: float, asked: float) -> None:
        """The server told its time between asking and now. Within that nothing is better than what we have."""
        self._zero = min(max(self._zero, told - time.monotonic()), told - asked)

    async def keep_connected(self) -> None:
        """Connect, stay, connect again. Ends only when the bus refuses us before it was ever up."""
        attempt = 0
        while not self._refused:
            client = OneConnection(tls_wanted=self._options.tls_wanted)
            try:
                asking = await self._open(client)
                attempt = 0
                await client.lost.wait()
                self._down(asking.deaf or BusUnavailable(f"the connection to NATS at {self._options.where} was lost"))
            except (BusRefused, BusUnavailable) as failure:
                self._down(failure)
            finally:
                await client.end()
            await anyio.sleep(min(_LONGEST_PAUSE, 0.2 * 2**attempt) * random.uniform(0.5, 1))
            attempt = min(attempt + 1, 8)

    async def _open(self, client: OneConnection) -> Asking:
        where = self._options.where
        self._last_error = None
        self._asking = asking = Asking(client, self._options.inbox_prefix)
        try:
            await client.connect(error_cb=self._on_error, **self._options.arguments())
        except errors.NoServersError as error:  # each was tried: the last one's error says more
            raise explain(self._last_error or error, where) from None
        except (errors.Error, OSError) as error:
            raise explain(error, where) from None
        await self._check(client, asking)
        for subscription in list(self._subscriptions):
            await subscription.make(asking)
        self._client = client
        self._connections += 1
        self._tell(BusState(connected=True))
        return asking

    async def _check(self, client: OneConnection, asking: Asking) -> None:
        where = self._options.where
        version = client.connected_server_version
        refuse_unfit((version.major, version.minor, version.patch), client.max_payload, where)
        try:
            await _api(asking, "INFO", None, self._options.connect_timeout)
        except NobodyListens:
            raise without_jetstream(where) from None
        except ApiError as error:
            raise explain_api(error, where) from None

    def _down(self, failure: BusRefused | BusUnavailable) -> None:
        self._client = None
        if isinstance(failure, BusRefused) and not self._connections:
            self._refused = str(failure)
        if self._asking is not None:
            self._asking.fail(BusUnavailable(str(failure)))
        self._tell(BusState(connected=False, detail=str(failure)))

    def _tell(self, state: BusState) -> None:
        if state != self._state:
            self._state = state
            self._on_state(state)
        self._changed.set()
        self._changed = anyio.Event()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        if self._asking is not None:
            self._asking.hear(error)

    def _ask(self) -> Asking:
        if self._client is None or self._asking is None:
            raise self._not_connected()
        return self._asking

    def _not_connected(self) -> BusUnavailable:
        return BusUnavailable(self.trouble)


@asynccontextmanager
async def connect(options: BusOptions, on_state: Callable[[BusState], None]) -> AsyncIterator[Bus]:
    """The bus, connected or not: it connects beside the body, again and again; `await bus.ready()` waits for that.

    `on_state` is called when the state or its detail changes, not on each attempt; nothing is logged here.
    """
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # what it would print reaches us as errors and states
    bus = Bus(options, on_state)
    async with beside(bus.keep_connected):
        yield bus


@asynccontextmanager
async def beside(task: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run `task` while the body runs; it ends with the body. What either raises stays bare, not in a group."""
    raised: list[Exception] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_caught, task, raised, group.cancel_scope)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below
            raised.append(error)
        group.cancel_scope.cancel()
    if raised:
        raise raised[0]


async def _caught(task: Callable[[], Awaitable[None]], raised: list[Exception], scope: anyio.CancelScope) -> None:
    try:
        await task()
    except Exception as error:  # noqa: BLE001 - raised again by `beside`
        raised.append(error)
        scope.cancel()


async def _api(asking: Asking, suffix: str, body: Mapping[str, Any] | None, timeout: float) -> dict[str, Any]:
    data = b"" if body is None else msgspec.json.encode(body)
    message = await asking.request(f"$JS.API.{suffix}", data, None, timeout)
    accepted(message.data)
    return _object.decode(message.data)
