"""Signing in, as a generator: it yields requests and receives replies, so a vendor's login is a few pure lines."""

import re
from collections.abc import Generator
from datetime import timedelta
from typing import Protocol, runtime_checkable

import httpx
import msgspec

LONGEST_LIFE = timedelta(days=366)

SignIn = Generator[httpx.Request, httpx.Response, "Token"]
"""Yields each request of a sign-in, receives its reply (already read, status below 400), returns the token.

A reply with an error status never reaches the generator: the caller raises the named error instead.
"""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An access token and, where the vendor has one, the refresh token that renews it.

    `lifetime` is in seconds from receipt; it is counted on the monotonic clock, never against the vendor's clock.
    """

    access: str
    refresh: str | None = None
    lifetime: float

    def __repr__(self) -> str:
        return f"Token(***, lifetime={self.lifetime:.0f})"


def life(told: float | str | None, default: timedelta) -> float:
    """Seconds that a token lives, as a vendor tells it: a number or its text. Nonsense, and above a year, is the default."""
    spelt = str(told)
    seconds = float(spelt) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", spelt, re.ASCII) else 0.0
    return seconds if 1 <= seconds <= LONGEST_LIFE.total_seconds() else default.total_seconds()


class Credentials(Protocol):
    """The one owner of an account's token."""

    async def token(self) -> Token:
        """A token that is not known to be expired; signs in or renews where needed. Raises VendorError."""
        ...

    async def renew(self, refused: Token, *, elsewhere: bool = False) -> Token:
        """A token newer than the one the vendor has just refused. Raises AuthRefused where there is none.

        `elsewhere`: for other requests it is good, or may be; it serves them until there is a newer one.
        """
        ...


@runtime_checkable
class Consents(Protocol):
    """A vendor to whom a person consents once, in the browser; a code comes back, and is exchanged for tokens."""

    @property
    def redirect_uri(self) -> str:
        """Where the vendor sends the browser, with the code, unless another place is named."""
        ...

    @property
    def needs_consent(self) -> bool:
        """Whether nothing is configured to sign in with."""
        ...

    def consent(self, redirect_uri: str, state: str) -> str:
        """The address to open; `state` comes back with the code."""
        ...

    def exchange(self, code: str, redirect_uri: str) -> SignIn:
        """The tokens for a code; `redirect_uri` as it was given to `consent`."""
        ...
