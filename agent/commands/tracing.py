"""Everything the bus knows of one event: itself, the attempts to deliver it, its dead letters, and how each route stands."""

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from enum import StrEnum

import msgspec

from agent.bus import names
from agent.commands.failures import Failed, WrongUsage
from agent.config import Bus as BusSettings
from agent.config import Config
from events.circuit import Standing
from events.jetstream.attempts import Attempt, attempts_of
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.outbox import (
    ATTEMPTS,
    CONSUMER_NOT_FOUND,
    EVENT_ID,
    FAILED_AT,
    REASON,
    STATUS,
    RouteQueue,
)
from events.jetstream.read import at, held
from events.jetstream.standings import Standings
from events.lanes import Lanes, Wait
from events.routes import filters
from events.subjects import BEGINNING, Names, token
from schemas import envelope
from schemas.changes import Scope
from schemas.envelope import CloudEvent

FIRST_STEP = 5_000  # messages of the ledger that are looked through first, the newest; then more and more
LONGER = 4  # times the step before
TELL_EVERY = 1_000  # events

Progress = Callable[[int], None]
"""Is told now and then how many events of the ledger have been read."""


class Letter(msgspec.Struct, frozen=True):
    """A dead letter, without its event. `sequence` is its number in the stream of dead letters; `failed_at` in Unix seconds."""

    event_id: str
    route: str
    reason: str
    status: str
    attempts: int
    failed_at: float
    sequence: int


class Stored(msgspec.Struct, frozen=True):
    """An event where it lies. `sequence` and `published_at` are the ledger's; None for one that only a dead letter holds."""

    event: CloudEvent
    body: bytes
    sequence: int | None = None
    published_at: datetime | None = None


class Trace(msgspec.Struct, frozen=True):
    """What there is of the event `id`. `stored` is None where only attempts, or a letter that is no event, are left of it."""

    id: str
    stored: Stored | None
    attempts: list[Attempt]
    letters: list[Letter]


class Place(StrEnum):
    """Where an event is from a route's view."""

    AHEAD = "ahead"  # not handed out yet
    IN_HAND = "in hand"  # handed out, or passed: what lies before it is not settled
    PASSED = "passed"  # settled, or older than the route
    UNWORKED = "unworked"  # the route has no consumer yet


class OnRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One route and the event. `matched` is None where the event is gone, so that nobody knows. `place` is None where it is not
    in the ledger (any more), or does not match.

    `blocked` is the number of seconds for which an earlier event of its record holds it back.
    """

    route: str
    configured: bool
    matched: bool | None
    in_ledger: bool
    attempts: list[Attempt]
    letter: Letter | None
    place: Place | None
    blocked: float | None
    standing: Standing | None


async def trace(bus: Bus, settings: BusSettings, beginning: str, tell: Progress) -> Trace:
    """Find an event by its id, or the beginning of it. Raises Failed where there is none, WrongUsage where there are several.

    Its attempts know where it lies. Without them, and without a dead letter, the ledger is read, the newest events first.
    """
    known = names(settings)
    attempts = await attempts_of(bus, known, beginning)
    letters = await _letters(bus, known, beginning)
    ids = sorted({each.event_id for each in attempts} | {each.event_id for each in letters})
    if len(ids) > 1 and beginning not in ids:
        raise WrongUsage(f"{beginning!r} begins {len(ids)} ids: {', '.join(ids[:5])}")
    if not ids:
        stored = await _search(bus, known, beginning, tell)
        if stored is None:
            raise _unknown(beginning, settings)
        return Trace(stored.event.id, stored, [], [])
    id_ = beginning if beginning in ids else ids[0]
    attempts = [each for each in attempts if each.event_id == id_]
    letters = [each for each in letters if each.event_id == id_]
    return Trace(id_, await _stored(bus, known, id_, attempts, letters, tell), attempts, letters)


async def on_routes(bus: Bus, config: Config, found: Trace) -> list[OnRoute]:
    """How each route stands to the event: those configured, then others that once had to do with it."""
    subjects = {route.name: _filters(config, route.name) for route in config.routes}
    others = {each.route for each in found.attempts} | {each.route for each in found.letters}
    named = (*subjects, *sorted(others - subjects.keys()))
    return [await _on_route(bus, config, found, name, subjects.get(name)) for name in named]


async def _on_route(bus: Bus, config: Config, found: Trace, name: str, subjects: list[str] | None) -> OnRoute:
    known = names(config.bus)
    attempts = [each for each in found.attempts if each.route == name]
    letter = next((each for each in reversed(found.letters) if each.route == name), None)
    stored = found.stored
    matched = None
    if stored is not None:
        matched = any(_matches(each, _subject(known, stored.event)) for each in subjects or ())
    place, blocked = None, None
    if stored is not None and stored.sequence is not None and matched:
        queue = RouteQueue(bus, known, name, (), 0)
        place = await _place(queue, stored.sequence)
        if place is Place.IN_HAND and not attempts:
            blocked = await _blocked(queue, stored.event, stored.sequence)
    return OnRoute(
        route=name,
        configured=subjects is not None,
        matched=matched,
        in_ledger=stored is not None and stored.sequence is not None,
        attempts=attempts,
        letter=letter,
        place=place,
        blocked=blocked,
        standing=await Standings(bus, known).read(name) if subjects is not None else None,
    )


async def _letters(bus: Bus, known: Names, beginning: str) -> list[Letter]:
    letters = held(bus, known.dead, [known.dead_letter("*")], every=True, headers_only=True)
    found = []
    async with aclosing(letters) as messages:
        async for message in messages:
            headers = message.headers
            if headers.get(EVENT_ID, "").startswith(beginning):
                letter = Letter(
                    event_id=headers[EVENT_ID],
                    route=message.subject.rpartition(".")[2],
                    reason=headers.get(REASON, ""),
                    status=headers.get(STATUS, ""),
                    attempts=int(headers.get(ATTEMPTS, "0")),
                    failed_at=float(headers.get(FAILED_AT, "0")),
                    sequence=message.sequence,
                )
                found.append(letter)
    return found


async def _stored(
    bus: Bus, known: Names, id_: str, attempts: Sequence[Attempt], letters: Sequence[Letter], tell: Progress
) -> Stored | None:
    """The event in the ledger, else as a dead letter holds it."""
    sequences = {each.sequence for each in attempts} - {0}
    moved = False
    for sequence in sequences:
        message = await at(bus, known.ledger, sequence)
        event = _event(message.data, id_) if message else None
        if message and event:
            return Stored(event, message.data, sequence, datetime.fromisoformat(message.published_at))
        moved = moved or message is not None  # the ledger was made anew, and counts anew
    if moved:
        return await _search(bus, known, id_, tell)
    for letter in letters:
        message = await at(bus, known.dead, letter.sequence)
        event = _event(message.data, id_) if message else None
        if message and event:
            return Stored(event, message.data)
    return None if sequences or letters else await _search(bus, known, id_, tell)


async def _search(bus: Bus, known: Names, beginning: str, tell: Progress) -> Stored | None:
    """Read the ledger's events, step by step backwards: a person asks for what happened lately."""
    state = (await bus.api(f"STREAM.INFO.{known.ledger}"))["state"]
    end, step, read = int(state["last_seq"]), FIRST_STEP, 0
    wanted = beginning.encode()
    while end >= max(state["first_seq"], 1):
        after = max(end - step, 0)
        async with aclosing(held(bus, known.ledger, [known.events], every=True, after=after)) as messages:
            async for message in messages:
                if message.sequence > end:
                    break
                read += 1
                if read % TELL_EVERY == 0:
                    tell(read)
                if wanted in message.data and (event := _event(message.data, beginning)) is not None:
                    when = datetime.fromtimestamp(message.published_at).astimezone()
                    return Stored(event, message.data, message.sequence, when)
        end, step = after, step * LONGER
    return None


