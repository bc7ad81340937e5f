"""What a vendor has accepted which token for, so that what it does not grant is not taken for a token that has run out.

Some vendors answer 401 for both. A new token tells them apart: where that is refused too, and accepted for something else,
no token helps.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")

LONG_AGO = (
    2 * 3600.0
)  # seconds; what was accepted then says nothing of today's tokens. Longer than most polls are apart
MOST = 1000  # requests that are remembered


class Doubt(msgspec.Struct, frozen=True):
    """A refused request, held against the others. `elsewhere`: others were accepted lately, and none of them refused since;
    `is_accepted`: with this very token. `is_settled`: another token did not help before, and was accepted elsewhere."""

    elsewhere: bool
    is_accepted: bool
    is_settled: bool


class Grants:
    """Requests, each by its method and path, and what became of them. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accepted: dict[str, tuple[str, float]] = {}  # the access token, and when; the oldest first
        self._in_vain: dict[str, bool] = {}  # refused with a renewed token too, and whether that was accepted elsewhere

    def accepted(self, what: str, access: str) -> None:
        """It was answered well."""
        self._in_vain.pop(what, None)
        self._accepted.pop(what, None)
        self._accepted[what] = access, self._clock()
        _trim(self._accepted)

    def refused(self, what: str, access: str) -> Doubt:
        """It was refused for its token."""
        before, _ = self._accepted.pop(what, ("", 0.0))
        since = self._clock() - LONG_AGO
        good = {token for token, at in self._accepted.values() if at > since}
        is_accepted = before != access and access in good
        if what in self._in_vain:
            self._in_vain[what] |= is_accepted
        return Doubt(bool(good), is_accepted, bool(good) and self._in_vain.get(what, False))

    def refused_again(self, what: str, access: str) -> bool:
        """It was refused with the renewed token too: whether that is known to be accepted elsewhere."""
        known = self._in_vain.pop(what, False)
        self._in_vain[what] = known
        _trim(self._in_vain)
        return self.refused(what, access).is_accepted


def _trim(remembered: dict[str, T]) -> None:
    if len(remembered) > MOST:
        del remembered[next(iter(remembered))]
