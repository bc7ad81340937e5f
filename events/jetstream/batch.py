"""An atomic batch: messages that a stream stores together or not at all (`Nats-Batch-*`).

First and last are requests, the others go unanswered. The server takes its time to open a batch and to store it, so the
messages are made meanwhile, as far as that goes. It keeps few of them open at once for each stream, so an agent opens no
more than its share; where there are too many all the same, it is asked again.
"""

import secrets
from collections.abc import Iterable, Iterator
from itertools import count

import anyio
import anyio.lowlevel

from events.jetstream.asking import Asking, Outgoing, accepted
from events.jetstream.errors import ApiError

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
        async with asking.batches:
            await _begin(asking, first, outgoing, timeout)
            for subject, data, headers in numbered([last]):
                answer = await _ask(asking, (subject, data, f"{headers}Nats-Batch-Commit: 1\r\n"), timeout)
    return accepted(answer)


async def _begin(asking: Asking, first: Outgoing, others: Iterator[Outgoing], timeout: float) -> None:
    """Open the batch, and send what belongs into it once it is open."""
    opened = anyio.Event()

    async def open_it() -> None:
        deadline = anyio.current_time() + timeout
        while not await _is_open(asking, first, timeout, patient=anyio.current_time() < deadline):  # noqa: ASYNC110 - nobody tells when there is room
            await anyio.sleep(ASK_AGAIN)
        opened.set()

    rendered = asking.rendered(others)
    ready = bytearray()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(open_it)
            await anyio.lowlevel.checkpoint()  # it is on its way
            while not opened.is_set() and (lines := next(rendered, b"")):
                ready += lines
                await anyio.lowlevel.checkpoint()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    await asking.write(bytes(ready))
    for lines in rendered:
        await asking.write(lines)


async def _is_open(asking: Asking, first: Outgoing, timeout: float, *, patient: bool) -> bool:
    """Ask for the batch to be opened. While `patient`, there may be too many of them at this moment."""
    try:
        if answer := await _ask(asking, first, timeout):
            accepted(answer)
    except ApiError as refused:
        if not patient or refused.err_code != TOO_MANY_OPEN:
            raise
        return False
    return True


async def _ask(asking: Asking, message: Outgoing, timeout: float) -> bytes:
    subject, data, headers = message
    named = dict(line.split(": ", 1) for line in headers.splitlines())
    return (await asking.request(subject, data, named, timeout)).data
