"""What this agent notes of its own work for the console of any agent: counts by the minute, and at once what went wrong.

Made from the facts it tells. Counting costs a dictionary's entry; writing is done beside the work, and dropped where the bus
does not take it.
"""

import logging
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence

import anyio
import msgspec

from agent.pulse import Pulse
from events.history import (
    LAGS,
    LONGEST,
    SLOT,
    Alive,
    Columns,
    Deliveries,
    Minute,
    Outcome,
    Roll,
    Unread,
    lag_slot,
    pack,
)
from events.jetstream.connection import Bus
from events.jetstream.history import AGENT, MINUTE, OUTCOME, ROLL, UNREAD, History
from events.subjects import Names, token
from schemas.changes import Scope
from schemas.facts import Delivered, Fact, Polled, Published, Quarantined, VendorAnswered

BEAT = 15.0  # seconds between two signs of life
LOOK_EVERY = 1.0
SOON = 5.0  # seconds after which a minute is told before it has ended, where it is small:
SMALL = 500  # resources at most
SAY_AGAIN = 3600.0  # seconds; what stays wrong is noted anew, for the history forgets
SETTLE = 30.0  # seconds until the same outcome is noted with other words
UNREAD_A_MINUTE = 50  # records; a vendor may spoil them all at once
REMEMBERED = 10_000  # records that could not be read

log = logging.getLogger("vendorwire.history")
_encode = msgspec.json.encode


