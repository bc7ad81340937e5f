"""`vendorwire schema`: the JSON Schemas of what is on the bus, made from the very structs, so that they cannot drift.

The dialect is JSON Schema 2020-12. A value that is absent is left out and never null, so no schema allows null.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from agent import asyncapi
from agent.commands import output
from agent.commands.failures import DONE, WrongUsage
from agent.configfile import VENDORS
from connectors.base import Connector
from schemas.changes import ACCOUNT_CHANGES, CATALOGUE, CREATED, DELETED, MODIFIED, RESTORED
from schemas.envelope import CloudEvent
from schemas.records import Account, Record

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DECIMAL = r"^-?[0-9]+(\.[0-9]+)?$"
HERE = "#/$defs/{name}"  # where a schema that stands alone keeps what it refers to
WHOLE = frozenset({CREATED, DELETED, RESTORED})  # changes of a record as such: no field has a before and an after


class EventType(msgspec.Struct, frozen=True, order=True):
    """One event type, such as `booking.cancelled`, and the record it tells of. `told`: its data, where that is not a record."""

    resource: str
    change: str
    record: type[Record]
    told: type[msgspec.Struct] | None = None

    @property
    def name(self) -> str:
        return f"{self.resource}.{self.change}"

    @property
    def urn(self) -> str:
        """The event's `dataschema`."""
        return f"urn:vendorwire:{self.name}:{self.record.schema}"


def main(name: str | None, out: Path | None, json: bool) -> int:  # noqa: FBT001 the command line hands it over like this
    """List what there is, print one document, or write them (all, or the one named) to a folder. Raises WrongUsage."""
    documents = catalogue(VENDORS)
    if name is not None and name not in documents:
        raise WrongUsage(f"there is no schema {name!r}; there are {', '.join(documents)}")
    if out is not None:
        _write(out, {each: make for each, (_, make) in documents.items() if name in {None, each}})
    elif name is not None:
        (output.json if json else output.pretty)(documents[name][1]())
    elif json:
        for each, (about, _) in documents.items():
            output.json({"name": each, "about": about})
    else:
        output.table(("NAME", "WHAT"), [(each, about) for each, (about, _) in documents.items()])
    return DONE


def catalogue(connectors: Sequence[type[Connector]]) -> Mapping[str, tuple[str, Callable[[], Schema]]]:
    """Every document by name, in a fixed order: what it is, and how it is made."""
    types = event_types(connectors)
    records = {each.resource: each.record for each in types}
    return {
        "asyncapi": ("the AsyncAPI 3.0 document: subjects, messages, webhook", lambda: document(connectors)),
        "event": ("what all events share: a CloudEvent", event),
        **{resource: (_about(record), _maker(standalone, record)) for resource, record in records.items()},
        **{each.name: (each.urn, _maker(event_of_type, each)) for each in types},
    }


def _maker(make: Callable[[Any], Schema], subject: object) -> Callable[[], Schema]:
    return lambda: make(subject)


def event_types(connectors: Sequence[type[Connector]]) -> list[EventType]:
    """The event types of these connectors, each once, sorted by name."""
    found = {EventType("account", change, Account) for change in ACCOUNT_CHANGES}
    for connector in connectors:
        changes = CATALOGUE[str(connector.__struct_config__.tag)]
        for name, resource in connector.resources.items():
            found |= {EventType(name, change, resource.record, resource.told) for change in changes[name]}
    return sorted(found, key=lambda each: each.name)


def standalone(record: type[Record]) -> Schema:
    """The schema of a record, whole in itself."""
    defs = components([record], HERE)
    named = {"$schema": DIALECT, "$id": f"urn:vendorwire:{record.resource}:{record.schema}"}
    return {**named, **defs.pop(record.__name__), "$defs": defs}


def event() -> Schema:
    """The schema of any event: what its `data` is, its type tells."""
    data = {"description": "What the event's `dataschema` describes.", "type": "object"}
    return {"$schema": DIALECT, "$id": "urn:vendorwire:event:1", **_envelope(), "properties": _properties(data)}


def event_of_type(each: EventType) -> Schema:
    """The schema of one type of event, whole in itself."""
    identity = {"$schema": DIALECT, "$id": f"urn:vendorwire:event:{each.name}:{each.record.schema}"}
    return {**identity, **typed(each, HERE), "$defs": components([each.told or each.record], HERE)}


def typed(each: EventType, template: str) -> Schema:
    """The schema of one type of event; the record's own schemas are where `template` says."""
    fixed = {"type": {"const": each.name}, "dataschema": {"const": each.urn}}
    properties = _properties(_data(each, template)) | fixed
    return {**_envelope(), "title": each.name, "properties": properties}


