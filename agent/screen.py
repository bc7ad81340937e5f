"""What a person sees of an agent at work: a board kept from facts, drawn as three panels or told in plain lines.

Nothing here knows a terminal: `render` gives what rich prints, for a given size and moment.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.log import escape
from schemas.changes import Scope
from schemas.facts import (
    BusState,
    Delivered,
    DeliveryOutcome,
    Fact,
    Fresh,
    Polled,
    PollOutcome,
    Published,
    Quarantined,
    RouteState,
    Scheduled,
    TokenState,
)

REMEMBERED = 200  # changes and deliveries; more than any terminal has lines
STALE = 3  # intervals without a successful poll after which an age is coloured
FRAME = 2  # lines of a panel's border
KEY, SENT_KEY = 12, 10  # characters of a record's key
LEAST = 2  # lines of changes and of deliveries that are shown however many accounts there are
COLOURS = {
    DeliveryOutcome.DELIVERED: "green",
    DeliveryOutcome.RETRIED: "yellow",
    DeliveryOutcome.DEAD: "red",
    DeliveryOutcome.REFUSED: "red",
}


class Acted(Fact, frozen=True, kw_only=True):
    """Something happened at a fake vendor: not the agent's own fact, it is told beside them."""

    text: str


class Row(msgspec.Struct):
    """What is known of one resource. `at`: its last successful poll; `interval` in seconds; `records` as stored."""

    interval: float | None = None
    at: datetime | None = None
    records: int | None = None
    outcome: PollOutcome | None = None

    def age(self, now: datetime) -> float | None:
        """Seconds since the last successful poll."""
        return max(0.0, (now - self.at).total_seconds()) if self.at else None

    @property
    def troubled(self) -> bool:
        return self.outcome is not None and not self.outcome.succeeded


class Seen(msgspec.Struct, frozen=True):
    """A change, and when it was heard of."""

    at: datetime
    fact: Published


class Sent(msgspec.Struct, frozen=True):
    """A delivery, and when it was heard of. `key` names the record, where its change is still remembered."""

    at: datetime
    fact: Delivered
    key: str


class Board:
    """The present picture. Holds the last changes and deliveries, newest first."""

    def __init__(self) -> None:
        self.rows: dict[Scope, Row] = {}
        self.tokens: dict[tuple[str, str], bool] = {}
        self.changes: deque[Seen] = deque(maxlen=REMEMBERED)
        self.deliveries: deque[Sent] = deque(maxlen=REMEMBERED)
        self.routes: dict[str, RouteState] = {}
        self.bus: BusState | None = None
        self.published = 0
        self.quarantined = 0
        self.acted = ""  # what happened last at a fake vendor
        self.outcomes = Counter({DeliveryOutcome.DELIVERED: 0, DeliveryOutcome.RETRIED: 0})  # others when they happen

    def observe(self, fact: Fact, now: datetime) -> None:
        """Take a fact in. Times are shown in the zone of `now`."""
        match fact:
            case Published():
                self.published += 1
                self.changes.appendleft(Seen(now, fact))
            case Delivered():
                self.outcomes[fact.outcome] += 1
                self.deliveries.appendleft(Sent(now, fact, self._key(fact.event_id)))
            case TokenState():
                self.tokens[fact.vendor, fact.account] = fact.healthy
            case RouteState():
                self.routes[fact.route] = fact
            case BusState():
                self.bus = fact
            case Quarantined():
                self.quarantined += 1
            case Scheduled() | Fresh() | Polled():
                self._resource(fact)
            case Acted():
                self.acted = fact.text
            case _:
                return  # a request more or less is nothing to look at

    def _resource(self, fact: Scheduled | Fresh | Polled) -> None:
        if fact.scope.resource == "account":  # our own record of the account's health, not something that is read
            return
        row = self.rows.setdefault(fact.scope, Row())
        match fact:
            case Scheduled():
                row.interval = fact.interval
            case Fresh():
                row.at, row.records = max(fact.at, row.at or fact.at), fact.records
            case Polled():
                row.outcome = fact.outcome

    def _key(self, event_id: str) -> str:
        return next((seen.fact.key for seen in self.changes if seen.fact.event_id == event_id), "")

    @property
    def pending(self) -> int:
        """Events not delivered yet, as last counted."""
        return sum(route.pending for route in self.routes.values())

    @property
    def totals(self) -> str:
        """What has happened so far, in one sentence."""
        counts = [f"{self.published} changes published"]
        counts += [f"{count} {outcome}" for outcome, count in self.outcomes.items()]
        if self.quarantined:
            counts.append(f"{self.quarantined} records quarantined")
        return ", ".join(counts)


def render(board: Board, notes: Sequence[str], now: datetime, width: int, height: int) -> RenderableType:
    """The board in exactly `height` lines (no fewer than 20) of `width` columns; `notes` are the last lines."""
    notes = [f"vendor   {board.acted}", *notes] if board.acted else notes
    foot = [_bus(board), *(Text(escape(note), style="dim", overflow="fold") for note in notes)]
    left = height - 1 - sum(max(1, math.ceil(len(note) / width)) for note in notes)
    accounts = max(1, min(len(board.rows), left - 3 * FRAME - 1 - 2 * LEAST))
    left -= accounts + 1 + FRAME
    changes = left // 2
    return Group(
        _panel("accounts", _accounts(board, now, accounts), accounts + 1 + FRAME),
        _panel("changes as they happen", _changes(board.changes, changes - FRAME), changes),
        _panel("deliveries", _deliveries(board.deliveries, left - changes - FRAME), left - changes),
        *foot,
    )


