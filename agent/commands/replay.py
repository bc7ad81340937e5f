"""`vendorwire replay`: events of the past delivered to a route again, from the ledger, with the ids they had."""

import secrets
import shlex
import sys
import time
from contextlib import aclosing
from datetime import UTC, datetime

import anyio
import msgspec

from agent.bus import names
from agent.commands import output
from agent.commands.auditing import audited
from agent.commands.failures import DONE, FAILED, Failed, WrongUsage, say
from agent.commands.lines import counted, span_of
from agent.commands.reaching import Settings, finish, reached
from agent.config import Config
from events.jetstream.again import Past, events_again, hand_over, look_back, oldest
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusUnavailable
from events.jetstream.pull import ConsumerGone
from events.jetstream.read import rfc3339
from events.routes import Route, filters

MANY = 1000  # events beyond which a person is asked first
PATIENCE = 30.0  # seconds without the bus
AGAIN = 0.5  # seconds until it is tried again
SHOW_EVERY = 0.2  # seconds between two states of the progress line
STORE_FAILED = 10077  # the stream is full: `maximum messages exceeded`, or bytes
EXACT = 0.001  # seconds; the server's times are exact to a nanosecond, ours are not


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed. `events` narrow the route's own, `rate` is in events a second."""

    route: str
    since: datetime
    until: datetime | None = None
    events: tuple[str, ...] = ()
    rate: float = 100.0


class Told(msgspec.Struct, omit_defaults=True):
    """What `--json` prints. `go_on_since`: where to go on, had it to end early. `oldest_kept`: where it asked for older ones."""

    route: str
    events: int
    handed_over: int | None = None
    changes: dict[str, int] = {}
    first: datetime | None = None
    last: datetime | None = None
    oldest_kept: datetime | None = None
    go_on_since: datetime | None = None


def main(settings: Settings, asked: Asked, *, dry_run: bool, yes: bool) -> int:
    """Say how many events that is, ask where they are many, and hand them to the route."""
    config = settings.load()
    subjects = _subjects(config, asked)
    past, told = _look_back(config, subjects, asked)
    if not settings.json:
        _print(told, asked)
    if dry_run or not past.events:
        return _done(settings, told)
    if past.events > MANY and not yes and not _is_wanted(past, asked):
        return FAILED
    replay = _Replay(config, subjects, asked, past)
    try:
        finish(replay.run)
    finally:
        told.handed_over = replay.handed_over
        if not replay.ended:
            told.go_on_since = replay.go_on_since
            _done(settings, told)
            say(f"{replay.handed_over} of {past.events} events were handed over; go on with: {_rest(replay, asked)}")
    if not settings.json:
        output.line(f"{counted(replay.handed_over, 'event')} handed to the route {asked.route}")
    return _done(settings, told)


def _subjects(config: Config, asked: Asked) -> list[str]:
    """The subjects of the events meant. Raises WrongUsage, which says what there is."""
    if asked.until is not None and asked.until <= asked.since:
        raise WrongUsage("--until must be later than --since")
    known = {route.name: route for route in config.routes}
    if asked.route not in known:
        raise WrongUsage(f"no route is named {asked.route!r}; there are: {', '.join(known) or 'none'}")
    vendors_of_accounts = {account.name: account.vendor for account in config.accounts}
    try:
        return filters(_narrowed(known[asked.route], asked), config.bus.prefix, vendors_of_accounts)
    except ValueError as error:
        raise WrongUsage(str(error)) from None


def _narrowed(route: Route, asked: Asked) -> Route:
    return route.narrowed(asked.events) if asked.events else route


def _look_back(config: Config, subjects: list[str], asked: Asked) -> tuple[Past, Told]:
    """Its own visit to the bus: nobody keeps a connection waiting for an answer at a prompt."""
    past, first_kept = Past(), None

    async def work() -> int:
        nonlocal past, first_kept
        async with reached(config) as bus:
            past = await look_back(bus, names(config.bus), subjects, asked.since, asked.until)
            first_kept = await oldest(bus, names(config.bus))
        return DONE

    finish(work)
    told = Told(asked.route, past.events, changes=past.changes)
    if past.events:
        told.first, told.last = _instant(past.first_at), _instant(past.last_at)
    if first_kept is not None and asked.since.timestamp() < first_kept:
        told.oldest_kept = _instant(first_kept)
    return past, told


