"""`vendorwire dead`: the events that could not be delivered, until a person replays or drops them.

There may be very many of them: none of the four keeps them in memory.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.bus import names
from agent.commands import output
from agent.commands.auditing import Act, audited
from agent.commands.failures import DONE, Failed, WrongUsage, say
from agent.commands.lines import counted
from agent.commands.reaching import Settings, finish, reached
from agent.config import Config
from events.jetstream.connection import Bus
from events.jetstream.outbox import DeadLetter, dead_count, dead_letters, drop, replay
from events.subjects import Names
from schemas import envelope

ALIGNED = 200  # dead letters that are looked at before the first line: their columns fit


class Shown(msgspec.Struct, frozen=True):
    """A dead letter as `--json` prints it. `event` is as it was to be delivered; a text, where it is no JSON."""

    id: str
    route: str
    reason: str
    attempts: int
    status: str
    failed_at: datetime
    record: str
    event: msgspec.Raw | str


class Meant(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters are meant: those that fit everything that is said. `ids` may be their beginnings, `since` and `until`
    are about the last attempt, `reason` is a part of the reason or the status."""

    ids: tuple[str, ...] = ()
    route: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    reason: str = ""

    @property
    def is_all(self) -> bool:
        """Whether nothing is said."""
        return self == Meant()

    @property
    def told(self) -> str:
        """In a few words."""
        said = (self.route or "", *self.ids, f"with the reason {self.reason!r}" if self.reason else "")
        spans = (f"{name} {at:%Y-%m-%d %H:%M:%S}" for name, at in (("since", self.since), ("until", self.until)) if at)
        return ", ".join(filter(None, (*said, *spans))) or "all"

    def fits(self, letter: DeadLetter, ids: Collection[str]) -> bool:
        """`ids` are the whole ones."""
        return (
            (not self.ids or letter.event_id in ids)
            and (self.since is None or letter.failed_at >= self.since.timestamp())
            and (self.until is None or letter.failed_at <= self.until.timestamp())
            and self.reason.casefold() in f"{letter.reason}\n{letter.status}".casefold()
        )


class _Letters:
    """The letters that are meant, oldest first, as often as they are asked for."""

    def __init__(self, bus: Bus, subjects: Names, meant: Meant) -> None:
        self._bus = bus
        self._names = subjects
        self._meant = meant
        self._ids: frozenset[str] = frozenset()

    async def find(self) -> None:
        """Make whole ids of beginnings. Raises Failed where there is none, WrongUsage where there are several."""
        found: dict[str, set[str]] = {beginning: set() for beginning in self._meant.ids}
        if found:
            async with aclosing(dead_letters(self._bus, self._names, self._meant.route, with_events=False)) as letters:
                async for letter in letters:
                    for beginning, ids in found.items():
                        if letter.event_id.startswith(beginning):
                            ids.add(letter.event_id)
        self._ids = frozenset(_whole(beginning, ids) for beginning, ids in found.items())

    async def read(self, *, with_events: bool) -> AsyncGenerator[DeadLetter, None]:
        """Each of them; `with_events`: else without theirs, which is quicker."""
        given = dead_letters(self._bus, self._names, self._meant.route, with_events=with_events)
        async with aclosing(given) as letters:
            async for letter in letters:
                if self._meant.fits(letter, self._ids):
                    yield letter


def main(settings: Settings, action: str, meant: Meant, *, yes: bool) -> int:
    """Do one of the four with the letters meant."""
    config = settings.load()
    _check(action, meant, yes=yes)

    async def work() -> int:
        async with reached(config) as bus:
            subjects = names(config.bus)
            await _check_route(bus, config, meant.route)
            letters = _Letters(bus, subjects, meant)
            await letters.find()
            match action:
                case "list" if not settings.json:
                    await _list(letters.read(with_events=False))
                case "list" | "show":
                    await _show(letters.read(with_events=True), settings)
                case "replay":
                    await _check_configured(config, letters)
                    async with audited(bus, config.bus, "replay dead letters", meant.told) as doing:
                        read = letters.read(with_events=True)
                        await _each(bus, subjects, read, (replay, "to be delivered again"), settings, doing)
                case _:
                    async with audited(bus, config.bus, "drop dead letters", meant.told) as doing:
                        read = letters.read(with_events=False)
                        await _each(bus, subjects, read, (drop, "dropped"), settings, doing)
        return DONE

    return finish(work)


def _check(action: str, meant: Meant, *, yes: bool) -> None:
    if meant.since is not None and meant.until is not None and meant.until <= meant.since:
        raise WrongUsage("--until must be later than --since")
    if action in {"replay", "drop"} and meant.is_all:
        how = "ids (`vendorwire dead list` shows them), or --route, --since, --until, --reason"
        raise WrongUsage(f"name what to {action}: {how}")
    if action == "drop" and not meant.ids and not yes:
        only_route = meant == Meant(route=meant.route)
        which = f"of the route {meant.route}" if only_route else "that fit: look at them with `vendorwire dead list`"
        raise WrongUsage(f"--yes is needed to drop all dead letters {which}")