def plain(board: Board, fact: Fact, now: datetime) -> str | None:
    """The line that tells of a fact the board has just observed; None for one that is no news."""
    match fact:
        case Published():
            told = f"change    {fact.scope.vendor}/{fact.scope.account} {_kind(fact)} {fact.key}{_late(fact.age)}"
        case Delivered():
            lag = "" if fact.lag is None else f", {_span(fact.lag)} after its commit"
            told = (
                f"delivery  {fact.route} {fact.kind} {board.deliveries[0].key} {fact.outcome}: {fact.status}"
                f" in {fact.seconds * 1000:.0f} ms, attempt {fact.attempt}{lag}"
            )
        case BusState():
            told = "bus       connected" if fact.connected else f"bus       lost: {fact.detail}"
        case Acted():
            told = f"vendor    {fact.text}"
        case Polled() if not fact.outcome.succeeded:
            told = f"poll      {fact.scope} {fact.outcome}: {fact.detail}"
        case Quarantined():
            told = f"poll      {fact.scope} quarantined a record: {fact.path}"
        case TokenState() if fact.renewal:
            told = f"token     {fact.vendor}/{fact.account} {fact.renewal}"
        case _:
            return None
    return f"{now:%H:%M:%S} {escape(told)}"


def _panel(title: str, content: RenderableType, height: int) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="cyan", height=height)


def _table(*columns: int) -> Table:
    """Columns of these widths; 0 takes what is left."""
    table = Table.grid(padding=(0, 1), expand=True)
    for width in columns:
        table.add_column(width=width or None, ratio=None if width else 1, no_wrap=True, overflow="ellipsis")
    return table


def _accounts(board: Board, now: datetime, lines: int) -> Table:
    """As many resources as there is room for, those in trouble first."""
    table = _table(0, 12, 7, 6, 7, 12, 7)
    heads = ("account", "resource", "fresh", "every", "records", "last poll", "token")
    table.add_row(*(Text(head, style="bold") for head in heads))
    rows = sorted(board.rows.items(), key=lambda item: (not item[1].troubled, item[0]))
    hidden = len(rows) - lines
    for scope, row in rows[: lines - 1] if hidden > 0 else rows:
        healthy = board.tokens.get((scope.vendor, scope.account))
        table.add_row(
            Text(f"{scope.vendor}/{scope.account}"),
            Text(scope.resource),
            _fresh(row, now),
            Text(_span(row.interval)),
            Text("" if row.records is None else str(row.records)),
            Text(row.outcome or "", style="red" if row.troubled else "green"),
            Text({None: "", True: "ok", False: "refused"}[healthy], style="green" if healthy else "red"),
        )
    if hidden > 0:
        table.add_row(Text(f"and {hidden + 1} more", style="dim"))
    return table


def _fresh(row: Row, now: datetime) -> Text:
    age = row.age(now)
    if age is None:
        return Text("not yet", style="yellow")
    stale = row.interval is not None and age > STALE * row.interval
    return Text(_span(age), style="yellow" if stale else "green")


def _changes(changes: Iterable[Seen], lines: int) -> Table:
    table = _table(8, 22, KEY, 0, 11)
    for seen, _ in zip(changes, range(lines), strict=False):
        fact = seen.fact
        table.add_row(
            Text(f"{seen.at:%H:%M:%S}", style="dim"),
            Text(_kind(fact), style="bold"),
            Text(_shortened(escape(fact.key))),
            Text(f"{fact.scope.vendor}/{fact.scope.account}"),
            Text("" if fact.age is None else f"age {_span(fact.age)}", style="dim"),
        )
    return table


def _deliveries(deliveries: Iterable[Sent], lines: int) -> Table:
    table = _table(8, 6, 18, SENT_KEY, 5, 0, 7, 9)
    for sent, _ in zip(deliveries, range(lines), strict=False):
        fact, colour = sent.fact, COLOURS[sent.fact.outcome]
        table.add_row(
            Text(f"{sent.at:%H:%M:%S}", style="dim"),
            Text(fact.route),
            Text(fact.kind, style="bold"),
            Text(_shortened(escape(sent.key), SENT_KEY)),
            Text(f"try {fact.attempt}", style="yellow" if fact.attempt > 1 else ""),
            Text(escape(fact.status), style=colour),
            Text(f"{fact.seconds * 1000:.0f} ms", style="dim"),
            Text("" if fact.lag is None else f"lag {_span(fact.lag)}", style="dim"),
        )
    return table


def _bus(board: Board) -> Text:
    up = board.bus is not None and board.bus.connected
    line = Text("bus up" if up else "bus down", style="bold green" if up else "bold red", no_wrap=True)
    counts = [("changes", board.published), ("pending", board.pending), *board.outcomes.items()]
    line.append("".join(f"   {name} {count}" for name, count in counts), "bold")
    return line


def _kind(fact: Published) -> str:
    return f"{fact.scope.resource}.{fact.change}"


def _shortened(key: str, most: int = KEY) -> str:
    """Without its middle where it is long: what tells keys apart is mostly at their ends."""
    return key if len(key) <= most else f"{key[:2]}…{key[3 - most :]}"


def _late(age: float | None) -> str:
    return "" if age is None else f", {_span(age)} after the vendor's own time"


def _span(seconds: float | None) -> str:
    """A length of time in at most seven characters."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 0.995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    for unit, size in (("s", 1), ("min", 60), ("h", 3600)):
        if seconds < 100 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
