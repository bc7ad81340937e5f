"""Dates, instants, numbers and money as vendors spell them. Each reads text or raises Unreadable, which names the place.

Empty text, and the zero dates that some systems write for "never", are None.
"""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType

from connectors.decoding import EXACT, at
from connectors.errors import Unreadable
from schemas.records import Money, instant

_ISO_DAY = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:$|[T ])")
_BRITISH_DAY = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})(?:$| )")
_NEVER = re.compile(r"(?:000[01]-0?[01]-0?[01]|0?[01]/0?[01]/000[01])(?![0-9])")  # .NET, MySQL; also in Britain
_FRACTION = re.compile(r"(\.[0-9]{6})[0-9]+")  # .NET writes seven digits
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII
)
_CLOCK = re.compile(r"[T ]\s*([0-9]{1,2})(:[0-9]{2})((?::[0-9]{2}(?:\.[0-9]+)?)?)\s*([AaPp][Mm])?", re.ASCII)
_MILLISECONDS = re.compile(r"/Date\((-?[0-9]{1,15})(?:[+-][0-9]{4})?\)/", re.ASCII)  # since 1970, as older .NET writes
_LONGEST = 40  # characters of a number or a time
_DAY_AT_MOST = 12  # characters that a day is read from: its own, what ends it, and one more
_LARGEST_ID = 2**64  # JSON beyond it comes as a float
SYMBOLS = MappingProxyType({"£": "GBP", "€": "EUR", "zł": "PLN", "₺": "TRY", "₹": "INR", "฿": "THB", "₪": "ILS"})


def a_day(text: str | None, path: str) -> date | None:
    """A local date: `2026-07-28`, `2024-9-20`, `20/03/2026` (day first), or the day of a date-time, whatever its zone."""
    if not text:
        return None
    try:
        return _day(text.strip()[:_DAY_AT_MOST])
    except ValueError:
        raise Unreadable(f"{path}: it cannot be understood") from None


@lru_cache(4096)
def _day(text: str) -> date | None:
    """Most records share their days with others."""
    if not text or _NEVER.match(text):
        return None
    if found := _ISO_DAY.match(text):
        year, month, day = found.groups()
    elif found := _BRITISH_DAY.match(text):
        day, month, year = found.groups()
    else:
        raise ValueError
    return date(int(year), int(month), int(day))


def an_instant(text: str | None, path: str, zone: tzinfo = UTC) -> datetime | None:
    """A time in UTC: ISO 8601 with any fraction, a date alone (its midnight), `20/03/2026 6:59:35 PM`, `/Date(1767225600000)/`.

    `zone` is for text that names none.
    """
    return _plain_instant(text, zone) or _odd_instant(text, path, zone)


def _plain_instant(text: str | None, zone: tzinfo) -> datetime | None:
    """A time in ISO 8601, as most are; None leaves it to who knows all spellings."""
    if not text or len(text) > _LONGEST or text[10:11] not in {"T", " "}:
        return None
    try:
        time = datetime.fromisoformat(text)
        return instant(time if time.tzinfo else time.replace(tzinfo=zone)) if time.year > 1 else None
    except (ValueError, ArithmeticError):
        return None


def _odd_instant(text: str | None, path: str, zone: tzinfo) -> datetime | None:
    text = _FRACTION.sub(r"\1", (text or "").strip())
    if not text or _NEVER.match(text):
        return None
    if len(text) > _LONGEST:
        raise Unreadable(f"{path}: it is too long for a time")
    if found := _MILLISECONDS.fullmatch(text):
        with at(path):
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(found[1]))
    if found := _BRITISH_DAY.match(text):
        day, month, year = found.groups()
        text = f"{year}-{month:0>2}-{day:0>2}{text[found.end(3) :]}"
    with at(path):
        if found := re.fullmatch(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(.*)", text):
            year, month, day, rest = found.groups()
            text = f"{year}-{month:0>2}-{day:0>2}{_CLOCK.sub(_of_24_hours, rest, count=1)}"
        time = datetime.fromisoformat(text)
        return instant(time if time.tzinfo else time.replace(tzinfo=zone))


def _of_24_hours(clock: re.Match[str]) -> str:
    """`T06:59:35` of ` 6:59:35 AM`. An hour that no such clock shows is left as it is: it is no time."""
    hour, minute, second, half = clock.groups()
    if half:
        if not 1 <= int(hour) <= 12:
            raise ValueError
        hour = str(int(hour) % 12 + (12 if half.lower() == "pm" else 0))
    return f"T{hour:0>2}{minute}{second}"


def a_number(value: str | float | None, path: str) -> float | None:
    """A number, also as text with thousands set off: `"1,000.00"`. Never infinite, never not a number."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise Unreadable(f"{path}: not a number")
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
            raise Unreadable(f"{path}: not a number")
        value = float(text.replace(",", ""))
    if value != value or abs(value) > 1e300:
        raise Unreadable(f"{path}: not a number of ordinary size")
    return float(value) + 0.0  # -0.0 and 0.0 are written alike


def a_whole_number(value: str | float | None, path: str) -> int | None:
    """A whole number in any spelling: `2`, `2.0`, `"2"`."""
    if type(value) is float and value.is_integer() and abs(value) < EXACT:
        return int(value)
    number = a_number(value, path)
    if number is None:
        return None
    if not number.is_integer() or abs(number) >= EXACT:  # EXACT itself may be its neighbour, rounded
        raise Unreadable(f"{path}: not a whole number")
    return int(number)


def an_id(value: str | float | None, path: str = "$.id") -> str:
    """An id as text, `3`, `3.0` and `"3"` alike. Raises Unreadable where there is none."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_ID:
        return str(value)
    number = None if isinstance(value, str) else a_whole_number(value, path)
    if number is None:
        raise Unreadable(f"{path}: it has no id")
    return str(number)


def text(value: object) -> str | None:
    """Text without the blanks around it, a number as text; None for nothing."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        value = int(value)
    return (str(value).strip() or None) if value is not None else None


def currency(named: str | None, known: str | None = None) -> str | None:
    """An ISO 4217 code from what the vendor wrote, code or symbol; `known` is the code that holds where that is no code.

    Symbols of more than one currency, such as `$`, mean nothing by themselves.
    """
    named = (named or "").strip()
    if len(named) == 3 and named.isascii() and named.isalpha():
        return named.upper()
    return known or SYMBOLS.get(named)


def money(amount: Decimal | str | float | None, code: str | None, path: str) -> Money | None:
    """An amount of a currency. Without a currency it cannot be told."""
    if not isinstance(amount, Decimal):
        number = a_number(amount, path)
        amount = None if number is None else Decimal(repr(number))
    try:
        return Money.of(amount, code)
    except (ValueError, ArithmeticError):
        raise Unreadable(f"{path} or its currency: it cannot be understood") from None