def _event(body: bytes, beginning: str) -> CloudEvent | None:
    try:
        event = envelope.decode(body)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return event if event.id.startswith(beginning) else None


async def _place(queue: RouteQueue, sequence: int) -> Place:
    try:
        backlog = await queue.backlog()
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        return Place.UNWORKED
    if sequence > backlog.handed_out_up_to:
        return Place.AHEAD
    return Place.IN_HAND if sequence > backlog.settled_up_to else Place.PASSED


async def _blocked(queue: RouteQueue, event: CloudEvent, sequence: int) -> float | None:
    """Seconds until an earlier event of the same record, which holds this one back, is due; None where there is none."""
    record = f"{_scope(event)}/{token(event.subject)}"
    saved, _ = await queue.lanes()
    lanes = Lanes()
    try:
        lanes.restore(record, saved[record])
    except (KeyError, ValueError, RecursionError):
        return None
    match lanes.arrive(record, sequence, time.time()):
        case Wait(seconds=seconds):
            return seconds
        case _:
            return None


def _filters(config: Config, route: str) -> list[str]:
    (meant,) = (each for each in config.routes if each.name == route)
    return filters(meant, config.bus.prefix, {account.name: account.vendor for account in config.accounts})


def _subject(known: Names, event: CloudEvent) -> str:
    return known.event(_scope(event), event.type.partition(".")[2])


def _scope(event: CloudEvent) -> Scope:
    return Scope(event.vendor, event.account, event.type.partition(".")[0])


def _matches(pattern: str, subject: str) -> bool:
    """Whether a subject is among those a filter names; `*` stands for one word."""
    words, wanted = subject.split("."), pattern.split(".")
    return len(words) == len(wanted) and all(each in {"*", word} for each, word in zip(wanted, words, strict=True))


def _unknown(beginning: str, settings: BusSettings) -> Failed:
    days = settings.keep_events.total_seconds() / 86400
    return Failed(
        f"no event's id begins with {beginning!r}: it is not in the ledger, nobody tried to deliver it, and no dead letter "
        f"has it. Events are kept for {days:g} days. Is it the id of an event (the `webhook-id` of a delivery), and is this "
        "the bus it came from?"
    )


def check(beginning: str) -> str:
    """The id as it was typed, without what cannot be part of it. Raises WrongUsage where it is too short."""
    if len(beginning) < BEGINNING:
        raise WrongUsage(f"{beginning!r} is too short: give at least {BEGINNING} characters of the event's id")
    return beginning
