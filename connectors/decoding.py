"""JSON from a vendor, decoded; what cannot be gets a sentence with msgspec's place in the reply, never a value."""

import re
from types import TracebackType
from typing import TypeVar

import msgspec

from connectors.errors import Unreadable

T = TypeVar("T")

# Half of a character, as some writers leave when they cut a text: not Unicode, and msgspec takes no page that holds one.
# Whole pairs are matched too, so that what looks like one inside them is not touched.
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>[89a-fA-F][0-9a-fA-F]{2}))"
)
_MOST_HALVES = 10_000  # more are no texts that were cut
EXACT = 2**53
BOM = b"\xef\xbb\xbf"

# How msgspec's messages begin where they hold types and places only. Others may quote what the vendor sent.
_SAFE = (
    "Expected `",
    "Object missing required field `",
    "Invalid RFC3339",
    "Invalid decimal string",
    "Invalid UUID",
    "Integer value out of range",
    "Number out of range",
    "JSON is malformed",
)


def decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], where: str) -> T:
    """Decode JSON. Raises Unreadable, which names `where` it came from and the path inside it, without values."""
    text = bytes(body).removeprefix(BOM)
    try:
        try:
            return decoder.decode(text)
        except msgspec.DecodeError:
            mended = _without_halves(text)
            if mended is None:
                raise
            return decoder.decode(mended)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        reason = what_is_wrong(error)
    start = text[:256].lstrip()[:1]
    if start == b"<":
        reason = "the vendor answered HTML, not JSON"
    elif not start:
        reason = "the reply is empty"
    raise Unreadable(f"{where}: {reason}")


def _without_halves(text: bytes) -> bytes | None:
    """The text with a sign that something is missing for each half of a character; None where it holds none, or far too many."""
    mended, halves, at = bytearray(), 0, 0
    while halves <= _MOST_HALVES and (found := _HALF.search(text, at)):
        before, at = text[at : found.start()], found.end()
        if (len(before) - len(before.rstrip(b"\\"))) % 2:  # the backslash is itself escaped
            at = found.start() + 1
        elif found["half"]:
            mended, halves = mended or bytearray(text), halves + 1
            mended[found.start() : found.end()] = b"\\ufffd"
    return bytes(mended) if 0 < halves <= _MOST_HALVES else None


class at:  # noqa: N801 - it reads as a word; a generator would cost four times as much, for every field of every record
    """What cannot be understood in this block is unreadable at this path."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, (ValueError, ArithmeticError)):
            raise Unreadable(f"{self._path}: it cannot be understood") from None


def whole(value: float | None, path: str) -> int | None:
    """A whole number in any spelling of JSON. Raises Unreadable for another one, and beyond what a float tells exactly."""
    if isinstance(value, float):
        if not value.is_integer() or abs(value) > EXACT:
            raise Unreadable(f"{path}: not a whole number")
        return int(value)
    return value


def what_is_wrong(error: Exception) -> str:
    """Why something could not be decoded: types and places, never a value (msgspec quotes unknown enum values)."""
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    if not isinstance(error, msgspec.MsgspecError):
        return "the JSON holds text or a number that cannot be read"
    reason, _, place = str(error).rpartition(" - at `")
    if not reason:
        reason, place = place, ""
    if reason == "Input data was truncated":
        return "the JSON was cut short"
    if not reason.startswith(_SAFE):
        reason = "Unexpected value"
    return f"{reason} at {place.rstrip('`')}" if place else reason
