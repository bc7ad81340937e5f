"""The pulse of the agent's loops: liveness fails when one that should beat has stopped.

A loop that died without saying `done` stops beating too, so no task ends unnoticed. A slow vendor or a lost bus is no
reason to restart the process: a loop beats while it waits for them.
"""

from collections.abc import Callable


class EndedByItself(Exception):
    """A loop has ended though nobody stopped it: the agent must not go on without it, nor end as if all were well."""


class Pulse:
    """The last beat of each loop. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._within: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def expect(self, name: str, within: float) -> None:
        """From now on the loop beats at least every `within` seconds."""
        self._within[name] = within
        self._last[name] = self._clock()

    def beat(self, name: str) -> None:
        """The loop makes progress. KeyError for one that is not expected."""
        if name not in self._within:
            raise KeyError(name)
        self._last[name] = self._clock()

    def done(self, name: str) -> None:
        """The loop has ended in good order: nothing is expected of it any more."""
        self._within.pop(name, None)
        self._last.pop(name, None)

    def stale(self, now: float) -> list[str]:
        """The loops whose last beat is longer ago than they are allowed, by name. `now` on the same clock."""
        return sorted(name for name, within in self._within.items() if now - self._last[name] > within)
