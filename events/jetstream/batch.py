"""An atomic batch: messages that a stream stores together or not at all (`Nats-Batch-*`).

First and last are requests, the others go unanswered. The server takes its time to open a batch, so the others follow while
it does: where it refuses to, it drops them. It keeps few of them open at once for each stream, so an agent opens no more than
its share; where there are too many all the same, it is asked again.
"""

import secrets
from collections.abc import Iterable, Iterator
from itertools import count

import anyio
import anyio.lowlevel

from events.jetstream.asking import Asking, Outgoing, accepted
from events.jetstream.errors import ApiError, BusError

TOO_MANY_OPEN = 10210
ASK_AGAIN = 0.1  # seconds


async def publish_batch(asking: Asking, messages: Iterable[Outgoing], last: Outgoing, timeout: float) -> int:
    """Publish the messages and the last one as a batch; the last one's sequence.

    One message alone is no batch. Raises ApiError where the batch is refused, or a message is too large; BusRefused where a
    subject is denied.
    """
    marks = f"Nats-Batch-Id: {secrets.token_hex(12)}\r\nNats-Batch-Sequence:"
    numbers = count(1)
    subjects: list[str] = []

    def numbered(messages: Iterable[Outgoing]) -> Iterator[Outgoing]:
        for subject, data, headers in messages:
            subjects.append(subject)
            yield subject, data, f"{headers}{marks} {next(numbers)}\r\n"

    outgoing = numbered(messages)
    with asking.heeding(subjects):  # a denial comes before the answer to whatever is asked after it
        first = next(outgoing, None)
        if first is None:
            subjects.append(last[0])
            return accepted(await _ask(asking, last, timeout))
        subject, data, headers = last
        ends = numbered([(subject, data, f"{headers}Nats-Batch-Commit: 1\r\n")])
        async with asking.batches:
            answer = await _Sending(asking, first, asking.rendered(outgoing), ends, timeout).run()
    return accepted(answer)


class _Sending:
    """A batch on its way: again from its first message, where the server had no room for it."""

    def __init__(
        self, asking: Asking, first: Outgoing, others: Iterator[bytes], ends: Iterator[Outgoing], timeout: float
    ) -> None:
        self._asking = asking
        self._first = first
        self._others = others
        self._ends = ends  # numbered once all others are
        self._last: Outgoing | None = None
        self._timeout = timeout
        self._sent: list[bytes] = []

    async def run(self) -> bytes:
        """The answer to the last message."""
        deadline = anyio.current_time() + self._timeout
        while True:
            try:
                return await self._once()
            except ApiError as refused:
                if refused.err_code != TOO_MANY_OPEN or anyio.current_time() >= deadline:
                    raise
            await anyio.sleep(ASK_AGAIN)

    async def _once(self) -> bytes:
        refused: list[BusError] = []  # why the batch was not opened, which tells more than what became of the others

        async def open_it() -> None:
            try:
                if answer := await _ask(self._asking, self._first, self._timeout):
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
                answer = await self._rest()
        except ExceptionGroup as failures:
            raise (refused or failures.exceptions)[0] from None
        if refused:
            raise refused[0]
        return answer

    async def _rest(self) -> bytes:
        for lines in self._sent:
            await self._asking.write(lines)
        for lines in self._others:
            self._sent.append(lines)
            await self._asking.write(lines)
        if self._last is None:
            self._last = next(self._ends)
        return await _ask(self._asking, self._last, self._timeout)


async def _ask(asking: Asking, message: Outgoing, timeout: float) -> bytes:
    subject, data, headers = message
    named = dict(line.split(": ", 1) for line in headers.splitlines())
    return (await asking.request(subject, data, named, timeout)).data
