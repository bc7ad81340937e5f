"""Plain values to typed structs, noting every fault on the way instead of ending at the first.

msgspec's structs are the schema: their fields, defaults, tags and `__post_init__` checks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from agent.blame import Place, build
from agent.faults import Faults, step
from agent.wording import given, listed, meant, shape, shape_of, unknown_key, wanted
from agent.yamltree import BROKEN, Referred, number_in
from schemas.settings import Secret

Hook = Callable[[type, Any], Any]
Variants = Mapping[type[msgspec.Struct], Sequence[type[msgspec.Struct]]]


class Reader:
    """Reads values into types. `variants` names, for a base struct, the tagged structs that may stand for it; `lists`,
    for a tuple type of its own, the type of its items, of which one may be written without a list.

    `seen` holds whatever could be read, by path: a list or mapping without its broken items, a tagged struct's class at
    its tag's path. Checks that span sections go by it, so that one fault does not hide another.
    """

    def __init__(self, faults: Faults, variants: Variants, lists: Mapping[Any, Any], hook: Hook) -> None:
        self.seen: dict[str, Any] = {}
        self._faults = faults
        self._variants = variants
        self._lists = lists
        self._hook = hook

    def read(self, kind: Any, raw: Any, path: str) -> Any:
        """The value as `kind`, or BROKEN, whose faults are then noted."""
        value = BROKEN if raw is BROKEN else self._value(kind, raw, path)
        if value is not BROKEN:
            self.seen[path] = value
        return value

    def _value(self, kind: Any, raw: Any, path: str) -> Any:
        if kind in self._lists:
            item = self._lists[kind]
            found = self._value(item | tuple[item, ...], raw, path)  # type: ignore[valid-type] # a type made at run time
            return found if found is BROKEN else kind(found if isinstance(found, tuple) else (found,))
        options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if raw is None:
            return None if NoneType in options else self._broken(path, "has no value: give it one or leave it out")
        options = tuple(option for option in options if option is not NoneType)
        fitting = [option for option in options if shape(option) is shape_of(raw)]
        if not fitting:
            return self._broken(path, f"expected {wanted(options)}, got {given(raw)}")
        match raw:
            case dict():
                return self._mapping(fitting, raw, path)
            case list():
                items = self._items(get_args(fitting[0])[0], enumerate(raw), path)
                return self._whole(path, tuple(items.values()), len(raw))
            case _:
                return self._scalar(fitting, raw, path)

    def _items(self, kind: Any, raw: Iterable[tuple[Any, Any]], path: str) -> dict[Any, Any]:
        read = {key: self.read(kind, value, step(path, key)) for key, value in raw}
        return {key: value for key, value in read.items() if value is not BROKEN}

    def _whole(self, path: str, items: Any, size: int) -> Any:
        if len(items) == size:
            return items
        self.seen[path] = items
        return BROKEN

    def _mapping(self, options: Sequence[Any], raw: dict[str, Any], path: str) -> Any:
        kind = options[0]
        if get_origin(kind) is dict:
            return self._whole(path, self._items(get_args(kind)[1], raw.items(), path), len(raw))
        variants = self._variants.get(kind, options)
        return self._struct(kind, raw, path) if list(variants) == [kind] else self._tagged(kind, variants, raw, path)

    def _scalar(self, options: Sequence[Any], raw: Any, path: str) -> Any:
        secret = Secret in options
        value = _referred(options, raw) if isinstance(raw, Referred) else raw
        if secret and raw and isinstance(raw, str):
            self._faults.hidden[raw] = "***"
        if secret and isinstance(raw, Referred):
            if not raw.text.strip():
                return self._broken(path, f"{raw.template} is empty")
            value = raw.template  # looked up anew at each use
        for option in options:
            if get_origin(option) is Literal and value not in get_args(option):
                return self._broken(path, f"must be {listed(get_args(option))}{meant(value, get_args(option))}")
        try:
            return msgspec.convert(value, reduce(or_, options), dec_hook=self._hook)
        except msgspec.ValidationError as error:
            hint = "; put it in quotes" if str in options or secret else ""
            # A check of our own says it in its own words; msgspec's words are about Python.
            mine = error.__cause__ is not None
            return self._broken(path, str(error) if mine else f"expected {wanted(options)}, got {given(value)}{hint}")

    def _tagged(
        self, base: type[msgspec.Struct], variants: Sequence[type[msgspec.Struct]], raw: dict[str, Any], path: str
    ) -> Any:
        by_tag = {str(variant.__struct_config__.tag): variant for variant in variants}
        field = str(variants[0].__struct_config__.tag_field)
        named = raw.get(field)
        tag = named.text if isinstance(named, Referred) else named
        if isinstance(tag, str) and tag in by_tag:
            self.seen[step(path, field)] = by_tag[tag]
            return self._struct(by_tag[tag], raw, path)
        known = f"known are {', '.join(by_tag)}"
        if tag is None:
            self._faults.add(step(path, field), f"is missing: {known}")
        elif isinstance(tag, str):
            self._faults.add(step(path, field), f"unknown {field} {tag!r}{meant(tag, by_tag)}: {known}")
        elif tag is not BROKEN:
            self._faults.add(step(path, field), f"expected a text, got {given(tag)}: {known}")
        self._fields(base, raw, path, complete=False)  # what all variants share can still be checked
        return BROKEN

    def _struct(self, kind: type[msgspec.Struct], raw: dict[str, Any], path: str) -> Any:
        known = [field.encode_name for field in msgspec.structs.fields(kind)]
        for key in raw:
            if key not in known and key != kind.__struct_config__.tag_field:
                self._faults.add(step(path, key), unknown_key(key, known))
        values = self._fields(kind, raw, path, complete=True)
        broken = {name for name, value in values.items() if value is BROKEN}
        sound = {name: value for name, value in values.items() if name not in broken}
        return build(kind, sound, broken, partial(self._blamed, path)) or BROKEN

    def _fields(self, kind: type[msgspec.Struct], raw: dict[str, Any], path: str, *, complete: bool) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(kind):
            place = step(path, field.encode_name)
            if field.encode_name in raw:
                values[field.name] = self.read(field.type, raw[field.encode_name], place)
            elif field.required and complete:
                self._faults.add(place, "is missing")
                values[field.name] = BROKEN
        return values

    def _blamed(self, path: str, place: Place, message: str) -> None:
        self._faults.add(reduce(step, place, path), message)

    def _broken(self, path: str, message: str) -> Any:
        self._faults.add(path, message)
        return BROKEN


def _referred(options: Sequence[Any], raw: Referred) -> Any:
    """What a reference stands for: a number or truth value only where no text is asked for."""
    if not {int, float, bool}.intersection(options) and not any(
        get_origin(option) is Literal and not isinstance(get_args(option)[0], str) for option in options
    ):
        return raw.text
    if raw.text in {"true", "false"}:
        return raw.text == "true"
    number = number_in(raw.text)
    return raw.text if number is None else number