async def _check_route(bus: Bus, config: Config, route: str | None) -> None:
    known = {each.name for each in config.routes} | set(await dead_count(bus, names(config.bus)))
    if route is not None and route not in known:
        raise WrongUsage(f"no route is named {route!r}; there are: {', '.join(sorted(known)) or 'none'}")


def _whole(beginning: str, found: Collection[str]) -> str:
    if beginning in found:
        return beginning
    if not found:
        raise Failed(f"there is no dead letter {beginning!r}")
    if len(found) > 1:
        raise WrongUsage(f"{beginning!r} begins {len(found)} ids: give more of it")
    return next(iter(found))


async def _check_configured(config: Config, letters: _Letters) -> None:
    """A replay waits for its route's worker: without one it would wait for ever."""
    async with aclosing(letters.read(with_events=False)) as read:
        routes = {letter.route async for letter in read}
    gone = routes - {route.name for route in config.routes}
    if gone:
        raise Failed(f"not configured (any more), so nothing can be replayed to it: {', '.join(sorted(gone))}")


async def _each(
    bus: Bus,
    subjects: Names,
    letters: AsyncGenerator[DeadLetter, None],
    what: tuple[Callable[[Bus, Names, DeadLetter], Awaitable[None]], str],
    settings: Settings,
    doing: Act,
) -> None:
    count, (act, done) = 0, what
    try:
        async with aclosing(letters) as each:
            async for letter in each:
                await act(bus, subjects, letter)
                count += 1
                if settings.json:
                    output.json({"id": letter.event_id, "route": letter.route})
    finally:
        doing.detail = f"{counted(count, 'dead letter')} {done}"
        if not settings.json:
            output.line(doing.detail)


class _Table:
    """A table that grows: its first rows tell how wide the columns are."""

    COLUMNS = ("id", "route", "record", "attempts", "last attempt", "reason")

    def __init__(self) -> None:
        self._first: list[tuple[str, ...]] = []
        self._widths: list[int] = []
        self.rows = 0

    def add(self, letter: DeadLetter) -> None:
        """One more row."""
        attempts = str(letter.attempts)
        row = (letter.event_id, letter.route, letter.record, attempts, _local(letter), letter.reason)
        self.rows += 1
        if self._widths:
            output.line("  ".join(cell.ljust(width) for cell, width in zip(row, self._widths, strict=True)).rstrip())
            return
        self._first.append(row)
        if self.rows == ALIGNED:
            self._draw()

    def end(self) -> None:
        """There are no more."""
        if self._first:
            self._draw()

    def _draw(self) -> None:
        output.table(self.COLUMNS, self._first)
        self._widths = [max(map(len, cells)) for cells in zip(self.COLUMNS, *self._first, strict=True)]
        self._first.clear()


async def _list(letters: AsyncGenerator[DeadLetter, None]) -> None:
    table = _Table()
    async with aclosing(letters) as each:
        async for letter in each:
            table.add(letter)
    table.end()
    if table.rows:
        say(counted(table.rows, "dead letter"))
    else:
        output.line("there are no dead letters")


async def _show(letters: AsyncGenerator[DeadLetter, None], settings: Settings) -> None:
    count = 0
    async with aclosing(letters) as each:
        async for letter in each:
            count += 1
            if settings.json:
                output.json(_shown(letter))
            else:
                _describe(letter)
    if not count and not settings.json:
        output.line("there are no dead letters")


def _describe(letter: DeadLetter) -> None:
    rows: list[tuple[str, Any]] = [
        ("id", letter.event_id),
        ("route", letter.route),
        ("record", letter.record),
        ("reason", letter.reason),
        ("status", letter.status or "no answer"),
        ("attempts", letter.attempts),
        *_told(letter),
        ("last attempt", _local(letter)),
    ]
    for name, value in rows:
        output.line(f"{name + ':':<14}{value}")
    event = _event(letter)
    if isinstance(event, str):
        output.line(event)
    else:
        output.pretty(event)


def _told(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    """What the event says of itself, where it is one."""
    try:
        event = envelope.decode_sealed(letter.event)
    except (ValueError, RecursionError):
        return
    yield "change", event.type
    yield "observed", _when(event.observedat)


def _shown(letter: DeadLetter) -> Shown:
    return Shown(
        id=letter.event_id,
        route=letter.route,
        reason=letter.reason,
        attempts=letter.attempts,
        status=letter.status,
        failed_at=datetime.fromtimestamp(letter.failed_at, UTC),
        record=letter.record,
        event=_event(letter),
    )


def _event(letter: DeadLetter) -> msgspec.Raw | str:
    """What is no event may be no JSON, and no text either."""
    try:
        msgspec.json.decode(letter.event)
    except (ValueError, RecursionError):
        return letter.event.decode("utf-8", "replace")
    return msgspec.Raw(msgspec.json.format(letter.event, indent=-1) if b"\n" in letter.event else letter.event)


def _local(letter: DeadLetter) -> str:
    return _when(datetime.fromtimestamp(letter.failed_at, UTC))


def _when(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