def _print(told: Told, asked: Asked) -> None:
    if told.oldest_kept is not None:
        output.line(f"the oldest event that is kept is of {_local(told.oldest_kept)}: before that there is nothing")
    until = f" until {_local(asked.until)}" if asked.until else ""
    if told.first is None or told.last is None:
        output.line(f"no event of the route {told.route} was published since {_local(asked.since)}{until}")
        return
    output.table(("change", "events"), sorted(told.changes.items()))
    span = f"published {_local(told.first)} to {_local(told.last)}"
    output.line(f"{counted(told.events, 'event')} of the route {told.route}, {span}")


def _is_wanted(past: Past, asked: Asked) -> bool:
    if not sys.stdin.isatty():
        raise WrongUsage(f"these are more than {MANY} events, and nobody can be asked here: `--yes` approves")
    sys.stderr.write(f"deliver {counted(past.events, 'event')} to the route {asked.route} again? [y/N] ")
    sys.stderr.flush()
    wanted = sys.stdin.readline().strip().lower() in {"y", "yes"}
    if not wanted:
        say("nothing was handed over")
    return wanted


class _Replay:
    """Events on their way to the route: how many were handed over, and since when to go on."""

    def __init__(self, config: Config, subjects: list[str], asked: Asked, past: Past) -> None:
        self._config = config
        self._names = names(config.bus)
        self._subjects = subjects
        self._asked = asked
        self._past = past
        self._run = secrets.token_hex(8)
        self._after = 0  # the last one handed over
        self._next_at = past.first_at
        self._well_at = 0.0
        self._shown_at = 0.0
        self.handed_over = 0
        self.ended = False

    @property
    def go_on_since(self) -> datetime:
        """The time of the first one that was not handed over, or a moment before."""
        return _instant(self._next_at - EXACT)

    @property
    def goes_until(self) -> datetime:
        """The time of the last one, or a moment after."""
        return _instant(self._past.last_at + EXACT)

    @property
    def _span(self) -> str:
        return span_of(self._asked.since, self._asked.until, self._asked.events)

    async def run(self) -> int:
        """Hand over all of them; a lost bus interrupts. Raises Failed."""
        async with reached(self._config) as bus, audited(bus, self._config.bus, "replay", self._asked.route) as doing:
            self._well_at = time.monotonic()
            try:
                while not self.ended:
                    await self._try(bus)
            finally:
                self._show(ends=True)
                doing.detail = f"{counted(self.handed_over, 'event')} handed over, {self._span}"
        return DONE

    async def _try(self, bus: Bus) -> None:
        try:
            await self._hand_over(bus)
            self.ended = True
        except (BusUnavailable, ConsumerGone, ApiError) as trouble:
            full = isinstance(trouble, ApiError) and trouble.err_code == STORE_FAILED
            if full or time.monotonic() > self._well_at + PATIENCE:
                raise Failed(f"the bus takes no more replays: {trouble}") from None
            await anyio.sleep(AGAIN)

    async def _hand_over(self, bus: Bus) -> None:
        rate, started, count = self._asked.rate, time.monotonic(), 0
        events = events_again(bus, self._names, self._subjects, self._past, rate, self._after)
        async with aclosing(events) as messages:
            async for message in messages:
                self._next_at = message.published_at
                if (wait := started + count / rate - time.monotonic()) > 0:
                    await anyio.sleep(wait)
                await hand_over(bus, self._names, self._asked.route, message, self._run)
                count += 1
                self.handed_over += 1
                self._after, self._well_at = message.sequence, time.monotonic()
                self._show()

    def _show(self, *, ends: bool = False) -> None:
        """A line that a terminal shows anew as it grows."""
        now = time.monotonic()
        if sys.stderr.isatty() and (ends or now > self._shown_at + SHOW_EVERY):
            self._shown_at = now
            end = "\n" if ends else ""
            sys.stderr.write(f"\r{self.handed_over} of {self._past.events} handed over{end}")
            sys.stderr.flush()


def _done(settings: Settings, told: Told) -> int:
    if settings.json:
        output.json(told)
    return DONE


def _rest(replay: _Replay, asked: Asked) -> str:
    """The command for what was not handed over."""
    words = ["vendorwire", "replay", asked.route, "--since", rfc3339(replay.go_on_since)]
    words += ["--until", rfc3339(replay.goes_until)]
    words += ["--events", ",".join(asked.events)] if asked.events else []
    return shlex.join(words)


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _local(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
