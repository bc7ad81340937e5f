"""Personal data, hidden from whoever only looks: each kind of record says which of its fields tell of a person."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from connectors.every import Every
from schemas import envelope
from schemas.records import Account, Record

MASK = "•••"


class _Told(msgspec.Struct, frozen=True):
    """What the page reads in an event's data, whatever else is there."""

    record: dict[str, Any] = {}
    changes: dict[str, dict[str, Any]] = {}


def shown(event: bytes, *, reveal: bool) -> dict[str, Any] | None:
    """An event as it may be shown; None for what is no event of ours, of which nobody knows what it tells."""
    try:
        known = envelope.decode(event)
        msgspec.convert(known.data, _Told)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    if reveal:
        whole: dict[str, Any] = msgspec.json.decode(event)
        return whole
    told: dict[str, Any] = msgspec.to_builtins(known)
    told["data"] = _data(told["data"], personal(known.type.partition(".")[0]))
    return told


def personal(resource: str) -> frozenset[str] | None:
    """The personal fields of a resource, over all vendors; None for a resource that nobody knows."""
    return _by_resource().get(resource)


@cache
def _by_resource() -> Mapping[str, frozenset[str]]:
    records: set[type[Record]] = {Account}
    for connector in Every.__args__:
        records |= {resource.record for resource in connector.resources.values()}
    found: dict[str, frozenset[str]] = {}
    for record in records:
        found[record.resource] = found.get(record.resource, frozenset()) | record.personal
    return found


def _data(data: Mapping[str, Any], fields: frozenset[str] | None) -> Any:
    """Of a record and its changes the personal fields; of what nobody knows, everything."""
    if fields is None:
        return masked(data)
    return {name: _fields(part, fields) if name in {"record", "changes"} else part for name, part in data.items()}


def _fields(part: Mapping[str, Any], fields: frozenset[str]) -> dict[str, Any]:
    """`changes` names the parts of a structure after a point: `guest.email`."""
    return {name: masked(value) if name.partition(".")[0] in fields else value for name, value in part.items()}


def masked(value: Any) -> Any:
    """The same shape with nothing in it."""
    match value:
        case dict():
            return {name: masked(part) for name, part in value.items()}
        case list():
            return [masked(part) for part in value]
        case None:
            return None
        case _:
            return MASK
