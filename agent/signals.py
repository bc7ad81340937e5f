"""What a person can tell running agents: pause, resume, read anew, go back, another interval, poll now.

Each works on the bus alone, for the command line and the console alike, and returns the sentence to tell. What cannot be done
raises NotPossible, which says why and what to do instead.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio
import msgspec

from agent import vendors
from agent.bus import names
from agent.config import Config
from connectors.base import Connector, Resource
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.outbox import CONSUMER_NOT_FOUND
from events.jetstream.read import last
from events.jetstream.schedule import CONSUMER, Schedule
from events.jetstream.signals import Interval, Pause, Signals
from events.ledger import Conflict, Head, Part, Poll
from events.subjects import Names
from schemas.changes import Scope

PATIENCE = 30.0  # seconds for a poll in hand to end
PROMPT = 5.0  # the same, where nobody asked for the poll itself
GLANCE = 0.2
ATTEMPTS = 10  # at a head that agents keep changing
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=7)  # of an interval
LONGEST_PAUSE = timedelta(days=365)
FARTHEST = timedelta(days=366)  # back: a feed is read again in small windows, each a request


class NotPossible(Exception):
    """What was asked for cannot be done. The message says why, and what to do."""


class UnknownResource(LookupError):
    """The account has no such resource. The message lists those there are."""


async def pause(bus: Bus, config: Config, account: str, *, by: str, span: timedelta | None = None) -> str:
    """Have an account polled no more, for so long or until it is resumed."""
    name = config.account(account).name
    if span is not None and not timedelta(0) < span <= LONGEST_PAUSE:
        raise NotPossible(f"a pause lasts up to {LONGEST_PAUSE.days}d: leave the time out for one without an end")
    now = datetime.fromtimestamp(bus.now(), UTC)
    until = now + span if span else None
    await Signals(bus, names(config.bus)).pause(name, Pause(by=by, since=now, until=until))
    return f"{name} is paused {f'until {_when(until)}' if until else f'until `vendorwire resume {name}`'}"


async def resume(bus: Bus, config: Config, account: str) -> str:
    """Have a paused account polled again, from now."""
    connector = config.account(account)
    subjects = names(config.bus)
    if connector.name not in await paused(bus, subjects):
        return f"{connector.name} is not paused: there is nothing to resume"
    await Signals(bus, subjects).pause(connector.name, None)
    for resource in connector.resources:
        await poll(bus, subjects, vendors.scope(connector, resource), PROMPT)
    return f"{connector.name} is polled again"


async def interval(bus: Bus, config: Config, account: str, resource: str, *, every: timedelta | None) -> str:
    """Have a resource polled every so often, until an agent starts; None: as configured."""
    connector, scope, _ = _meant(config, account, resource)
    if every is not None and not SHORTEST <= every <= LONGEST:
        raise NotPossible(f"an interval is from {_span(SHORTEST)} to {_span(LONGEST)}")
    told = Interval(seconds=every.total_seconds()) if every else None
    await Signals(bus, names(config.bus)).interval(scope, told)
    if every is None:
        return f"{scope} is polled every {_span(connector.interval(resource))} again, as configured"
    return f"{scope} is polled every {_span(every)} until an agent starts, or `--reset`"


async def rebaseline(bus: Bus, config: Config, account: str, resource: str, *, events: bool) -> str:
    """Have a resource read whole, as for the first time; what differs is told only with `events`."""
    _, scope, kind = _meant(config, account, resource)
    if kind.feed:
        raise NotPossible(f"{resource} is a feed: there is no set of records to read anew; see `vendorwire rewind`")
    await _behead(bus, config, scope, lambda head: anew(head, scope, events=events))
    await poll(bus, names(config.bus), scope, PROMPT)
    how = "what differs is published" if events else "what differs is stored, and not published"
    return f"{scope} is read anew: {how}"


async def rewind(bus: Bus, config: Config, account: str, resource: str, *, to: datetime) -> str:
    """Have a resource read again since a time. What was told is not told again."""
    _, scope, kind = _meant(config, account, resource)
    if not (kind.feed or kind.incremental):
        raise NotPossible(f"{resource} is read whole at each poll: it has no cursor; see `vendorwire poll`")
    now = datetime.fromtimestamp(bus.now(), UTC)
    if now - to > FARTHEST:
        raise NotPossible(f"that is too long ago: at most {FARTHEST.days} days")

    await _behead(bus, config, scope, lambda head: rewound(head, scope, to))
    await poll(bus, names(config.bus), scope, PROMPT)
    return f"{scope} is read again since {_when(to)}; what was told is not told again"


async def poll(bus: Bus, subjects: Names, scope: Scope, patience: float = PATIENCE) -> bool:
    """Have a resource polled now: a poll that begins after this call. False where one is under way and does not end."""
    schedule = Schedule(bus, subjects)
    with anyio.move_on_after(patience):
        while not await schedule.poll_now(scope):
            if await _waits(bus, subjects, scope):
                break
            await anyio.sleep(GLANCE)
        return True
    return False


async def paused(bus: Bus, subjects: Names) -> dict[str, Pause]:
    """The accounts that are paused now."""
    now = datetime.fromtimestamp(bus.now(), UTC)
    heard, _ = await Signals(bus, subjects).all()
    return {
        each.about: each.signal
        for each in heard
        if isinstance(each.about, str) and isinstance(each.signal, Pause) and each.signal.holds(now)
    }


async def intervals(bus: Bus, subjects: Names) -> dict[Scope, timedelta]:
    """The intervals that were set by hand, and hold."""
    heard, _ = await Signals(bus, subjects).all()
    return {
        each.about: timedelta(seconds=each.signal.seconds)
        for each in heard
        if isinstance(each.about, Scope) and isinstance(each.signal, Interval)
    }


def _meant(config: Config, account: str, resource: str) -> tuple[Connector, Scope, Resource]:
    connector = config.account(account)
    if resource not in connector.resources:
        known = ", ".join(connector.resources)
        raise UnknownResource(f"the account {connector.name} has no resource {resource!r}; there are: {known}")
    return connector, vendors.scope(connector, resource), connector.resources[resource]


def anew(head: Head, scope: Scope, *, events: bool) -> Head:
    """A head whose parts are read as for the first time. What was missing is not: it has to be missed twice again."""
    if not head.parts:
        raise NotPossible(f"{scope} was never read: its first poll is its baseline")
    return msgspec.structs.replace(head, parts=dict.fromkeys(head.parts, Part(anew="events" if events else "silent")))


def rewound(head: Head, scope: Scope, to: datetime) -> Head:
    """A head whose parts are read on from a time; those that stand before it stay."""
    moved = {name: _moved(part, to) for name, part in head.parts.items()}
    if moved == head.parts:
        cursors = [part.cursor for part in head.parts.values() if part.cursor]
        stands = f"it stands at {_when(min(cursors))}" if cursors else "it has none yet"
        raise NotPossible(f"the cursor of {scope} is not later than that: {stands}")
    return msgspec.structs.replace(head, parts=moved)


async def _behead(bus: Bus, config: Config, scope: Scope, change: Callable[[Head], Head]) -> None:
    """Replace the head, under its fence: a poll that is under way meanwhile is thrown away, and made again. Raises Conflict."""
    ledger = JetStreamLedger(bus, names(config.bus), config.bus.keep_events)
    for attempt in range(ATTEMPTS):
        state = await ledger.load(scope)
        head = change(state.head)
        try:
            await ledger.commit(state, [], head, Poll(head.poll_id, datetime.fromtimestamp(bus.now(), UTC)))
            return
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise
        await anyio.sleep(GLANCE)


def _moved(part: Part, to: datetime) -> Part:
    return msgspec.structs.replace(part, cursor=to) if part.cursor is not None and part.cursor > to else part


async def _waits(bus: Bus, subjects: Names, scope: Scope) -> bool:
    """Whether the tick that is there has not been handed out yet: then it is as good as the one asked for."""
    tick = await last(bus, subjects.polls, subjects.poll(scope))
    try:
        info = await bus.api(f"CONSUMER.INFO.{subjects.polls}.{CONSUMER}")
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        return tick is not None  # no agent has ever run here
    return tick is not None and tick.sequence > int(info["delivered"]["stream_seq"])


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
