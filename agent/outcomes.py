"""How a poll ended: the worst of what went wrong, or what was found."""

from collections.abc import Sequence

import msgspec

from connectors.errors import (
    AuthRefused,
    Forbidden,
    Misconfigured,
    Throttled,
    Unavailable,
    Unreadable,
    VendorError,
)
from schemas.facts import PollOutcome

VENDOR_STALE = "vendor stale"


class VendorStale(Unavailable):
    """Most of a fleet seems to have fallen silent at once: the vendor no longer takes in what its devices send."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a poll ended. `retry_after` in seconds, where the vendor said. `reason`: why the account is in trouble, where the
    outcome does not say it well enough."""

    outcome: PollOutcome
    detail: str = ""
    retry_after: float | None = None
    reason: str = ""
    records: int = 0
    changes: int = 0


_ORDER = (
    PollOutcome.UNAUTHORIZED,
    PollOutcome.FORBIDDEN,
    PollOutcome.UNREADABLE,
    PollOutcome.THROTTLED,
    PollOutcome.UNAVAILABLE,
)


def failed(failures: Sequence[VendorError], records: int, changes: int) -> Ended:
    """How a poll ended in which these went wrong."""
    worst = min(failures, key=lambda error: (_ORDER.index(_outcome(error)), not isinstance(error, VendorStale)))
    return Ended(
        outcome=_outcome(worst),
        detail=str(worst),
        retry_after=worst.retry_after if isinstance(worst, Throttled) else None,
        reason=VENDOR_STALE if isinstance(worst, VendorStale) else "",
        records=records,
        changes=changes,
    )


def _outcome(error: VendorError) -> PollOutcome:
    match error:
        case AuthRefused():
            return PollOutcome.UNAUTHORIZED
        case Throttled():
            return PollOutcome.THROTTLED
        case Forbidden() | Misconfigured():
            return PollOutcome.FORBIDDEN
        case Unreadable():
            return PollOutcome.UNREADABLE
        case _:
            return PollOutcome.UNAVAILABLE
