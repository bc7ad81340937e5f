"""A route's circuit as its worker uses it: what it comes to is kept on the bus, and a person's word is heard there."""

import logging
import time
from collections.abc import Callable

from events.circuit import Circuit, Position
from events.jetstream.errors import ApiError, BusRefused
from events.jetstream.standings import Standings
from schemas.facts import Fact, RouteTurned

KEEP_EVERY = 5.0  # seconds between two times that a route's last success or failure is kept

log = logging.getLogger("vendorwire.delivering")


class Resting:
    """Whether one route rests. `target` tells its receiver from another. Its methods that wait raise BusError."""

    def __init__(
        self,
        route: str,
        target: str,
        standings: Standings,
        tell: Callable[[Fact], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._route = route
        self._standings = standings
        self._tell = tell
        self._clock = clock
        self._circuit = Circuit(target)
        self._kept = self._circuit.standing
        self._kept_at = float("-inf")
        self._refused = False  # and said to be

    @property
    def is_on(self) -> bool:
        """Whether nothing may be sent."""
        return self._circuit.rests(self._clock())

    @property
    def rate(self) -> float | None:
        """Deliveries a second while the route catches up; None for no limit."""
        return self._circuit.rate(self._clock())

    @property
    def is_open(self) -> bool:
        """Whether the route is tried with one event now and then."""
        return self._circuit.standing.position is Position.OPEN

    @property
    def well_since(self) -> float:
        """What failed before (in Unix seconds) need not wait for its retry any longer."""
        return self._circuit.standing.well_since

    async def load(self) -> None:
        """Learn how the route stands: another agent may have worked it, a person may have resumed it."""
        standing = await self._standings.read(self._route)
        if standing is not None and standing != self._kept:
            self._circuit.restore(standing)
            self._kept = standing

    async def keep(self) -> None:
        """Have what is new known to all, now and then."""
        if self._circuit.standing != self._kept and self._clock() >= self._kept_at + KEEP_EVERY:
            await self._keep()

    async def succeeded(self, seconds: float) -> bool:
        """An event was delivered, which took so long. Whether the route has come out of its rest by it."""
        now = self._clock()
        if not self._circuit.succeeded(now, now - seconds):
            return False
        await self._turned()
        return True

    async def failed(self, seconds: float, error: str, asked: float | None) -> float:
        """An attempt that took so long has failed. Seconds for which the route rests by it; 0 where it does not."""
        now = self._clock()
        was_closed = self._circuit.standing.position is Position.CLOSED
        if not self._circuit.failed(now, now - seconds, error, asked):
            return 0.0
        await (self._turned(error) if was_closed else self._keep())
        return self._circuit.standing.wait

    async def stopped(self, error: str) -> None:
        """The receiver is gone for good."""
        self._circuit.stop(self._clock(), error)
        await self._turned(error)

    async def _turned(self, error: str = "") -> None:
        self._tell(RouteTurned(route=self._route, circuit=self._circuit.standing.position, error=error))
        await self._keep()

    async def _keep(self) -> None:
        """Deliveries go on where the bus refuses it: that is logged once, until it takes it again."""
        standing, self._kept_at = self._circuit.standing, self._clock()
        try:
            await self._standings.write(self._route, standing)
        except (ApiError, BusRefused) as refused:
            if not self._refused:
                log.warning("how the route stands cannot be kept: %s", refused, extra={"route": self._route})
            self._refused = True
        else:
            self._kept, self._refused = standing, False
