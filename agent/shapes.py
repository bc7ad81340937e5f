"""JSON Schemas of structs, with what msgspec cannot know: absent is never null, a decimal looks like one, an instant has a zone.

The dialect is JSON Schema 2020-12.
"""

from collections.abc import Iterator, Sequence
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import inspect

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DECIMAL = r"^-?[0-9]+(\.[0-9]+)?$"
HERE = "#/$defs/{name}"  # where a schema that stands alone keeps what it refers to

_KINDS = {"string": "Text", "integer": "Integer", "number": "Number", "boolean": "Boolean"}
_FORMATS = {"date": "Date", "date-time": "Instant"}


def components(kinds: Sequence[type], template: str) -> dict[str, Schema]:
    """The schemas of structs and of all they consist of, by name."""
    _, found = msgspec.json.schema_components(kinds, ref_template=template)
    instants = dict(_instants(kinds))
    for name, schema in found.items():
        for field in instants.get(name, ()):
            schema["properties"][field] |= {"type": "string", "format": "date-time"}
    return {name: _precise(found[name]) for name in sorted(found)}


def side_by_side(schema: Schema, template: str) -> tuple[str, Schema]:
    """What a changed value looks like, before and after, and a name for it: `MoneyChange` for amounts of money.

    The name is empty where a word does not say all that is said of the value, as of one that may be of two types.
    """
    value = {name: said for name, said in schema.items() if not _is_note(name)}
    sides = {"type": "object", "properties": {"before": value, "after": value}}
    kind = _kind(value, template)
    return f"{kind}Change" if kind else "", sides


def _kind(value: Schema, template: str) -> str:
    """One word for what a value is; none where one is not enough."""
    if value.keys() == {"$ref"}:
        return str(value["$ref"]).removeprefix(template.format(name=""))
    if value.keys() == {"type", "items"}:
        inner = _kind(value["items"], template)
        return f"{inner}s" if inner else ""
    if value.keys() == {"type", "format"}:
        return _FORMATS.get(value["format"], "")
    return _KINDS.get(value["type"], "") if value.keys() == {"type"} else ""


def _is_note(keyword: str) -> bool:
    """Whether it only says something of a value."""
    return keyword in {"title", "description", "examples", "default"} or keyword.startswith("x-")


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
            case inspect.Metadata(type=inner) | inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
                todo.append(inner)
            case inspect.VarTupleType(item_type=inner):
                todo.append(inner)


def _is_instant(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _is_instant(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(_is_instant(each) for each in kind.types)
    return isinstance(kind, inspect.DateTimeType)


def _precise(schema: Any) -> Any:
    """What msgspec writes, with what we know more."""
    if isinstance(schema, list | tuple):
        return [_precise(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    present = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(present) == 1:
        beside = {name: said for name, said in schema.items() if name not in {"anyOf", "default"}}
        return _precise({**present[0], **beside})
    if present:
        schema = {**schema, "anyOf": present}
    if schema.get("default", ...) is None:
        schema = {name: said for name, said in schema.items() if name != "default"}
    if schema.get("format") == "decimal":
        schema = {name: said for name, said in schema.items() if name != "format"} | {"pattern": DECIMAL}
    if isinstance(schema.get("description"), str):
        schema = {**schema, "description": cleandoc(schema["description"])}
    return {name: _precise(each) for name, each in schema.items()}
