"""Whether a subscriber who relies on one AsyncAPI document of ours could be broken by another. Pure.

Additions pass. What a subscriber may have relied on stays: each subject, header, event and field, with its type, its format,
its unit and its values; a field that was always there still is. A schema with another number is another promise, and is kept
beside the old one until the day that was announced.
"""

import re
from collections.abc import Iterator
from datetime import date, timedelta

import msgspec

from agent.asyncapi import NUMBERED, UNTIL
from tests.contract.shapes import Node, follow, worse

NOTICE = timedelta(days=180)  # from the release that raises a number to the end of the old one
VENDORS = "x-vendors"
_FORM = re.compile(r"urn:vendorwire:[a-z_.]+:[0-9]+")


class Promise(msgspec.Struct, frozen=True):
    """A numbered schema: `urn:vendorwire:booking.cancelled:1`."""

    urn: str
    schema: Node

    @property
    def name(self) -> str:
        return self.urn.split(":")[2]

    @property
    def resource(self) -> str:
        return self.name.partition(".")[0]

    @property
    def number(self) -> int:
        return int(self.urn.rpartition(":")[2])

    @property
    def vendors(self) -> list[str]:
        """Who sends it: none for a record, which its events tell of."""
        return list(self.schema.get(VENDORS, ()))

    @property
    def until(self) -> date | None:
        """The day until which it stays; None for one that has no end yet."""
        return date.fromisoformat(self.schema[UNTIL]) if UNTIL in self.schema else None


def broken(old: Node, new: Node, *, announced: date, today: date) -> list[str]:
    """A sentence for each thing that would break, and what to do.

    `announced`: when what is new is announced at the earliest; an old number stays for NOTICE from then on.
    """
    return list(_forms(new)) or [
        *_twice(new),
        *_ways(old, new),
        *_channels(old, new),
        *_messages(old, new),
        *_promises(old, new, announced=announced, today=today),
    ]


def _forms(new: Node) -> Iterator[str]:
    """By its form readers find the number: nothing else can be judged where that is another."""
    for name, schema in new["components"]["schemas"].items():
        urn = _urn(schema)
        if urn and not _FORM.fullmatch(urn):
            yield f"{name}: the name of its shape is {urn}, not urn:vendorwire:{name}:<number>. {_PUT_BACK}"


def _ways(old: Node, new: Node) -> Iterator[str]:
    """How what is sent reaches a subscriber: what stood there stands there still."""
    operations = {name: each for name, each in old["operations"].items() if name in new["channels"]}
    for place, before, after in (
        ("operations", operations, new["operations"]),
        ("servers", old["servers"], new["servers"]),
        ("securitySchemes", old["components"]["securitySchemes"], new["components"]["securitySchemes"]),
    ):
        for found in _stands(before, after, place):
            yield f"{found}. {_PUT_BACK}"


