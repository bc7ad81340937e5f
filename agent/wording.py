"""What a kind of value is called in a fault: plain words for Python's types."""

import difflib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

import msgspec

from schemas.settings import Secret

_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Secret: "a text",
    Path: "a path",
    ZoneInfo: "a time zone such as Europe/Rome",
    timedelta: "a duration such as 30s, 15m, 2h or 30d",
    dict: "keys with values",
    list: "a list",
}


def shape(kind: Any) -> type:
    """Whether a type is written as keys with values (dict), as a list, or as one value (str)."""
    if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return dict
    return list if get_origin(kind) in (tuple, list) else str


def shape_of(raw: Any) -> type:
    """The same of a value."""
    return type(raw) if isinstance(raw, dict | list) else str


def wanted(options: Sequence[Any]) -> str:
    """`a text or a list`: what may stand here."""
    return " or ".join(dict.fromkeys(_word(option) for option in options))


def _word(option: Any) -> str:
    if get_origin(option) is Literal:
        return listed(get_args(option))
    kind = shape(option) if shape(option) is not str else option
    return _WORDS.get(kind) or next((word for base, word in _WORDS.items() if issubclass(kind, base)), "another value")


def given(raw: Any) -> str:
    """What stands there instead, by its kind: never by its value."""
    match raw:
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a number with a fraction"
        case dict():
            return "keys with values"
        case list():
            return "a list"
        case _:
            return "a text"


def listed(values: Sequence[Any]) -> str:
    """`1, 3 or 5`."""
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def meant(value: Any, known: Iterable[Any]) -> str:
    """The nearest known word, as a question."""
    near = difflib.get_close_matches(str(value), [str(one) for one in known], n=1) if isinstance(value, str) else []
    return f" (did you mean {near[0]}?)" if near else ""


def unknown_key(key: str, known: Sequence[str]) -> str:
    """A key that is not known, and which one may be meant."""
    if ":" in key:
        return "unknown key: is a space missing after the colon?"
    return f"unknown key{meant(key, known)}: known are {', '.join(known)}"
