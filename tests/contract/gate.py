"""Whether a subscriber who relies on one AsyncAPI document of ours could be broken by another. Pure.

Additions pass. What a subscriber may have relied on stays: each subject, header, event and field, with its type, its format
and its values; a field that was always there still is. A schema with another number is another promise, and is kept beside
the old one until the day that was announced.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec

from agent.asyncapi import NUMBERED, UNTIL

Node = dict[str, Any]

NOTICE = timedelta(days=180)  # from the release that raises a number to the end of the old one
_NOTES = frozenset({"title", "description", "examples", "deprecated", "discriminator", "$id", "$schema", "$comment"})
_STRUCTURE = frozenset(
    {"$ref", "type", "enum", "required", "properties", "items", "additionalProperties", "patternProperties"}
)


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
    def until(self) -> date | None:
        """The day until which it stays; None for one that has no end yet."""
        return date.fromisoformat(self.schema[UNTIL]) if UNTIL in self.schema else None


def broken(old: Node, new: Node, *, announced: date, today: date) -> list[str]:
    """A sentence for each thing that would break, and what to do.

    `announced`: when what is new is announced at the earliest; an old number stays for NOTICE from then on.
    """
    return [
        *_channels(old, new),
        *_messages(old, new),
        *_promises(old, new, announced=announced, today=today),
    ]


def _channels(old: Node, new: Node) -> Iterator[str]:
    for name, channel in old["channels"].items():
        now = new["channels"].get(name)
        if now is None:
            yield f"{name}: the channel is gone, and with it {channel['address']}. {_PUT_BACK}"
            continue
        if now["address"] != channel["address"]:
            yield f"{name}: the subject was {channel['address']} and is {now['address']}. {_PUT_BACK}"
        for parameter, said in channel.get("parameters", {}).items():
            values = now.get("parameters", {}).get(parameter, {}).get("enum", ())
            for value in set(said.get("enum", ())) - set(values):
                if parameter == "vendor":  # of a change that is gone the event itself tells
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
        for found in _worse(
            message["headers"], there[name]["headers"], "header ", lambda node: node, lambda node: node
        ):
            yield f"{name}: {found}. {_PUT_BACK}"


def _promises(old: Node, new: Node, *, announced: date, today: date) -> Iterator[str]:
    kept = _numbered(new)
    for promise in _numbered(old).values():
        now = kept.get(promise.urn)
        if now is None:
            yield from _gone(promise, list(kept.values()), announced=announced, today=today)
            continue
        for found in _worse(promise.schema, now.schema, "", _follow(old), _follow(new)):
            yield f"{promise.name}: {found}. {_raise(promise, announced)}"
        yield from _ending(promise, now, announced)


def _numbered(document: Node) -> dict[str, Promise]:
    """Events by their `dataschema`, and records by their own number."""
    found = {}
    for schema in document["components"]["schemas"].values():
        urn = schema.get(NUMBERED) or schema.get("properties", {}).get("dataschema", {}).get("const")
        if urn:
            found[urn] = Promise(urn, schema)
    return found


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


Follow = Callable[[Node], Node]


def _follow(document: Node) -> Follow:
    """Where a reference leads."""

    def follow(node: Node) -> Node:
        schemas: Mapping[str, Node] = document["components"]["schemas"]
        return schemas[node["$ref"].rpartition("/")[2]] if "$ref" in node else node

    return follow


def _worse(old: Node, new: Node, path: str, was: Follow, now: Follow) -> Iterator[str]:
    """What a reader of the old schema could not read, or would miss, in what the new one allows."""
    old, new = was(old), now(new)
    place = path.rstrip(".") or "it"
    if old.get("type") != new.get("type") and (old.get("type"), new.get("type")) != ("number", "integer"):
        yield f"{place} was {_kind(old)} and is {_kind(new)}"
        return
    yield from _values(old, new, place)
    for keyword in old.keys() - _STRUCTURE - _NOTES:
        if not keyword.startswith("x-") and old[keyword] != new.get(keyword):
            yield f"{place} had {keyword} {old[keyword]!r} and has {new.get(keyword)!r}"
    present = new.get("properties", {}).keys()
    yield from (
        f"{path}{name} may be absent now"
        for name in old.get("required", ())
        if name in present - {*new.get("required", ())}
    )
    for name, field in old.get("properties", {}).items():
        if name in present:
            yield from _worse(field, new["properties"][name], f"{path}{name}.", was, now)
        else:
            yield f"{path}{name} is gone"
    yield from _inside(old, new, path, was, now)


def _inside(old: Node, new: Node, path: str, was: Follow, now: Follow) -> Iterator[str]:
    """What a list's items and a mapping's entries are."""
    for keyword, sign in (("items", "[]"), ("additionalProperties", "*")):
        if isinstance(old.get(keyword), dict):
            yield from _worse(old[keyword], new.get(keyword, {}), f"{path.rstrip('.')}{sign}.", was, now)
    for pattern, entry in old.get("patternProperties", {}).items():
        yield from _worse(entry, new.get("patternProperties", {}).get(pattern, {}), f"{path}{pattern}.", was, now)


def _values(old: Node, new: Node, place: str) -> Iterator[str]:
    """A list of values is closed: a reader may have a case for each, and none for others."""
    if "enum" not in old:
        return
    if "enum" not in new:
        yield f"{place} was one of {', '.join(old['enum'])} and may be anything now"
        return
    yield from (f"{place} is never {value!r} any more" for value in old["enum"] if value not in new["enum"])
    yield from (
        f"{place} may be {value!r} now, which no reader knows" for value in new["enum"] if value not in old["enum"]
    )


def _kind(schema: Node) -> str:
    return str(schema.get("type") or ("a value of a list" if "enum" in schema else "anything"))


_PUT_BACK = "Put it back: subscribers rely on it."


def _raise(promise: Promise, announced: date) -> str:
    return f"Put it back, or raise `contract` of {promise.resource} to {promise.number + 1} and k{_keep(promise, announced)[1:]}"


def _keep(promise: Promise, announced: date) -> str:
    return (
        f"Keep number {promise.number} in schemas/past.py until {announced + NOTICE} or later, "
        "and say so in CHANGELOG.md (docs/compatibility.md)."
    )
