"""What a route has to deliver, as JetStream keeps it: the route's consumer, its replays, its lanes and its dead letters."""

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.ledger import KEY
from events.jetstream.pull import Message, Puller, pulling
from events.jetstream.read import BATCH, held
from events.subjects import Names

GROUP = "agents"
TAKE_OVER = 5.0  # seconds of silence after which another agent takes a route over
CONSUMER_NOT_FOUND = 10014
OUTSTANDING = 1000  # events a route may have in hand or waiting for a retry on the server
FORGOTTEN = "86400"  # seconds a deleted lane's mark stays
KEPT = str(7 * 86400)  # seconds a lane is kept since its last failed attempt: far beyond the longest wait between two
REASON, ATTEMPTS, STATUS, EVENT_ID, FAILED_AT = (
    "Vendorwire-Reason",
    "Vendorwire-Attempts",
    "Vendorwire-Status",
    "Vendorwire-Event-Id",
    "Vendorwire-Failed-At",
)
_NANO = 1_000_000_000


class SavedLane(msgspec.Struct, frozen=True):
    """A record's lane as the bucket holds it."""

    record: str
    lane: msgspec.Raw


class Backlog(msgspec.Struct, frozen=True):
    """What a route still has to deliver: `waiting` not yet handed out, `in_hand` handed out and not acknowledged.

    Whatever is in hand lies after `settled_up_to` and not after `handed_out_up_to`, as sequences of the ledger's stream.
    """

    waiting: int
    in_hand: int
    settled_up_to: int
    handed_out_up_to: int


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
    """One route's side of the bus. `ack_wait` in seconds: longer than any attempt may take."""

    def __init__(self, bus: Bus, names: Names, route: str, filters: Sequence[str], ack_wait: float) -> None:
        self._bus = bus
        self._names = names
        self._route = route
        self._filters = list(filters)
        self.ack_wait = ack_wait
        self.consumer = f"route-{route}"
        self._settled_up_to = 0  # as last seen: a consumer deleted under us is made again from there
        self._stream_made = ""  # when, as the server says: sequences of another stream mean nothing

    async def ensure(self) -> None:
        """The route's consumers as they must be. A new route starts with the events that come from now on.

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
            **self._start(stream["created"], stream["state"]["last_seq"]),
            "priority_policy": "pinned_client",
            "priority_groups": [GROUP],
            "priority_timeout": int(TAKE_OVER * _NANO),
        }
        await self._ensure(self._names.ledger, self.consumer, wanted)
        if stream["created"] != self._stream_made:
            self._stream_made, self._settled_up_to = stream["created"], 0
        replays = {
            "durable_name": self.consumer,
            "filter_subjects": [self._names.replay(self._route)],
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait * _NANO),
            "max_deliver": -1,
            "max_ack_pending": OUTSTANDING,
            "deliver_policy": "all",
        }
        await self._ensure(self._names.replays, self.consumer, replays)

    async def backlog(self) -> Backlog:
        """How much there is to deliver."""
        info = await self._bus.api(f"CONSUMER.INFO.{self._names.ledger}.{self.consumer}")
        replays = await self._bus.api(f"CONSUMER.INFO.{self._names.replays}.{self.consumer}")
        self._settled_up_to = max(info["ack_floor"]["stream_seq"], self._settled_up_to)
        return Backlog(
            waiting=info["num_pending"] + replays["num_pending"],
            in_hand=info["num_ack_pending"] + replays["num_ack_pending"],
            settled_up_to=info["ack_floor"]["stream_seq"],
            handed_out_up_to=info["delivered"]["stream_seq"],
        )

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Puller]:
        """The route's events, while this agent is the one that works the route."""
        async with pulling(self._bus, self._names.ledger, self.consumer, GROUP) as puller:
            yield puller

    @asynccontextmanager
    async def replays(self) -> AsyncIterator[Puller]:
        """What was asked to be delivered again."""
        async with pulling(self._bus, self._names.replays, self.consumer) as puller:
            yield puller

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
        """Keep a record's lane, or forget it."""
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

    def _start(self, stream_made: str, last: int) -> dict[str, object]:
        """Where a consumer starts that is not there yet. One made beyond the stream's end would skip what comes."""
        if self._stream_made not in {"", stream_made}:
            return {"deliver_policy": "all"}
        if 0 < self._settled_up_to <= last:
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._settled_up_to + 1}
        return {"deliver_policy": "new"}

    @property
    def _lane_prefix(self) -> str:
        return f"$KV.{self._names.lanes_bucket}.{self._route}"

    async def _ensure(self, stream: str, name: str, wanted: Mapping[str, object]) -> None:
        try:
            present = (await self._bus.api(f"CONSUMER.INFO.{stream}.{name}"))["config"]
        except ApiError as error:
            if error.err_code != CONSUMER_NOT_FOUND:
                raise
            present = None
        if present is not None and all(
            present.get(key) == value for key, value in wanted.items() if key not in _STARTS
        ):
            return
        config = dict(wanted)
        if present is not None:
            config = {**present, **{key: value for key, value in wanted.items() if key not in _STARTS}}
        await self._bus.api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})


_STARTS = ("deliver_policy", "opt_start_seq", "opt_start_time")  # where a consumer began is never changed


def record_of(message: Message, names: Names) -> str:
    """Which record an event is about, as `vendor/account/resource/key`."""
    return f"{_scope_of(names, message.subject)}/{message.headers.get(KEY, '')}"


@lru_cache(maxsize=10_000)
def _scope_of(names: Names, subject: str) -> str:
    return str(names.scope_of(subject))


async def dead_letters(bus: Bus, names: Names, route: str | None = None) -> AsyncGenerator[DeadLetter, None]:
    """The dead letters of one route, or of all, oldest first."""
    subject = names.dead_letter(route) if route else names.dead_letter("*")
    info = await bus.api(f"STREAM.INFO.{names.dead}", {"subjects_filter": subject})
    if not info["state"].get("subjects"):
        return
    async for message in held(bus, names.dead, [subject], every=True):
        yield DeadLetter(
            route=message.subject.rpartition(".")[2],
            event=message.data,
            event_id=message.headers.get(EVENT_ID, ""),
            reason=message.headers.get(REASON, ""),
            attempts=int(message.headers.get(ATTEMPTS, "0")),
            status=message.headers.get(STATUS, ""),
            failed_at=float(message.headers.get(FAILED_AT, "0")),
            record=message.headers.get(KEY, ""),
            sequence=message.sequence,
        )


async def dead_count(bus: Bus, names: Names) -> dict[str, int]:
    """How many dead letters each route has."""
    info = await bus.api(f"STREAM.INFO.{names.dead}", {"subjects_filter": names.dead_letter("*")})
    subjects: dict[str, int] = info["state"].get("subjects") or {}
    return {subject.rpartition(".")[2]: count for subject, count in subjects.items()}


async def replay(bus: Bus, names: Names, letter: DeadLetter) -> None:
    """Hand a dead letter to its route again, then take it off the dead letters."""
    headers = {"Nats-Msg-Id": f"{letter.sequence}/{letter.event_id}/{time.time_ns()}", KEY: letter.record}
    await bus.publish(names.replay(letter.route), letter.event, headers)
    await drop(bus, names, letter)


async def drop(bus: Bus, names: Names, letter: DeadLetter) -> None:
    """Take a dead letter off for good."""
    await bus.api(f"STREAM.MSG.DELETE.{names.dead}", {"seq": letter.sequence, "no_erase": True})
