"""What the console reads from the bus when it is asked: events, their stories, dead letters, held deletes, the past in charts."""

import time
from collections import deque
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.commands import explain, fates, tracing
from agent.config import Config
from agent.console import questions, shapes
from agent.console.masking import MASK, shown
from agent.console.overview import Next
from agent.console.refusing import Refused
from events.jetstream.connection import Bus
from events.jetstream.outbox import DeadLetter, dead_letter, dead_letters
from events.jetstream.read import held
from events.routes import ANY
from events.subjects import Names
from schemas import envelope
from schemas.changes import Scope

FIRST_STEP = 500  # messages of the ledger that are read first, the newest; then more and more
LONGER = 4
MOST_READ = 200_000  # messages of the ledger in one answer: beyond that it says where to go on
AT_ONCE = 400  # resources in one question for what is planned


def subject_of(known: Names, which: questions.Which) -> str:
    """The subject of the events that are meant. Raises Refused for a word that cannot be one."""
    words = [which.vendor, which.account, which.resource, which.change]
    for word in words:
        if not word.isprintable():  # a pattern lets a last line end pass
            raise Refused(400, f"{word!r} is no name of a vendor, account, resource or change")
    vendor, account, resource, change = (word or ANY for word in words)
    return known.event(Scope(vendor, account, resource), change)


async def past_events(bus: Bus, known: Names, which: questions.WhichPast) -> shapes.Events:
    """Events, the newest first; those before a number, where one is given."""
    state = (await bus.api(f"STREAM.INFO.{known.ledger}"))["state"]
    end = min(int(state["last_seq"]), (which.before or 2**60) - 1)
    subject, step, read = subject_of(known, which), max(FIRST_STEP, 2 * which.limit), 0
    found: list[shapes.EventView] = []
    while end >= max(int(state["first_seq"]), 1) and len(found) < which.limit and read < MOST_READ:
        after = max(end - step, 0)
        newest: deque[shapes.EventView] = deque(maxlen=which.limit - len(found))
        async with aclosing(held(bus, known.ledger, [subject], every=True, after=after)) as messages:
            async for message in messages:
                if message.sequence > end:
                    break
                if (event := shown(message.data, reveal=which.reveal)) is not None:
                    newest.append(shapes.EventView(message.sequence, event))
        found += reversed(newest)
        end, step, read = after, step * LONGER, read + step
    return shapes.Events(found)


async def story(bus: Bus, config: Config, beginning: str, *, reveal: bool) -> shapes.Story:
    """Everything the bus knows of an event. Raises Failed, WrongUsage."""
    found = await tracing.trace(bus, config.bus, tracing.check(beginning.strip()), lambda _: None)
    now = time.time()
    told = [(route, fates.of(route, now)) for route in await tracing.on_routes(bus, config, found)]
    explained: dict[str, Any] = msgspec.to_builtins(
        explain.explained(msgspec.structs.replace(found, stored=None), told)
    )
    for shown_route, (route, _) in zip(explained["routes"], told, strict=True):
        if route.letter is not None:
            shown_route["dead"]["id"] = str(route.letter.sequence)
    stored = found.stored
    return shapes.Story(
        id=found.id,
        sequence=stored.sequence if stored else None,
        published_at=stored.published_at if stored else None,
        event=shown(stored.body, reveal=reveal) if stored else None,
        routes=msgspec.convert(explained["routes"], list[shapes.Routed]),
    )


async def letters(bus: Bus, known: Names, which: questions.WhichLetters) -> shapes.Letters:
    """Dead letters, the newest first."""
    newest: deque[DeadLetter] = deque(maxlen=which.limit)
    total = 0
    async with aclosing(dead_letters(bus, known, which.route or None)) as each:
        async for letter in each:
            newest.append(letter)
            total += 1
    return shapes.Letters(total, [shapes.Letter(**_letter(letter)) for letter in reversed(newest)])


async def whole_letter(bus: Bus, known: Names, id_: str, *, reveal: bool) -> shapes.WholeLetter:
    """One dead letter with its event. Raises Refused where there is none."""
    letter = await the_letter(bus, known, id_)
    body = shown(letter.event, reveal=reveal)
    text = None
    if body is None:
        text = letter.event.decode("utf-8", "replace") if reveal else MASK
    return shapes.WholeLetter(**_letter(letter), body=body, text=text)


async def the_letter(bus: Bus, known: Names, id_: str) -> DeadLetter:
    """Raises Refused where there is none."""
    number = int(id_) if id_.isascii() and id_.isdigit() and len(id_) < 17 else 0
    letter = await dead_letter(bus, known, number) if number else None
    if letter is None:
        raise Refused(404, f"there is no dead letter {id_[:40]!r}: it was replayed or dropped, perhaps")
    return letter


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": str(letter.sequence),
        "event_id": letter.event_id,
        "route": letter.route,
        "at": datetime.fromtimestamp(letter.failed_at, UTC),
        "attempts": letter.attempts,
        "status": letter.status,
        "reason": letter.reason,
        "record": letter.record,
        "event": _summary(letter.event),
    }


def _summary(event: bytes) -> shapes.Summary | None:
    try:
        told = envelope.decode_sealed(event)
    except (ValueError, RecursionError):
        return None
    return shapes.Summary(
        type=told.type, vendor=told.vendor, account=told.account, subject=told.subject, time=told.time
    )


async def planned(bus: Bus, known: Names, scopes: list[Scope], within: float) -> dict[Scope, Next]:
    """When each resource is polled next. A tick that is there is being polled, or about to be."""
    found: dict[Scope, Next] = {}
    for start in range(0, len(scopes), AT_ONCE):
        some = scopes[start : start + AT_ONCE]
        subjects = [subject for scope in some for subject in (known.schedule(scope), known.poll(scope))]
        body = msgspec.json.encode({"multi_last": subjects, "batch": len(subjects)})
        for headers, _ in await bus.request_many(f"$JS.API.DIRECT.GET.{known.polls}", body, within):
            subject = headers["Nats-Subject"]
            scope = known.scope_of(subject)
            if subject == known.poll(scope):
                found[scope] = Next(None, polling=True)
            elif scope not in found:
                found[scope] = Next(_at(headers.get("Nats-Schedule", "")), polling=False)
    return found


def _at(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.removeprefix("@at "))
    except ValueError:
        return None
