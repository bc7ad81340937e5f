"""The schedule: polls are messages. A tick in hand is the lease.

The next poll of a resource is one message that the server turns into a tick on time. Whoever takes the tick polls; while
it does, the schedule's place is held by a message far ahead, because a schedule that fires replaces the tick in hand and
would send a second agent to the same resource.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from events import failpoints
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.outbox import CONSUMER_NOT_FOUND
from events.jetstream.pull import Message, Puller, pulling
from events.jetstream.read import Last, last
from events.subjects import Names
from schemas.changes import Scope

CONSUMER = "agents"
LEASE = timedelta(seconds=30)  # a tick whose agent died goes to another after this
BEAT = 5.0  # seconds between two "in progress"; before a tick another agent passed on by mistake would come again
GUARD = timedelta(hours=1)  # where the schedule's place is held while polling
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_OF = "Nats-Expected-Last-Subject-Sequence-Subject"
NEVER = datetime.min.replace(tzinfo=UTC)  # long overdue: what is planned so does not fall due by itself
_NANO = 1_000_000_000


class Due(msgspec.Struct, frozen=True):
    """What a tick carries: how many polls in a row have failed, and whether the account's health is known to say nothing
    against the resource. `throttled`: the vendor has asked for patience until then."""

    failures: int = 0
    well: bool = False
    throttled: bool = False


_due = msgspec.json.Decoder(Due)
_encode = msgspec.json.encode


class Tick(msgspec.Struct, frozen=True):
    """A poll that is due, in hand."""

    scope: Scope
    due: Due
    message: Message

    def again(self) -> "Tick":
        """The same, in hand still, as if it had been handed out once more."""
        message = msgspec.structs.replace(self.message, delivered=self.message.delivered + 1)
        return msgspec.structs.replace(self, message=message)


class Schedule:
    """The stream of polls."""

    def __init__(self, bus: Bus, names: Names) -> None:
        self._bus = bus
        self._names = names

    def now(self) -> datetime:
        """The time that what is planned is held against: the server's."""
        return datetime.fromtimestamp(self._bus.now(), UTC)

    async def ensure(self) -> None:
        """The consumer all agents pull from, as it must be."""
        config = {
            "durable_name": CONSUMER,
            "filter_subject": f"{self._names.prefix}.poll.>",
            "ack_policy": "explicit",
            "ack_wait": int(LEASE.total_seconds() * _NANO),
            "max_deliver": -1,
            "max_ack_pending": -1,
            "deliver_policy": "all",
        }
        body = {"stream_name": self._names.polls, "config": config}
        await self._bus.api(f"CONSUMER.CREATE.{self._names.polls}.{CONSUMER}", body)

    async def is_paused(self) -> bool:
        """Whether somebody keeps the server from handing out ticks."""
        try:
            info = await self._bus.api(f"CONSUMER.INFO.{self._names.polls}.{CONSUMER}")
        except ApiError as error:
            if error.err_code != CONSUMER_NOT_FOUND:  # whoever takes ticks makes it
                raise
            return False
        return bool(info.get("paused"))

    @asynccontextmanager
    async def ticks(self) -> AsyncIterator["Ticks"]:
        """Take ticks for as long as the block lasts."""
        async with pulling(self._bus, self._names.polls, CONSUMER) as puller:
            yield Ticks(puller, self._names)

    async def plan(self, scope: Scope, at: datetime, due: Due, *, only_if_missing: bool = False) -> bool:
        """The next poll of a resource. It replaces the one planned before. False where there is one, and there was to be none."""
        return await self._put(scope, at, due, {EXPECTED: "0"} if only_if_missing else {})

    async def _put(self, scope: Scope, at: datetime, due: Due, expected: Mapping[str, str]) -> bool:
        """Store a plan. False where the stream does not hold what is expected."""
        headers = {
            "Nats-Schedule": f"@at {at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S.%fZ')}",
            "Nats-Schedule-Target": self._names.poll(scope),
            **expected,
        }
        try:
            await self._bus.publish(self._names.schedule(scope), _encode(due), headers)
        except ApiError as error:
            if not error.is_conflict:
                raise
            return False
        return True

    async def poll_now(self, scope: Scope) -> bool:
        """Make a tick. False while one is waiting or in hand: that poll is the one asked for, or must end first."""
        try:
            await self._bus.publish(self._names.poll(scope), _encode(Due()), {EXPECTED: "0"})
        except ApiError as error:
            if not error.is_conflict:
                raise
            return False
        return True

    async def hand_out_again(self, scope: Scope, older: timedelta) -> bool:
        """Make a tick anew that is older and that nobody has begun; whoever has it in hand then cannot begin it."""
        found = await last(self._bus, self._names.polls, self._names.poll(scope))
        if found is None or datetime.fromisoformat(found.published_at) > self.now() - older:
            return False
        place = await last(self._bus, self._names.polls, self._names.schedule(scope))
        if place is not None and place.sequence > found.sequence:  # held by whoever has begun it
            return False
        return await self._put(scope, self.now(), _read(found.data), {EXPECTED: str(place.sequence if place else 0)})

    async def known(self) -> Mapping[Scope, set[str]]:
        """Which resources have a schedule or a tick, and which subjects hold it."""
        found: dict[Scope, set[str]] = {}
        offset = 0
        while True:
            body = {"subjects_filter": f"{self._names.prefix}.>", "offset": offset}
            info = await self._bus.api(f"STREAM.INFO.{self._names.polls}", body)
            subjects = info["state"].get("subjects") or {}
            for subject in subjects:
                found.setdefault(self._names.scope_of(subject), set()).add(subject)
            offset += len(subjects)
            if not subjects or offset >= info.get("total", 0):
                return found

    async def planned(self, scope: Scope) -> datetime | None:
        """When the next poll of a resource is planned; None where it has no schedule, NEVER where that cannot be read."""
        found = await last(self._bus, self._names.polls, self._names.schedule(scope))
        return _planned_for(found) if found else None

    async def waits_for_vendor(self, scope: Scope) -> bool:
        """Whether the vendor has asked for patience, and the next poll is planned for after that."""
        place = await last(self._bus, self._names.polls, self._names.schedule(scope))
        return place is not None and _read(place.data).throttled

    async def straighten(self, scope: Scope, at: datetime, earliest: datetime, latest: datetime) -> bool:
        """Plan the next poll for `at` where it is planned for outside of these times, unless one waits or is under way."""
        place = await last(self._bus, self._names.polls, self._names.schedule(scope))
        if place is None or earliest <= _planned_for(place) <= latest:
            return False
        if await last(self._bus, self._names.polls, self._names.poll(scope)) is not None:
            return False
        return await self._put(scope, at, Due(), {EXPECTED: str(place.sequence)})

    async def forget(self, subjects: Sequence[str]) -> None:
        """Remove the schedules and ticks of what is no longer configured."""
        for subject in subjects:
            await self._bus.api(f"STREAM.PURGE.{self._names.polls}", {"filter": subject})

    async def begin(self, tick: Tick) -> bool:
        """Hold the schedule's place. False where this tick no longer counts: then what is planned is left as it is.

        An agent that was hung may find the poll done and the next one planned by another. What is held says nothing of the
        account's health: the poll that it stands for has not ended.
        """
        still = {EXPECTED: str(tick.message.sequence), EXPECTED_OF: self._names.poll(tick.scope)}
        return await self._put(tick.scope, self.now() + GUARD, Due(failures=tick.due.failures), still)

    async def hold(self, tick: Tick) -> None:
        """Keep the schedule from firing while the poll lasts."""
        await self.plan(tick.scope, self.now() + GUARD, Due(failures=tick.due.failures))

    async def finish(self, tick: Tick, at: datetime, due: Due) -> None:
        """Store the next poll, then give the tick back."""
        await self.plan(tick.scope, at, due)
        failpoints.reached("poll.planned", tick.scope.vendor)
        await tick.message.ack()


class Ticks:
    """Ticks as they fall due."""

    def __init__(self, puller: Puller, names: Names) -> None:
        self._puller = puller
        self._names = names

    async def take(self, limit: int, wait: float) -> list[Tick]:
        """Up to `limit` ticks; an empty list after `wait` seconds without any."""
        return [
            Tick(self._names.scope_of(message.subject), _read(message.data), message)
            for message in await self._puller.take(limit, wait)
        ]


def _planned_for(message: Last) -> datetime:
    try:
        at = datetime.fromisoformat(message.headers.get("Nats-Schedule", "").removeprefix("@at "))
    except ValueError:  # a stranger's
        return NEVER
    return at if at.tzinfo else NEVER


def _read(data: bytes) -> Due:
    try:
        return _due.decode(data)
    except (ValueError, RecursionError):  # a stranger's; msgspec's errors are ValueErrors
        return Due()
