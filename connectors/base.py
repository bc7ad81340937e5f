"""What a connector is: its settings struct. The msgspec tag `vendor: octorate` decodes the configuration into one.

The poller asks it for the parts of a resource, reads each part page by page and maps only the items whose bytes are new.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx
import msgspec

from connectors.api import Api
from connectors.auth import SignIn, Token
from connectors.errors import VendorError
from schemas.records import Record
from schemas.settings import Budget, Deletes, Duration

FirstSync = Literal["baseline", "events"]


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of record a vendor has. `every` is the default interval, `changes` its verbs, most telling first.

    `incremental`: it has a cursor and is swept whole every `reconcile`; otherwise each poll is a whole sweep. The cursor is
    the newest vendor time read; with `by_our_clock` it is the time of the last poll that read everything it asked for, for
    vendors that are asked what changed in the last minutes.
    `only`: its own changes are all that is told; that a record came or went is not.
    `sudden`: a change that, when more than half of a large fleet shows it at once, is the vendor's fault and not told.
    `vouched_by`: the resource, this one or another of the vendor, whose stored record of the same key may tell more
    (`Page.vouched`).
    `feed`: it is no set of records but a stream, read by `Connector.follow`; `told` is then what its events hold.
    """

    record: type[Record]
    every: timedelta
    changes: tuple[str, ...] = ()
    incremental: bool = False
    by_our_clock: bool = False
    only: bool = False
    sudden: str = ""
    vouched_by: str = ""
    feed: bool = False
    told: type[msgspec.Struct] | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to read: one part of a resource. `since`: what changed since then (None: nothing is known yet). `whole`: also
    everything there is, so that what is gone can be told."""

    resource: str
    part: str
    since: datetime | None
    whole: bool
    now: datetime


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Items as the vendor wrote them, and how to read one.

    `to_record` raises Unreadable (naming the path) for an item it cannot map; `key_of` reads only the item's key.
    `context` is whatever else the mapping depends on (a property's zone, say): the same bytes under another context are
    mapped anew. `timed`: it depends on the time of the reading, so that nothing is known from bytes alone.
    `vouched` is given a record that is `in_doubt` and what the resource's `vouched_by` has stored under its key (None: nothing);
    it answers the record to keep, or raises Unreadable.
    """

    items: Sequence[msgspec.Raw]
    to_record: Callable[[msgspec.Raw], Record]
    key_of: Callable[[msgspec.Raw], str]
    context: str = ""
    timed: bool = False
    in_doubt: Callable[[Record], bool] | None = None
    vouched: Callable[[Record, Record | None], Record] | None = None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What to read of a feed: from `start` to `end`, of one part, and of one `source` in it (such as a device) or of all."""

    resource: str
    part: str
    start: datetime
    end: datetime
    source: str = ""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a feed: which source it comes from, its time in UTC (which is its key), and what its event tells of it."""

    source: str
    at: datetime
    value: msgspec.Struct


class Points(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a feed. `to_point` raises Unreadable (naming the path) for an item it cannot map."""

    items: Sequence[msgspec.Raw]
    to_point: Callable[[msgspec.Raw], Point]


class Feeding(msgspec.Struct, frozen=True, kw_only=True):
    """How a feed is read: again for so long before its cursor (late uploads), and in windows no longer than this."""

    overlap: timedelta
    window: timedelta


class Connector(msgspec.Struct, frozen=True, kw_only=True, tag_field="vendor", forbid_unknown_fields=True):
    """The settings all accounts share, and what every vendor provides."""

    resources: ClassVar[Mapping[str, Resource]]
    default_budget: ClassVar[Budget]
    quota_floor: ClassVar[int] = 0  # requests of the vendor's own counter that are left to its other users
    looks_up: ClassVar[frozenset[str]] = frozenset()  # resources that can be asked for by id
    looks_up_at_once: ClassVar[int] = 1  # records that one such request asks for
    signs_in_anew: ClassVar[bool] = True  # `sign_in(None)` uses nothing up: it may follow any failure to renew

    name: str
    base_url: str
    every: dict[str, Duration] = {}
    first_sync: FirstSync | None = None
    deletes: Deletes | None = None
    redact: tuple[str, ...] | None = None
    timezone: ZoneInfo | None = None
    budget: Budget | None = None
    reconcile: Duration = Duration(hours=24)

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        loopback = url.hostname in {"127.0.0.1", "localhost", "::1"}
        if url.scheme != "https" and not (url.scheme == "http" and loopback):
            raise ValueError("base_url must be an https address (plain http only for this machine itself)")
        if not url.hostname or url.username or url.password or url.query or url.fragment:
            raise ValueError("base_url is a host and perhaps a path: no user, password, query or fragment")

    @property
    def vendor(self) -> str:
        """The vendor's name, as in the configuration and in subjects."""
        return str(self.__struct_config__.tag)

    def interval(self, resource: str) -> timedelta:
        """How often a resource is polled."""
        return self.every.get(resource, self.resources[resource].every)

    @property
    def pace(self) -> Budget:
        """At most so many requests: as configured, else what the vendor is known to allow."""
        return self.budget or self.default_budget

    @property
    def hidden(self) -> tuple[str, ...]:
        """Fields that these settings keep out of records, as if they were redacted."""
        return ()

    def sign_in(self, token: Token | None) -> SignIn:
        """Sign in; with a token, renew it. `token.lifetime` is what is left of its life: not above 0 once it has run out or
        was refused."""
        raise NotImplementedError

    def authorize(self, request: httpx.Request, token: Token) -> None:
        """Put the token on a request."""
        request.headers["Authorization"] = f"Bearer {token.access}"

    def refusal(self, reply: httpx.Response) -> VendorError | None:
        """What this vendor means by a reply, where its status alone does not tell. None leaves it to the status."""
        return None

    async def parts(self, api: Api, resource: str) -> Sequence[str]:
        """The pieces a resource is read in, such as one per property: one that fails does not stop the others."""
        return ("",)

    def lists_parts(self, resource: str) -> bool:
        """Whether the parts are what the vendor lists, not what is configured: then one that goes missing is a failure."""
        return False

    def read(self, api: Api, query: Query) -> AsyncIterator[Page]:
        """Read one part page by page. Ending without an error means that every page was read."""
        raise NotImplementedError

    def covers(self, query: Query, record: Record) -> bool:
        """Whether a whole read of this part would have listed this stored record, were it still there."""
        return True

    def patience(self, resource: str) -> timedelta | None:
        """For how long a record's silence says nothing, where `sudden` tells of silence."""
        return None

    def feeding(self, resource: str) -> Feeding:
        """How a feed is read."""
        raise NotImplementedError

    def follow(self, api: Api, span: Span) -> AsyncIterator[Points]:
        """Read a feed page by page. Ending without an error means that every page was read."""
        raise NotImplementedError

    def look_up(self, api: Api, query: Query, records: Sequence[Record]) -> AsyncIterator[Page]:
        """Ask by id for records that a whole read did not list, where `looks_up`. What it does not give either is missing."""
        raise NotImplementedError
