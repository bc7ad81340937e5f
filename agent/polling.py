"""Taking ticks: which resource is polled when, by whom, and what follows a poll."""

import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import anyio

from agent.health import Health
from agent.leases import LeaseLost, Leases
from agent.obeying import Obeyed
from agent.outcomes import Ended
from agent.poller import Poller
from agent.pulse import EndedByItself, Pulse
from agent.watched import Watched
from events import failpoints
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusError, BusRefused, BusUnavailable
from events.jetstream.pull import ConsumerGone
from events.jetstream.schedule import LEASE, Due, Schedule, Tick
from events.jetstream.signals import Pause
from events.ledger import LedgerRefused, LedgerUnavailable
from schemas.changes import Scope
from schemas.facts import Fact, Polled, PollOutcome, Replanned

AT_ONCE = 256  # polls in hand per agent: they mostly wait, and those of a hanging vendor must not hold up the others
PAUSE = 0.5  # seconds until ticks are taken again that cannot be taken now
QUIET = 5.0  # seconds without a tick after which the loop shows that it lives
LONGEST_BACKOFF = 900.0  # seconds between polls of what keeps failing
THROTTLED_PAUSE = 60.0  # seconds, where a vendor that throttles does not say how long
UNAUTHORIZED_PAUSE = 60.0
UNPLANNED_PAUSE = 2.0  # seconds until a poll that the bus does not let us begin is tried again: no vendor was asked
LOST_PAUSE = 3.0  # seconds, at most, until a poll that the bus was lost under is tried again: work resumes soon
REFUSED_PAUSE = (
    4.0  # seconds until the ledger, which did not take what a poll found, is tried again, without the vendor
)
UNFIT_PAUSE = 15.0  # seconds until a poll is tried again whose changes the ledger did not take, though it took others
DOUBLINGS = 3  # of the interval, for a resource that keeps failing: a vendor that is back is noticed soon
LONGEST_WAIT_IN_LINE = 5.0  # seconds until a tick that came while its resource was being polled comes again
OVERDUE = timedelta(
    seconds=15
)  # a plan older than this will not fire by itself: the server had no room for the tick, say
ORPHANED = timedelta(
    seconds=1
)  # a tick this old that nobody has begun went to a connection that has died, or still waits
REVIVE_AFTER = 2.0  # seconds from the return of the bus until such ticks are looked for
SAY_AGAIN = 3600.0  # seconds; another agent may have ended a trouble meanwhile, and it came back
IN_VAIN = 5  # times that a poll was given up
UNANSWERED = 4.0  # seconds after which what failed did so for want of an answer
CHECK_EVERY = 20.0  # seconds between two looks for lost schedules
LOOK_EVERY = 900.0  # seconds between two looks whether an account that is well is told as well
UNKNOWN_HERE = 10.0  # seconds until a tick for an account this agent does not know is offered again
GIVE_UP_UNKNOWN = 6  # offers of such a tick

log = logging.getLogger("vendorwire.polling")


