"""What a route has delivered is told to the bus, and becomes settled once the bus has confirmed it; some at a time."""

import logging
from collections.abc import Sequence

import anyio

from events import failpoints
from events.jetstream.errors import ApiError, BusError, BusRefused
from events.jetstream.outbox import RouteQueue
from events.jetstream.pull import Message, ack_all
from events.lanes import Lanes

GATHER = 0.003  # seconds in which deliveries gather, to be acknowledged together
TOGETHER = 64  # settled at once: at the end of a shutdown, what was begun is still ended
REMEMBERED = 10_000  # settled events

log = logging.getLogger("vendorwire.delivering")


class Settler:
    """One route's deliveries on their way to being settled. `run` runs beside the deliveries, and outlives them."""

    def __init__(self, route: str, queue: RouteQueue) -> None:
        self._route = route
        self._queue = queue
        self._due: list[tuple[Message, str, Lanes]] = []
        self._held: set[str] = set()  # lanes of which an event is due or on its way
        self._known: dict[tuple[str, int], str] = {}  # lane and sequence → event id, the oldest first
        self._wanted = anyio.Event()
        self._settled = anyio.Event()
        self._ending = False

    def settle(self, message: Message, lane: str, event_id: str, lanes: Lanes) -> None:
        """The event is done: the bus is told, then the next of its record may go."""
        self._known[lane, message.sequence] = event_id
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        self._held.add(lane)
        if not self._due:
            self._wanted.set()
        self._due.append((message, lane, lanes))

    def knows(self, lane: str, sequence: int) -> str | None:
        """The id of an event this process has done with. A server that crashed may hand it out again."""
        return self._known.get((lane, sequence))

    def holds(self, lane: str) -> bool:
        """Whether an event of the lane is on its way to being settled."""
        return lane in self._held

    async def released(self, lane: str) -> None:
        """Wait until none is."""
        while lane in self._held:
            await self._settled.wait()

    def end(self) -> None:
        """Nothing more comes: `run` ends when all is settled."""
        self._ending = True
        self._wanted.set()

    async def run(self) -> None:
        """Settle what is due, until `end`."""
        try:
            while self._due or not self._ending:
                await self._wanted.wait()
                if not self._ending:
                    await anyio.sleep(GATHER)
                self._wanted = anyio.Event()
                await self._round()
        finally:
            with anyio.move_on_after(1, shield=True):
                await self._round()

    async def _round(self) -> None:
        while due := self._some():
            try:
                await self._acknowledge(due)
            except BusError as lost:
                log.debug("%d delivered events of route %s come again: %s", len(due), self._route, lost)
            except anyio.get_cancelled_exc_class():
                self._due[:0] = due  # for the last round
                raise
            for message, lane, lanes in due:
                lanes.released(lane, message.sequence)
                self._held.discard(lane)
            self._settled.set()
            self._settled = anyio.Event()

    def _some(self) -> list[tuple[Message, str, Lanes]]:
        """What is due at one consumer, up to so many."""
        due: list[tuple[Message, str, Lanes]] = []
        others: list[tuple[Message, str, Lanes]] = []
        for each in self._due:
            fits = len(due) < TOGETHER and each[0].consumer == self._due[0][0].consumer
            (due if fits else others).append(each)
        self._due = others
        return due

    async def _acknowledge(self, due: Sequence[tuple[Message, str, Lanes]]) -> None:
        """Store the lanes without what is being settled, then tell the bus.

        Whoever took over a lane with an event that never comes again would wait for it for minutes; one that comes again
        without being in its lane is only sent twice.
        """
        kept = [(lane, lanes) for _, lane, lanes in due if lanes.snapshot(lane) is not None]
        for message, lane, lanes in due:
            lanes.settling(lane, message.sequence)
        if kept:
            lost: list[BusError] = []
            async with anyio.create_task_group() as saving:
                for lane, lanes in kept:
                    saving.start_soon(self._save, lane, lanes, lost)
            if lost:
                raise lost[0]
        await ack_all([message for message, _, _ in due])
        failpoints.reached("delivery.acked")
        for message, lane, lanes in due:
            lanes.settled(lane, message.sequence)

    async def _save(self, lane: str, lanes: Lanes, lost: list[BusError]) -> None:
        try:
            await self._queue.save_lane(lane, lanes.snapshot(lane))
        except (ApiError, BusRefused) as refused:  # what is delivered is to be settled all the same
            log.debug("the lane of a delivered event is not stored: %s", refused)
        except BusError as error:
            lost.append(error)
