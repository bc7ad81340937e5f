"""`vendorwire schema`: what is on the bus and in webhooks, as JSON Schemas and one AsyncAPI document.

They are made from the very structs, so that they cannot drift. A value that is absent is left out and never null, so no
schema allows null.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from msgspec import NODEFAULT

from agent import asyncapi
from agent.commands import output
from agent.commands.failures import DONE, WrongUsage
from agent.configfile import VENDORS
from agent.shapes import DIALECT, HERE, Schema, components, side_by_side
from connectors.base import Connector
from schemas.changes import ACCOUNT_CHANGES, CATALOGUE, CREATED, DELETED, MODIFIED, RESTORED
from schemas.envelope import CloudEvent
from schemas.past import PAST, Past
from schemas.records import Account, Record
from schemas.when import when

WHOLE = frozenset({CREATED, DELETED, RESTORED})  # changes of a record as such: no field has a before and an after


class EventType(msgspec.Struct, frozen=True, order=True):
    """One event type, such as `booking.cancelled`, and the record it tells of. `told`: its data, where that is not a record.

    `until`: of a former shape, the day until which it stays published.
    """

    resource: str
    change: str
    record: type[Record]
    told: type[msgspec.Struct] | None = None
    until: date | None = None

    @property
    def name(self) -> str:
        return f"{self.resource}.{self.change}"

    @property
    def urn(self) -> str:
        """The event's `dataschema`."""
        return f"urn:vendorwire:{self.name}:{self.record.contract}"

    @property
    def document(self) -> str:
        """The name of its schema: a former one has its number."""
        return self.name if self.until is None else f"{self.name}.{self.record.contract}"

    @property
    def title(self) -> str:
        """The same in one word: `BookingCancelled`."""
        return "".join(word.capitalize() for word in self.document.replace(".", "_").split("_"))


def main(name: str | None, out: Path | None, json: bool) -> int:  # noqa: FBT001 the command line hands it over like this
    """List what there is, print one document, or write them (all, or the one named) to a folder. Raises WrongUsage."""
    documents = catalogue(VENDORS)
    if name is not None and name not in documents:
        raise WrongUsage(f"there is no schema {name!r}; there are {', '.join(documents)}")
    if out is not None:
        write(out, {each: make for each, (_, make) in documents.items() if name in {None, each}})
    elif name is not None:
        (output.json if json else output.pretty)(documents[name][1]())
    elif json:
        for each, (about, _) in documents.items():
            output.json({"name": each, "about": about})
    else:
        output.table(("NAME", "WHAT"), [(each, about) for each, (about, _) in documents.items()])
    return DONE


def catalogue(
    connectors: Sequence[type[Connector]], past: Sequence[Past] = PAST
) -> Mapping[str, tuple[str, Callable[[], Schema]]]:
    """Every document by name, in a fixed order: what it is, and how it is made."""
    types = event_types(connectors, past)
    records = {each.resource: each.record for each in types if each.until is None}
    return {
        "asyncapi": ("the AsyncAPI 3.0 document: subjects, messages, webhook", lambda: document(connectors, past)),
        "event": ("what all events share: a CloudEvent", event),
        "events": ("any event there is: one file to make typed clients from", lambda: events(types)),
        **{resource: (_about(record), _maker(standalone, record)) for resource, record in records.items()},
        **{each.document: (each.urn, _maker(event_of_type, each)) for each in types},
    }


def _maker(make: Callable[[Any], Schema], subject: object) -> Callable[[], Schema]:
    return lambda: make(subject)


def event_types(connectors: Sequence[type[Connector]], past: Sequence[Past] = PAST) -> list[EventType]:
    """The event types of these connectors, each once, sorted by name; former shapes after the present one."""
    found = {EventType("account", change, Account) for change in ACCOUNT_CHANGES}
    for connector in connectors:
        changes = CATALOGUE.get(str(connector.__struct_config__.tag), {})
        for name, resource in connector.resources.items():
            found |= {EventType(name, change, resource.record, resource.told) for change in changes.get(name, ())}
    former = [
        EventType(each.record.resource, change, each.record, each.told, each.until)
        for each in past
        for change in each.changes
    ]
    return sorted([*found, *former], key=lambda each: (each.name, -each.record.contract))


def standalone(record: type[Record]) -> Schema:
    """The schema of a record, whole in itself."""
    defs = components([record], HERE)
    named = {"$schema": DIALECT, "$id": f"urn:vendorwire:{record.resource}:{record.contract}"}
    return {**named, **defs.pop(record.__name__), "$defs": defs}


def event() -> Schema:
    """The schema of any event: what its `data` is, its type tells."""
    data = {"description": "What the event's `dataschema` describes.", "type": "object"}
    return {"$schema": DIALECT, "$id": "urn:vendorwire:event:1", **_envelope(), "properties": _properties(data)}


def events(types: Sequence[EventType]) -> Schema:
    """The schema of any event, each type with its own data. `discriminator`, as in OpenAPI, helps who makes code of it."""
    shapes = {each.title: typed(each, HERE) for each in types}
    chosen = {each.document: HERE.format(name=each.title) for each in types}
    return {
        "$schema": DIALECT,
        "$id": "urn:vendorwire:events",
        "title": "AnyEvent",
        "description": "Any event there is; its `type` says which.",
        "oneOf": [{"$ref": reference} for reference in chosen.values()],
        "discriminator": {"propertyName": "type", "mapping": chosen},
        "$defs": {**_parts(types, HERE), **shapes},
    }