class Polling:
    """The polling half of the agent."""

    def __init__(
        self,
        bus: Bus,
        schedule: Schedule,
        poller: Poller,
        health: Health,
        watched: Mapping[str, Watched],
        pulse: Pulse,
        tell: Callable[[Fact], None],
        rng: random.Random,
        obeyed: Obeyed,
    ) -> None:
        self._bus = bus
        self._schedule = schedule
        self._poller = poller
        self._health = health
        self._watched = {
            entry.scope(resource): (entry, resource)
            for entry in watched.values()
            for resource in entry.connector.resources
        }
        self._pulse = pulse
        self._tell = tell
        self._rng = rng
        self._obeyed = obeyed
        self._leases = Leases(bus, schedule)
        self._planned: dict[Scope, datetime] = {}  # for when, as far as this agent knows
        self._had_plans: set[Scope] = set()  # a resource that was planned and is not any more has lost its plan
        self._looked: dict[Scope, float] = {}  # when the account's health was last looked at
        self._refused: set[Scope] = set()  # whose last commit the ledger did not take
        self._stopping = False
        self._taking = anyio.CancelScope()
        self._troubles: dict[Scope | str, tuple[str, float]] = {}  # what was said of each, and when

    def stop(self) -> None:
        """Take no more ticks; `run` ends when the polls in hand are abandoned by cancelling it."""
        self._stopping = True
        self._taking.cancel()

    async def run(self) -> None:
        """Poll whatever falls due, until stopped. Polls outlive a lost bus: they are made once more on its return."""
        self._pulse.expect("polling", within=60)
        self._obeyed.on_interval = self._plan_anew
        async with anyio.create_task_group() as polls:
            polls.start_soon(self._leases.keep)
            polls.start_soon(self._revive)
            while not self._stopping:
                self._pulse.beat("polling")
                with anyio.move_on_after(PAUSE):
                    await self._bus.ready()
                    await self._obeyed.known.wait()
                if not (self._bus.connected and self._obeyed.known.is_set()):
                    continue
                try:
                    with anyio.CancelScope() as self._taking:
                        await self._take(polls.start_soon)
                except BusRefused as refused:
                    self._warn(f"ticks cannot be taken: {refused}", "ticks")
                    await anyio.sleep(PAUSE)
                except (BusError, ConsumerGone) as lost:
                    log.debug("taking ticks starts again: %s", lost)
                    await anyio.sleep(0.2)
            polls.cancel_scope.cancel()
        if not self._stopping:  # a poll was cancelled by nobody of ours, and all others with it
            raise EndedByItself("polling")
        self._pulse.done("polling")

    async def _revive(self) -> None:
        """What the server hands to a connection as it dies would come again only when its lease had run out."""
        connection = await self._bus.ready_anew(0)
        while True:
            later = await self._bus.ready_anew(connection)
            await anyio.sleep(REVIVE_AFTER)  # whoever has a tick in hand has begun it by then
            try:
                await self._hand_out_again()
            except BusUnavailable as lost:
                log.debug("ticks are looked for again: %s", lost)
                continue
            except BusError as refused:  # they come when the lease has run out
                log.debug("ticks cannot be looked for: %s", refused)
            connection = later

    async def _hand_out_again(self) -> None:
        known = await self._schedule.known()
        fallen_due = [scope for scope, subjects in known.items() if any(".poll." in each for each in subjects)]
        for scope in fallen_due[:AT_ONCE]:
            if scope in self._watched and self._leases.of(scope) is None:
                await self._schedule.hand_out_again(scope, ORPHANED)

    async def keep_schedule(self) -> None:
        """Look for lost schedules now and then, and put back what is missing."""
        self._pulse.expect("schedule", within=max(3 * CHECK_EVERY, 60))
        first = True
        while True:
            self._pulse.beat("schedule")
            with anyio.move_on_after(CHECK_EVERY):
                await self._bus.ready()
                asked = time.monotonic()
                try:
                    await self.mend(forget=first)
                    if await self._schedule.is_paused():
                        self._warn("no ticks come: somebody has paused their consumer on the server", "ticks")
                except (ApiError, BusRefused) as refused:
                    self._warn(f"the schedule cannot be kept: {refused}", "schedule")
                    await anyio.sleep(5)
                    continue
                except BusError as lost:
                    log.debug("the schedule is looked at later: %s", lost)
                    self._unanswered(asked, "schedule")
                    await anyio.sleep(0.5)
                    continue
                first = False
                self._troubles.pop("schedule", None)
                await anyio.sleep(CHECK_EVERY)

    async def mend(self, *, forget: bool) -> None:
        """Every configured resource has a schedule or a tick; with `forget`, nothing else has."""
        known = await self._schedule.known()
        now = self._schedule.now()
        for scope in self._watched:
            interval = self._interval(scope)
            subjects = known.get(scope, set())
            if not subjects:
                spread = min(interval.total_seconds(), max(2.0, 0.05 * len(self._watched)))
                await self._put_back(scope, now + timedelta(seconds=self._rng.uniform(0, spread)))
            elif not any(".poll." in subject for subject in subjects):
                # It may have been made for a longer interval than is configured now, or by a clock that was ahead.
                await self._straighten(scope, now, max(interval, timedelta(seconds=LONGEST_BACKOFF)) * 1.2)
            self._had_plans.add(scope)
        if forget:
            await self._schedule.forget(
                [name for scope in known if scope not in self._watched for name in known[scope]]
            )

    async def _put_back(self, scope: Scope, at: datetime) -> None:
        """Plan what is not planned. Of several agents that see it missing, one does."""
        if await self._schedule.plan(scope, at, Due(), only_if_missing=True) and scope in self._had_plans:
            self._tell(Replanned(scope=scope))

    async def _straighten(self, scope: Scope, now: datetime, longest: timedelta) -> None:
        """Plan anew what is overdue or too far ahead. What is known to be planned is not looked at before its time."""
        earliest, latest = now - OVERDUE, now + longest
        known = self._planned.get(scope)
        if known is None or not earliest <= known <= latest:
            known = await self._schedule.planned(scope)
        if known is not None and earliest <= known <= latest:
            self._planned[scope] = known
        elif await self._schedule.straighten(scope, now, earliest, latest):
            log.warning("a poll that did not fall due is planned anew", extra={"scope": str(scope)})
            self._tell(Replanned(scope=scope))

    async def _plan_anew(self, scope: Scope) -> None:
        """Its interval is another now: it is to be polled within that. A poll that is under way heeds it when it ends."""
        if scope in self._watched:
            now, every = self._schedule.now(), self._interval(scope)
            self._planned.pop(scope, None)
            await self._schedule.straighten(scope, now + every, now - OVERDUE, now + every)

    def _interval(self, scope: Scope) -> timedelta:
        """How often a resource is polled: as set by hand, else as configured."""
        entry, resource = self._watched[scope]
        return self._obeyed.interval(scope) or entry.connector.interval(resource)

    async def _take(self, start: Callable[..., object]) -> None:
        await self._schedule.ensure()
        async with self._schedule.ticks() as ticks:
            while not self._stopping:
                self._pulse.beat("polling")
                room = AT_ONCE - len(self._leases)
                if room <= 0:
                    await anyio.sleep(PAUSE)
                    continue
                for tick in await ticks.take(room, QUIET):
                    start(self._poll, tick)

    async def _poll(self, tick: Tick) -> None:
        """One tick, from taking it to giving it back."""
        if tick.scope not in self._watched:
            await self._pass_on(tick)
            return
        if (other := self._leases.of(tick.scope)) is not None:
            await self._wait_in_line(tick, other)
            return
        with self._leases.taken(tick):
            failpoints.reached("poll.taken", tick.scope.vendor)
            try:
                await self._lease(tick)
            except anyio.get_cancelled_exc_class():
                with anyio.move_on_after(1, shield=True):
                    await self._give_back(tick, seconds=0)
                raise

    async def _lease(self, tick: Tick) -> None:
        """Poll, and once more where the bus was lost under it.

        The tick stays in hand for that: one that is handed back while nobody leads its consumer comes again only when its
        lease has run out. After the time of a lease others are to try it: they hear of it by then, in one way or the other.
        """
        until = math.inf
        while not await self._has_worked(tick):
            until = min(until, time.monotonic() + LEASE.total_seconds())
            await self._bus.ready()
            await anyio.sleep(min(0.1 * 2.0 ** min(tick.message.delivered, 10), LOST_PAUSE))
            if time.monotonic() > until or self._leases.has_lost(tick):
                await self._give_back(tick, seconds=0)
                return
            tick = tick.again()

    async def _has_worked(self, tick: Tick) -> bool:
        """Whether the tick is done with, or handed back; not so where the bus was lost."""
        asked, pause = time.monotonic(), REFUSED_PAUSE
        try:
            if tick.scope in self._refused:  # to read on would spend the vendor's quota for nothing
                await self._poller.try_ledger(tick.scope)
                pause = UNFIT_PAUSE
            await self._work(tick)
        except LedgerRefused as refused:
            self._refused.add(tick.scope)
            self._warn(f"what polls find cannot be stored: {refused}", tick.scope)
            await self._give_back(tick, pause)
        except (ApiError, BusRefused) as refused:
            self._warn(f"polls cannot be planned: {refused}", tick.scope)
            await self._give_back(tick, seconds=UNPLANNED_PAUSE)
        except (BusError, LedgerUnavailable) as lost:
            log.debug("the poll of %s is given up: %s", tick.scope, lost)
            self._unanswered(asked, tick.scope, tick.message.delivered)
            return False
        except LeaseLost:
            log.debug("the poll of %s is left to whoever has it now", tick.scope)
        return True

    def _unanswered(self, asked: float, about: Scope | str, times: int = 0) -> None:
        """A bus that is lost is told by others; one that is there and stores nothing (its disk is full, say) is told here."""
        if self._bus.connected and (time.monotonic() - asked > UNANSWERED or times >= IN_VAIN):
            self._warn("polls are given up: the bus is there, and does not answer", about)

    def _warn(self, trouble: str, about: Scope | str) -> None:
        """Once for each trouble, not at each attempt, nor for each resource that has it."""
        now = time.monotonic()
        told = {said for said, at in self._troubles.values() if at > now - SAY_AGAIN}
        if trouble not in told:
            log.warning("%s", trouble)
        if self._troubles.get(about, ("", 0.0))[0] != trouble or trouble not in told:
            self._troubles[about] = (trouble, now)

    async def _wait_in_line(self, tick: Tick, other: Tick) -> None:
        """A tick that comes while our poll of its resource still runs; mostly that one is just about to end."""
        if tick.message.sequence != other.message.sequence:  # else it is in our hand already
            await self._give_back(tick, min(0.05 * 2.0 ** min(tick.message.delivered, 10), LONGEST_WAIT_IN_LINE))

    async def _work(self, tick: Tick) -> None:
        started = self._schedule.now()
        if not await self._schedule.begin(tick):
            return  # another tick has taken this one's place
        failpoints.reached("poll.begun", tick.scope.vendor)
        entry, resource = self._watched[tick.scope]
        if (pause := await self._obeyed.paused(entry.connector.name)) is not None:
            await self._leave_out(tick, pause)
            return
        with self._leases.working(tick):
            ended = await self._guarded(entry, resource)
            failpoints.reached("poll.ended", tick.scope.vendor)
            failures = 0 if ended.outcome.succeeded else tick.due.failures + 1
            well = await self._noted(tick, ended, failures)
        interval = self._interval(tick.scope)
        wait = self._wait(ended, interval.total_seconds(), failures)
        at = max(started + timedelta(seconds=wait), self._schedule.now())
        failpoints.reached("poll.noted", tick.scope.vendor)
        throttled = ended.outcome is PollOutcome.THROTTLED
        await self._schedule.finish(tick, at, Due(failures=failures, well=well, throttled=throttled))
        failpoints.reached("poll.acked", tick.scope.vendor)
        self._planned[tick.scope] = at
        self._refused.discard(tick.scope)
        self._troubles.pop(tick.scope, None)
        self._troubles.pop("ticks", None)
        if interval != self._interval(tick.scope):
            await self._plan_anew(tick.scope)

    async def _leave_out(self, tick: Tick, pause: Pause) -> None:
        """No poll of a paused account. Its ticks go on: the one after the pause finds all as it was."""
        at = self._schedule.now() + self._interval(tick.scope)
        at = min(at, pause.until) if pause.until else at
        await self._schedule.finish(tick, at, tick.due)
        self._planned[tick.scope] = at

    async def _guarded(self, entry: Watched, resource: str) -> Ended:
        """How the poll ended."""
        started = time.monotonic()
        scope = entry.scope(resource)
        try:
            return await self._poller.poll(entry, resource)
        except (BusError, LedgerUnavailable):
            raise
        except Exception:  # a bug in one connector must not stop the other accounts
            log.exception("the poll of %s failed in an unforeseen way", scope)
            ended = Ended(outcome=PollOutcome.UNREADABLE, detail="an unforeseen failure: see the log")
            seconds = time.monotonic() - started
            self._tell(Polled(scope=scope, outcome=ended.outcome, seconds=seconds, detail=ended.detail))
            return ended

    async def _noted(self, tick: Tick, ended: Ended, failures: int) -> bool:
        """Whether the account's health, as all agents know it, says nothing against this resource.

        What the poll before has made sure of is not looked at again, unless that poll may have ended otherwise than it
        planned, or was long ago.
        """
        entry, resource = self._watched[tick.scope]
        now, first = time.monotonic(), tick.message.delivered == 1
        looked = self._looked.get(tick.scope, float("-inf"))
        if ended.outcome.succeeded and tick.due.well and first and now - looked < LOOK_EVERY:
            return True
        try:
            well = await self._health.note(entry, resource, ended, failures)
        except (BusError, LedgerUnavailable):
            raise
        except Exception:  # no bug in telling of it must stop the others either
            log.exception("the health of %s could not be noted", tick.scope)
            return False
        self._looked[tick.scope] = now
        return well

    async def _pass_on(self, tick: Tick) -> None:
        """An account this agent does not know: perhaps another agent with newer configuration does."""
        if tick.message.delivered >= GIVE_UP_UNKNOWN:
            await tick.message.drop()
        else:
            await self._give_back(tick, seconds=UNKNOWN_HERE)

    async def _give_back(self, tick: Tick, seconds: float) -> None:
        if self._leases.has_lost(tick):
            return
        try:
            await tick.message.retry(seconds)
        except BusError as lost:  # it comes again by itself when the lease has run out
            log.debug("a tick could not be given back: %s", lost)

    def _wait(self, ended: Ended, interval: float, failures: int) -> float:
        """Seconds from the start of this poll to the start of the next."""
        match ended.outcome:
            case PollOutcome.CONFLICT:
                return min(1.0, interval)
            case PollOutcome.THROTTLED:
                asked = THROTTLED_PAUSE if ended.retry_after is None else ended.retry_after
                return max(interval, min(asked, LONGEST_BACKOFF))
            case PollOutcome.UNAUTHORIZED:
                return max(interval, UNAUTHORIZED_PAUSE)
            case _ if failures and not ended.records:  # where a part could be read, its changes are not to wait
                backoff = min(interval * 2.0 ** min(failures, DOUBLINGS), LONGEST_BACKOFF)
                return max(interval, backoff * self._rng.uniform(0.5, 1))
            case _:
                return interval * self._rng.uniform(0.94, 1)  # not all at once, and none later than asked
