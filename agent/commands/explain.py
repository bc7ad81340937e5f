"""`vendorwire explain`: one event from the poll that saw it to each attempt to deliver it, in one screen."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.commands import fates, lines, output, tracing
from agent.commands.failures import DONE
from agent.commands.fates import Fate, State
from agent.commands.reaching import Settings, finish, reached
from agent.commands.tracing import OnRoute, Stored, Trace
from events.jetstream.attempts import Attempt
from schemas.envelope import CloudEvent

MOST_FIELDS = 12  # shown of a record
MOST_ATTEMPTS = 12  # shown of a route: the first one and the last
WIDEST = 36  # characters of a value in the table of changes


class Tried(msgspec.Struct, frozen=True):
    """An attempt as `--json` prints it. `status` is the HTTP status or what went wrong, `next_at` when the next was due."""

    attempt: int
    outcome: str
    status: str
    seconds: float
    ended_at: datetime
    next_at: datetime | None
    replay: bool


class Buried(msgspec.Struct, frozen=True):
    """A dead letter as `--json` prints it."""

    reason: str
    status: str
    attempts: int
    failed_at: datetime


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """A route as `--json` prints it."""

    route: str
    state: State
    detail: str
    attempts: list[Tried]
    dead: Buried | None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `event` is null where it is gone; `sequence` and `published_at` where it is not in the ledger."""

    id: str
    sequence: int | None
    published_at: datetime | None
    event: msgspec.Raw | None
    routes: list[Routed]


def main(settings: Settings, beginning: str) -> int:
    """Print what is known of the event. Raises Failed where nothing is."""
    config = settings.load()
    beginning = tracing.check(beginning.strip())

    async def work() -> int:
        async with reached(config) as bus:
            try:
                found = await tracing.trace(bus, config.bus, beginning, _tell)
            finally:
                _tell(0)
            routes = await tracing.on_routes(bus, config, found)
        now = time.time()
        told = [(route, fates.of(route, now)) for route in routes]
        if settings.json:
            output.json(explained(found, told))
        else:
            _print(found, told)
        return DONE

    return finish(work)


def _tell(read: int) -> None:
    """How far the search has come, on a terminal; 0 takes that away again."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rlooking through the ledger: {read} events" if read else "\r\x1b[K")
        sys.stderr.flush()


def explained(found: Trace, told: Sequence[tuple[OnRoute, Fate]]) -> Explained:
    """All of it, as others read it."""
    stored = found.stored
    return Explained(
        id=found.id,
        sequence=stored.sequence if stored else None,
        published_at=stored.published_at if stored else None,
        event=msgspec.Raw(stored.body) if stored else None,
        routes=[
            Routed(
                route=route.route,
                state=fate.state,
                detail=fate.words,
                attempts=[_tried(each) for each in route.attempts],
                dead=_buried(route),
            )
            for route, fate in told
        ],
    )


def _tried(attempt: Attempt) -> Tried:
    return Tried(
        attempt=attempt.attempt,
        outcome=attempt.outcome,
        status=attempt.status,
        seconds=round(attempt.seconds, 6),
        ended_at=datetime.fromtimestamp(attempt.at, UTC),
        next_at=datetime.fromtimestamp(attempt.due, UTC) if attempt.due else None,
        replay=attempt.replay,
    )


def _buried(route: OnRoute) -> Buried | None:
    letter = route.letter
    if letter is None:
        return None
    return Buried(letter.reason, letter.status, letter.attempts, datetime.fromtimestamp(letter.failed_at, UTC))


def _print(found: Trace, told: Sequence[tuple[OnRoute, Fate]]) -> None:
    if found.stored is None:
        output.line(f"{found.id}  the event itself is gone from the ledger")
    else:
        _print_event(found.stored)
        _print_record(found.stored.event)
    for route, fate in told:
        output.line("")
        output.line(f"{route.route}: {fate.words}")
        if route.attempts:
            output.table(("attempt", "ended", "took", "outcome", "next due", "status"), list(_rows(route.attempts)))
        if fate.state == "dead":
            output.line(f"when the receiver is well: vendorwire dead replay {found.id[:13]} --route {route.route}")
    if not told:
        output.line("")
        output.line("no routes are configured")


def _print_event(stored: Stored) -> None:
    event = stored.event
    where = "/".join((event.vendor, event.account, event.type.partition(".")[0], event.subject))
    output.line(f"{event.type}  {where}  version {event.version}")
    output.line(f"id         {event.id}")
    if event.time == event.observedat:
        output.line("vendor     gives no time of its own")
    else:
        output.line(f"vendor     {fates.moment(event.time)}")
    age = (event.observedat - event.time).total_seconds()
    after = f", {fates.span(age)} after the vendor's time" if age > 0 else ""
    output.line(f"observed   {fates.moment(event.observedat)}  by poll {event.pollid}{after}")
    if stored.published_at is None:
        output.line("published  not in the ledger any more; this is from a dead letter")
    else:
        lag = (stored.published_at - event.observedat).total_seconds()
        at = fates.moment(stored.published_at)
        output.line(f"published  {at}  {fates.span(lag)} after it was observed, as number {stored.sequence}")
    if event.firstsync:
        output.line("           in the first sync: the record was there before, and nothing changed")


def _print_record(event: CloudEvent) -> None:
    data = event.data if isinstance(event.data, dict) else {}
    if isinstance(changes := data.get("changes"), dict) and changes:
        columns: tuple[str, ...] = ("field", "before", "after")
        rows = [tuple(map(_cut, each)) for each in lines.changed(changes)]
    else:
        columns = ("field", "value")
        rows = [tuple(map(_cut, each)) for each in _fields(data)]
    if rows:
        output.line("")
        output.table(columns, rows[:MOST_FIELDS])
    if len(rows) > MOST_FIELDS:
        output.line(f"and {lines.counted(len(rows) - MOST_FIELDS, 'more field')}: --json has all")


def _fields(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of a record that came or went the main fields, of measurements their device, span and number."""
    if isinstance(data.get("measurements"), list):
        plain = [(name, lines.short(value)) for name, value in data.items() if not isinstance(value, list)]
        return [*plain, ("measurements", str(len(data["measurements"])))]
    record = data.get("record")
    if not isinstance(record, dict):
        return []
    return [(name, lines.short(value)) for name, value in lines.main_fields(record, MOST_FIELDS)]


def _rows(attempts: Sequence[Attempt]) -> Iterator[tuple[str, ...]]:
    hidden = len(attempts) - MOST_ATTEMPTS
    for number, each in enumerate(attempts):
        if 1 <= number <= hidden:
            if number == 1:
                yield ("…", f"{hidden} more", "", "", "", "")
            continue
        yield (
            f"{each.attempt} (replay)" if each.replay else str(each.attempt),
            fates.moment(each.at),
            fates.span(each.seconds),
            each.outcome,
            fates.moment(each.due) if each.due else lines.NOTHING,
            each.status,
        )


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
