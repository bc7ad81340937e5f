"""What people have told the agents, as this one has heard it: it follows the signals on the bus, and obeys them.

A pause holds until it ends or is taken back, whoever restarts. An interval holds until an agent starts: that one ends all of
them, so that no two agents ever go by different ones.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import anyio

from agent.pulse import Pulse
from events.jetstream.connection import Bus, beside
from events.jetstream.errors import BusError
from events.jetstream.pull import ConsumerGone
from events.jetstream.signals import Heard, Interval, Pause, Signals
from events.subjects import Names
from schemas.changes import Scope
from schemas.facts import AccountPaused, Fact, Scheduled

AGAIN = 0.3  # seconds until the signals are followed again
LOOK_EVERY = 0.5  # seconds between two looks whether a pause has run out

log = logging.getLogger("vendorwire.signals")


class Obeyed:
    """The signals in force. `intervals`: those configured, in seconds, by resource."""

    def __init__(
        self, bus: Bus, names: Names, intervals: Mapping[Scope, float], pulse: Pulse, tell: Callable[[Fact], None]
    ) -> None:
        self._bus = bus
        self._signals = Signals(bus, names)
        self._configured = intervals
        self._vendors = {scope.account: scope.vendor for scope in intervals}
        self._pulse = pulse
        self._tell = tell
        self._pauses: dict[str, Pause] = {}
        self._intervals: dict[Scope, timedelta] = {}
        self._began = False
        self.known = anyio.Event()  # set once they have been read: nothing is to be polled before
        self.on_interval: Callable[[Scope], Awaitable[object]] = _nobody_minds

    def interval(self, scope: Scope) -> timedelta | None:
        """How often a resource is to be polled, where that was set by hand."""
        return self._intervals.get(scope)

    async def paused(self, account: str) -> Pause | None:
        """The pause of an account that is not to be polled now. The bus is asked once more before a poll is left out: whoever
        resumes an account asks for a poll in the same moment. Raises BusError."""
        if account not in self._pauses:
            return None
        pause = await self._signals.paused(account)
        return pause if pause is not None and pause.holds(self._now()) else None

    async def run(self) -> None:
        """Hear what comes, until cancelled."""
        self._pulse.expect("signals", within=60)
        async with beside(self._let_run_out):
            while True:
                self._pulse.beat("signals")
                with anyio.move_on_after(5):
                    await self._bus.ready()
                try:
                    await self._hear()
                except (BusError, ConsumerGone) as lost:
                    log.debug("signals are followed again: %s", lost)
                    await anyio.sleep(AGAIN)

    async def _hear(self) -> None:
        signals, newest = await self._signals.all()
        if not self._began:
            signals = [each for each in signals if not await self._has_ended(each)]
            self._began = True
        there = {each.about for each in signals}
        known: tuple[str | Scope, ...] = (*self._pauses, *self._intervals)
        gone = [about for about in known if about not in there]
        for each in (*signals, *(Heard(about, None) for about in gone)):
            await self._obey(each)
        self.known.set()
        async for heard in self._signals.follow(newest):
            self._pulse.beat("signals")
            if heard is not None:
                await self._obey(heard)

    async def _has_ended(self, heard: Heard) -> bool:
        """Whether it was an interval: this agent starts now, and that ends it, for all agents."""
        if not isinstance(heard.about, Scope) or heard.signal is None:
            return False
        log.info("an interval set by hand ends, as an agent has started", extra={"scope": str(heard.about)})
        await self._signals.interval(heard.about, None)
        return True

    async def _obey(self, heard: Heard) -> None:
        if isinstance(heard.about, Scope):
            every = timedelta(seconds=heard.signal.seconds) if isinstance(heard.signal, Interval) else None
            await self._set_interval(heard.about, every)
        elif heard.about in self._vendors:
            self._set_pause(heard.about, heard.signal if isinstance(heard.signal, Pause) else None)

    async def _set_interval(self, scope: Scope, every: timedelta | None) -> None:
        if scope not in self._configured or self._intervals.get(scope) == every:
            return
        self._intervals.pop(scope, None)
        if every is not None:
            self._intervals[scope] = every
        seconds = every.total_seconds() if every else self._configured[scope]
        self._tell(Scheduled(scope=scope, interval=seconds))
        log.info(
            "an interval is set by hand" if every else "an interval is as configured again", extra=_told(scope, seconds)
        )
        await self.on_interval(scope)

    def _set_pause(self, account: str, pause: Pause | None) -> None:
        if pause is not None and not pause.holds(self._now()):
            pause = None
        if pause == self._pauses.get(account):
            return
        self._pauses.pop(account, None)
        if pause is not None:
            self._pauses[account] = pause
        vendor = self._vendors[account]
        by, until = (pause.by, pause.until) if pause else ("", None)
        self._tell(AccountPaused(vendor=vendor, account=account, paused=pause is not None, by=by, until=until))

    async def _let_run_out(self) -> None:
        while True:
            await anyio.sleep(LOOK_EVERY)
            now = self._now()
            for account in [account for account, pause in self._pauses.items() if not pause.holds(now)]:
                self._set_pause(account, None)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._bus.now(), UTC)


async def _nobody_minds(_: Scope) -> None:
    """Nothing is planned by an agent that does not poll."""


def _told(scope: Scope, seconds: float) -> dict[str, object]:
    return {"scope": str(scope), "seconds": seconds}
