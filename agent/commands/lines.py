"""An event as one line for people. Pure: bytes in, text out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec
from rich.text import Text

from agent.log import escape
from events.jetstream.read import rfc3339
from schemas.envelope import CloudEvent

NOTHING = "–"


def line(event: CloudEvent, zone: tzinfo | None = None, width: int | None = None) -> str:
    """When it was observed (in `zone`, else local time), where, what, which record, and what changed; cut to `width`."""
    when = event.observedat.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    text = f"{when}  {event.account}  {event.type}  {event.subject}"
    told = "; ".join(_told(event))
    if told:
        text = f"{text}  {told}"
    shown = Text(escape(text))  # escaped before it is measured: an escape is longer than what it stands for
    if width is not None:
        shown.truncate(width, overflow="ellipsis")
    return shown.plain


def _told(event: CloudEvent) -> Iterator[str]:
    data = event.data if isinstance(event.data, dict) else {}
    changes = data.get("changes")
    if isinstance(changes, dict):
        yield from (f"{name} {before} → {after}" for name, before, after in changed(changes))
    elif isinstance(data.get("measurements"), list):
        yield counted(len(data["measurements"]), "measurement")
    elif isinstance(data.get("record"), dict):
        yield from (f"{name} {short(value)}" for name, value in main_fields(data["record"]))
    if event.firstsync:
        yield "first sync"
    if event.replay:
        yield "replay"


def changed(changes: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """What an event's `changes` name, one by one: field, before, after. Of a structure only the parts that differ."""
    for name, sides in changes.items():
        yield from _change(name, sides.get("before"), sides.get("after"))


def _change(name: str, before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(before, dict) and isinstance(after, dict) and not (_is_money(before) or _is_money(after)):
        for part in dict.fromkeys([*before, *after]):
            if before.get(part) != after.get(part):
                yield from _change(f"{name}.{part}", before.get(part), after.get(part))
    else:
        yield name, short(before), short(after)


def short(value: Any) -> str:
    """A field's value in a few characters."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case dict() if _is_money(value):
            return f"{value['amount']} {value['currency']}"
        case dict():
            return " ".join(short(part) for part in value.values()) or NOTHING
        case list() | tuple():
            return counted(len(value), "item")
        case _:
            return str(value)


def counted(number: int, what: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def main_fields(record: Mapping[str, Any], most: int = 3) -> list[tuple[str, Any]]:
    """The first few fields beside the id: a record's own struct puts what it cannot be without first."""
    plain = [(name, value) for name, value in record.items() if name != "id" and not isinstance(value, list)]
    return plain[:most]


def telling(record: type[msgspec.Struct], most: int = 4) -> tuple[str, ...]:
    """The names of those fields, of a kind of record."""
    return tuple(field.name for field in msgspec.structs.fields(record) if field.name != "id")[:most]


def _is_money(value: Mapping[str, Any]) -> bool:
    return value.keys() == {"amount", "currency"}


def span_of(since: datetime, until: datetime | None, events: Sequence[str]) -> str:
    """Which past events somebody asked for."""
    to = f" until {rfc3339(until.astimezone(UTC))}" if until else ""
    only = f", only {', '.join(events)}" if events else ""
    return f"since {rfc3339(since.astimezone(UTC))}{to}{only}"
