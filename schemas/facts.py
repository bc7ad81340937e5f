"""What the agent tells about itself: frozen facts. Metrics, logs and screens are made from them; the core knows none of those."""

from datetime import datetime
from enum import StrEnum

import msgspec

from schemas.changes import Scope


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened."""


class PollOutcome(StrEnum):
    """How a poll ended. Every poll ends in exactly one of these."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNREADABLE = "unreadable"
    CONFLICT = "conflict"
    HELD = "held"

    @property
    def succeeded(self) -> bool:
        """Whether the account's records were read to the end."""
        return self in {PollOutcome.CHANGED, PollOutcome.UNCHANGED, PollOutcome.HELD}


class Polled(Fact, frozen=True, kw_only=True):
    """A poll ended. `detail` says what is wrong, without secrets; `records` counts what was read."""

    scope: Scope
    outcome: PollOutcome
    seconds: float
    records: int = 0
    detail: str = ""


class Scheduled(Fact, frozen=True, kw_only=True):
    """A resource is polled every `interval` seconds."""

    scope: Scope
    interval: float


class Fresh(Fact, frozen=True, kw_only=True):
    """What the bus knows of a resource: its last successful poll, its stored records, its held deletes. From any agent."""

    scope: Scope
    at: datetime
    records: int
    held: int


class Published(Fact, frozen=True, kw_only=True):
    """A change was committed with its event."""

    scope: Scope
    change: str
    key: str
    event_id: str
    age: float | None = None  # seconds from the vendor's own time to the commit; None where the vendor gives none


class Quarantined(Fact, frozen=True, kw_only=True):
    """A record could not be read; the rest went on. `path` names the place, without values; `key` is empty where that is it."""

    scope: Scope
    path: str
    key: str = ""


class VendorAnswered(Fact, frozen=True, kw_only=True):
    """A vendor answered a request; `status` is the HTTP status, or `error` where there was none."""

    vendor: str
    account: str
    status: str
    remaining: float | None = None  # requests left in the budget


class TokenState(Fact, frozen=True, kw_only=True):
    """The health of an account's credentials. `expires_at` in Unix seconds; `renewed` is an outcome or empty."""

    vendor: str
    account: str
    healthy: bool
    expires_at: float | None = None
    renewal: str = ""  # renewed, refused, failed; empty when only the state is told


class AccountPaused(Fact, frozen=True, kw_only=True):
    """Somebody has paused an account, or it is polled again. `until`: when that ends by itself; None where it does not."""

    vendor: str
    account: str
    paused: bool
    by: str = ""
    until: datetime | None = None


class HintOutcome(StrEnum):
    """What became of a vendor's hint that something changed."""

    ACCEPTED = "accepted"
    ABSORBED = "absorbed"
    REFUSED = "refused"


class Hinted(Fact, frozen=True, kw_only=True):
    """Hints came in. `account` is empty where they were refused: nobody knows whom they are about."""

    vendor: str
    account: str
    outcome: HintOutcome
    hints: int = 1


class SignInOutcome(StrEnum):
    """What became of an admin token that was given to the console. A right one that a program sends is no sign-in."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    THROTTLED = "throttled"


class SignedIn(Fact, frozen=True, kw_only=True):
    """Somebody signed in to the console, or tried to."""

    outcome: SignInOutcome


class DeliveryOutcome(StrEnum):
    DELIVERED = "delivered"
    RETRIED = "retried"
    DEAD = "dead"
    REFUSED = "refused"


class Delivered(Fact, frozen=True, kw_only=True):
    """One attempt to hand an event to a route ended."""

    route: str
    outcome: DeliveryOutcome
    event_id: str
    kind: str  # the event's type, such as booking.cancelled
    attempt: int
    seconds: float
    status: str = ""  # HTTP status, or what went wrong
    lag: float | None = None  # seconds from the commit to the 2xx; only when delivered


class RouteTurned(Fact, frozen=True, kw_only=True):
    """A route began to rest (`open`), was stopped by its receiver (`stopped`), or delivers again (`closed`); `error` is why."""

    route: str
    circuit: str
    error: str = ""


class RouteState(Fact, frozen=True, kw_only=True):
    """A route's backlog and dead letters, as the server counts them."""

    route: str
    pending: int
    dead: int
    in_flight: int = 0  # of those pending: handed out, and being delivered or waiting for a retry
    circuit_open: bool = False


class StreamState(Fact, frozen=True, kw_only=True):
    """One of our streams as the server has it: its bytes and their limit, if any, and when it was made, in Unix seconds."""

    stream: str  # what it is for: ledger, polls, …; its name depends on the prefix
    size: int
    limit: int | None
    made_at: float


class StreamRemade(Fact, frozen=True, kw_only=True):
    """A stream was gone while the agent ran, and was made anew: what it held is lost. `name` is its name on the server."""

    stream: str
    name: str


class StorageState(Fact, frozen=True, kw_only=True):
    """How much our account stores on the server, of all that is in it, in bytes, and how much it may, if that is limited."""

    used: int
    limit: int | None


class Replanned(Fact, frozen=True, kw_only=True):
    """A poll that was planned would not have fallen due: its plan was lost or overdue, and was put back."""

    scope: Scope


class BusState(Fact, frozen=True, kw_only=True):
    """The connection to the bus is up or down. `detail` says why it is down, without credentials."""

    connected: bool
    detail: str = ""
