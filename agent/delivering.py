"""One route's worker: takes events from the route's consumer and hands each to its receiver, in order per record.

One agent at a time works a route (JetStream's pinned client), another takes over when it dies. What waits for a retry
waits on the server; which record waits for what is kept in a bucket, so that order and attempts outlive the process.
What this process has settled it remembers: a server that crashed may hand it out again.
"""

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import assert_never

import anyio
import msgspec

from agent.pulse import Pulse
from agent.receivers import Receiver
from agent.room import GLANCE, Room
from agent.settling import Settler
from agent.slots import Slots
from events import retry
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError, BusRefused
from events.jetstream.outbox import DeadLetter, RouteQueue, record_of
from events.jetstream.pull import ConsumerGone, Message, Puller
from events.lanes import Deliver, Lanes, Wait
from events.retry import Retry, Stop
from events.subjects import Names
from events.webhook import Answer
from schemas import envelope
from schemas.facts import Delivered, DeliveryOutcome, Fact

TOO_LATE = 2.0  # seconds after which an event that waits here for its turn goes back: the receiver has become slow
QUIET = 5.0  # seconds without an event after which the loop shows that it lives
STAY_EVERY = 2.0  # seconds between two signs that this agent still works the route
BEAT = 5.0  # seconds between two "in progress" while an event waits for its turn
GONE_PAUSE = 3600.0  # seconds a route rests after a 410 before it asks again
NO_GRAVE = 60.0  # seconds until a dead letter that could not be stored is tried again

log = logging.getLogger("vendorwire.delivering")


class _Parcel(msgspec.Struct, frozen=True):
    """An event in hand. `lane` is its record; a replay has a lane of its own, it does not wait for what is live."""

    message: Message
    lane: str
    event: envelope.CloudEvent
    body: bytes


