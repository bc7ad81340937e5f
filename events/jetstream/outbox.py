"""What a route has to deliver, as JetStream keeps it: the route's consumer, its replays, its lanes and its dead letters."""

import hashlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusRefused
from events.jetstream.ledger import KEY
from events.jetstream.pull import Message, Puller, pulling
from events.jetstream.read import BATCH, Last, at, first_since, held
from events.routes import ALL, NOW, Begin
from events.subjects import Names
from schemas import envelope

GROUP = "agents"
TAKE_OVER = 5.0  # seconds of silence after which another agent takes a route over
NO_SUCH_LETTER = frozenset({10043, 10057})  # taken off before, in the middle or at the edge of the stream
CONSUMER_NOT_FOUND = 10014
OUTSTANDING = 10_000  # events a route may have in hand or waiting for a retry on the server
FORGOTTEN = "86400"  # seconds a deleted lane's mark stays
KEPT = str(7 * 86400)  # seconds a lane is kept since its last failed attempt: far beyond the longest wait between two
REASON, ATTEMPTS, STATUS, EVENT_ID, FAILED_AT = (
    "Vendorwire-Reason",
    "Vendorwire-Attempts",
    "Vendorwire-Status",
    "Vendorwire-Event-Id",
    "Vendorwire-Failed-At",
)
log = logging.getLogger("vendorwire.outbox")
_NANO = 1_000_000_000
_ONE_AT_A_TIME = {
    "priority_policy": "pinned_client",
    "priority_groups": [GROUP],
    "priority_timeout": int(TAKE_OVER * _NANO),
}


class SavedLane(msgspec.Struct, frozen=True):
    """A record's lane as the bucket holds it."""

    record: str
    lane: msgspec.Raw


