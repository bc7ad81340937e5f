"""How much waits for each route, counted by every agent: what piles up must show also where those that deliver are gone."""

import logging
from collections.abc import Callable, Mapping

import anyio

from agent.pulse import Pulse
from events.circuit import Position, Standing
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusError, BusRefused
from events.jetstream.outbox import RouteQueue, dead_count
from events.jetstream.standings import Standings
from events.subjects import Names
from schemas.facts import Fact, RouteState

COUNT_EVERY = 5.0  # seconds between two looks
UNCOUNTED = "what waits for the route cannot be counted: {}"

log = logging.getLogger("vendorwire.delivering")


class Backlogs:
    """Tells of each route how much waits, as long as `run` runs."""

    def __init__(
        self,
        bus: Bus,
        names: Names,
        queues: Mapping[str, RouteQueue],
        pulse: Pulse,
        tell: Callable[[Fact], None],
    ) -> None:
        self._bus = bus
        self._names = names
        self._queues = queues
        self._pulse = pulse
        self._tell = tell
        self._standings = Standings(bus, names)
        self._troubles: dict[str, str] = {}  # by route, as they were told

    async def run(self) -> None:
        """Count, for ever; the caller's task group owns it."""
        self._pulse.expect("backlogs", within=60)
        while True:
            self._pulse.beat("backlogs")
            with anyio.move_on_after(5):
                await self._bus.ready()
            try:
                await self._count_all()
            except (ApiError, BusRefused) as refused:
                for name in self._queues:
                    self._warn(name, UNCOUNTED.format(refused))
            except BusError as lost:
                log.debug("backlogs are counted later: %s", lost)
            await anyio.sleep(COUNT_EVERY)

    async def _count_all(self) -> None:
        """Each route by itself: one that cannot be counted must not leave the figures of the others as they were."""
        dead = await dead_count(self._bus, self._names)
        for name, queue in self._queues.items():
            self._pulse.beat("backlogs")
            trouble = ""
            try:
                if await self._is_paused(name, queue, dead.get(name, 0)):
                    trouble = "the route gets no events: somebody has paused its consumer on the server"
            except (ApiError, BusRefused) as refused:
                trouble = UNCOUNTED.format(refused)
                await self._mend(queue)
            self._warn(name, trouble)

    async def _mend(self, queue: RouteQueue) -> None:
        """Somebody may have deleted its consumer, and nobody else may be there to make it anew."""
        try:
            await queue.ensure()
        except (ApiError, BusRefused) as refused:
            log.debug("the route stays as it is: %s", refused)

    def _warn(self, route: str, trouble: str) -> None:
        """Once for each trouble, not at each look."""
        if trouble and trouble != self._troubles.get(route):
            log.warning("%s", trouble, extra={"route": route})
        self._troubles[route] = trouble

    async def _is_paused(self, name: str, queue: RouteQueue, dead: int) -> bool:
        """Tell how much waits. Whether the server is kept from handing it out."""
        backlog = await queue.backlog()
        standing = await self._standings.read(name) or Standing()
        self._tell(
            RouteState(
                route=name,
                pending=backlog.waiting + backlog.in_hand,
                dead=dead,
                in_flight=backlog.in_hand,
                circuit_open=standing.position is not Position.CLOSED,
            )
        )
        return backlog.paused
