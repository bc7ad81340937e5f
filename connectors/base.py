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
    """One kind of record a vendor has. `every` is the default interval, `changes` its verbs, most telling first."""

    record: type[Record]
    every: timedelta
    changes: tuple[str, ...] = ()
    incremental: bool = False  # has a cursor; swept whole every `reconcile`. Otherwise each poll is a whole sweep


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
    mapped anew.
    """

    items: Sequence[msgspec.Raw]
    to_record: Callable[[msgspec.Raw], Record]
    key_of: Callable[[msgspec.Raw], str]
    context: str = ""


class Connector(msgspec.Struct, frozen=True, kw_only=True, tag_field="vendor", forbid_unknown_fields=True):
    """The settings all accounts share, and what every vendor provides."""

    resources: ClassVar[Mapping[str, Resource]]
    default_budget: ClassVar[Budget]
    quota_floor: ClassVar[int] = 0  # requests of the vendor's own counter that are left to its other users
    looks_up: ClassVar[frozenset[str]] = frozenset()  # resources that can be asked for by id

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

    def sign_in(self, token: Token | None) -> SignIn:
        """Sign in; with a token that has run out or was refused, renew it."""
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

    def look_up(self, api: Api, query: Query, records: Sequence[Record]) -> AsyncIterator[Page]:
        """Ask by id for records that a whole read did not list, where `looks_up`. What it does not give either is missing."""
        raise NotImplementedError
