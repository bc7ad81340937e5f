"""The pace of one account: its budget of requests, shared by all its resources."""

import math
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable

import anyio

from connectors.errors import Throttled
from schemas.settings import Budget

PAUSE = 60.0  # seconds of quiet when the vendor's own counter runs low


class Pacer:
    """Never more than `budget.requests` in any stretch of `budget.per`; first come, first served.

    The first half of a window may be spent at once, the rest comes evenly. A wait that is cancelled costs nothing.
    `floor`: how many requests of the vendor's own counter are left to its other users.
    """

    def __init__(
        self,
        budget: Budget,
        floor: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._requests = budget.requests
        self._per = budget.per.total_seconds()
        self._floor = floor
        self._clock = clock
        self._sleep = sleep
        self._turn = anyio.Lock(fast_acquire=True)  # a fair one: waiters are served in order
        self._granted: deque[float] = deque(maxlen=budget.requests)
        self._quiet_until = -math.inf
        self._low_until = -math.inf

    async def acquire(self) -> None:
        """Wait for the next slot and take it. Raises Throttled while the vendor wants quiet."""
        async with self._turn:
            while (wait := self._due() - self._clock()) > 0:
                self._refuse_while_quiet()
                await self._sleep(wait)
            self._refuse_while_quiet()
            now = self._clock()
            if now < self._low_until:  # this request asks whether the counter has risen: the others wait for its answer
                self._quiet_until = now + PAUSE
            self._granted.append(now)

    def left(self) -> float:
        """Requests that may still be sent in the present window."""
        now = self._clock()
        return 0.0 if now < self._quiet_until else float(self._requests - self._used(now))

    def remaining(self, value: int) -> None:
        """The vendor's own counter says that `value` requests are left."""
        now = self._clock()
        if value < self._floor:
            self._quiet_until = now + PAUSE
            self._low_until = (
                self._quiet_until + self._per
            )  # where the vendor stops counting, its window is over by then
        elif now < self._low_until:
            self._quiet_until = self._low_until = -math.inf

    def hold(self, seconds: float) -> None:
        """The vendor asks for quiet: send nothing for so many seconds."""
        self._quiet_until = max(self._quiet_until, self._clock() + seconds)

    def _refuse_while_quiet(self) -> None:
        quiet = self._quiet_until - self._clock()
        if quiet > 0:
            raise Throttled("the account's requests are paused to spare the vendor's quota", retry_after=quiet)

    def _used(self, now: float) -> int:
        return len(self._granted) - bisect_right(self._granted, now, key=lambda granted: granted + self._per)

    def _due(self) -> float:
        """When the next request may go."""
        if not self._granted:
            return -math.inf
        full = len(self._granted) == self._requests
        due = self._granted[0] + self._per if full else -math.inf
        if 2 * self._used(self._clock()) > self._requests:
            due = max(due, self._granted[-1] + self._per / self._requests)
        return due
