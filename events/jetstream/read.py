"""Reading a stream: the last message of a subject, what a stream holds, and what comes to it."""

import base64
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusUnavailable
from events.jetstream.pull import Message, Puller, pulling

NO_MESSAGE = 10037
BATCH = 1000
PATIENCE = (1.0, 1.5, 2.5)  # seconds for an answer, each time it is asked for
_NANO = 1_000_000_000


def rfc3339(at: datetime) -> str:
    """A time in UTC as the server reads it."""
    return at.isoformat().replace("+00:00", "Z")


class Last(msgspec.Struct, frozen=True):
    """The last message on a subject."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str]
    published_at: str  # RFC 3339


async def last(bus: Bus, stream: str, subject: str) -> Last | None:
    """The last message on a subject, from the stream's leader: it never lags. None where there is none."""
    return await _get(bus, stream, {"last_by_subj": subject})


async def at(bus: Bus, stream: str, sequence: int) -> Last | None:
    """The message at a sequence. None where there is none (any more)."""
    return await _get(bus, stream, {"seq": sequence})


async def _get(bus: Bus, stream: str, query: Mapping[str, object]) -> Last | None:
    try:
        reply = await _answer(bus, f"STREAM.MSG.GET.{stream}", query)
    except ApiError as error:
        if error.err_code == NO_MESSAGE:
            return None
        raise
    message: dict[str, Any] = reply["message"]
    headers = _headers(base64.b64decode(message.get("hdrs", "")))
    data = base64.b64decode(message.get("data", ""))
    return Last(message["subject"], int(message["seq"]), data, headers, message["time"])


async def held(
    bus: Bus,
    stream: str,
    subjects: Sequence[str],
    *,
    every: bool = False,
    after: int = 0,
    since: datetime | None = None,
    until: int = 0,
    headers_only: bool = False,
    batch: int = BATCH,
) -> AsyncGenerator[Message, None]:
    """What a stream holds now: the last message of each subject, or `every` message, or every message past the sequence
    `after` or since a time.

    Ends at the last message there is, and not before the message at `until`. Raises BusUnavailable when it stops short.
    """
    start: dict[str, object] = {"deliver_policy": "last_per_subject"}
    if every or since is not None:
        start = {"deliver_policy": "all"}
    if since is not None and not after:
        after = await first_since(bus, stream, since) - 1
    if after:
        start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
    async with _reading(bus, stream, subjects, start, headers_only=headers_only) as (puller, pending):
        if not pending and not until:
            return
        while True:
            taken = await puller.take(batch)
            if not taken:
                raise BusUnavailable(f"the stream {stream} stopped sending")
            for message in taken:
                yield message
                if message.sequence >= until and (until or not message.pending):
                    return


async def follow(
    bus: Bus, stream: str, subjects: Sequence[str], *, since: datetime | None = None, after: int | None = None
) -> AsyncGenerator[Message | None, None]:
    """What a stream holds since a time or past a sequence, then what comes; without either the last message of each
    subject, then what comes.

    None where there is nothing yet, and now and then while nothing comes. Raises BusUnavailable when the bus goes: start again.
    """
    start: dict[str, object] = {"deliver_policy": "last_per_subject"}
    if since is not None and after is None:
        after = await first_since(bus, stream, since) - 1
    if after is not None:
        start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
    async with _reading(bus, stream, subjects, start, headers_only=False) as (puller, pending):
        if not pending:
            yield None
        while True:
            batch = await puller.take(BATCH)
            for message in batch:
                yield message
            if not batch:
                yield None


async def first_since(bus: Bus, stream: str, since: datetime) -> int:
    """The sequence of the first message since a time; where there is none, that of the next to come.

    Asked of all messages: a consumer that is to start at a time leaves out some of the first, where it has several filters
    (nats-server issue 6076, and still so in 2.15.1).
    """
    newest: int = (await bus.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
    start = {"deliver_policy": "by_start_time", "opt_start_time": rfc3339(since)}
    async with _reading(bus, stream, [">"], start, headers_only=True) as (puller, pending):
        found = await puller.take(1) if pending else []
    return found[0].sequence if found else newest + 1


async def _answer(bus: Bus, suffix: str, query: Mapping[str, object]) -> dict[str, Any]:
    """Asked again, at growing intervals: while a cluster chooses a leader, a question is dropped without a word."""
    for patience in PATIENCE[:-1]:
        with suppress(BusUnavailable):
            return await bus.api(suffix, query, patience)
    return await bus.api(suffix, query, PATIENCE[-1])


@asynccontextmanager
async def _reading(
    bus: Bus, stream: str, subjects: Sequence[str], start: Mapping[str, object], *, headers_only: bool
) -> AsyncIterator[tuple[Puller, int]]:
    name = f"read-{secrets.token_hex(8)}"
    config = {
        **start,
        "name": name,
        "ack_policy": "none",
        "filter_subjects": list(subjects),
        "headers_only": headers_only,
        "inactive_threshold": 30 * _NANO,
        "num_replicas": 1,
        "mem_storage": True,
    }
    made = await bus.api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})
    async with pulling(bus, stream, name, acks=False) as puller:
        yield puller, int(made.get("num_pending", 0))


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