class RouteWorker:
    """Delivers one route's events for as long as `run` runs."""

    def __init__(
        self,
        name: str,
        receiver: Receiver,
        queue: RouteQueue,
        bus: Bus,
        names: Names,
        pulse: Pulse,
        tell: Callable[[Fact], None],
        rng: random.Random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._receiver = receiver
        self._queue = queue
        self._bus = bus
        self._names = names
        self._replay = names.replay(name)
        self._pulse = pulse
        self._loop = f"route {name}"
        self._tell = tell
        self._rng = rng
        self._clock = clock
        self._lanes = Lanes()
        self._pin: str | None = None
        self._pullers: tuple[Puller, ...] = ()
        self._settler = Settler(name, queue)
        self._room = Room(receiver.concurrency, ahead=receiver.rate is None)
        self._rests_until = 0.0
        self._may_send_at = 0.0
        self._stopping = False
        self._trouble = ""

    def stop(self) -> None:
        """Take no more; `run` ends when what is in hand is done."""
        self._stopping = True
        self._take_no_more()

    async def run(self) -> None:
        """Deliver until stopped. A lost bus interrupts; what was in hand comes again."""
        self._pulse.expect(self._loop, within=60)
        async with anyio.create_task_group() as settling:
            settling.start_soon(self._settler.run)
            await self._deliver_all()
            self._settler.end()
        self._pulse.done(self._loop)

    async def _deliver_all(self) -> None:
        """Until stopped, and what is in hand is done. When that takes too long, what waits here is handed back."""
        number = self._receiver.concurrency
        if self._receiver.rate is not None:
            number *= 2  # replays too: whoever waits for his turn tells the bus that he does
        slots = Slots(self._handle, number)
        try:
            async with anyio.create_task_group() as deliveries:
                slots.open(deliveries)
                await self._run(slots)
                slots.end()
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(1, shield=True), suppress(BusError):
                for message in slots.left():
                    await message.retry(0)
            raise

    async def _run(self, slots: Slots[Message]) -> None:
        while not self._stopping:
            self._pulse.beat(self._loop)
            with anyio.move_on_after(GLANCE):
                await self._bus.ready()
            if self._rests or not self._bus.connected:
                await anyio.sleep(GLANCE)
                continue
            await self._try(slots)

    async def _try(self, slots: Slots[Message]) -> None:
        try:
            await self._work(slots)
        except* BusRefused as refused:
            self._warn(str(refused.exceptions[0]))
            await anyio.sleep(GLANCE)
        except* (BusError, ConsumerGone) as lost:
            log.debug("route %s starts again: %s", self._name, lost.exceptions[0])
            await anyio.sleep(0.2)

    @property
    def _rests(self) -> bool:
        return self._clock() < self._rests_until

    def _warn(self, trouble: str) -> None:
        """Once for each trouble, not at each attempt."""
        if trouble != self._trouble:
            log.warning("the route cannot be worked: %s", trouble, extra={"route": self._name})
        self._trouble = trouble

    async def _work(self, slots: Slots[Message]) -> None:
        await self._queue.ensure()
        async with (
            self._queue.events() as events,
            self._queue.replays() as replays,
            anyio.create_task_group() as keeping,
        ):
            self._pullers = (events, replays)
            keeping.start_soon(self._keep, events)
            async with anyio.create_task_group() as loops:
                loops.start_soon(self._take, events, slots)
                loops.start_soon(self._take, replays, slots)
            keeping.cancel_scope.cancel()

    async def _keep(self, events: Puller) -> None:
        """Remain the one that works the route."""
        while True:
            await events.stay()
            self._lanes.forget_doubts(self._clock())
            await anyio.sleep(STAY_EVERY)

    async def _take(self, puller: Puller, slots: Slots[Message]) -> None:
        while not self._stopping and not self._rests:
            self._pulse.beat(self._loop)
            if (room := await self._room.free()) <= 0:
                continue
            messages = await puller.take(room, QUIET)
            if messages and puller.pin != self._pin:
                await self._take_over(puller.pin)
            for message in messages:
                self._room.take()
                slots.give(message)

    def _take_no_more(self) -> None:
        for puller in self._pullers:
            puller.end()

    async def _take_over(self, pin: str | None) -> None:
        """The server has chosen this agent for the route (anew): learn what the one before left behind."""
        if pin is None:
            return
        doubtful = await self._queue.in_doubt()
        saved, broken = await self._queue.lanes()
        until = self._clock() + self._queue.ack_wait
        lanes = Lanes()
        for record, lane in saved.items():
            try:
                lanes.restore(record, lane)
            except (ValueError, RecursionError):
                broken.append(record)
        if broken:
            what = {"route": self._name, "lanes": len(broken), "first": broken[0]}
            log.warning("what was kept of retries cannot be read, and counts anew", extra=what)
        for record, sequence in doubtful:
            if self._settler.knows(record, sequence) is None:
                lanes.doubt(record, sequence, until)
        self._lanes, self._pin = lanes, pin

    async def _handle(self, message: Message) -> None:
        try:
            await self._sort(message)
        except BusError as lost:
            log.debug("an event of route %s comes again: %s", self._name, lost)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(1, shield=True), suppress(BusError):
                await message.retry(0)
            raise
        finally:
            self._room.done()

    async def _sort(self, message: Message) -> None:
        try:
            parcel = self._parcel(message)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            await self._bury_unreadable(message)
        else:
            await self._parcel_in_lane(parcel)

    async def _parcel_in_lane(self, parcel: _Parcel) -> None:
        lanes, sequence = self._lanes, parcel.message.sequence
        before = lanes.snapshot(parcel.lane)
        now = lanes.arrive(parcel.lane, sequence, self._clock())
        while isinstance(now, Wait) and self._settler.holds(parcel.lane):  # it is its turn in a moment
            await self._settler.released(parcel.lane)
            if lanes is not self._lanes:
                lanes, before = self._lanes, self._lanes.snapshot(parcel.lane)
            now = lanes.arrive(parcel.lane, sequence, self._clock())
        match now:
            case Wait(seconds=seconds):
                if (after := lanes.snapshot(parcel.lane)) != before:
                    await self._queue.save_lane(parcel.lane, after)
                await parcel.message.retry(seconds)
            case Deliver(attempt=attempt):
                settling = False
                try:
                    settling = await self._deliver(parcel, attempt, lanes)
                finally:
                    if not settling:
                        lanes.released(parcel.lane, sequence)
            case other:
                assert_never(other)

    async def _deliver(self, parcel: _Parcel, attempt: int, lanes: Lanes) -> bool:
        """Whether the event is done with: it is being settled, and its lane stays in hand."""
        if self._settler.knows(parcel.lane, parcel.message.sequence) == parcel.event.id:
            self._settle(parcel, lanes)  # the server has forgotten that it knew
            return True
        if time.monotonic() > parcel.message.received_at + TOO_LATE:
            await parcel.message.retry(0)
            return False
        await self._keep_rate(parcel.message)
        if self._rests:  # another event has just learnt that the receiver is gone
            await self._rest(parcel, lanes)
            return False
        answer = await self._attempt(parcel, attempt)
        verdict = retry.classify(answer.status, answer.retry_after, self._clock())
        self._room.answered(answer.seconds, gone=isinstance(verdict, Stop))
        match verdict:
            case retry.Delivered():
                self._trouble = ""
                lag = self._clock() - parcel.message.published_at
                self._note(parcel, DeliveryOutcome.DELIVERED, attempt, answer, lag)
                self._settle(parcel, lanes)
                return True
            case Stop():
                self._rests_until = self._clock() + GONE_PAUSE
                self._take_no_more()
                self._note(parcel, DeliveryOutcome.REFUSED, attempt, answer)
                await self._rest(parcel, lanes)
            case Retry(after=after):
                wait = retry.wait(self._receiver.retries, attempt, self._rng, after)
                if wait is None:
                    await self._bury(parcel, lanes, attempt, answer)
                    return True
                self._note(parcel, DeliveryOutcome.RETRIED, attempt, answer)
                await self._again(parcel, lanes, wait)
            case other:
                assert_never(other)
        return False

    async def _attempt(self, parcel: _Parcel, attempt: int) -> Answer:
        started = time.monotonic()
        try:
            return await self._receiver.send(parcel.body, event_id=parcel.event.id, attempt=attempt)
        except Exception:  # a bug that one event brings to light must not stop the others
            log.exception("a delivery of route %s failed in an unforeseen way", self._name)
            error = "an unforeseen failure: see the log"
            return Answer(status=None, error=error, seconds=time.monotonic() - started)

    def _settle(self, parcel: _Parcel, lanes: Lanes) -> None:
        self._settler.settle(parcel.message, parcel.lane, parcel.event.id, lanes)

    async def _again(self, parcel: _Parcel, lanes: Lanes, wait: float) -> None:
        """Keep what is known of the record first: the bus may go, and the process may die."""
        lanes.failed(parcel.lane, parcel.message.sequence, self._clock(), wait)
        await self._queue.save_lane(parcel.lane, lanes.snapshot(parcel.lane))
        await parcel.message.retry(wait)

    async def _rest(self, parcel: _Parcel, lanes: Lanes) -> None:
        """The event rests as long as its route does: no attempt of its own has failed."""
        now = self._clock()
        lanes.rested(parcel.lane, parcel.message.sequence, now, self._rests_until - now)
        await self._queue.save_lane(parcel.lane, lanes.snapshot(parcel.lane))
        await parcel.message.retry(self._rests_until - now)

    async def _bury(self, parcel: _Parcel, lanes: Lanes, attempt: int, answer: Answer) -> None:
        letter = DeadLetter(
            route=self._name,
            event=parcel.body,
            event_id=parcel.event.id,
            reason=answer.error or f"answered {answer.status}",
            attempts=attempt,
            status=str(answer.status or ""),
            failed_at=self._clock(),
            record=parcel.lane,
            source=_source(parcel.message),
        )
        await self._store(letter, parcel.message)
        self._note(parcel, DeliveryOutcome.DEAD, attempt, answer)
        self._settle(parcel, lanes)

    async def _bury_unreadable(self, message: Message) -> None:
        """What is no event comes from a stranger or a broken disk: nobody could be given it."""
        letter = DeadLetter(
            route=self._name,
            event=message.data,
            event_id=f"unreadable-{message.sequence}",
            reason="this is not an event",
            attempts=0,
            status="",
            failed_at=self._clock(),
            record=message.subject,
            source=_source(message),
        )
        await self._store(letter, message)
        log.warning("a dead letter that is no event", extra={"route": self._name, "subject": message.subject})
        await message.ack()

    async def _store(self, letter: DeadLetter, message: Message) -> None:
        try:
            await self._queue.bury(letter)
        except BusError:  # nothing is dropped for want of a place to keep it
            await message.retry(NO_GRAVE)
            raise

    async def _keep_rate(self, message: Message) -> None:
        """Wait for this event's turn, however long the queue is."""
        if self._receiver.rate is None:
            return
        turn = max(self._may_send_at, time.monotonic())
        self._may_send_at = turn + 1 / self._receiver.rate
        while (wait := turn - time.monotonic()) > 0:
            await anyio.sleep(min(wait, BEAT))
            await message.progress()

    def _parcel(self, message: Message) -> _Parcel:
        event = envelope.decode_sealed(message.data)
        if message.subject == self._replay:
            event = msgspec.structs.replace(event, replay=True)
            return _Parcel(message, f"replay/{event.id}/{message.sequence}", event, envelope.encode(event))
        return _Parcel(message, record_of(message, self._names), event, message.data)

    def _note(
        self, parcel: _Parcel, outcome: DeliveryOutcome, attempt: int, answer: Answer, lag: float | None = None
    ) -> None:
        self._tell(
            Delivered(
                route=self._name,
                outcome=outcome,
                event_id=parcel.event.id,
                kind=parcel.event.type,
                attempt=attempt,
                seconds=answer.seconds,
                status=str(answer.status) if answer.status is not None else answer.error,
                lag=lag,
            )
        )


def _source(message: Message) -> str:
    """The message itself: its subject tells the event's stream from that of the replays."""
    return f"{message.subject}/{message.sequence}"
