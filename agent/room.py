"""How many events a route takes from the bus: as many as may be under way, and what will have its turn soon.

To ask the bus for one event at a time would cost more than to deliver it.
"""

import anyio

AHEAD = 64  # events taken beyond those under way, at most
SOON = 0.25  # seconds in which what is taken ahead should have its turn
GATHER = 0.003  # seconds in which room gathers, before only a few are asked for
GLANCE = 0.5  # seconds until whoever waits for room looks at other things


class Room:
    """One route's room. With `ahead`, events may wait here for their turn while the receiver is quick."""

    def __init__(self, concurrency: int, *, ahead: bool) -> None:
        self._concurrency = concurrency
        self._may_wait = ahead
        self._answers = False  # since it started or rested: until then it is asked with one event, it may be gone
        self._seconds = 1.0  # that an attempt takes of late
        self._in_hand = 0
        self._waiters: list[tuple[int, anyio.Event]] = []

    def take(self) -> bool:
        """One more is in hand; False where there may be one only, and there is."""
        if self._in_hand and not self._answers:
            return False
        self._in_hand += 1
        return True

    def done(self) -> None:
        """One less."""
        self._in_hand -= 1
        for in_hand, event in self._waiters:
            if self._in_hand <= in_hand:
                event.set()

    def answered(self, seconds: float, *, one: bool) -> None:
        """An attempt took so long. With `one`, the receiver is tried with one event next."""
        self._answers = not one
        self._seconds += (seconds - self._seconds) / 8

    async def free(self) -> int:
        """How many more events may be taken; 0 or less where there is no room in half a second."""
        most, enough = self._bounds()
        if self._in_hand >= most:
            await self._wait_for(most - 1, GLANCE)
        if self._in_hand > most - enough:
            await self._wait_for(most - enough, GATHER)
        return most - self._in_hand

    def _bounds(self) -> tuple[int, int]:
        """How many may be in hand, and for how many it is worth to ask at once."""
        if not self._answers:
            return 1, 1
        ahead = min(AHEAD, int(self._concurrency * SOON / max(self._seconds, 0.001))) if self._may_wait else 0
        return self._concurrency + ahead, (ahead or self._concurrency + 1) // 2

    async def _wait_for(self, in_hand: int, seconds: float) -> None:
        """Wait until there are no more than so many in hand, or so long."""
        waiter = (in_hand, anyio.Event())
        self._waiters.append(waiter)
        try:
            with anyio.move_on_after(seconds):
                await waiter[1].wait()
        finally:
            self._waiters.remove(waiter)
