"""One route's worker: takes events from the route's consumer and hands each to its receiver, in order per record.

One agent at a time works a route (JetStream's pinned client), another takes over when it dies. What waits for a retry
waits on the server; which record waits for what is kept in a bucket, so that order and attempts outlive the process.
What this process has settled it remembers: a server that crashed may hand it out again.
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import assert_never

import anyio

from agent.burying import Burying, said
from agent.parcels import Parcel, Parcels
from agent.pulse import EndedByItself, Pulse
from agent.receivers import Receiver
from agent.resting import Resting
from agent.room import GLANCE, Room
from agent.settling import Settler
from agent.slots import Slots
from events import failpoints, retry
from events.jetstream.attempts import Attempts
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError, BusRefused
from events.jetstream.outbox import RouteQueue
from events.jetstream.pull import ConsumerGone, Message, Puller
from events.jetstream.standings import Standings
from events.lanes import Deliver, Lanes, Wait
from events.retry import Retry, Stop
from events.subjects import Names
from events.webhook import Answer
from schemas.facts import Delivered, DeliveryOutcome, Fact

TOO_LATE = 2.0  # seconds after which an event that waits here for its turn goes back: the receiver has become slow
QUIET = 5.0  # seconds without an event after which the loop shows that it lives
STAY_EVERY = 2.0  # seconds between two signs that this agent still works the route
AWAY = 60.0  # seconds an event is handed back for, at most: a route that goes on hurries those that wait
BEAT = 5.0  # seconds between two "in progress" while an event waits for its turn
ELSEWHERE = 1.0  # seconds until an event is offered again for which there is no room, or which another agent is to have
ON_ITS_WAY = 0.5  # seconds in which an event that the server has handed out is here
LOOK_EVERY = 2.0  # seconds between two looks whether a route that rests may go on

log = logging.getLogger("vendorwire.delivering")


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
        attempts: Attempts,
        clock: Callable[[], float] = time.time,
        *,
        ordered: bool = True,
    ) -> None:
        self._name = name
        self._receiver = receiver
        self._queue = queue
        self._bus = bus
        self._pulse = pulse
        self._loop = f"route {name}"
        self._tell = tell
        self._rng = rng
        self._attempts = attempts
        self._clock = clock
        self._parcels = Parcels(name, names, ordered=ordered)
        self._burying = Burying(name, queue, self._warn, clock)
        self._lanes = Lanes()
        self._pin: str | None = None
        self._taking_over = anyio.Lock(fast_acquire=True)
        self._pullers: tuple[Puller, ...] = ()
        self._settler = Settler(name, queue)
        self._room = Room(receiver.concurrency, ahead=receiver.rate is None)
        self._rest = Resting(name, receiver.target, Standings(bus, names), tell, clock)
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
        if not self._stopping:  # a delivery was cancelled by nobody of ours, and all others with it
            raise EndedByItself(self._loop)
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
            if self._bus.connected and not self._rest.is_on:
                await self._try(slots)
            else:
                await self._look_again()

    async def _try(self, slots: Slots[Message]) -> None:
        try:
            await self._work(slots)
        except* BusRefused as refused:
            self._warn(str(_first(refused)))
            await anyio.sleep(GLANCE)
        except* (BusError, ConsumerGone) as lost:
            log.debug("route %s starts again: %s", self._name, _first(lost))
            await anyio.sleep(0.2)

    async def _look_again(self) -> None:
        """After a while whether a route that rests may go on: a person may have resumed it."""
        deadline = time.monotonic() + LOOK_EVERY
        while not self._stopping and time.monotonic() < deadline:
            await anyio.sleep(GLANCE)
            if not self._bus.connected or not self._rest.is_on:
                return
        with suppress(BusError):
            await self._learn()

    async def _learn(self) -> None:
        """How the route stands, by what others have said."""
        await self._rest.load()
        self._lanes.hurry(self._rest.well_since)

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
            keeping.start_soon(self._keep)
            async with anyio.create_task_group() as loops:
                loops.start_soon(self._take_events, events, slots)
                loops.start_soon(self._take_replays, replays, events, slots)
            keeping.cancel_scope.cancel()

    async def _keep(self) -> None:
        """Remain the one that works the route."""
        while True:
            for puller in self._pullers:
                await puller.stay()
            if self._lanes.has_doubts:
                self._lanes.settled_up_to((await self._queue.backlog()).settled_up_to)
                self._lanes.forget_doubts(self._clock())
            await (self._learn() if self._rest.is_open else self._rest.keep())
            await anyio.sleep(STAY_EVERY)

    async def _take_events(self, events: Puller, slots: Slots[Message]) -> None:
        async for messages in self._taken(events):
            async with _given_back(messages), self._taking_over:
                if events.pin != self._pin:
                    await self._take_over(events.pin)
            await self._give(messages, slots)

    async def _take_replays(self, replays: Puller, events: Puller, slots: Slots[Message]) -> None:
        """Only whoever works the route takes replays, for the route's limits hold for all agents together."""
        while self._may_take(replays) and await self._is_worked_elsewhere(events):
            self._pulse.beat(self._loop)
            await anyio.sleep(STAY_EVERY)
        async for messages in self._taken(replays):
            async with _given_back(messages, ELSEWHERE):
                if await self._is_worked_elsewhere(events):
                    raise ConsumerGone("another agent works the route")  # and gets them in our place
                async with self._taking_over:
                    if self._pin is None:
                        await self._take_over(events.pin)
            await self._give(messages, slots)

    async def _is_worked_elsewhere(self, events: Puller) -> bool:
        """Whether the server has chosen another agent.

        That it has chosen this one is known only by its first event, which may be on its way when the server says that it
        has chosen. An agent that let go of the route for that would hold up its events until the server chooses anew.
        """
        if events.pin is not None or await self._queue.worker() is None:
            return False
        await anyio.sleep(ON_ITS_WAY)
        return events.pin is None

    async def _taken(self, puller: Puller) -> AsyncIterator[list[Message]]:
        """What the bus hands out, as long as there is room and the route does not rest."""
        while self._may_take(puller):
            self._pulse.beat(self._loop)
            if (room := await self._room.free()) > 0 and (messages := await puller.take(room, QUIET)):
                yield messages

    def _may_take(self, puller: Puller) -> bool:
        """A rest may have begun and be over again since the last look: whoever began it has ended the puller, too."""
        return not (self._stopping or self._rest.is_on or puller.ended)

    async def _give(self, messages: Sequence[Message], slots: Slots[Message]) -> None:
        for message in messages:
            if self._room.take():
                slots.give(message)
            else:  # live events and replays have seen the same room
                await message.retry(ELSEWHERE)

    def _take_no_more(self) -> None:
        for puller in self._pullers:
            puller.end()

    async def _take_over(self, pin: str | None) -> None:
        """The server has chosen this agent for the route (anew), or nobody is: learn what the one before left behind."""
        await self._rest.load()
        settled_up_to = (await self._queue.backlog()).settled_up_to
        doubtful = await self._queue.in_doubt()
        saved, broken = await self._queue.lanes()
        until = self._clock() + self._queue.ack_wait
        lanes = Lanes()
        for record, lane in saved.items():
            try:
                of_replays = record.startswith("replay/")  # counted in another stream
                lanes.restore(record, lane, settled_up_to=0 if of_replays else settled_up_to)
            except (ValueError, RecursionError):
                broken.append(record)
        if broken:
            what = {"route": self._name, "lanes": len(broken), "first": broken[0]}
            log.warning("what was kept of retries cannot be read, and counts anew", extra=what)
        for record, sequence in doubtful:
            if self._settler.knows(record, sequence) is None:
                lanes.doubt(record, sequence, until)
        lanes.hurry(self._rest.well_since)
        self._lanes, self._pin = lanes, pin or ""

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
            parcel = self._parcels.of(message)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            await self._burying.bury_unreadable(message)
        else:
            await self._parcel_in_lane(parcel)

    async def _parcel_in_lane(self, parcel: Parcel) -> None:
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
                await parcel.message.retry(min(seconds, AWAY))
            case Deliver(attempt=attempt):
                settling = False
                try:
                    settling = await self._deliver(parcel, attempt, lanes)
                finally:
                    if not settling:
                        lanes.released(parcel.lane, sequence)
            case other:
                assert_never(other)

    async def _deliver(self, parcel: Parcel, attempt: int, lanes: Lanes) -> bool:
        """Whether the event is done with: it is being settled, and its lane stays in hand."""
        if self._settler.knows(parcel.lane, parcel.message.sequence) == parcel.event.id:
            self._settle(parcel, lanes)  # the server has forgotten that it knew
            return True
        if time.monotonic() > parcel.message.received_at + TOO_LATE:
            await parcel.message.retry(0)
            return False
        await self._keep_rate(parcel.message)
        if self._rest.is_on:  # another event has just learnt that the receiver is gone, or keeps failing
            await parcel.message.retry(0)
            return False
        failpoints.reached("delivery.begun")
        answer = await self._attempt(parcel, attempt)
        failpoints.reached("delivery.answered")
        match retry.classify(answer.status, answer.retry_after, self._clock()):
            case retry.Delivered():
                self._trouble = ""
                self._room.answered(answer.seconds, one=False)
                lag = self._clock() - parcel.message.published_at
                self._note(parcel, DeliveryOutcome.DELIVERED, attempt, answer, lag=lag)
                self._settle(parcel, lanes)
                if await self._rest.succeeded(answer.seconds):
                    lanes.hurry(self._rest.well_since)
                return True
            case Stop():
                self._room.answered(answer.seconds, one=True)
                self._take_no_more()
                self._note(parcel, DeliveryOutcome.REFUSED, attempt, answer)
                await self._rest.stopped(said(answer))
                await parcel.message.retry(0)
            case Retry(after=after):
                return await self._failed(parcel, lanes, attempt, answer, after)
            case other:
                assert_never(other)
        return False

    async def _failed(self, parcel: Parcel, lanes: Lanes, attempt: int, answer: Answer, asked: float | None) -> bool:
        """Whether the event is done with: there is no attempt left."""
        rest = await self._rest.failed(answer.seconds, said(answer), asked)
        self._room.answered(answer.seconds, one=rest > 0)
        if rest:
            self._take_no_more()
        wait = retry.wait(self._receiver.retries, attempt, self._rng, asked)
        if wait is None:
            await self._burying.bury(parcel, attempt, answer)
            failpoints.reached("delivery.buried")
            self._note(parcel, DeliveryOutcome.DEAD, attempt, answer)
            self._settle(parcel, lanes)
            return True
        wait = max(wait, 2 * rest)  # the next to be tried is another one, if there is one
        self._note(parcel, DeliveryOutcome.RETRIED, attempt, answer, due=self._clock() + wait)
        await self._again(parcel, lanes, wait)
        return False

    async def _attempt(self, parcel: Parcel, attempt: int) -> Answer:
        started = time.monotonic()
        try:
            return await self._receiver.send(parcel.body, event_id=parcel.event.id, attempt=attempt)
        except Exception:  # a bug that one event brings to light must not stop the others
            log.exception("a delivery of route %s failed in an unforeseen way", self._name)
            error = "an unforeseen failure: see the log"
            return Answer(status=None, error=error, seconds=time.monotonic() - started)

    def _settle(self, parcel: Parcel, lanes: Lanes) -> None:
        self._settler.settle(parcel.message, parcel.lane, parcel.event.id, lanes)

    async def _again(self, parcel: Parcel, lanes: Lanes, wait: float) -> None:
        """Keep what is known of the record first: the bus may go, and the process may die."""
        lanes.failed(parcel.lane, parcel.message.sequence, self._clock(), wait)
        await self._queue.save_lane(parcel.lane, lanes.snapshot(parcel.lane))
        failpoints.reached("delivery.waiting")
        await parcel.message.retry(min(wait, AWAY))

    async def _keep_rate(self, message: Message) -> None:
        """Wait for this event's turn, however long the queue is."""
        if (rate := self._rate()) is None:
            return
        turn = max(self._may_send_at, time.monotonic())
        self._may_send_at = turn + 1 / rate
        while (wait := turn - time.monotonic()) > 0:
            await anyio.sleep(min(wait, BEAT))
            await message.progress()

    def _rate(self) -> float | None:
        """Deliveries a second; None for no limit."""
        rates = [rate for rate in (self._receiver.rate, self._rest.rate) if rate is not None]
        return min(rates, default=None)

    def _note(
        self,
        parcel: Parcel,
        outcome: DeliveryOutcome,
        attempt: int,
        answer: Answer,
        *,
        lag: float | None = None,
        due: float = 0.0,
    ) -> None:
        status = str(answer.status) if answer.status is not None else answer.error
        self._tell(
            Delivered(
                route=self._name,
                outcome=outcome,
                event_id=parcel.event.id,
                kind=parcel.event.type,
                attempt=attempt,
                seconds=answer.seconds,
                status=status,
                lag=lag,
            )
        )
        replay = parcel.event.replay
        self._attempts.note(
            route=self._name,
            event_id=parcel.event.id,
            sequence=0 if replay else parcel.message.sequence,
            attempt=attempt,
            outcome=outcome,
            status=status,
            seconds=answer.seconds,
            at=self._clock(),
            due=due,
            replay=replay,
        )


@asynccontextmanager
async def _given_back(messages: Sequence[Message], seconds: float = 0) -> AsyncIterator[None]:
    """Messages that go back to the bus where the block fails or is cancelled: it would wait for word of them for long."""
    try:
        yield
    except BaseException:
        with anyio.move_on_after(1, shield=True), suppress(BusError):
            for message in messages:
                await message.retry(seconds)
        raise


def _first(failures: BaseExceptionGroup[Exception]) -> Exception:
    """The first failure of a group, which may hold groups."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
