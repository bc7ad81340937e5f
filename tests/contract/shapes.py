"""Whether who reads by one JSON Schema of ours could be misled by what another allows. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from schemas.energy import UNKNOWN

Node = dict[str, Any]

UNIT = "x-unit"
_NOTES = frozenset({"title", "description", "examples", "deprecated", "discriminator", "$id", "$schema", "$comment"})
_STRUCTURE = frozenset(
    {"$ref", "type", "enum", "anyOf", "required", "properties", "items", "additionalProperties", "patternProperties"}
)

Follow = Callable[[Node], Node]


def follow(document: Node) -> Follow:
    """Where a reference leads."""

    def there(node: Node) -> Node:
        if "$ref" not in node:
            return node
        schemas: Mapping[str, Node] = document["components"]["schemas"]
        return schemas[node["$ref"].rpartition("/")[2]]

    return there


def worse(old: Node, new: Node, path: str, was: Follow, now: Follow) -> Iterator[str]:
    """What a reader of the old schema could not read, or would miss, in what the new one allows."""
    old, new = was(old), now(new)
    place = path.rstrip(".") or "it"
    if _kind(old) != _kind(new) and (old.get("type"), new.get("type")) != ("number", "integer"):
        yield f"{place} was {_kind(old)} and is {_kind(new)}"
        return
    yield from _values(old, new, place)
    if old.get(UNIT, UNKNOWN) not in {UNKNOWN, new.get(UNIT)}:  # one that becomes known misleads nobody
        yield f"{place} was in {old[UNIT]} and is in {new.get(UNIT, 'no unit')}"
    for keyword in sorted((old.keys() | new.keys()) - _STRUCTURE - _NOTES):
        if not keyword.startswith("x-") and old.get(keyword) != new.get(keyword):
            yield f"{place} had {_said(old, keyword)} and has {_said(new, keyword)}"
    present = new.get("properties", {}).keys()
    yield from (
        f"{path}{name} may be absent now"
        for name in old.get("required", ())
        if name in present - {*new.get("required", ())}
    )
    for name, field in old.get("properties", {}).items():
        if name in present:
            yield from worse(field, new["properties"][name], f"{path}{name}.", was, now)
        else:
            yield f"{path}{name} is gone"
    yield from _inside(old, new, path, was, now)


def _inside(old: Node, new: Node, path: str, was: Follow, now: Follow) -> Iterator[str]:
    """What a list's items and a mapping's entries are, and each of several types."""
    for place, (one, other) in enumerate(zip(old.get("anyOf", ()), new.get("anyOf", ()), strict=False)):
        yield from worse(one, other, f"{path.rstrip('.')}|{place + 1}.", was, now)
    for keyword, sign in (("items", "[]"), ("additionalProperties", "*")):
        if isinstance(old.get(keyword), dict):
            yield from worse(old[keyword], new.get(keyword, {}), f"{path.rstrip('.')}{sign}.", was, now)
    for pattern, entry in old.get("patternProperties", {}).items():
        if pattern in new.get("patternProperties", {}):
            yield from worse(entry, new["patternProperties"][pattern], f"{path}{pattern}.", was, now)
        else:
            yield f"{path}{pattern} is gone"


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


def _said(schema: Node, keyword: str) -> str:
    return f"{keyword} {schema[keyword]!r}" if keyword in schema else f"no {keyword}"


def _kind(schema: Node) -> str:
    """In words what a value is."""
    if "anyOf" in schema:
        return " or ".join(str(each.get("type", "an object of ours")) for each in schema["anyOf"])
    return str(schema.get("type") or ("a value of a list" if "enum" in schema else "anything"))