class Recorder:
    """One agent's. `clock` gives the Unix time in seconds, the server's."""

    def __init__(self, scopes: Iterable[Scope], version: str, roles: Sequence[str], clock: Callable[[], float]) -> None:
        self.roll = Roll(scopes)
        self.agent = secrets.token_hex(4)
        self._places = {scope: place for place, scope in enumerate(self.roll.scopes)}
        self._accounts = {account: place for place, account in enumerate(self.roll.accounts)}
        self._clock = clock
        self._alive = Alive(
            agent=self.agent,
            host=socket.gethostname(),
            version=version,
            roles=tuple(roles),
            since=clock(),
            seen=clock(),
        )
        self._history: History | None = None
        self._slot = 0
        self._counted = _Counted()
        self._dirty = False
        self._told_at = 0.0
        self._troubles: dict[Scope, Outcome] = {}  # as they were noted last
        self._unread: dict[tuple[Scope, str], float] = {}
        self._unread_left = UNREAD_A_MINUTE

    def observe(self, fact: Fact) -> None:
        """Count a fact."""
        match fact:
            case Delivered():
                self._count_delivery(fact)
            case VendorAnswered(vendor=vendor, account=account, status=status):
                if (place := self._accounts.get((vendor, account))) is not None:
                    self._count(self._counted.accounts, place, (1, int(not status.startswith(("2", "3")))))
            case Polled():
                self._polled(fact)
            case Published(scope=scope):
                if (place := self._places.get(scope)) is not None:
                    self._count(self._counted.resources, place, (0, 0, 1))
            case Quarantined():
                self._quarantined(fact)
            case _:
                pass

    async def run(self, bus: Bus, names: Names, replicas: int, pulse: Pulse) -> None:
        """Note what was counted, until cancelled."""
        self._history = history = History(bus, names, replicas)
        self._slot = self._now_slot()
        pulse.expect("history", within=120)
        beaten = rolled = float("-inf")
        try:
            while True:
                pulse.beat("history")
                now = self._clock()
                if now >= beaten + BEAT:
                    beaten = now
                    self._tell_alive(history, now, gone=False)
                if now >= rolled + SAY_AGAIN:  # whoever is configured otherwise must know what the places mean
                    rolled = now
                    history.note(self.roll.pack(), ROLL, self.roll.digest)
                try:
                    self._turn(history, now)
                    with anyio.move_on_after(30):
                        await history.write()
                except Exception:  # a bug in what only shows must not end the agent
                    log.exception("what the console shows could not be noted, in an unforeseen way")
                    await anyio.sleep(BEAT)
                await anyio.sleep(LOOK_EVERY)
        finally:
            self._pack(history)
            self._tell_alive(history, self._clock(), gone=True)
            await history.end()

    def _polled(self, fact: Polled) -> None:
        place = self._places.get(fact.scope)
        if place is None:
            return
        well = fact.outcome.succeeded
        self._count(self._counted.resources, place, (int(well), int(not well), 0))
        before = self._troubles.get(fact.scope)
        if (well and before is None) or (before is not None and not self._is_news(before, fact)):
            return
        now = self._clock()
        since = before.since if before is not None and before.outcome == fact.outcome else now
        noted = Outcome(at=now, outcome=str(fact.outcome), detail=fact.detail[:LONGEST], since=since)
        if well:
            del self._troubles[fact.scope]
        else:
            self._troubles[fact.scope] = noted
        if self._history is not None:
            self._history.note(_encode(noted), OUTCOME, fact.scope.vendor, fact.scope.account, fact.scope.resource)

    def _is_news(self, before: Outcome, fact: Polled) -> bool:
        """Another outcome is, at once. The same one with other words after a while, and with the same words after long."""
        if before.outcome != fact.outcome:
            return True
        quiet = SAY_AGAIN if before.detail == fact.detail[:LONGEST] else SETTLE
        return self._clock() >= before.at + quiet

    def _quarantined(self, fact: Quarantined) -> None:
        now = self._clock()
        known = (fact.scope, fact.key)
        if now < self._unread.get(known, float("-inf")) + SAY_AGAIN or self._unread_left <= 0:
            return
        if len(self._unread) >= REMEMBERED:
            self._unread.clear()
        self._unread[known] = now
        self._unread_left -= 1
        if self._history is not None:
            unread = Unread(at=now, scope=fact.scope, path=fact.path[:LONGEST], key=fact.key[:LONGEST])
            where = (fact.scope.vendor, fact.scope.account, fact.scope.resource)
            self._history.note(_encode(unread), UNREAD, *where, token(fact.key[:LONGEST]) or "_")

    def _count_delivery(self, fact: Delivered) -> None:
        self._dirty = True
        outcomes, lags = self._counted.routes.setdefault(fact.route, ({}, [0] * (len(LAGS) + 1)))
        outcomes[fact.outcome] = outcomes.get(fact.outcome, 0) + 1
        if fact.lag is not None:
            lags[lag_slot(max(fact.lag, 0.0))] += 1

    def _count(self, rows: dict[int, list[int]], place: int, counts: tuple[int, ...]) -> None:
        self._dirty = True
        row = rows.get(place)
        if row is None:
            rows[place] = list(counts)
        else:
            for column, count in enumerate(counts):
                row[column] += count

    def _turn(self, history: History, now: float) -> None:
        """Note the minute when it has ended; a small one also before."""
        if self._now_slot() != self._slot:
            self._pack(history)
            self._slot, self._counted, self._dirty = self._now_slot(), _Counted(), False
            self._unread_left = UNREAD_A_MINUTE
        elif self._dirty and now >= self._told_at + SOON and len(self._counted.resources) <= SMALL:
            self._pack(history)

    def _pack(self, history: History) -> None:
        if not self._dirty:
            return
        self._dirty, self._told_at = False, self._clock()
        counted = self._counted
        minute = Minute(
            agent=self.agent,
            at=self._slot * SLOT,
            roll=self.roll.digest,
            resources=Columns.of(counted.resources),
            accounts=Columns.of(counted.accounts),
            routes={route: Deliveries(dict(told), list(lags)) for route, (told, lags) in counted.routes.items()},
        )
        history.note(pack(minute), MINUTE, self.agent, str(self._slot))

    def _tell_alive(self, history: History, now: float, *, gone: bool) -> None:
        history.note(_encode(msgspec.structs.replace(self._alive, seen=now, gone=gone)), AGENT, self.agent)

    def _now_slot(self) -> int:
        return int(self._clock()) // SLOT


class _Counted:
    """What a minute holds so far."""

    def __init__(self) -> None:
        self.resources: dict[int, list[int]] = {}
        self.accounts: dict[int, list[int]] = {}
        self.routes: dict[str, tuple[dict[str, int], list[int]]] = {}
