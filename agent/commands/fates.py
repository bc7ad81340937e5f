"""What became of an event on a route, in a word and in a sentence. Pure: the time is an argument."""

from datetime import UTC, datetime
from typing import Literal

import msgspec

from agent.commands.tracing import OnRoute, Place
from events.circuit import Position
from events.jetstream.attempts import Attempt
from schemas.facts import DeliveryOutcome

State = Literal["delivered", "waiting", "dead", "removed", "lost", "unknown", "unmatched"]
"""`removed`: its dead letter was replayed or dropped. `lost`: it aged out of the ledger. `unknown`: nothing is recorded."""


class Fate(msgspec.Struct, frozen=True):
    state: State
    words: str


def of(route: OnRoute, now: float) -> Fate:
    """What became of the event on this route, as of `now` (Unix seconds)."""
    last = route.attempts[-1] if route.attempts else None
    letter = route.letter
    if letter is not None and (last is None or last.at <= letter.failed_at + 1 or last.outcome is DeliveryOutcome.DEAD):
        return Fate("dead", f"a dead letter since {moment(letter.failed_at)}: {letter.reason}")
    if last is None:
        return _untried(route)
    match last.outcome:
        case DeliveryOutcome.DELIVERED:
            left = "; a dead letter of it is still there" if letter else ""
            return Fate("delivered", f"delivered {moment(last.at)}{_counted(route.attempts)}{left}")
        case DeliveryOutcome.DEAD:
            return Fate("removed", f"given up {moment(last.at)}; its dead letter was replayed or dropped since")
        case DeliveryOutcome.RETRIED | DeliveryOutcome.REFUSED:
            return _tried(route, last, now)


def _tried(route: OnRoute, last: Attempt, now: float) -> Fate:
    if not route.configured:
        return Fate("waiting", "waits for a route that is not configured (any more)")
    if not last.replay and not route.in_ledger:
        return Fate("lost", "it left the ledger before it could be delivered: it is older than events are kept")
    if not last.replay and not route.matched:
        return Fate("unmatched", "tried before; the route does not take this event any more")
    if not last.replay and route.place is Place.PASSED:
        return Fate("unknown", "done with since; of the last attempt nothing is recorded")
    rest = _rest(route)
    due = "" if rest else ", due now"
    if last.due > now:
        due = f", due {moment(last.due)} (in {span(last.due - now)})"
    number = last.attempt + 1 if last.outcome is DeliveryOutcome.RETRIED else last.attempt  # a refusal does not count
    return Fate("waiting", f"waits for attempt {number}{due}{rest}")


def _untried(route: OnRoute) -> Fate:
    if route.matched is False:
        return Fate("unmatched", "the route does not take this event")
    match route.place:
        case Place.AHEAD:
            return Fate("waiting", f"waits: others are before it{_rest(route)}")
        case Place.IN_HAND if route.blocked is not None:
            return Fate(
                "waiting", f"waits for an earlier event of its record, due in {span(route.blocked)}{_rest(route)}"
            )
        case Place.IN_HAND:
            return Fate("waiting", f"in hand, or waits for its turn; no attempt has ended yet{_rest(route)}")
        case Place.UNWORKED:
            return Fate("waiting", "waits: no agent has worked the route yet")
        case _:
            return Fate(
                "unknown",
                "no attempt is recorded: the route is newer than the event, or its attempts were not recorded",
            )


def _rest(route: OnRoute) -> str:
    """What the route itself waits for, where it does."""
    standing = route.standing
    if standing is None or standing.position is Position.CLOSED:
        return ""
    if standing.position is Position.STOPPED:
        return f"; the route is stopped ({standing.last_error}): vendorwire resume {route.route}"
    return f"; the route rests, and is tried at {moment(standing.probe_at)} ({standing.last_error})"


def _counted(attempts: list[Attempt]) -> str:
    return "" if len(attempts) == 1 else f", after {len(attempts)} attempts"


def moment(at: datetime | float) -> str:
    """A time (a number: Unix seconds) on this machine's clock."""
    when = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """A length of time, as short as it can be told."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    for unit, size, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 72)):
        if seconds < most * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