class Backlog(msgspec.Struct, frozen=True):
    """What a route still has to deliver: `waiting` not yet handed out, `in_hand` handed out and not acknowledged.

    Whatever is in hand lies after `settled_up_to` and not after `handed_out_up_to`, as sequences of the ledger's stream.
    `handed_out_at`: when the last was handed out, in Unix seconds; 0 where none was yet.
    """

    waiting: int
    in_hand: int
    settled_up_to: int
    handed_out_up_to: int
    handed_out_at: float = 0.0
    paused: bool = False  # somebody keeps the server from handing them out


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that could not be delivered. `sequence` is its number in the stream of dead letters.

    `source` tells the message that is buried from every other, also from a replay of the same event; known to `bury` only.
    """

    route: str
    event: bytes
    event_id: str
    reason: str
    attempts: int
    status: str
    failed_at: float
    record: str
    source: str = ""
    sequence: int = 0


class RouteQueue:
    """One route's side of the bus. `ack_wait` in seconds: longer than any attempt may take. `begin`: where it begins if new."""

    def __init__(
        self, bus: Bus, names: Names, route: str, filters: Sequence[str], ack_wait: float, begin: Begin = NOW
    ) -> None:
        self._bus = bus
        self._names = names
        self._route = route
        self._filters = list(filters)
        self.ack_wait = ack_wait
        self._begin = begin
        self.consumer = f"route-{route}"
        self._settled_up_to: int | None = None  # as last seen: a consumer deleted under us is made again from there
        self._lanes_refused = False  # and said to be
        self._stream_made = ""  # when, as the server says: sequences of another stream mean nothing

    async def ensure(self) -> None:
        """The route's consumers as they must be. A new route starts where it is told to begin.

        One that was deleted while this agent worked it goes on where it was, as far as that is known. With a stream made
        anew under us, it starts with the first event there.
        """
        stream = await self._bus.api(f"STREAM.INFO.{self._names.ledger}")
        wanted = {
            "durable_name": self.consumer,
            "filter_subjects": self._filters,
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait * _NANO),
            "max_deliver": -1,
            "max_ack_pending": OUTSTANDING,
            **_ONE_AT_A_TIME,
        }
        start = partial(self._start, stream["created"], stream["state"]["last_seq"])
        info = await self._ensure(self._names.ledger, self.consumer, wanted, start)
        if stream["created"] != self._stream_made:
            self._stream_made, self._settled_up_to = stream["created"], None
        self._note_settled(info)
        replays = {
            "durable_name": self.consumer,
            "filter_subjects": [self._names.replay(self._route)],
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait * _NANO),
            "max_deliver": -1,
            "max_ack_pending": OUTSTANDING,
            **_ONE_AT_A_TIME,
        }
        await self._ensure(self._names.replays, self.consumer, replays, _from_the_first)

    async def backlog(self) -> Backlog:
        """How much there is to deliver."""
        info = await self._bus.api(f"CONSUMER.INFO.{self._names.ledger}.{self.consumer}")
        replays = await self._bus.api(f"CONSUMER.INFO.{self._names.replays}.{self.consumer}")
        self._note_settled(info)
        return Backlog(
            waiting=info["num_pending"] + replays["num_pending"],
            in_hand=info["num_ack_pending"] + replays["num_ack_pending"],
            settled_up_to=info["ack_floor"]["stream_seq"],
            handed_out_up_to=info["delivered"]["stream_seq"],
            handed_out_at=max(_last_active(each["delivered"]) for each in (info, replays)),
            paused=bool(info.get("paused") or replays.get("paused")),
        )

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Puller]:
        """The route's events, while this agent is the one that works the route."""
        async with pulling(self._bus, self._names.ledger, self.consumer, GROUP) as puller:
            yield puller

    @asynccontextmanager
    async def replays(self) -> AsyncIterator[Puller]:
        """What was asked to be delivered again, while this agent is the one that takes it."""
        async with pulling(self._bus, self._names.replays, self.consumer, GROUP) as puller:
            yield puller

    async def worker(self) -> str | None:
        """The pin of the client that the server has chosen for the route's events; None where it has chosen none."""
        info = await self._bus.api(f"CONSUMER.INFO.{self._names.ledger}.{self.consumer}")
        groups: list[dict[str, str]] = info.get("priority_groups") or []
        return next((each.get("pinned_client_id") for each in groups if each.get("group") == GROUP), None)

    async def in_doubt(self) -> list[tuple[str, int]]:
        """Record and sequence of every event that may be in another worker's hand: handed out, perhaps not settled."""
        backlog = await self.backlog()
        if not backlog.in_hand:
            return []
        after, found = backlog.settled_up_to, []
        batch = min(max(backlog.handed_out_up_to - after, 1), BATCH)
        given = held(
            self._bus, self._names.ledger, self._filters, every=True, after=after, headers_only=True, batch=batch
        )
        async with aclosing(given) as messages:
            async for message in messages:
                if message.sequence > backlog.handed_out_up_to:
                    break
                found.append((record_of(message, self._names), message.sequence))
        return found

    async def lanes(self) -> tuple[dict[str, bytes], list[str]]:
        """The saved lanes: record → lane. And the keys in the bucket under which there is something else."""
        found, broken = {}, []
        async for message in held(self._bus, f"KV_{self._names.lanes_bucket}", [f"{self._lane_prefix}.*"]):
            if message.data:
                try:
                    saved = msgspec.json.decode(message.data, type=SavedLane)
                except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                    broken.append(message.subject)
                else:
                    found[saved.record] = bytes(saved.lane)
        return found, broken

    async def save_lane(self, record: str, lane: bytes | None) -> None:
        """Keep a record's lane, or forget it. Where the bus refuses, that is logged once, until it takes one again."""
        try:
            await self._put_lane(record, lane)
        except (ApiError, BusRefused) as refused:
            if not self._lanes_refused:
                log.warning("what waits for a retry cannot be kept: %s", refused, extra={"route": self._route})
            self._lanes_refused = True
            raise
        self._lanes_refused = False

    async def _put_lane(self, record: str, lane: bytes | None) -> None:
        subject = f"{self._lane_prefix}.{hashlib.blake2b(record.encode(), digest_size=16).hexdigest()}"
        if lane is None:
            mark = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": FORGOTTEN}
            await self._bus.publish(subject, b"", mark)
        else:
            kept = {"Nats-Rollup": "sub", "Nats-TTL": KEPT}
            await self._bus.publish(subject, msgspec.json.encode(SavedLane(record, msgspec.Raw(lane))), kept)

    async def bury(self, letter: DeadLetter) -> None:
        """Store a dead letter. The same message is stored once; a replay that fails again is a letter anew."""
        headers = {
            "Nats-Msg-Id": f"{letter.route}/{letter.event_id}/{letter.source}",
            EVENT_ID: letter.event_id,
            REASON: letter.reason,
            ATTEMPTS: str(letter.attempts),
            STATUS: letter.status,
            FAILED_AT: f"{letter.failed_at:.3f}",
            KEY: letter.record,
        }
        await self._bus.publish(self._names.dead_letter(letter.route), letter.event, headers)

    def _note_settled(self, info: Mapping[str, Any]) -> None:
        """A consumer that has settled nothing yet says with what it began."""
        self._settled_up_to = max(info["ack_floor"]["stream_seq"], self._settled_up_to or 0)

    async def _start(self, stream_made: str, last: int) -> dict[str, object]:
        """Where a consumer starts that is not there yet. One made beyond the stream's end would skip what comes."""
        if self._stream_made not in {"", stream_made}:
            return await _from_the_first()
        if self._settled_up_to is not None and self._settled_up_to <= last:
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._settled_up_to + 1}
        if (since := self._begin.since) is not None:
            first = await first_since(self._bus, self._names.ledger, since)
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": first}
        return await _from_the_first() if self._begin == ALL else {"deliver_policy": "new"}

    @property
    def _lane_prefix(self) -> str:
        return f"$KV.{self._names.lanes_bucket}.{self._route}"

    async def _ensure(
        self,
        stream: str,
        name: str,
        wanted: Mapping[str, object],
        start: Callable[[], Awaitable[Mapping[str, object]]],
    ) -> dict[str, Any]:
        """Make the consumer, which starts where `start` says; or mend it: where it began is never changed. What it is now."""
        try:
            info = await self._bus.api(f"CONSUMER.INFO.{stream}.{name}")
        except ApiError as error:
            if error.err_code != CONSUMER_NOT_FOUND:
                raise
            info = {}
        present = info.get("config", {})
        if info and all(present.get(key) == value for key, value in wanted.items()):
            return info
        config = {**(present or await start()), **wanted}
        return await self._bus.api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})