def event_of_type(each: EventType) -> Schema:
    """The schema of one type of event, whole in itself, with an example."""
    identity = {"$schema": DIALECT, "$id": f"urn:vendorwire:event:{each.name}:{each.record.contract}"}
    shown = {"examples": [examples()[each.name]]} if each.until is None and each.name in examples() else {}
    return {**identity, **typed(each, HERE), **shown, "$defs": _parts([each], HERE)}


def typed(each: EventType, template: str) -> Schema:
    """The schema of one type of event; the record's own schemas are where `template` says."""
    fixed = {"type": {"const": each.name}, "dataschema": {"const": each.urn}}
    properties = _properties(_data(each, template))
    for name, value in fixed.items():
        properties[name] = {**properties[name], **value}
    ending = {} if each.until is None else {"deprecated": True, asyncapi.UNTIL: each.until.isoformat()}
    said = {"title": each.title, "description": when(each.resource, each.change), "x-vendors": _vendors(each)}
    return {**_envelope(), **said, **ending, "properties": properties}


def document(connectors: Sequence[type[Connector]], past: Sequence[Past] = PAST) -> Schema:
    """The AsyncAPI document."""
    types = event_types(connectors, past)
    payloads = {each.document: typed(each, asyncapi.SCHEMA) for each in types}
    vendors = {str(each.__struct_config__.tag): tuple(each.resources) for each in connectors}
    told: dict[str, list[str]] = {}
    for each in types:
        told.setdefault(each.resource, []).append(each.document)
    records = {each.resource: each.record for each in types if each.until is None}
    parts = _parts(types, asyncapi.SCHEMA)
    for record in records.values():
        number = {asyncapi.NUMBERED: f"urn:vendorwire:{record.resource}:{record.contract}"}
        parts[record.__name__] = {**components([record], asyncapi.SCHEMA)[record.__name__], **number}
    names = {resource: record.__name__ for resource, record in records.items()}
    return asyncapi.document(version("vendorwire"), vendors, told, names, {**parts, **payloads}, examples())


def examples() -> Mapping[str, Any]:
    """An event of each type that the fake vendors can bring about."""
    found: Mapping[str, Any] = msgspec.json.decode((files("schemas") / "published" / "examples.json").read_bytes())
    return found


def _parts(types: Sequence[EventType], template: str) -> dict[str, Schema]:
    """What the events' data consists of."""
    kinds = {each.told or each.record for each in types}
    parts = components(sorted(kinds, key=lambda kind: kind.__name__), template)
    for record in {each.record for each in types if each.told is None and each.change not in WHOLE}:
        changes = _changes(record, parts[record.__name__]["properties"], template)
        parts[f"{record.__name__}Changes"] = changes.pop("this")
        parts |= changes
    return dict(sorted(parts.items()))


def _changes(record: type[Record], fields: Mapping[str, Schema], template: str) -> dict[str, Schema]:
    """The schema of a record's `changes`, as `this`, and of the sides it consists of."""
    needed: dict[str, Schema] = {}

    def sides(schema: Schema) -> Schema:
        name, shape = side_by_side(schema, template)
        if not name:
            return shape
        needed[name] = {"title": name, **shape}
        return {"$ref": template.format(name=name)}

    this = {
        "title": f"{record.__name__}Changes",
        "description": "Each changed field with both values; one that was or is absent is left out.",
        "type": "object",
        "properties": {
            name: sides(schema)
            for name, schema in fields.items()
            if name not in {"id", *record.volatile, *record.by_entry}  # another id is another record
        },
        "patternProperties": {
            pattern: sides(fields[name]["additionalProperties"])
            for name, pattern in record.by_entry.items()
            if "additionalProperties" in fields.get(name, {})
        },
    }
    return {"this": {name: said for name, said in this.items() if said}, **needed}


def _envelope() -> Schema:
    """A CloudEvent without its properties. What has a value in every event is required."""
    schema = components([CloudEvent], HERE)["CloudEvent"]
    always = [field.encode_name for field in msgspec.structs.fields(CloudEvent) if field.default is NODEFAULT]
    return {**schema, "title": "event", "required": always}


def _properties(data: Schema) -> Schema:
    properties: Schema = components([CloudEvent], HERE)["CloudEvent"]["properties"]
    for field in msgspec.structs.fields(CloudEvent):
        if field.default_factory is not NODEFAULT:  # the same in every event
            properties[field.encode_name] = {**properties[field.encode_name], "const": field.default_factory()}
    return {**properties, "data": data}


def _vendors(each: EventType) -> list[str]:
    """Whose records it happens to."""
    everywhere = each.record is Account
    return [vendor for vendor, told in CATALOGUE.items() if everywhere or each.change in told.get(each.resource, ())]


def _data(each: EventType, template: str) -> Schema:
    if each.told is not None:
        return {"$ref": template.format(name=each.told.__name__)}
    record, changes = (
        {"$ref": template.format(name=name)} for name in (each.record.__name__, f"{each.record.__name__}Changes")
    )
    described = {"title": f"{each.title}Data", "description": f"`{each.urn}`", "type": "object"}
    if each.change in WHOLE:
        return {**described, "properties": {"record": record}, "required": ["record"]}
    # An account's first trouble has no before; nor has a record from before the first sync that is modified and new to us.
    required = ["record"] if each.record is Account or each.change == MODIFIED else ["record", "changes"]
    return {**described, "properties": {"record": record, "changes": changes}, "required": required}


def _about(record: type[Record]) -> str:
    return f"the record, version {record.contract} of its shape"


def write(folder: Path, documents: Mapping[str, Callable[[], Schema]]) -> None:
    """Each document as a file that is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in documents.items():
        file = folder / f"{name}.json"
        fresh = folder / f".{name}.json.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(make()), indent=2) + b"\n")
        fresh.replace(file)
    output.line(f"{len(documents)} written to {folder}")
