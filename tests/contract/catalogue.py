"""The catalogue of events, docs/events.md, drawn from the published schemas and from nothing else."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.energy import UNKNOWN

Schema = dict[str, Any]

_HEAD = """\
# Events

Every event there is: when it is sent, what is in it, and one that was made by the real code from a fake vendor. This page is
made from the [published schemas](../schemas/published), and `vendorwire schema booking.cancelled` prints the one of an event
with the same words and the same example. How events reach you, and what you can rely on, is said
[for subscribers](subscribers.md); what may change in them and how you hear of it under [compatibility](compatibility.md).

Values that are absent are left out, never null. A date is `YYYY-MM-DD`; an instant is RFC 3339 in UTC; money is
`{"amount": "552.50", "currency": "EUR"}`, a decimal number as text and an ISO 4217 code. A field that is not *always* there
is absent where nothing is known; an absent list or mapping is empty. Fields that you do not know may come at any time.

"""
_DATA = """\
`data.record` is the whole record after the change; for `deleted`, as it was before. `data.changes` has each field that differs,
by its name, with its value `before` and `after`; a side without a value is left out. Some mappings are told entry by entry there:
the days of an `availability` by their dates, the controls of a `device` as `controls.1`. Fields of which it is said that they
make no event alone are never in it. What else `data` may be is said with the event.
"""
_MONEY = "#/$defs/Money"


def render(documents: Mapping[str, Schema]) -> str:
    """The page, from every published document by name."""
    types = {name: each for name, each in documents.items() if "." in name}
    resources = sorted({name.partition(".")[0] for name in types})
    parts = [_HEAD, *_contents(resources, types), *_envelope(documents["event"])]
    for resource in resources:
        parts += _resource(resource, documents)
        for name, each in types.items():
            if name.partition(".")[0] == resource:
                parts += _event(name, each)
    return "".join(parts).rstrip("\n") + "\n"


def _contents(resources: list[str], types: Mapping[str, Schema]) -> Iterator[str]:
    yield "- [What all events share](#what-all-events-share)\n"
    for resource in resources:
        changes = ", ".join(f"`{name.partition('.')[2]}`" for name in types if name.partition(".")[0] == resource)
        yield f"- [{resource}](#{resource}): {changes}\n"
    yield "\n"


def _envelope(event: Schema) -> Iterator[str]:
    yield "## What all events share\n\n"
    fields = {name: each for name, each in event["properties"].items() if name != "data"}
    yield from _table(event | {"properties": fields}, {})
    yield f"\n{_DATA}\n"


def _resource(resource: str, documents: Mapping[str, Schema]) -> Iterator[str]:
    yield f"## {resource}\n\n"
    told = next(each for name, each in documents.items() if name.partition(".")[0] == resource and "." in name)
    data = told["properties"]["data"]
    record = told["$defs"][data["$ref"].rpartition("/")[2]] if "$ref" in data else documents[resource]
    where = "`data`" if "$ref" in data else "`data.record`"
    yield f"{_prose(record['description'])}\n\nIn {where}:\n\n"
    yield from _table(record, told["$defs"] if "$ref" in data else record["$defs"])
    yield "\n"


def _event(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n\n{_prose(schema['description'])}\n\n"
    vendors = f", from {', '.join(schema['x-vendors'])}" if schema["x-vendors"] else ""
    if until := schema.get("x-served-until"):
        yield f"**No new event has this shape.** Its schema stays until {until}.\n\n"
    subject = "vendorwire.event.<vendor>.<account>." + ".".join(name.split(".")[:2])
    yield f"On `{subject}`{vendors}; `dataschema` is `{schema['properties']['dataschema']['const']}`.\n\n"
    data = schema["properties"]["data"]
    if "$ref" not in data:
        yield f"`data` has {_parts_of(data)}.\n\n"
    for example in schema.get("examples", ()):
        shown = json.dumps(example, indent=2, ensure_ascii=False)
        yield f"<details><summary>Example</summary>\n\n```json\n{shown}\n```\n\n</details>\n\n"


def _parts_of(data: Schema) -> str:
    if "changes" not in data["properties"]:
        return "`record` alone"
    always = "changes" in data["required"]
    return "`record` and `changes`" if always else "`record` and, where the state before is known, `changes`"


def _table(schema: Schema, defs: Mapping[str, Schema]) -> Iterator[str]:
    yield "| field | type | there | says |\n|---|---|---|---|\n"
    for path, each, required in _fields(schema, defs, ""):
        unit = f", {_unit(each['x-unit'])}" if "x-unit" in each else ""
        there = "always" if required else ""
        yield f"| `{path}` | {_kind(each, defs)}{unit} | {there} | {_prose(each.get('description', ''))} |\n"


def _unit(named: str) -> str:
    return f"unit {named}" if named == UNKNOWN else named


def _fields(schema: Schema, defs: Mapping[str, Schema], inside: str) -> Iterator[tuple[str, Schema, bool]]:
    """Each field with its path, and those inside it."""
    for name, each in schema["properties"].items():
        path = f"{inside}{name}"
        yield path, each, name in schema.get("required", ())
        for part, sign in ((each, ""), (each.get("items", {}), "[]"), (each.get("additionalProperties", {}), ".…")):
            reference = part.get("$ref")
            if reference not in {None, _MONEY} and "properties" in defs[reference.rpartition("/")[2]]:
                yield from _fields(defs[reference.rpartition("/")[2]], defs, f"{path}{sign}.")


def _kind(schema: Schema, defs: Mapping[str, Schema]) -> str:
    """What a value is, in a word or two."""
    if schema.get("$ref") == _MONEY:
        return "money"
    if "$ref" in schema:
        return _kind(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{each}`" for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(each, defs) for each in schema["anyOf"])
    if "type" not in schema:
        return "anything"
    if schema["type"] == "array":
        return f"list, each {_kind(schema['items'], defs)}"
    if schema["type"] == "object":
        inner = schema.get("additionalProperties")
        return f"mapping, each {_kind(inner, defs)}" if inner else "object"
    words = {"date": "date", "date-time": "instant"}
    plain = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words.get(schema.get("format", ""), plain[schema["type"]])


def _prose(text: str) -> str:
    """One line."""
    return " ".join(text.split())