def _last_active(delivered: Mapping[str, Any]) -> float:
    told = delivered.get("last_active")
    return datetime.fromisoformat(told).timestamp() if told else 0.0


async def _from_the_first() -> dict[str, object]:
    return {"deliver_policy": "all"}


def record_of(message: Message, names: Names) -> str:
    """Which record an event is about, as `vendor/account/resource/key`."""
    return f"{_scope_of(names, message.subject)}/{message.headers.get(KEY, '')}"


@lru_cache(maxsize=10_000)
def _scope_of(names: Names, subject: str) -> str:
    return str(names.scope_of(subject))


async def dead_letters(
    bus: Bus, names: Names, route: str | None = None, *, with_events: bool = True
) -> AsyncGenerator[DeadLetter, None]:
    """The dead letters of one route, or of all, oldest first; none that comes meanwhile. `with_events`: else without theirs."""
    subject = names.dead_letter(route) if route else names.dead_letter("*")
    last = (await bus.api(f"STREAM.INFO.{names.dead}"))["state"]["last_seq"]
    given = held(bus, names.dead, [subject], every=True, headers_only=not with_events)
    async with aclosing(given) as messages:
        async for message in messages:
            if message.sequence > last:
                return
            yield _letter(message, message.published_at)


async def dead_letter(bus: Bus, names: Names, number: int) -> DeadLetter | None:
    """The dead letter of this number; None where there is none (any more)."""
    found = await at(bus, names.dead, number)
    return None if found is None else _letter(found, datetime.fromisoformat(found.published_at).timestamp())


def _letter(message: Message | Last, published_at: float) -> DeadLetter:
    return DeadLetter(
        route=message.subject.rpartition(".")[2],
        event=message.data,
        event_id=message.headers.get(EVENT_ID, ""),
        reason=message.headers.get(REASON, ""),
        attempts=int(_number(message.headers.get(ATTEMPTS, ""))),
        status=message.headers.get(STATUS, ""),
        failed_at=_number(message.headers.get(FAILED_AT, "")) or published_at,
        record=message.headers.get(KEY, ""),
        sequence=message.sequence,
    )


def _number(text: str) -> float:
    """What a stranger puts there may be anything."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 <= number < 1e11 else 0.0


async def dead_count(bus: Bus, names: Names) -> dict[str, int]:
    """How many dead letters each route has."""
    info = await bus.api(f"STREAM.INFO.{names.dead}", {"subjects_filter": names.dead_letter("*")})
    subjects: dict[str, int] = info["state"].get("subjects") or {}
    return {subject.rpartition(".")[2]: count for subject, count in subjects.items()}


async def replay(bus: Bus, names: Names, letter: DeadLetter) -> None:
    """Hand a dead letter to its route again, then take it off the dead letters."""
    record = _record_in(letter.event) or letter.record
    headers = {"Nats-Msg-Id": f"{letter.sequence}/{letter.event_id}/{time.time_ns()}", KEY: record}
    await bus.publish(names.replay(letter.route), letter.event, headers)
    await drop(bus, names, letter)


def _record_in(event: bytes) -> str:
    """Which record the bytes of an event say they are about; nothing where they are none."""
    try:
        told = envelope.decode_sealed(event)
    except (ValueError, RecursionError):
        return ""
    return f"{told.vendor}/{told.account}/{told.type.partition('.')[0]}/{told.subject}"


async def drop(bus: Bus, names: Names, letter: DeadLetter) -> None:
    """Take a dead letter off for good. One that somebody else took off meanwhile is gone as well."""
    try:
        await bus.api(f"STREAM.MSG.DELETE.{names.dead}", {"seq": letter.sequence, "no_erase": True})
    except ApiError as error:
        if error.err_code not in NO_SUCH_LETTER:
            raise
