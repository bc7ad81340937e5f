"""Messages over one connection: requests that end at once when they wait in vain, and refusals that get their names."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

import anyio
import msgspec
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from events.jetstream.errors import ApiError, BusError, BusRefused, BusUnavailable, NobodyListens

_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')
_REMEMBERED = 1000
_T = TypeVar("_T")


class _Fault(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = "refused"


class _Reply(msgspec.Struct):
    error: _Fault | None = None
    seq: int = 0


_reply = msgspec.json.Decoder(_Reply)


class _Wait:
    """A request under way; `failure` says why its scope was cancelled."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.failure: BusError | None = None
        self.scope = anyio.CancelScope()

    def fail(self, failure: BusError) -> None:
        self.failure = failure
        self.scope.cancel()


class Asking:
    """What is under way on one connection. `inbox_prefix` is where answers come to."""

    def __init__(self, client: Client, inbox_prefix: str) -> None:
        self._client = client
        self._inbox_prefix = inbox_prefix
        self._waiting: set[_Wait] = set()
        self._denied: set[str] = set()  # subjects on which nobody waited to be told, in small letters
        self._deaf = False  # the server denied us our own inbox: no answer can come

    async def request(self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout: float) -> Msg:
        """The first answer. Raises BusUnavailable, NobodyListens, BusRefused, and ApiError for an oversized message."""
        self._refuse_denied(subject, replies=True)
        _refuse_oversized(self._client, data, headers)
        asked = self._client.request(subject, data, timeout=timeout, headers=dict(headers) if headers else None)
        try:
            with self._under_way(subject):
                return await _unless_lost(asked)
        except errors.NoRespondersError:
            raise NobodyListens(f"nothing listens on {subject}") from None
        except TimeoutError:
            raise _silent(subject, timeout) from None

    async def request_many(self, subject: str, data: bytes, timeout: float) -> list[tuple[dict[str, str], bytes]]:
        """The answers to a batched direct get, up to its end mark. `timeout` is the longest silence."""
        answers: list[tuple[dict[str, str], bytes]] = []
        inbox = self._client.new_inbox()
        send, receive = anyio.create_memory_object_stream[Msg](float("inf"))
        with self._under_way(subject), send, receive:
            subscription = await self.subscribe(inbox, send.send)
            try:
                await self.send(subject, data, None, inbox)
                while True:
                    with anyio.fail_after(timeout):
                        message = await receive.receive()
                    headers = dict(message.headers or {})
                    if _ends(headers, subject):
                        return answers
                    answers.append((headers, message.data))
            except TimeoutError:
                raise _silent(subject, timeout) from None
            finally:
                await end(subscription)

    async def send(self, subject: str, data: bytes, headers: Mapping[str, str] | None, reply: str) -> None:
        """Send without waiting. Raises BusUnavailable, ApiError where too large, BusRefused where denied a moment ago."""
        self._refuse_denied(subject, replies=bool(reply))
        _refuse_oversized(self._client, data, headers)
        sent = self._client.publish(subject, data, reply=reply, headers=dict(headers) if headers else None)
        with self._under_way(subject):  # it waits when too much is unsent, and nats-py forgets it at the loss
            await _unless_lost(sent)

    async def subscribe(self, subject: str, tell: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """No bounds on what is pending: nats-py would drop what exceeds them. Readers bound what they ask for."""
        made = self._client.subscribe(subject, cb=tell, pending_msgs_limit=0, pending_bytes_limit=0)
        with self._under_way(subject):
            return await _unless_lost(made)

    def fail(self, failure: BusError) -> None:
        """End all that is under way."""
        for wait in self._waiting:
            wait.fail(failure)

    def hear(self, error: Exception) -> None:
        """An error the server sent by itself. A denial is told at once, with its subject, to whom it concerns."""
        denied = _DENIED.search(str(error))  # in small letters: nats-py lowers the server's text
        if denied is None:
            return
        kind, subject = denied.groups()
        if kind == "publish":
            concerned = [wait for wait in self._waiting if wait.subject.lower() == subject]
            for wait in concerned:
                wait.fail(_not_allowed("publish", wait.subject))
            if not concerned and len(self._denied) < _REMEMBERED:
                self._denied.add(subject)
        elif subject.startswith(self._inbox_prefix.lower()):
            self._deaf = True
            self.fail(_not_allowed("subscribe", f"{self._inbox_prefix}.>"))

    @contextmanager
    def heeding(self, subject: str) -> Iterator[None]:
        """Raise what is heard about `subject` within the block, also where the block gets through all the same."""
        with self._under_way(subject) as wait:
            yield
        if wait.failure is not None:
            raise wait.failure

    @contextmanager
    def _under_way(self, subject: str) -> Iterator[_Wait]:
        wait = _Wait(subject)
        self._waiting.add(wait)
        try:
            with wait.scope:
                yield wait
        finally:
            self._waiting.discard(wait)
        if wait.failure is not None and wait.scope.cancelled_caught:
            raise wait.failure

    def _refuse_denied(self, subject: str, *, replies: bool) -> None:
        if replies and self._deaf:
            raise _not_allowed("subscribe", f"{self._inbox_prefix}.>")
        if subject.lower() in self._denied:
            self._denied.discard(subject.lower())  # told once: the grant may come while we are connected
            raise _not_allowed("publish", subject)


def accepted(data: bytes) -> int:
    """The sequence in JetStream's answer (0 where it has none). Raises ApiError where the answer is a refusal."""
    reply = _reply.decode(data)
    if reply.error is not None:
        raise ApiError(reply.error.code, reply.error.err_code, reply.error.description)
    return reply.seq


async def _unless_lost(step: Awaitable[_T]) -> _T:
    """nats-py's ways to say that the connection is gone, under our name."""
    try:
        return await step
    except TimeoutError:
        raise
    except (errors.ConnectionClosedError, errors.OutboundBufferLimitError, OSError):
        raise BusUnavailable("the connection to NATS was lost") from None


async def end(subscription: Subscription, *, drain: bool = False) -> None:
    """Unsubscribe, also when cancelled; takes no more than a second. One that is lost went with its connection.

    With `drain`, whatever the server sent before it knew is told first.
    """
    with anyio.move_on_after(1, shield=True), suppress(errors.Error):
        if drain:
            await subscription.drain()  # type: ignore[no-untyped-call] # nats-py gives this one no types
        else:
            await subscription.unsubscribe()


def _ends(headers: Mapping[str, str], subject: str) -> bool:
    """Whether an answer to a batched direct get is its end mark. 404: nothing matches. 408 and 413: refused."""
    match headers.get("Status"):
        case None:
            return False
        case "204" | "404":
            return True
        case "503":
            raise NobodyListens(f"nothing listens on {subject}")
        case status:
            raise ApiError(int(status), 0, str(headers.get("Description")))


def _silent(subject: str, timeout: float) -> BusUnavailable:
    return BusUnavailable(f"no answer on {subject} within {timeout:g} s")


def _not_allowed(verb: str, subject: str) -> BusRefused:
    return BusRefused(f"the NATS user may not {verb} to {subject}: grant it this subject")


def _refuse_oversized(client: Client, data: bytes, headers: Mapping[str, str] | None) -> None:
    """The server would close the connection on it, and counts headers, which nats-py does not."""
    size = len(data)
    if headers:
        size += len("NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
    if size > client.max_payload:
        raise ApiError(400, 10054, f"message size {size} exceeds the maximum of {client.max_payload} bytes")
