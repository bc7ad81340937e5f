"""Value types of the configuration: durations, secrets, and what every vendor account can set.

`decode_hook` is what msgspec needs to read them; `agent.configfile` reads the YAML and reports every fault.
"""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo

import msgspec

LARGEST_FILE = 1024 * 1024  # bytes a `${file:…}` may have

_MOST_DAYS = 3650  # of a duration: ten years
_MOST_REQUESTS = 1_000_000

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Zoned = Annotated[datetime, msgspec.Meta(tz=True)]


class Duration(timedelta):
    """A length of time, written `30s`, `15m`, `2h`, `30d` or `1h30m`."""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 30s, 15m, 2h or 30d")
        seconds = sum(float(number) * _UNIT[unit] for number, unit in parts)
        if seconds > _MOST_DAYS * _UNIT["d"]:  # asked of the number: a timedelta of it may not exist
            raise ValueError(f"{text!r} is too long: at most {_MOST_DAYS}d")
        return cls(seconds=seconds)

    @property
    def seconds_total(self) -> float:
        return self.total_seconds()


def time_in(text: str) -> datetime | None:
    """The instant that a text names as RFC 3339 does, with its zone; in UTC. None where it names none."""
    try:
        return msgspec.convert(text, _Zoned).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        return None


class MissingReferenceError(ValueError):
    """`${NAME}` or `${file:/path}` names something that is not there."""


def resolve(template: str) -> str:
    """Replace `${NAME}` from the environment and `${file:/path}` by a file's content (trailing newline dropped)."""
    return _REFERENCE.sub(lambda found: _lookup(found.group(1)), template)


def _lookup(reference: str) -> str:
    if reference.startswith("file:"):
        path = Path(reference.removeprefix("file:"))
        try:
            if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST_FILE):
                raise MissingReferenceError(f"cannot read the file {path}: it is no ordinary file of at most 1 MiB")
            return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise MissingReferenceError(f"cannot read the file {path}: {reason}") from None
    if not _VARIABLE.fullmatch(reference):
        raise MissingReferenceError(f"${{{reference}}} is neither a variable's name nor file:/path")
    value = os.environ.get(reference)
    if value is None:
        raise MissingReferenceError(f"the environment variable {reference} is not set")
    return value


class Secret:
    """A secret as configured. Its text appears in no repr, no str and no encoding; `reveal()` gives it.

    A secret that names a file is read anew at each use, so that a rotated Kubernetes secret needs no restart.
    """

    __slots__ = ("_last", "_template")
    known: ClassVar[set[str]] = set()  # every text revealed so far, so that the log can mask it

    def __init__(self, template: str) -> None:
        self._template = template
        self._last = ""

    def reveal(self) -> str:
        try:
            text = resolve(self._template)
        except MissingReferenceError:
            if not self._last:  # a file being swapped: the last known text still serves
                raise
            text = self._last
        self._last = text
        if len(text) >= 4:
            Secret.known.add(text)
        return text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._template == other._template

    def __hash__(self) -> int:
        return hash(self._template)


def decode_hook(kind: type, value: Any) -> Any:
    """How msgspec reads the types of this module."""
    if kind is Duration:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a duration: write a number and a unit, such as 30s, 15m, 2h or 30d")
        return Duration.parse(value)
    if kind is Secret:
        if not isinstance(value, str):
            raise ValueError("a secret is a text; put it in quotes")
        if not value.strip():
            raise ValueError("a secret must not be blank")
        return Secret(value)
    if kind is ZoneInfo:
        try:
            return ZoneInfo(str(value))
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{value!r} is not a time zone: write an IANA name such as Europe/Rome") from None
    raise NotImplementedError(kind)


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `requests` requests in any stretch of `per`."""

    requests: int
    per: Duration

    def __post_init__(self) -> None:
        if self.requests < 1:
            raise ValueError("requests must be at least 1")
        if self.requests > _MOST_REQUESTS:
            raise ValueError(f"requests must be at most {_MOST_REQUESTS}")
        if self.per <= timedelta(0):
            raise ValueError("per must be longer than nothing")


class Deletes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When more than `max_ratio` of the records (and more than 10) vanish at once, their deletes are held."""

    max_ratio: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.max_ratio <= 1:
            raise ValueError("max_ratio is a share between 0 and 1")
