"""The event as everyone sees it: a CloudEvent 1.0 in JSON. The one encoder and the one decoder."""

import hashlib
import uuid
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from schemas.changes import CREATED, DELETED, RESTORED, Change, Scope
from schemas.meaning import says
from schemas.records import Booking, Record, instant

CONTENT_TYPE = "application/cloudevents+json"
_SPEC_VERSION, _JSON = "1.0", "application/json"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:vendorwire:event")
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_encoder = msgspec.json.Encoder()


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """https://github.com/cloudevents/spec, with extension attributes for account, version and poll.

    `time` is the vendor's own time of the change where it gives one, else `observedat`. `data` holds `record` and, unless
    the record is new, `changes`: field → `{before, after}`, each left out where it has no value.
    """

    id: Annotated[str, says("The same for the same change, however often it is told; another for every other change.")]
    source: Annotated[str, says("`/<vendor>/<account>`.")]
    type: Annotated[str, says("`<resource>.<change>`.")]
    subject: Annotated[str, says("The record's key: the vendor's own id.")]
    time: Annotated[datetime, says("The vendor's own time of the change where it gives one, else `observedat`.")]
    dataschema: Annotated[
        str, says("What `data` looks like. The number at its end grows when an old reader could be misled.")
    ]
    vendor: Annotated[str, says("Whose account it is, such as octorate.")]
    account: Annotated[str, says("The account's name, as its operator configured it.")]
    version: Annotated[
        int, says("Counts a record's states: the higher one is the newer one. Not every number is told.")
    ]
    observedat: Annotated[datetime, says("When the poll that saw the change began.")]
    pollid: Annotated[str, says("All events of one poll share it.")]
    data: Any
    firstsync: Annotated[
        bool, says("Only there, as `true`, at an account's first read, with `first_sync: events`.")
    ] = False
    replay: Annotated[bool, says("Only there, as `true`, when a person had the event delivered again.")] = False
    specversion: Annotated[str, says("Of CloudEvents.")] = msgspec.field(default_factory=lambda: _SPEC_VERSION)
    datacontenttype: Annotated[str, says("Of `data`.")] = msgspec.field(default_factory=lambda: _JSON)


def event_id(scope: Scope, key: str, version: int) -> str:
    """The same change has the same id, however often it is told: a name-based UUID of where, what and which version."""
    hashed = _hashed(scope).copy()
    hashed.update(f"{key}\x00{version}".encode())
    text = hashed.hexdigest()
    # Version 5, by the variant of RFC 9562.
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


@lru_cache(maxsize=4096)
def _hashed(scope: Scope) -> "hashlib._Hash":
    """What the names of a scope's events begin with."""
    name = f"{scope.vendor}\x00{scope.account}\x00{scope.resource}\x00"
    return hashlib.sha1(_NAMESPACE.bytes + name.encode(), usedforsecurity=False)


def event_of(
    change: Change, scope: Scope, *, observed_at: datetime, poll_id: str, encoded: bytes | None = None
) -> CloudEvent:
    """The event that tells of a change. `encoded`: the change's record, where it is encoded already; it is not done again."""
    kind = f"{scope.resource}.{change.verb}"
    return CloudEvent(
        id=event_id(scope, change.key, change.version),
        source=f"/{scope.vendor}/{scope.account}",
        type=kind,
        subject=change.key,
        time=_vendor_time(change) or observed_at,
        dataschema=f"urn:vendorwire:{kind}:{change.record.contract}",
        vendor=scope.vendor,
        account=scope.account,
        version=change.version,
        observedat=observed_at,
        pollid=poll_id,
        data=_data(change, change.record if encoded is None else msgspec.Raw(encoded)),
        firstsync=change.first_sync,
        specversion=_SPEC_VERSION,
        datacontenttype=_JSON,
    )


def _vendor_time(change: Change) -> datetime | None:
    if change.at is not None:
        return instant(change.at)
    if change.verb in {DELETED, RESTORED}:  # no vendor tells when
        return None
    before, after = change.before, change.record
    if isinstance(after, Booking) and change.verb == "cancelled" and after.cancelled_at:
        return instant(after.cancelled_at)
    if change.verb == CREATED and after.made_at:
        return instant(after.made_at)
    if after.changed_at is None:
        return None
    if before is not None and before.changed_at is not None and after.changed_at <= before.changed_at:
        return None  # the time of an earlier change
    return instant(after.changed_at)


def _data(change: Change, record: Record | msgspec.Raw) -> Any:
    if change.told is not None:
        return change.told
    data: dict[str, Any] = {"record": record}
    if change.fields and change.before is not None and change.after is not None:
        differences = change.after.differences(change.before)
        data["changes"] = {name: _sides(*sides) for name, sides in differences.items()}
    return data


def _sides(before: object, after: object) -> dict[str, object]:
    values = {"before": before, "after": after}
    return {side: value for side, value in values.items() if value is not None}


def encode(event: CloudEvent) -> bytes:
    """The event's one true bytes: the same on the bus and in a webhook's body."""
    return _encoder.encode(event)


class SealedEvent(CloudEvent, frozen=True, kw_only=True):
    """An event whose data is left as it came."""

    data: msgspec.Raw


_decoder = msgspec.json.Decoder(CloudEvent)
_sealed_decoder = msgspec.json.Decoder(SealedEvent)


def decode(body: bytes) -> CloudEvent:
    """Read an event back; raises msgspec.DecodeError (or ValidationError) for what is not one of ours."""
    return _decoder.decode(body)


def decode_sealed(body: bytes) -> SealedEvent:
    """As `decode`, for who passes an event on and looks at its attributes only."""
    body.decode()  # what is sealed is not looked at, and must be text all the same
    return _sealed_decoder.decode(body)
