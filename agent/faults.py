"""Faults of a configuration: collected, given their line, cleaned of what must not be seen, and raised together."""

import re

import msgspec

from agent.mask import QUOTED, Mask

_LAST_STEP = re.compile(r"(\.?[^.\[\]]+|\[\d+\])$")


class Fault(msgspec.Struct, frozen=True):
    """One fault: `line` counts from 1 (None where there is no file to read), `path` is `accounts[1].every.booking`."""

    file: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(Exception):
    """The configuration cannot be used. `faults` holds every fault that was found, in the file's order."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class Faults:
    """Collects the faults of one file.

    `lines` tells where each path stands. `hidden` maps each text that no fault may show (a secret, what a reference
    stands for) to what is shown instead: the reference, or `***`. `references` tells which paths were written as one:
    a fault there quotes it in place of any part of what it stands for.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[str, int] = {}
        self.hidden: dict[str, str] = {}
        self.references: dict[str, str] = {}
        self._found: list[tuple[int | None, str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: str, message: str, line: int | None = None) -> None:
        """Note a fault; without `line` it stands where its path, or the nearest section around it, begins."""
        self._found.append((line or self._line(path), path, message))

    def error(self) -> ConfigError:
        """All that was noted. Texts to hide are taken out only now, when all of them are known."""
        found = sorted(dict.fromkeys(self._found), key=lambda fault: fault[0] or 0)
        mask = Mask(self.hidden)
        return ConfigError([Fault(self.file, line, path, self._clean(mask, path, text)) for line, path, text in found])

    def _clean(self, mask: Mask, path: str, message: str) -> str:
        if path in self.references:
            message = QUOTED.sub(lambda _: repr(self.references[path]), message)
        return mask(message)

    def _line(self, path: str) -> int | None:
        while path not in self.lines and path:
            path = _LAST_STEP.sub("", path, count=1) if _LAST_STEP.search(path) else ""
        return self.lines.get(path)


def step(path: str, key: str | int) -> str:
    """The path of a key or an item. Of an odd key only its start is shown: a secret may have slipped into it."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    head = re.match(r"[A-Za-z0-9_-]{0,40}", key)
    shown = head.group() if head else ""
    shown = shown if shown == key else f"{shown}…"
    return f"{path}.{shown}" if path else shown
