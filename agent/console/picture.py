"""The whole picture, as it came from the bus: what one agent holds of all accounts, routes and agents while somebody looks."""

from array import array
from collections.abc import Mapping, Sequence

import msgspec

from agent.console.shapes import Paused, StreamView
from events.circuit import Standing
from events.history import LAGS, Alive, Minute, Outcome, Roll, Unread
from events.ledger import Head
from schemas.changes import Scope
from schemas.records import Account

SPARK = 120  # seconds of a sparkline's slot
SPARKS = 30  # slots: an hour
MOST = 65_535  # of a count in a slot
MOST_UNREAD = 5_000
MOST_AGENTS = 1_000


class RouteNow(msgspec.Struct, frozen=True, kw_only=True):
    """How a route stands. `waiting` and `in_hand` are 0 for one that no agent has worked yet. `untouched_since`: where some wait,
    when the last was handed out, or some were first seen to wait, in Unix seconds."""

    standing: Standing
    waiting: int
    in_hand: int
    dead: int
    paused: bool
    untouched_since: float | None = None


class TokenNow(msgspec.Struct, frozen=True):
    """A token as the agents share it. `expires` in Unix seconds; 0 where there is none. `problem` as in `events.tokens`."""

    expires: float
    problem: str


class Delivered(msgspec.Struct):
    """A route's attempts in some time: by outcome, and the lags of what was delivered."""

    outcomes: dict[str, int] = {}
    lags: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LAGS) + 1))

    def add(self, outcomes: Mapping[str, int], lags: Sequence[int], sign: int = 1) -> None:
        for name, count in outcomes.items():
            self.outcomes[name] = self.outcomes.get(name, 0) + sign * count
        for place, count in enumerate(lags[: len(self.lags)]):
            self.lags[place] += sign * count


class _Slot:
    """Two minutes of all resources: polls that succeeded, that failed, changes."""

    def __init__(self, size: int) -> None:
        self.columns = tuple(array("H", bytes(2 * size)) for _ in range(3))
        self.changes = 0
        self.routes: dict[str, Delivered] = {}


class Hour:
    """The last hour, from the agents' minutes. A minute that comes again, longer, takes the place of what was told of it."""

    def __init__(self, roll: Roll) -> None:
        self.roll = roll
        self._slots: dict[int, _Slot] = {}
        self._told: dict[tuple[str, int], Minute] = {}  # the last few, as they are counted here
        self._others: dict[str, list[int]] = {}  # another roll → its places here; -1 for what is not configured here

    def knows(self, digest: str) -> bool:
        """Whether it is known what the places of a minute mean."""
        return digest == self.roll.digest or digest in self._others

    def learn(self, digest: str, roll: Roll | None) -> None:
        """What the places of another list mean; None where nobody can say."""
        places = [self.roll.place(scope) for scope in roll.scopes] if roll else []
        self._others[digest] = [-1 if place is None else place for place in places]

    def take(self, minute: Minute, now: float) -> None:
        """Count a minute."""
        oldest = int(now) // SPARK - SPARKS
        for slot in [slot for slot in self._slots if slot <= oldest]:
            del self._slots[slot]
        for known in [known for known in self._told if known[1] < now - 2 * SPARK]:
            del self._told[known]
        if not oldest < minute.at // SPARK <= int(now) // SPARK + 1:
            return
        known = (minute.agent, minute.at)
        if (before := self._told.get(known)) is not None:
            self._count(before, -1)
        if minute.at >= now - 2 * SPARK:
            self._told[known] = minute
        self._count(minute, 1)

    def _count(self, minute: Minute, sign: int) -> None:
        slot = self._slots.setdefault(minute.at // SPARK, _Slot(len(self.roll.scopes)))
        mine = minute.roll == self.roll.digest
        places, size = self._others.get(minute.roll, []), len(self.roll.scopes)
        columns = slot.columns
        for place, *counts in minute.resources.rows():
            here = place if mine else places[place] if 0 <= place < len(places) else -1
            if not 0 <= here < size:
                continue
            for column, count in zip(columns, counts, strict=True):
                if count:
                    column[here] = min(max(column[here] + sign * count, 0), MOST)
            slot.changes += sign * counts[2]
        for route, told in minute.routes.items():
            slot.routes.setdefault(route, Delivered()).add(told.outcomes, told.lags, sign)

    def spark(self, scope: Scope, now: float) -> tuple[list[int], list[int], int]:
        """Of a resource: polls by slot, those that failed, and its changes."""
        place, newest = self.roll.place(scope), int(now) // SPARK
        polls, failed, changes = [0] * SPARKS, [0] * SPARKS, 0
        if place is None:
            return polls, failed, changes
        for at in range(SPARKS):
            if (slot := self._slots.get(newest - SPARKS + 1 + at)) is not None:
                well, ill, changed = (column[place] for column in slot.columns)
                polls[at], failed[at] = well + ill, ill
                changes += changed
        return polls, failed, changes

    def delivered(self, route: str, since: float = 0.0) -> Delivered:
        """Of a route, in the slots that are not over at `since`."""
        found = Delivered()
        for at, slot in self._slots.items():
            if (at + 1) * SPARK > since and (told := slot.routes.get(route)) is not None:
                found.add(told.outcomes, told.lags)
        return found

    @property
    def changes(self) -> int:
        """Of all accounts."""
        return sum(slot.changes for slot in self._slots.values())


class Picture:
    """What is known now. `heard`: when the bus last told anything (Unix seconds); `version` grows with each news."""

    def __init__(self, roll: Roll) -> None:
        self.hour = Hour(roll)
        self.heads: dict[Scope, Head] = {}
        self.written: dict[Scope, float] = {}  # when each head was written last: also on the way, and by hand
        self.accounts: dict[str, Account] = {}
        self.tokens: dict[str, TokenNow] = {}
        self.paused: dict[str, Paused] = {}
        self.intervals: dict[Scope, float] = {}  # in seconds, where they were set by hand
        self.outcomes: dict[Scope, Outcome] = {}
        self.unread: dict[tuple[Scope, str], Unread] = {}
        self.agents: dict[str, Alive] = {}
        self.routes: dict[str, RouteNow] = {}
        self.streams: list[StreamView] = []
        self.storage: tuple[int, int | None] = (0, None)  # bytes that our NATS account holds, and may hold
        self.ticks_paused = False
        self.heard = 0.0
        self.version = 0

    def news(self, now: float) -> None:
        """Something came."""
        self.heard = max(now, self.heard)
        self.version += 1

    def take_alive(self, alive: Alive) -> None:
        """An agent lives, or has ended; of very many the one goes that was heard first."""
        self.agents.pop(alive.agent, None)
        self.agents[alive.agent] = alive
        while len(self.agents) > MOST_AGENTS:
            del self.agents[next(iter(self.agents))]

    def take_unread(self, unread: Unread) -> None:
        """A record that could not be read; the oldest go where there are very many."""
        self.unread.pop((unread.scope, unread.key), None)
        self.unread[unread.scope, unread.key] = unread
        while len(self.unread) > MOST_UNREAD:
            del self.unread[next(iter(self.unread))]
