"""The ticks in hand. A tick in hand is the lease of its resource: whoever has it polls, and says so until it is done."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from events.jetstream.schedule import BEAT, LEASE, Schedule, Tick
from schemas.changes import Scope

HOLD_EVERY = 100  # beats: before the place held in the schedule falls due
LONGEST = 7 * 86400.0  # seconds of one poll: the first of a large account takes long where the vendor's budget is small

log = logging.getLogger("vendorwire.polling")


class LeaseLost(Exception):
    """This process or its bus stood still for so long that another agent may have the tick, or the poll hangs and is to."""


class _Lease:
    """A tick in our hand, which the server gives to nobody else `until` then (on the monotonic clock)."""

    def __init__(self, tick: Tick, longest: float) -> None:
        self.tick = tick
        self.work = anyio.CancelScope()
        self.beats = 0
        self.works = False
        self.lost = False
        self.ends = time.monotonic() + longest
        self.renew()

    @property
    def has_run_out(self) -> bool:
        return time.monotonic() > self.until

    @property
    def hangs(self) -> bool:
        return self.works and time.monotonic() > self.ends

    def renew(self) -> None:
        self.until = time.monotonic() + LEASE.total_seconds()


class Leases:
    """The ticks this agent has in hand, at most one of each resource. `keep` must run beside: every `beat` seconds it says
    "in progress", and every so-manieth time it holds the tick's place in the schedule."""

    def __init__(
        self, bus: Bus, schedule: Schedule, beat: float = BEAT, hold_every: int = HOLD_EVERY, longest: float = LONGEST
    ) -> None:
        self._bus = bus
        self._schedule = schedule
        self._every = beat
        self._hold_every = hold_every
        self._longest = longest
        self._leases: dict[Scope, _Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def of(self, scope: Scope) -> Tick | None:
        """The tick of a resource that is in hand."""
        lease = self._leases.get(scope)
        return lease.tick if lease else None

    @contextmanager
    def taken(self, tick: Tick) -> Iterator[None]:
        """The tick is in hand for as long as the block lasts."""
        self._leases[tick.scope] = _Lease(tick, self._longest)
        try:
            yield
        finally:
            del self._leases[tick.scope]

    @contextmanager
    def working(self, tick: Tick) -> Iterator[None]:
        """The work a tick in hand is for, as often as it is tried. It is cancelled when the lease is lost: raises LeaseLost."""
        lease = self._leases[tick.scope]
        if lease.lost:
            raise LeaseLost
        lease.works, lease.work = True, anyio.CancelScope()
        try:
            with lease.work:
                yield
        finally:
            lease.works = False
        if lease.lost:
            raise LeaseLost

    def has_lost(self, tick: Tick) -> bool:
        """Whether another agent may have this tick by now."""
        lease = self._leases.get(tick.scope)
        return lease is not None and lease.tick.message.sequence == tick.message.sequence and lease.has_run_out

    async def keep(self) -> None:
        """Say "in progress" of every tick in hand, and keep its place in the schedule, for ever."""
        while True:
            await anyio.sleep(self._every)
            for scope, lease in list(self._leases.items()):
                try:
                    if self._leases.get(scope) is lease:
                        await self._beat(lease)
                except BusError:
                    await self._bus.ready()

    async def _beat(self, lease: _Lease) -> None:
        if lease.hangs and not lease.lost:
            log.error("a poll hangs and is given up", extra={"scope": str(lease.tick.scope)})
        if lease.has_run_out or lease.hangs:
            lease.lost = True
            lease.work.cancel()
            return
        await lease.tick.message.progress()
        lease.renew()
        lease.beats += 1
        if lease.beats % self._hold_every == 0 and lease.works:  # else the next poll may have been planned meanwhile
            await self._schedule.hold(lease.tick)
