"""An atomic batch: messages that a stream stores together or not at all (`Nats-Batch-*`).

First and last are requests, the others go unanswered. The server takes its time to open a batch, so the others follow while
it does: where it refuses to, it drops them. It keeps few of them open at once for each stream, so an agent opens no more than
its share; where there are too many all the same, it is asked again.
"""

import secrets
from collections.abc import Callable, Iterable

import anyio
import anyio.lowlevel

from events.jetstream.asking import Asking, Outgoing, accepted
from events.jetstream.errors import ApiError, BusError

TOO_MANY_OPEN = 10210
ASK_AGAIN = 0.1  # seconds


async def publish_batch(
    asking: Asking, messages: Iterable[Outgoing], last: Outgoing, timeout: float, meanwhile: Callable[[], None]
) -> int:
    """Publish the messages and the last one as a batch; the last one's sequence.

    One message alone is no batch. `meanwhile` is called once all messages are on their way, while the server stores them.
    Raises ApiError where the batch is refused, or a message is too large; BusRefused where a subject is denied.
    """
    sending = _Sending(asking, messages, last, timeout, meanwhile)
    with asking.heeding(sending.subjects):  # a denial comes before the answer to whatever is asked after it
        return accepted(await sending.run())


class _Sending:
    """A batch on its way: again from its first message, where the server had no room for it. `subjects` grow as it goes."""

    def __init__(
        self,
        asking: Asking,
        messages: Iterable[Outgoing],
        last: Outgoing,
        timeout: float,
        meanwhile: Callable[[], None],
    ) -> None:
        self._asking = asking
        self._messages = iter(messages)
        self._last = last
        self._timeout = timeout
        self._meanwhile = meanwhile
        self._mark = f"Nats-Batch-Id: {secrets.token_hex(12)}\r\nNats-Batch-Sequence: "
        self.subjects: list[str] = []
        self._others = asking.rendered(self._messages, self._mark, self.subjects)
        self._sent: list[bytes] = []
        self._ends: Outgoing | None = None  # the last message, numbered once all others are

    async def run(self) -> bytes:
        """The answer to the last message."""
        first = next(self._messages, None)
        if first is None:
            self.subjects.append(self._last[0])
            self._meanwhile()
            return await _ask(self._asking, self._last, self._timeout)
        first = self._numbered(first)
        async with self._asking.batches:
            return await self._while_too_many(first)

    async def _while_too_many(self, first: Outgoing) -> bytes:
        deadline = anyio.current_time() + self._timeout
        while True:
            try:
                return await self._once(first)
            except ApiError as refused:
                if refused.err_code != TOO_MANY_OPEN or anyio.current_time() >= deadline:
                    raise
            await anyio.sleep(ASK_AGAIN)

    async def _once(self, first: Outgoing) -> bytes:
        refused: list[BusError] = []  # why the batch was not opened, which tells more than what became of the others

        async def open_it() -> None:
            try:
                if answer := await _ask(self._asking, first, self._timeout):
                    accepted(answer)
            except BusError as error:
                refused.append(error)
                group.cancel_scope.cancel()

        answer = b""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(open_it)
                await anyio.lowlevel.checkpoint()
                await self._asking.written()  # it is on its way: nothing may overtake it
                ends = await self._write_others()
                group.start_soon(self._spend_the_wait)
                answer = await _ask(self._asking, ends, self._timeout)
        except ExceptionGroup as failures:
            raise (refused or failures.exceptions)[0] from None
        if refused:
            raise refused[0]
        return answer

    async def _write_others(self) -> Outgoing:
        """The last message, which is to be asked."""
        for lines in self._sent:
            await self._asking.write(lines)
        for lines in self._others:
            self._sent.append(lines)
            await self._asking.write(lines)
        if self._ends is None:
            self._ends = self._numbered(self._last, "Nats-Batch-Commit: 1\r\n")
        return self._ends

    async def _spend_the_wait(self) -> None:
        await self._asking.written()
        self._meanwhile()

    def _numbered(self, message: Outgoing, more: str = "") -> Outgoing:
        subject, data, headers = message
        self.subjects.append(subject)
        return subject, data, f"{headers}{self._mark}{len(self.subjects)}\r\n{more}"


async def _ask(asking: Asking, message: Outgoing, timeout: float) -> bytes:
    subject, data, headers = message
    named = dict(line.split(": ", 1) for line in headers.splitlines())
    return (await asking.request(subject, data, named, timeout)).data
