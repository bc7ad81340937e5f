"""What the console's API is asked with, in the query or the body: what does not fit is refused with a sentence."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from schemas.settings import Duration

Text = Annotated[str, msgspec.Meta(max_length=200)]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,80}$")]
Span = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,6}(\.[0-9]{1,3})?(ms|s|m|h|d)){1,4}$")]
Pattern = Annotated[str, msgspec.Meta(pattern=r"^([a-z_]{1,40}|\*)\.([a-z_]{1,40}|\*)$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]
Zoned = Annotated[datetime, msgspec.Meta(tz=True)]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all questions share: what is not known is refused."""


class Place(Asked, frozen=True, kw_only=True):
    """Which page of the accounts: `offset,limit`; those whose name has `q` in it; those in a state."""

    accounts: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6},[0-9]{1,3}$")] = "0,100"
    q: Text = ""
    state: Literal["any", "bad", "paused"] = "any"

    @property
    def page(self) -> tuple[int, int]:
        """Offset and limit."""
        offset, _, limit = self.accounts.partition(",")
        return int(offset), min(int(limit), 500)


class Past(Asked, frozen=True, kw_only=True):
    """Which charts, of how many hours, of what."""

    of: Literal["polls", "changes", "deliveries", "lag", "requests"]
    hours: Annotated[int, msgspec.Meta(ge=1, le=24)] = 6
    account: Word = ""
    resource: Word = ""
    route: Word = ""


class Which(Asked, frozen=True, kw_only=True):
    """Which events; empty is any."""

    vendor: Word = ""
    account: Word = ""
    resource: Word = ""
    change: Word = ""


class WhichPast(Which, frozen=True, kw_only=True):
    """Which past events: at most `limit`, those before a number."""

    limit: Limit = 100
    before: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None
    reveal: bool = False


class WhichLive(Which, frozen=True, kw_only=True):
    """Which events from now on, and which page of the overview. `only=overview`: no events."""

    accounts: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,6},[0-9]{1,3}$")] = "0,100"
    q: Text = ""
    state: Literal["any", "bad", "paused"] = "any"
    only: Literal["all", "overview", "changes"] = "all"

    @property
    def place(self) -> Place:
        return Place(accounts=self.accounts, q=self.q, state=self.state)


class WhichLetters(Asked, frozen=True, kw_only=True):
    route: Word = ""
    limit: Limit = 100


class Few(Asked, frozen=True, kw_only=True):
    limit: Limit = 100


class Reveal(Asked, frozen=True, kw_only=True):
    """`reveal=true` shows personal data, to whoever may act; it is noted in the audit."""

    reveal: bool = False


class SignIn(Asked, frozen=True, kw_only=True):
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class Pause(Asked, frozen=True, kw_only=True, rename={"for_": "for"}):
    """For how long, such as `2h`; left out, until it is resumed."""

    for_: Span | None = None


class Rebaseline(Asked, frozen=True, kw_only=True):
    events: bool = False


class Rewind(Asked, frozen=True, kw_only=True):
    to: Zoned


class Interval(Asked, frozen=True, kw_only=True):
    """Such as `30s`; null for what is configured."""

    every: Span | None = None


class Replay(Asked, frozen=True, kw_only=True):
    """Events published since and until then; `events` narrow the route's own, such as `booking.*`."""

    since: Zoned
    until: Zoned | None = None
    events: Annotated[list[Pattern], msgspec.Meta(max_length=50)] = []

    def __post_init__(self) -> None:
        try:
            _ = [each.astimezone(UTC) for each in (self.since, self.until) if each is not None]
        except OverflowError:
            raise ValueError("a time is too far away") from None


class WhichDead(Asked, frozen=True, kw_only=True):
    """Dead letters by their ids, or all of a route."""

    ids: Annotated[list[Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,16}$")]], msgspec.Meta(max_length=500)] = []
    route: Word = ""


class Nothing(Asked, frozen=True, kw_only=True):
    """No words are needed."""


def duration(text: str) -> Duration:
    """Raises ValueError with a sentence."""
    return Duration.parse(text.strip())