def components(kinds: Sequence[type], template: str) -> dict[str, Schema]:
    """The schemas of structs and of all they consist of, by name."""
    _, found = msgspec.json.schema_components(kinds, ref_template=template)
    instants = dict(_instants(kinds))
    for name, schema in found.items():
        for field in instants.get(name, ()):
            schema["properties"][field] = {"type": "string", "format": "date-time"}
    return {name: _precise(found[name]) for name in sorted(found)}


def document(connectors: Sequence[type[Connector]]) -> Schema:
    """The AsyncAPI document."""
    types = event_types(connectors)
    kinds = {each.record for each in types} | {each.told for each in types if each.told is not None}
    parts = components(sorted(kinds, key=lambda kind: kind.__name__), asyncapi.SCHEMA)
    payloads = {each.name: typed(each, asyncapi.SCHEMA) for each in types}
    vendors = {str(each.__struct_config__.tag): tuple(each.resources) for each in connectors}
    changes: dict[str, list[str]] = {}
    for each in types:
        changes.setdefault(each.resource, []).append(each.change)
    records = {each.resource: each.record.__name__ for each in types}
    return asyncapi.document(version("vendorwire"), vendors, changes, records, {**parts, **payloads})


def _envelope() -> Schema:
    """A CloudEvent without its properties. What has a value in every event is required."""
    schema = components([CloudEvent], HERE)["CloudEvent"]
    always = [field.encode_name for field in msgspec.structs.fields(CloudEvent) if field.default is NODEFAULT]
    return {**schema, "title": "event", "required": always}


def _properties(data: Schema) -> Schema:
    properties = components([CloudEvent], HERE)["CloudEvent"]["properties"]
    for field in msgspec.structs.fields(CloudEvent):
        if field.default_factory is not NODEFAULT:  # the same in every event
            properties[field.encode_name] = {"const": field.default_factory()}
    return {**properties, "data": data}


def _data(each: EventType, template: str) -> Schema:
    if each.told is not None:
        return {"title": each.urn, "$ref": template.format(name=each.told.__name__)}
    record = {"$ref": template.format(name=each.record.__name__)}
    described = {"title": each.urn, "type": "object"}
    if each.change in WHOLE:
        return {**described, "properties": {"record": record}, "required": ["record"]}
    fields = components([each.record], template)[each.record.__name__]["properties"]
    changes = {
        "description": "Each changed field with both values; one that was or is absent is left out.",
        "type": "object",
        "properties": {
            name: _sides(schema)
            for name, schema in fields.items()
            if name not in each.record.volatile and name not in each.record.by_entry
        },
        "patternProperties": {
            pattern: _sides(fields[name]["additionalProperties"]) for name, pattern in each.record.by_entry.items()
        },
    }
    # An account's first trouble has no before; nor has a record from before the first sync that is modified and new to us.
    required = ["record"] if each.record is Account or each.change == MODIFIED else ["record", "changes"]
    return {**described, "properties": {"record": record, "changes": changes}, "required": required}


def _sides(schema: Schema) -> Schema:
    return {"type": "object", "properties": {"before": schema, "after": schema}}


def _instants(kinds: Sequence[type]) -> Iterator[tuple[str, list[str]]]:
    """Each struct's fields that hold an instant. msgspec calls them plain strings, as it reads ones without a zone too."""
    todo, seen = list(inspect.multi_type_info(kinds)), set()
    while todo:
        match todo.pop():
            case inspect.StructType(cls=cls, fields=fields) if cls not in seen:
                seen.add(cls)
                yield cls.__name__, [field.encode_name for field in fields if _is_instant(field.type)]
                todo += [field.type for field in fields]
            case inspect.UnionType(types=types):
                todo += types
            case inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
                todo.append(inner)


def _is_instant(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(_is_instant(each) for each in kind.types)
    return isinstance(kind, inspect.DateTimeType)


def _precise(schema: Any) -> Any:
    """What msgspec writes, with what we know more: absent is never null, and a decimal looks like one."""
    if isinstance(schema, list | tuple):
        return [_precise(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    present = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(present) == 1:
        return _precise(present[0])
    if schema.get("format") == "decimal":
        return {"type": "string", "pattern": DECIMAL}
    if isinstance(schema.get("description"), str):
        schema = {**schema, "description": cleandoc(schema["description"])}
    return {name: _precise(each) for name, each in schema.items()}


def _about(record: type[Record]) -> str:
    return f"the record, version {record.schema} of its shape"


def _write(folder: Path, documents: Mapping[str, Callable[[], Schema]]) -> None:
    """Each document as a file that is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in documents.items():
        file = folder / f"{name}.json"
        fresh = folder / f".{name}.json.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(make()), indent=2) + b"\n")
        fresh.replace(file)
    output.line(f"{len(documents)} written to {folder}")
