"""Building a struct, and finding what in it a failed check is about, so that the fault stands at the right line.

A struct's `__post_init__` raises at its first finding. What it is about is the field its sentence begins with or quotes,
or else whatever changes the outcome when it is taken away. Taken away it is, and the checks are asked again.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

Place = tuple[str | int, ...]

_STAND_INS = ("x", "https://host.invalid", None)
_CLEARED = 4  # of all degrees of suspicion the least


class _Items(dict[int, Any]):
    """A tuple's items by their index, which stays when others are taken away."""


def build(
    kind: type[msgspec.Struct], values: Mapping[str, Any], broken: set[str], blamed: Callable[[Place, str], None]
) -> msgspec.Struct | None:
    """The struct, or None when a check failed or a field is `broken`; `blamed` is told where each failure is, and why.

    In place of a broken field stands its default or a stand-in: the checks can then speak about the others. A
    sentence that mentions a broken field, or that may be due to what was taken away, does not count.
    """
    builder = _Builder(kind)
    parts = {name: _Items(enumerate(value)) if type(value) is tuple else value for name, value in values.items()}
    removed = False
    while True:
        built = builder.attempt(parts, broken)
        if not isinstance(built, str):
            return None if broken or removed else built
        place, message = builder.blame(parts, broken, built)
        if not _mentions(built, broken) and (place or not (builder.required & broken or removed)):
            blamed(place, message)
        if not place:
            return None
        rest = _without(parts, place)
        if rest.get(str(place[0])) == {} and isinstance(rest[str(place[0])], _Items):
            rest = _without(rest, place[:1])  # a list that is left empty may fail for that alone
        broken, parts, removed = broken | (parts.keys() - rest.keys()), rest, True


class _Builder:
    def __init__(self, kind: type[msgspec.Struct]) -> None:
        self._kind = kind
        self.required = {field.name for field in msgspec.structs.fields(kind) if field.required}

    def attempt(self, parts: Mapping[str, Any], broken: set[str]) -> msgspec.Struct | str:
        """The struct, or the sentence of the check that failed: of the stand-ins, those are used that no check minds."""
        values = {name: tuple(part.values()) if isinstance(part, _Items) else part for name, part in parts.items()}
        if not broken:
            return self._construct(values)
        outcomes = [
            self._tolerant(values | dict.fromkeys(names, stand_in))
            for names in (self.required & broken, broken)
            for stand_in in _STAND_INS
        ]
        sound = [each for each in outcomes if not isinstance(each, str) or (each and not _mentions(each, broken))]
        return sound[0] if sound else outcomes[0]

    def blame(self, parts: dict[str, Any], broken: set[str], message: str) -> tuple[Place, str]:
        """Where the failure is (nowhere in particular: an empty place), and what to say there."""
        first, _, rest = message.partition(" ")
        name = first.rstrip(":")
        places = [place for place in _places(parts) if name not in parts or (place[0] == name and len(place) > 1)]
        suspicion = {place: self._suspicion(parts, broken, place, message) for place in places}
        place = min(suspicion, key=suspicion.__getitem__, default=())
        guilty = place if suspicion.get(place, _CLEARED) < _CLEARED else ()
        return (guilty or (name,), rest) if name in parts else (guilty, message)

    def _suspicion(self, parts: dict[str, Any], broken: set[str], place: Place, message: str) -> int:
        name, item = place[0], len(place) > 1
        value = parts[str(name)][place[1]] if item else parts[str(name)]
        if isinstance(value, str) and repr(value) in message:
            return 0
        if not item and name in self.required:
            return _CLEARED
        left = _without(parts, place)
        outcome = self.attempt(left, broken)
        if not isinstance(outcome, str):
            return 1
        if not item or outcome == message:
            return _CLEARED
        return 2 if left[str(name)] else 3  # a list that is left empty may fail for that alone

    def _construct(self, values: dict[str, Any]) -> msgspec.Struct | str:
        try:
            return self._kind(**values)
        except ValueError as error:
            return str(error)

    def _tolerant(self, values: dict[str, Any]) -> msgspec.Struct | str:
        try:
            return self._construct(values)
        except (TypeError, AttributeError):  # a check met a stand-in of another type than it expects
            return ""


def _places(parts: dict[str, Any]) -> Iterator[Place]:
    for name, part in parts.items():
        if isinstance(part, dict):
            yield from ((name, key) for key in part)
        yield (name,)


def _without(parts: dict[str, Any], place: Place) -> dict[str, Any]:
    name, *key = place
    if key:
        part = parts[str(name)]
        return {**parts, str(name): type(part)((each, value) for each, value in part.items() if each != key[0])}
    return {each: value for each, value in parts.items() if each != name}


def _mentions(message: str, names: set[str]) -> bool:
    return not names.isdisjoint(re.findall(r"\w+", message))
