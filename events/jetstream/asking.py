"""Messages over one connection: requests that end at once when they wait in vain, and refusals that get their names."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TypeVar

import anyio
import msgspec
from nats import errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from events.jetstream.client import OneConnection
from events.jetstream.errors import ApiError, BusError, BusRefused, BusUnavailable, NobodyListens

_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')
BATCHES = 12  # open at once: the server keeps 50 for each stream, whoever opens them
_NOT_NOW = {
    10008,  # nobody leads
    10009,  # another leads
    10163,  # what the expected sequence is held against is still on its way to the replicas
    10176,  # the batch began with the leader before
}
_REMEMBERED = 1000
_TOGETHER = 128  # messages rendered in one go
_FRAME = len("NATS/1.0\r\n\r\n")  # bytes around headers
_T = TypeVar("_T")

Outgoing = tuple[str, bytes, str]
"""Subject, data, and headers as the protocol writes them: `Name: value`, each with its line end. Both texts are ASCII."""


class _Fault(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = "refused"


class _Reply(msgspec.Struct):
    error: _Fault | None = None
    seq: int = 0


_reply = msgspec.json.Decoder(_Reply)


class _Wait:
    """What is under way on these subjects; `failure` says why its scope was cancelled."""

    def __init__(self, subjects: Collection[str]) -> None:
        self.subjects = subjects
        self.failure: BusError | None = None
        self.scope = anyio.CancelScope()

    def fail(self, failure: BusError) -> None:
        self.failure = failure
        self.scope.cancel()

    def on(self, subject: str) -> str | None:
        """The subject as we wrote it, from its small letters; None where this is about others."""
        return next((ours for ours in self.subjects if ours.lower() == subject), None)


class _Request:
    """A request under way. Much cheaper than a scope: there are several to each poll and delivery."""

    def __init__(self, subject: str, answer: asyncio.Future[Msg]) -> None:
        self._subject = subject
        self.answer = answer

    def fail(self, failure: BusError) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)

    def give_up(self, timeout: float) -> None:
        self.fail(_silent(self._subject, timeout))

    def on(self, subject: str) -> str | None:
        """See `_Wait.on`."""
        return self._subject if self._subject.lower() == subject else None

    def end(self) -> None:
        """Nobody waits any more, nor for a failure that came too late."""
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()


class Asking:
    """What is under way on one connection. `inbox_prefix` is where answers come to."""

    def __init__(self, client: OneConnection, inbox_prefix: str) -> None:
        self._client = client
        self._inbox_prefix = inbox_prefix
        self._waiting: set[_Wait | _Request] = set()
        self._denied: set[str] = set()  # subjects on which nobody waited to be told, in small letters
        self.batches = anyio.Semaphore(BATCHES, fast_acquire=True)
        self.deaf: BusRefused | None = None  # we were denied our own inbox: no answer comes, nor after a grant

    async def request(self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout: float) -> Msg:
        """The first answer. Raises BusUnavailable, NobodyListens, BusRefused, and ApiError for an oversized message."""
        self._refuse_denied(subject, replies=True)
        _refuse_oversized(_size(data, headers), self._client.max_payload)
        if not self._client.has_room:
            with self._under_way([subject]):
                await self._client.room()
        loop = asyncio.get_running_loop()
        wait = _Request(subject, loop.create_future())
        self._waiting.add(wait)
        timer = loop.call_later(timeout, wait.give_up, timeout)
        try:
            answer = await _unless_lost(self._client.ask(subject, data, headers, wait.answer))
        finally:
            timer.cancel()
            self._waiting.discard(wait)
            wait.end()
        if answer.headers and answer.headers.get("Status") == "503":
            raise NobodyListens(f"nothing listens on {subject}")
        return answer

    async def request_last(self, messages: Sequence[tuple[str, bytes]], timeout: float) -> Msg:
        """Send messages (subject, data) all at once; the answer to the last. Raises as `request` does.

        Whether the others were denied is not asked: who may publish the last may publish them.
        """
        lines = []
        for subject, data in messages[:-1]:
            self._denied.discard(subject.lower())
            lines.append(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(data), data))
        self._client.write_with_next(b"".join(lines))
        subject, data = messages[-1]
        return await self.request(subject, data, None, timeout)

    async def request_many(self, subject: str, data: bytes, timeout: float) -> list[tuple[dict[str, str], bytes]]:
        """The answers to a batched direct get, up to its end mark. `timeout` is the longest silence."""
        answers: list[tuple[dict[str, str], bytes]] = []
        inbox = self._client.new_inbox()
        send, receive = anyio.create_memory_object_stream[Msg](float("inf"))
        with self._under_way([subject]), send, receive:
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
        _refuse_oversized(_size(data, headers), self._client.max_payload)
        sent = self._client.publish(subject, data, reply=reply, headers=dict(headers) if headers else None)
        with self._under_way([subject]):  # it waits when too much is unsent, and nats-py forgets it at the loss
            await _unless_lost(sent)

    def rendered(self, messages: Iterable[Outgoing], mark: str, subjects: list[str]) -> Iterator[bytes]:
        """The messages in the protocol's own words, some at a time, for `write`. Raises as `send` does.

        Their subjects are added to `subjects`, and each one's place there, from 1 on, is a header that begins with `mark`.
        nats-py does this at four times the cost, which tells for thousands.
        """
        outgoing = iter(messages)
        while lines := self._lines(islice(outgoing, _TOGETHER), mark, subjects):
            yield lines

    async def written(self) -> None:
        """Wait until all that was asked or sent is written. Raises BusUnavailable."""
        with self._under_way(()):
            await _unless_lost(self._client.room())

    async def write(self, lines: bytes) -> None:
        """Send what was rendered; waits where too much is unsent. Raises BusUnavailable."""
        with self._under_way(()):
            await _unless_lost(self._client.write(lines))

    async def subscribe(self, subject: str, tell: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """No bounds on what is pending: nats-py would drop what exceeds them. Readers bound what they ask for."""
        made = self._client.subscribe(subject, cb=tell, pending_msgs_limit=0, pending_bytes_limit=0)
        with self._under_way([subject]):
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
            concerned = [(wait, ours) for wait in self._waiting if (ours := wait.on(subject)) is not None]
            for wait, ours in concerned:
                wait.fail(_not_allowed("publish", ours))
            if not concerned and len(self._denied) < _REMEMBERED:
                self._denied.add(subject)
        elif subject.startswith(self._inbox_prefix.lower()):
            self.deaf = _not_allowed("subscribe", f"{self._inbox_prefix}.>")
            self.fail(self.deaf)
            self._client.lost.set()

    @contextmanager
    def heeding(self, subjects: Collection[str]) -> Iterator[None]:
        """Raise what is heard about `subjects` within the block, also where the block gets through all the same. They may grow
        meanwhile."""
        with self._under_way(subjects) as wait:
            yield
        if wait.failure is not None:
            raise wait.failure

    @contextmanager
    def _under_way(self, subjects: Collection[str]) -> Iterator[_Wait]:
        wait = _Wait(subjects)
        self._waiting.add(wait)
        try:
            with wait.scope:
                yield wait
        finally:
            self._waiting.discard(wait)
        if wait.failure is not None and wait.scope.cancelled_caught:
            raise wait.failure

    def _lines(self, messages: Iterable[Outgoing], mark: str, subjects: list[str]) -> bytes:
        parts: list[bytes] = []
        most = self._client.max_payload
        around = _FRAME + len(mark) + len("\r\n")
        for place, (subject, data, headers) in enumerate(messages, len(subjects) + 1):
            subjects.append(subject)
            if self._denied:
                self._refuse_denied(subject, replies=False)
            number = str(place)
            block = len(headers) + around + len(number)
            size = block + len(data)
            if size > most:
                _refuse_oversized(size, most)
            if not subject.isprintable() or " " in subject:
                raise errors.BadSubjectError  # it would break out of its line
            lines = f"HPUB {subject} {block} {size}\r\nNATS/1.0\r\n{headers}{mark}{number}\r\n\r\n"
            parts += (lines.encode("ascii"), data, b"\r\n")
        return b"".join(parts)

    def _refuse_denied(self, subject: str, *, replies: bool) -> None:
        if replies and self.deaf:
            raise self.deaf
        if subject.lower() in self._denied:
            self._denied.discard(subject.lower())  # told once: the grant may come while we are connected
            raise _not_allowed("publish", subject)


def accepted(data: bytes) -> int:
    """The sequence in JetStream's answer (0 where it has none). Raises ApiError where the answer is a refusal, BusUnavailable
    where it is one for this moment only."""
    reply = _reply.decode(data)
    if reply.error is not None:
        if reply.error.err_code in _NOT_NOW:
            raise BusUnavailable(f"JetStream does not do it at present: {reply.error.description}")
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


def _refuse_oversized(size: int, most: int) -> None:
    """The server would close the connection on it, and counts headers, which nats-py does not."""
    if size > most:
        raise ApiError(400, 10054, f"message size {size} exceeds the maximum of {most} bytes")


def _size(data: bytes, headers: Mapping[str, str] | None) -> int:
    """Bytes of a message with its headers, as the server counts."""
    if not headers:
        return len(data)
    return len(data) + _FRAME + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
