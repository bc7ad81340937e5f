"""What an answer to a webhook means, and how long to wait before the next attempt."""

import random
from collections.abc import Sequence
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

import msgspec

JITTER = 0.2  # a schedule's wait varies by this share, so that receivers are not hit by all at once
LONGEST = timedelta(hours=24).total_seconds()  # however long a receiver asks for


class Delivered(msgspec.Struct, frozen=True):
    """The receiver has the event."""


class Retry(msgspec.Struct, frozen=True):
    """Try again by the schedule, and not before `after` seconds where the receiver asked for that."""

    after: float | None = None


class Stop(msgspec.Struct, frozen=True):
    """The receiver is gone for good (410): the route stops, its events stay."""


def classify(status: int | None, retry_after: str | None, now: float) -> Delivered | Retry | Stop:
    """What to do after an attempt. `status` is None where no answer came; `now` in Unix seconds."""
    match status:
        case int() if 200 <= status < 300:
            return Delivered()
        case 410:
            return Stop()
        case 429 | 503:
            return Retry(_seconds(retry_after, now))
        case _:
            return Retry()


def wait(schedule: Sequence[timedelta], attempt: int, rng: random.Random, asked: float | None) -> float | None:
    """Seconds until the next attempt after `attempt` (from 1) failed; None when the schedule is used up: a dead letter.

    What the receiver asked for only ever lengthens the wait, and never beyond a day.
    """
    if attempt > len(schedule):
        return None
    planned = schedule[attempt - 1].total_seconds() * rng.uniform(1 - JITTER, 1 + JITTER)
    if asked is None:
        return planned
    return max(planned, min(asked * rng.uniform(1, 1 + JITTER), LONGEST))


def _seconds(retry_after: str | None, now: float) -> float | None:
    """Retry-After is a number of seconds or an HTTP date (RFC 9110, 10.2.3); anything else is as good as absent."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