def _stands(old: object, new: object, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name, said in old.items():
            if name in {"description", "variables"}:
                continue
            if name in new:
                yield from _stands(said, new[name], f"{place}.{name}")
            else:
                yield f"{place}.{name} is gone"
    elif isinstance(old, list) and isinstance(new, list):
        yield from (f"{place} has no {_word(each)} any more" for each in old if each not in new)
    elif old != new:
        yield f"{place} was {old} and is {new}"


def _word(said: object) -> str:
    return str(said["$ref"]).rpartition("/")[2] if isinstance(said, dict) and "$ref" in said else str(said)


def _twice(new: Node) -> Iterator[str]:
    """A number either has an end or is sent: subscribers of the vendors that go on sending it are not misled."""
    promises = list(_promised(new))
    ending = {each.urn for each in promises if each.until is not None}
    for each in promises:
        if each.urn in ending and each.until is None and each.vendors:
            yield (
                f"{each.name}: number {each.number} is in schemas/past.py, and {each.vendors[0]} still sends it. "
                f"Raise `contract` of {each.resource} to {each.number + 1}, or take it out of schemas/past.py."
            )


def _channels(old: Node, new: Node) -> Iterator[str]:
    for name, channel in old["channels"].items():
        now = new["channels"].get(name)
        if now is None:
            yield f"{name}: the channel is gone, and with it {channel['address']}. {_PUT_BACK}"
            continue
        if now["address"] != channel["address"]:
            yield f"{name}: the subject was {channel['address']} and is {now['address']}. {_PUT_BACK}"
        if not name.endswith(".events"):  # of events their schemas tell
            for message in channel["messages"].keys() - now["messages"].keys():
                yield f"{name}: {message} does not come by it any more. {_PUT_BACK}"
        for parameter, said in channel.get("parameters", {}).items():
            values = now.get("parameters", {}).get(parameter, {}).get("enum", ())
            for value in set(said.get("enum", ())) - set(values):
                if parameter == "vendor":  # of a change the event's schema tells, vendor by vendor
                    yield f"{name}: nothing is published for {parameter} {value} any more. {_PUT_BACK}"


def _messages(old: Node, new: Node) -> Iterator[str]:
    """Their headers and content types."""
    there = new["components"]["messages"]
    for name, message in old["components"]["messages"].items():
        if name not in there:
            if message["payload"].get("$ref", "").rpartition("/")[2] != name:  # of an event its schema tells
                yield f"{name}: the message is gone. {_PUT_BACK}"
            continue
        if there[name]["contentType"] != message["contentType"]:
            yield f"{name}: the content type was {message['contentType']} and is {there[name]['contentType']}. {_PUT_BACK}"
        for found in worse(message["headers"], there[name]["headers"], "header ", follow(old), follow(new)):
            yield f"{name}: {found}. {_PUT_BACK}"
        yield from _payload(name, (old, message["payload"]), (new, there[name]["payload"]))


def _payload(name: str, before: tuple[Node, Node], after: tuple[Node, Node]) -> Iterator[str]:
    """What a message holds: records or events, of which their schemas tell, or else what is said of it here."""
    (old, was), (new, now) = before, after
    if names := _held(old, was):
        still = {each.name for each in _promised(new)}
        if lost := sorted((names & still) - _held(new, now)):
            yield f"{name}: it is no longer {' or '.join(lost)}. {_PUT_BACK}"
        return
    for found in worse(was, now, "", follow(old), follow(new)):
        yield f"{name}: {found}. {_PUT_BACK}"


def _held(document: Node, payload: Node) -> set[str]:
    """The names of the records or events that a payload refers to."""
    schemas = document["components"]["schemas"]
    references = (each["$ref"].rpartition("/")[2] for each in payload.get("oneOf", [payload]) if "$ref" in each)
    urns = (_urn(schemas.get(name, {})) for name in references)
    return {urn.split(":")[2] for urn in urns if urn}


def _promises(old: Node, new: Node, *, announced: date, today: date) -> Iterator[str]:
    kept = _numbered(new)
    for promise in _numbered(old).values():
        now = kept.get(promise.urn)
        if now is None:
            yield from _gone(promise, list(kept.values()), announced=announced, today=today)
            continue
        for found in worse(promise.schema, now.schema, "", follow(old), follow(new)):
            yield f"{promise.name}: {found}. {_raise(promise, announced)}"
        yield from _senders(promise, now, announced)
        yield from _ending(promise, now, announced)


def _numbered(document: Node) -> dict[str, Promise]:
    return {each.urn: each for each in _promised(document)}


def _promised(document: Node) -> Iterator[Promise]:
    """Events by their `dataschema`, and records by their own number."""
    for schema in document["components"]["schemas"].values():
        if urn := _urn(schema):
            yield Promise(urn, schema)


def _urn(schema: Node) -> str | None:
    urn: str | None = schema.get(NUMBERED) or schema.get("properties", {}).get("dataschema", {}).get("const")
    return urn


def _gone(promise: Promise, kept: list[Promise], *, announced: date, today: date) -> Iterator[str]:
    """What to say of a number that is no longer published."""
    if promise.until is not None and promise.until <= today:
        return
    if promise.until is not None:
        yield f"{promise.name}: number {promise.number} was promised until {promise.until} and is gone. {_PUT_BACK}"
    elif "." not in promise.name:  # a record: the events that carry it say so themselves
        if not any(each.until and (each.resource, each.number) == (promise.name, promise.number) for each in kept):
            yield f"{promise.name}: number {promise.number} of the record is gone. {_keep(promise, announced)}"
    elif any(each.name == promise.name and each.number > promise.number for each in kept):
        yield f"{promise.name}: it has a new number, and the old one is not kept. {_keep(promise, announced)}"
    else:
        yield f"{promise.name}: it is no longer sent. {_keep(promise, announced)}"


def _senders(promise: Promise, now: Promise, announced: date) -> Iterator[str]:
    """Each vendor that sent it still does, while its end is not announced."""
    if now.until is None:
        for vendor in promise.vendors:
            if vendor not in now.vendors:
                yield f"{promise.name}: {vendor} no longer sends it. {_raise(promise, announced)}"


def _ending(promise: Promise, now: Promise, announced: date) -> Iterator[str]:
    """An end is announced in time, and then stands."""
    if now.until is None:
        return
    if promise.until is not None and now.until < promise.until:
        yield f"{promise.name}: number {promise.number} was promised until {promise.until}, not until {now.until}. {_PUT_BACK}"
    if promise.until is None and now.until < announced + NOTICE:
        yield (
            f"{promise.name}: number {promise.number} ends on {now.until}, which is too soon: "
            f"keep it in schemas/past.py until {announced + NOTICE} at least."
        )


_PUT_BACK = "Put it back: subscribers rely on it."


def _raise(promise: Promise, announced: date) -> str:
    return f"Put it back, or raise `contract` of {promise.resource} to {promise.number + 1} and k{_keep(promise, announced)[1:]}"


def _keep(promise: Promise, announced: date) -> str:
    return (
        f"Keep number {promise.number} in schemas/past.py until {announced + NOTICE} or later, "
        "and say so in CHANGELOG.md (docs/compatibility.md)."
    )
