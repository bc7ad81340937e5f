"""What became of each attempt to deliver an event: written beside the deliveries, kept as long as events are.

A record of attempts must not slow down what it records. So an attempt is only noted, and a task beside the deliveries stores
what has gathered, some hundreds in one write. It is a record for people, not a part of the delivery: with a bus that stays
away the oldest are dropped, and one that was stored twice is read as one.
"""

import logging
from collections import deque
from contextlib import aclosing, suppress
from typing import Annotated

import anyio
import msgspec

from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusError
from events.jetstream.read import held
from events.jetstream.streams import STREAM_NOT_FOUND
from events.subjects import Names
from schemas.facts import DeliveryOutcome

GATHER = 0.05  # seconds in which attempts gather, to be stored together
TOGETHER = 500  # attempts in one write
MOST = 10_000  # attempts that wait for the bus; beyond that the oldest are dropped
AGAIN = 1.0  # seconds until what could not be stored is tried again
LAST = 0.7  # seconds in which what is left is stored at the end, also with a bus that hangs
LONGEST = 500  # characters of a status: an error's text may be long; and of an id, which a stranger may have made

log = logging.getLogger("vendorwire.attempts")
_encode = msgspec.json.encode
_Unix = Annotated[float, msgspec.Meta(ge=0, lt=1e11)]  # what is read is a time that a calendar has


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One attempt to hand an event to a route.

    `sequence` is the event's in the ledger's stream, 0 where it does not come from there (a replay). `status` is the HTTP
    status, or what went wrong. `seconds`: how long it took; `at`: when it ended, `due`: when the next one is due, both Unix
    seconds; `due` is 0 where none is planned.
    """

    event_id: str
    sequence: int
    attempt: int
    outcome: DeliveryOutcome
    status: str
    seconds: float
    at: _Unix
    due: _Unix
    replay: bool
    route: str


_decoder = msgspec.json.Decoder(Attempt)


class Attempts:
    """What this process has noted and not yet stored. `run` runs beside the deliveries, and is cancelled after them."""

    def __init__(self, bus: Bus, names: Names) -> None:
        self._bus = bus
        self._names = names
        self._gathered: deque[Attempt] = deque()
        self._in_hand: list[Attempt] = []  # on their way to the bus, perhaps not for the first time
        self._wanted = anyio.Event()
        self._dropped = 0
        self._troubled = False

    def __len__(self) -> int:
        return len(self._gathered) + len(self._in_hand)

    def note(
        self,
        *,
        route: str,
        event_id: str,
        sequence: int,
        attempt: int,
        outcome: DeliveryOutcome,
        status: str,
        seconds: float,
        at: float,
        due: float = 0.0,
        replay: bool = False,
    ) -> None:
        """An attempt has ended. See `Attempt`; returns at once."""
        gathered = self._gathered
        if not gathered:
            self._wanted.set()
        elif len(gathered) + len(self._in_hand) >= MOST:
            gathered.popleft()
            self._drop()
        gathered.append(Attempt(event_id, sequence, attempt, outcome, status, seconds, at, due, replay, route))

    async def run(self) -> None:
        """Store what is noted, until cancelled; then what is left, if the bus takes it at once."""
        try:
            while True:
                await self._wanted.wait()
                await anyio.sleep(GATHER)
                try:
                    await self._store()
                except BusError as trouble:
                    self._warn(str(trouble))
                    await anyio.sleep(AGAIN)
        finally:
            with anyio.move_on_after(LAST, shield=True), suppress(BusError):
                await self._store()

    async def _store(self) -> None:
        while self._in_hand or self._gathered:
            if not self._in_hand:
                self._in_hand = [self._gathered.popleft() for _ in range(min(TOGETHER, len(self._gathered)))]
            await self._bus.publish_many([self._message(attempt) for attempt in self._in_hand])
            self._in_hand = []
        self._wanted = anyio.Event()
        if self._dropped:
            log.info("attempts are recorded again; %d are not", self._dropped)
        self._dropped, self._troubled = 0, False

    def _message(self, attempt: Attempt) -> tuple[str, bytes]:
        if max(len(attempt.status), len(attempt.event_id)) > LONGEST or not attempt.status.isprintable():
            status = attempt.status[:LONGEST].encode("utf-8", "replace").decode()
            attempt = msgspec.structs.replace(attempt, event_id=attempt.event_id[:LONGEST], status=status)
        return self._names.attempt(attempt.route, attempt.event_id), _encode(attempt)

    def _drop(self) -> None:
        if not self._dropped:
            log.warning("attempts are no longer recorded: %d wait for the bus, and the oldest are dropped", MOST)
        self._dropped += 1

    def _warn(self, trouble: str) -> None:
        """Once, until they are stored again; a bus that is away is told by others."""
        if self._bus.connected and not self._troubled:
            log.warning("attempts are recorded later: %s", trouble)
            self._troubled = True


async def attempts_of(bus: Bus, names: Names, beginning: str) -> list[Attempt]:
    """The attempts, on all routes, of the events whose id begins so, in the order of their end.

    The beginning has at least `BEGINNING` characters. Reads a 4096th of all attempts. Raises BusError.
    """
    found: dict[Attempt, None] = {}
    try:
        async with aclosing(held(bus, names.attempts, [names.attempt("*", beginning)], every=True)) as messages:
            async for message in messages:
                with suppress(ValueError, RecursionError):  # what a stranger wrote there is no attempt
                    attempt = _decoder.decode(message.data)
                    if attempt.event_id.startswith(beginning):
                        found[attempt] = None
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:  # an agent from before there were any
            raise
    return sorted(found, key=lambda attempt: attempt.at)
