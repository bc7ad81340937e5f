"""Routes as configured: which events go where. And the consumer filters that say the same to the bus."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address
from itertools import product
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from events.subjects import Names
from schemas import settings
from schemas.changes import ACCOUNT_CHANGES, CATALOGUE, Scope, changes_of, resources
from schemas.settings import Duration, Secret, time_in

Format = Literal["cloudevents", "standard"]
Order = Literal["record", "none"]
Pattern = tuple[str, str]  # resource and change, each a name or ANY
ANY = "*"
NO_EVENTS = "needs at least one event, such as booking.* or device.offline"
LONGEST_SUBJECT = 256  # the server ends a connection over one that does not fit into its line
CONCURRENCY_AT_MOST = 1000  # as many events the bus hands out to a route at once

# Nearly three days in all: a receiver may be down for a weekend.
RETRIES = tuple(Duration.parse(text) for text in ["5s", "30s", "2m", "10m", "30m", "2h", "6h", "12h", "24h", "24h"])

_NAME = re.compile(r"[a-z0-9-]+")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986: what may stand in a URL at all
_SUBJECT = re.compile(r"[^\s.*>$\x00-\x1f\x7f][^\s.*>\x00-\x1f\x7f]*(\.[^\s.*>\x00-\x1f\x7f]+)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110: token
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OUR_HEADERS = re.compile(
    r"webhook-.*|vendorwire-.*|content-.*|user-agent|host|connection|keep-alive|transfer-encoding|te|trailer|upgrade|expect",
    re.IGNORECASE,
)
_A_TIME = "2026-05-20T08:00:00Z"


class Secrets(tuple[Secret, ...]):
    """The secrets of a webhook, written as one or as a list. All of them sign."""

    __slots__ = ()


class Begin(str):
    """Where a new route begins: `now`, `all`, or the time (RFC 3339) since which events were published."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object, now: datetime) -> "Begin":
        """Raises ValueError for what is none of the three, and for a time that lies ahead."""
        if text in {"now", "all"}:
            return cls(text)
        at = time_in(text) if isinstance(text, str) else None
        if at is None:
            raise ValueError(f"{text!r} is not where a route can begin: write now, all, or a time such as {_A_TIME}")
        if at > now:
            raise ValueError(f"{text!r} lies ahead: a route that begins with what comes from now on says now")
        return cls(text)

    @property
    def since(self) -> datetime | None:
        """The time; None for `now` and `all`."""
        return time_in(self)


NOW, ALL = Begin("now"), Begin("all")


def decode_hook(kind: type, value: Any) -> Any:
    """How msgspec reads the types of this module and of `schemas.settings`."""
    if kind is Begin:
        return Begin.parse(value, datetime.now(UTC))
    if kind is not Secrets:
        return settings.decode_hook(kind, value)
    if isinstance(value, list) and not value:
        raise ValueError("a webhook needs at least one secret")
    return Secrets(settings.decode_hook(Secret, one) for one in (value if isinstance(value, list) else [value]))


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how a route's events are posted. `rate` is in events a second; whether a secret can sign, `Signer` tells.

    Header values are secrets, because that is what they are for: an `authorization` of the receiver's own.
    """

    url: str
    secret: Secrets
    timeout: Duration = Duration(seconds=15)
    concurrency: int = 16
    rate: float | None = None
    headers: dict[str, Secret] = {}
    retries: tuple[Duration, ...] = RETRIES
    format: Format = "cloudevents"
    allow_private: bool = False

    def __post_init__(self) -> None:
        _check_url(self.url)
        _check_headers(self.headers)
        if self.timeout <= timedelta(0):
            raise ValueError("timeout must be longer than nothing")
        if not 1 <= self.concurrency <= CONCURRENCY_AT_MOST:
            raise ValueError(f"concurrency is a number of deliveries at once, from 1 to {CONCURRENCY_AT_MOST}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ValueError("rate is a number of events a second, above 0; leave it out for no limit")

    def __repr__(self) -> str:
        return f"Webhook({urlsplit(self.url).hostname})"  # a path or query may be as good as a password


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events of these kinds, of these accounts and vendors (of all, where none is named), go to one receiver.

    `from_` (`from` as written) matters to a route that is not there yet. With `order: none` a record's events may overtake
    each other.
    """

    name: str
    events: tuple[str, ...]
    accounts: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    webhook: Webhook | None = None
    subject: str | None = None
    from_: Begin = msgspec.field(default=NOW, name="from")
    order: Order = "record"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name: {self.name!r} is not a route's name: use lower-case letters, digits and -")
        if (self.webhook is None) == (self.subject is None):
            raise ValueError("a route has either a webhook or a subject")
        if self.subject is not None and not _SUBJECT.fullmatch(self.subject):
            raise ValueError(
                f"subject: {self.subject!r} is not a subject to publish to: words joined by dots, without * > or $"
            )
        if self.subject is not None and len(self.subject) > LONGEST_SUBJECT:
            raise ValueError(f"subject: it is {len(self.subject)} characters long, and may have {LONGEST_SUBJECT}")
        if not self.events:
            raise ValueError(f"events: {NO_EVENTS}")
        for vendor in self.vendors:
            if vendor not in CATALOGUE:
                raise ValueError(f"vendors: there is no vendor {vendor!r}; there are {_listed(CATALOGUE)}")
        for pattern in self.events:
            _check_pattern(pattern)

    @property
    def patterns(self) -> frozenset[Pattern]:
        """What `events` says, taken apart."""
        return frozenset((resource, change) for resource, _, change in (each.partition(".") for each in self.events))

    def narrowed(self, events: Sequence[str]) -> "Route":
        """The same route for those of its events that are among these as well. Raises ValueError where there are none."""
        for pattern in events:
            _check_pattern(pattern)
        others = {(resource, change) for resource, _, change in (each.partition(".") for each in events)}
        both = {_meet(*pair) for pair in product(self.patterns, others)} - {None}
        if not both:
            raise ValueError(f"events: the route {self.name} has none of these; it has {', '.join(self.events)}")
        return msgspec.structs.replace(self, events=tuple(sorted(f"{each[0]}.{each[1]}" for each in both if each)))


