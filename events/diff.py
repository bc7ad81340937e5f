"""Deciding what changed. Pure: what is stored, what is read, and at most one change, under the most telling verb."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

import msgspec
import xxhash

from schemas.changes import CREATED, DELETED, MODIFIED, RESTORED, Change
from schemas.energy import Device, DeviceStatus
from schemas.records import Booking, BookingStatus, Property, PropertyStatus, Record

T = TypeVar("T", bound=msgspec.Struct)

CANNOT_BE_READ = "what is stored of it cannot be read: a later release wrote it, or it is damaged"

_encoder = msgspec.json.Encoder()


class Stored(msgspec.Struct, frozen=True):
    """A record as the ledger holds it; `record` is None for a tombstone. `schema` is the version it was written with.

    `unreadable`: there is a record, and this release cannot read it. Nothing is to be told of it, nor is it to be replaced.
    """

    version: int
    schema: int
    record: Record | None
    unreadable: bool = False


def digest(record: Record) -> int:
    """64 bits over the fields that make a change: equal for equal states, however the vendor wrote them."""
    volatile, has_mappings = _fields(type(record))
    values = msgspec.structs.astuple(record)
    for place in volatile:
        values = values[:place] + values[place + 1 :]
    if has_mappings:
        values = tuple(map(_in_order, values))
    return xxhash.xxh3_64_intdigest(_encoder.encode(values))


@cache
def _fields(kind: type[Record]) -> tuple[tuple[int, ...], bool]:
    """The places of the fields that make no change, from the last on, and whether a mapping may be among the others."""
    hints, compared = get_type_hints(kind), kind.compared()
    volatile = [place for place, name in enumerate(kind.__struct_fields__) if name not in compared]
    types = [str(hints[name]) for name in compared]
    return tuple(reversed(volatile)), any(word in each for each in types for word in ("dict", "Mapping", "Any"))


def _in_order(value: object) -> object:
    return sorted(value.items()) if isinstance(value, dict) else value


class Unknown(msgspec.Struct, frozen=True):
    """What a record that is not stored is taken for.

    `silent`: it enters the snapshot without an event (the baseline of a first sync). `first`: its event is marked as coming
    from a first sync. `older`: it was there before the baseline, which could not see it; `changed`: and has changed since.
    """

    silent: bool = False
    first: bool = False
    older: bool = False
    changed: bool = False

    @property
    def verb(self) -> str | None:
        """The event to publish: none, that it was made, or (of an older record) that it was modified."""
        if self.silent or (self.older and not self.changed):
            return None
        return MODIFIED if self.older else CREATED


def decide(key: str, stored: Stored | None, after: Record, verbs: Sequence[str], unknown: Unknown) -> Change | None:
    """What reading this record means; `unknown` is for one that is not stored.

    A record whose only differences are fields that its stored schema version did not have is restated: without an event, so
    under the version it has. Where it has others too, only those are told.
    """
    if stored is None:
        return Change(key=key, version=1, verb=unknown.verb, before=None, after=after, first_sync=unknown.first)
    if stored.record is None:
        return Change(key=key, version=stored.version + 1, verb=RESTORED, before=None, after=after)
    fields = tuple(after.differences(stored.record))
    if not fields:
        return None
    new = {name: getattr(after, name) for name in fields if after.added_in.get(name, 0) > stored.schema}
    if len(new) == len(fields):
        return restated(key, stored, after)
    before = msgspec.structs.replace(stored.record, **new) if new else stored.record
    told = tuple(name for name in fields if name not in new)
    verb = most_telling(before, after, verbs)
    return Change(key=key, version=stored.version + 1, verb=verb, before=before, after=after, fields=told)


def restated(key: str, stored: Stored, after: Record, *, was_there: bool = False) -> Change:
    """The record as it is kept from now on. Nobody is told, so its version stays: subscribers may count them.

    `was_there`: also where what is stored cannot be read.
    """
    before = after if was_there and stored.record is None else stored.record
    return Change(key=key, version=stored.version, verb=None, before=before, after=after)


def deleted(key: str, stored: Stored) -> Change | None:
    """The record is gone. None where it has been gone already."""
    if stored.record is None:
        return None
    return Change(key=key, version=stored.version + 1, verb=DELETED, before=stored.record, after=None)


def most_telling(before: Record, after: Record, verbs: Iterable[str]) -> str:
    """The first of the resource's verbs that tells this change, else `modified`."""
    return next((verb for verb in verbs if _TELLS[verb](before, after)), MODIFIED)


def _became(status: str) -> Callable[[Any, Any], bool]:
    def tells(before: Any, after: Any) -> bool:
        return bool(before.status != status and after.status == status)

    return tells


def _ceased(status: str, *others: str) -> Callable[[Any, Any], bool]:
    """It was that, and is now something else, or one of the others."""

    def tells(before: Any, after: Any) -> bool:
        return bool(before.status == status != after.status) and (not others or after.status in others)

    return tells


def _reinstated(before: Property, after: Property) -> bool:
    out = {PropertyStatus.WITHDRAWN, PropertyStatus.SUSPENDED}
    return before.status in out and after.status is PropertyStatus.ACTIVE


def _checked_in(before: Booking, after: Booking) -> bool:
    return before.checked_in_at is None and after.checked_in_at is not None


def _checked_out(before: Booking, after: Booking) -> bool:
    return before.checked_out_at is None and after.checked_out_at is not None


def _no_show(before: Booking, after: Booking) -> bool:
    return not before.no_show and after.no_show is True


def _control_changed(before: Device, after: Device) -> bool:
    return before.controls != after.controls


_TELLS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "cancelled": _became("cancelled"),
        "confirmed": _became(BookingStatus.CONFIRMED),
        "reactivated": _ceased(BookingStatus.CANCELLED),
        "checked_in": _checked_in,
        "checked_out": _checked_out,
        "no_show": _no_show,
        "withdrawn": _became("withdrawn"),
        "suspended": _became(PropertyStatus.SUSPENDED),
        "reinstated": _reinstated,
        "changed": lambda before, after: before != after,
        "offline": _ceased(DeviceStatus.ONLINE, DeviceStatus.OFFLINE),
        "online": _ceased(DeviceStatus.OFFLINE, DeviceStatus.ONLINE),
        "deregistered": _became(DeviceStatus.DEREGISTERED),
        "control_changed": _control_changed,
        "completed": _became("completed"),
    }
)


def redact(record: T, paths: Iterable[str]) -> T:
    """The record without the named fields (`guest.email`): they are never stored nor published."""
    for path in paths:
        record = _without(record, path.split("."))
    return record


def _without(value: Any, names: Sequence[str]) -> Any:
    inner = getattr(value, names[0], None)
    if inner is None:
        return value
    kind: type[msgspec.Struct] = type(value)
    kept = _without(inner, names[1:]) if names[1:] else _nothing(kind, names[0])
    return msgspec.structs.replace(value, **{names[0]: kept})


@cache
def _nothing(kind: type[msgspec.Struct], name: str) -> Any:
    """A field's value where there is none: a list's is an empty one."""
    field = next(field for field in msgspec.structs.fields(kind) if field.name == name)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default
