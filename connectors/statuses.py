"""What a reply means by its status, where the vendor itself does not say more."""

import re
from email.utils import parsedate_to_datetime
from typing import Protocol

import httpx

from connectors.errors import AuthRefused, Forbidden, Misconfigured, Throttled, Unavailable, VendorError
from connectors.http import told

MAX_RETRY_AFTER = 900.0  # seconds; a vendor that asks for a year is asked again in a quarter of an hour


class Refuses(Protocol):
    """Knows what its vendor means by a reply, where the status alone does not tell."""

    def refusal(self, reply: httpx.Response) -> VendorError | None: ...


def said_by(vendor: Refuses, reply: httpx.Response) -> VendorError | None:
    """The failure that a reply is by the vendor's own words; None leaves it to the status."""
    try:
        return vendor.refusal(reply)
    except (ValueError, RecursionError):  # an error body that is not what this vendor's error bodies are
        return None


def by_status(reply: httpx.Response, now: float) -> VendorError | None:
    """The failure that a status stands for; None for 2xx. `now` in Unix seconds, to read a `Retry-After` that is a date."""
    what = f"{told(reply.request)}: the vendor answered {reply.status_code}"
    match reply.status_code:
        case status if 200 <= status < 300:
            return None
        case 301 | 308:
            return Misconfigured(f"{what}, a redirect, which is not followed; correct base_url")
        case status if 300 <= status < 400:
            return Unavailable(f"{what}, a redirect, which is not followed")
        case 401:
            return AuthRefused(what, renewable=True)
        case 403:
            return Forbidden(what)
        case 429:
            return Throttled(what, retry_after=retry_after(reply.headers, now))
        case 408 | 425:
            return Unavailable(what)
        case status if 400 <= status < 500:
            return Misconfigured(what)
    return Unavailable(what)


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Seconds to wait, from 0 to 900, by a `Retry-After` in seconds or as an HTTP date; None for none and for nonsense.

    A date is held against the reply's own `Date` where there is one, so that the vendor's clock may be wrong. `now` is in
    Unix seconds.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), MAX_RETRY_AFTER)
    until = _unix(text)
    if until is None:
        return None
    sent = _unix(headers.get("Date", ""))
    return min(max(until - (now if sent is None else sent), 0.0), MAX_RETRY_AFTER)


def _unix(http_date: str) -> float | None:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