def filters(route: Route, prefix: str, vendors_of_accounts: Mapping[str, str]) -> list[str]:
    """The route's events as JetStream filter subjects; no two of them overlap, which a consumer would refuse.

    `vendors_of_accounts` maps each configured account to its vendor. Raises ValueError for an account that is not there,
    for a route that nothing could ever match, and for a subject that would feed the route with its own output.
    """
    if route.subject is not None and route.subject.split(".")[0] == prefix:
        raise ValueError(f"the subject {route.subject} lies under {prefix}, the bus's own: that would be a loop")
    names = Names(prefix)
    found = [
        names.event(Scope(vendor, account, resource), change)
        for vendor, account in _sources(route, vendors_of_accounts)
        for resource, change in _apart(route.patterns)
        if _exists(vendor, resource, change)
    ]
    if not found:
        raise ValueError(
            f"no event can ever match the route {route.name}: its vendors or accounts have no such changes"
        )
    return sorted(found)


def _sources(route: Route, vendors_of_accounts: Mapping[str, str]) -> set[tuple[str, str]]:
    if not route.accounts:
        return {(vendor, ANY) for vendor in route.vendors or (ANY,)}
    for account in route.accounts:
        if account not in vendors_of_accounts:
            raise ValueError(f"there is no account {account!r}; there are {_listed(vendors_of_accounts)}")
    pairs = {(vendors_of_accounts[account], account) for account in route.accounts}
    return {(vendor, account) for vendor, account in pairs if not route.vendors or vendor in route.vendors}


def _apart(patterns: frozenset[Pattern]) -> set[Pattern]:
    """The same patterns without overlap: `booking.*` swallows `booking.created`, and `*.created` is then spelled out."""
    if (ANY, ANY) in patterns:
        return {(ANY, ANY)}
    whole = {resource for resource, change in patterns if change == ANY}
    everywhere = {change for resource, change in patterns if resource == ANY}
    if whole and everywhere:
        spelled = {(resource, change) for resource in resources() for change in everywhere & changes_of(resource)}
        patterns, everywhere = (patterns | spelled) - {(ANY, change) for change in everywhere}, set()
    return {
        (resource, change)
        for resource, change in patterns
        if change == ANY or resource == ANY or (resource not in whole and change not in everywhere)
    }


def _exists(vendor: str, resource: str, change: str) -> bool:
    vendors = CATALOGUE.values() if vendor == ANY else (CATALOGUE.get(vendor, {}),)
    return any(
        resource in {ANY, name} and (change == ANY or change in changes)
        for catalogue in vendors
        for name, changes in (*catalogue.items(), ("account", ACCOUNT_CHANGES))
    )


def _meet(one: Pattern, other: Pattern) -> Pattern | None:
    """What both patterns say; None where nothing is of both kinds."""
    if any(ANY not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True)):
        return None
    resource, change = (b if a == ANY else a for a, b in zip(one, other, strict=True))
    return (resource, change) if ANY in {resource, change} or change in changes_of(resource) else None


def _check_pattern(pattern: str) -> None:
    resource, dot, change = pattern.partition(".")
    if not dot or not resource or not change:
        raise ValueError(
            f"events: {pattern!r} is not <resource>.<change>; either may be *, such as booking.* or *.deleted"
        )
    if resource != ANY and resource not in resources():
        raise ValueError(f"events: there is no resource {resource!r}; there are {_listed(resources())}")
    known = changes_of(resource) if resource != ANY else {each for name in resources() for each in changes_of(name)}
    if change != ANY and change not in known:
        of = f"{resource} has" if resource != ANY else "there are"
        raise ValueError(f"events: there is no change {change!r}; {of} {_listed(known)}")


def _check_url(url: str) -> None:
    """Refuse every spelling two parsers could read differently: one host is checked, and the same one is dialled."""
    if not _URL.fullmatch(url):
        raise ValueError("url may hold ASCII without spaces only: percent-encode its path, write its host in punycode")
    parts = urlsplit(url)  # a broken bracket or port raises ValueError by itself
    if parts.scheme not in {"http", "https"}:
        raise ValueError("url must be an http or https address")
    if "@" in parts.netloc or "#" in url:
        raise ValueError("url must have no user, password or fragment")
    host = parts.hostname or ""
    if not (_is_ipv6(host) if "[" in parts.netloc else _HOST.fullmatch(host)) or parts.port == 0:
        raise ValueError("url needs a host, and perhaps a port")


def _is_ipv6(host: str) -> bool:
    try:
        return "%" not in str(IPv6Address(host))
    except ValueError:
        return False


def _check_headers(headers: Mapping[str, Secret]) -> None:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{name!r} is not a header's name")
        if _OUR_HEADERS.fullmatch(name):
            raise ValueError(f"the header {name} is ours to set")
        if not _HEADER_VALUE.fullmatch(value.reveal()):
            raise ValueError(f"the value of the header {name} must be one line of printable ASCII")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
