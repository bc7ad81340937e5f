"""Octorate, a channel manager for hotels.

Signs in with the refresh token a person's consent gave once, configured or stored; a renewal may return no refresh token,
then the old one stays good. Reads reservations per accommodation: incrementally by MODIFIED_BETWEEN, CREATETIME and
CANCELLATION around the cursor, whole by STAY over a window of days. Odd: a 403 means four things, told apart by the body's
`type`; paging data lies; query days are Rome days; stays are instants that become local dates only in the
accommodation's zone.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import httpx
import msgspec

from connectors import pages
from connectors.api import Api
from connectors.auth import SignIn, Token, life
from connectors.base import Connector, Page, Query, Resource
from connectors.decoding import BOM, decode
from connectors.errors import (
    AuthRefused,
    Forbidden,
    Misconfigured,
    NothingThere,
    Throttled,
    Unavailable,
    VendorError,
)
from connectors.http import told
from connectors.listing import Listed, Listing
from connectors.octorate_records import an_instant, id_of, own_key, to_booking, to_property
from schemas import octorate as wire
from schemas.records import Booking, Property, Record
from schemas.settings import Budget, Duration, Secret

ROME = ZoneInfo("Europe/Rome")
DAY = timedelta(days=1)
ACCOMMODATION = "/rest/v1/accommodation"
RESERVATION = "/rest/v1/reservation"
INCREMENTAL = ("MODIFIED_BETWEEN", "CREATETIME", "CANCELLATION")
PAGE_SIZE = 200  # the largest that is allowed
MOST_PAGES = 250  # of one question: 50,000 bookings of one accommodation

_listing = msgspec.json.Decoder(wire.Listing | list[msgspec.Raw])
_place = msgspec.json.Decoder(wire.Place)
_token = msgspec.json.Decoder(wire.Token)
_subscription = msgspec.json.Decoder(wire.Subscription)
_refusal = msgspec.json.Decoder(wire.Refusal)


class Octorate(Connector, frozen=True, kw_only=True, tag="octorate"):
    """An Octorate account. `accommodations`: the ids to read; left out, all that the token may see.

    `refresh_token` may be left out where `vendorwire authorize` stores one. `hint_secret`: the last part of the address that
    Octorate's webhooks may call to have bookings read at once.
    """

    resources: ClassVar[Mapping[str, Resource]] = MappingProxyType(
        {
            "booking": Resource(
                record=Booking,
                every=timedelta(seconds=60),
                changes=("cancelled", "no_show", "checked_out", "checked_in", "confirmed"),
                incremental=True,
            ),
            "property": Resource(record=Property, every=timedelta(hours=1)),
        }
    )
    looks_up: ClassVar[frozenset[str]] = frozenset({"booking"})
    looks_up_at_once: ClassVar[int] = 50  # ids in one query string
    hinted: ClassVar[tuple[str, ...]] = ("booking",)
    signs_in_anew: ClassVar[bool] = False  # it would use the configured refresh token, which may be spent
    default_budget: ClassVar[Budget] = Budget(requests=100, per=Duration(minutes=5))  # about, per accommodation
    quota_floor: ClassVar[int] = 10  # the quota is shared with the vendor's other integrations: leave them some

    client_id: str
    client_secret: Secret
    refresh_token: Secret | None = None
    base_url: str = "https://api.octorate.com/connect"
    accommodations: tuple[str, ...] = ()
    hint_secret: Secret | None = None
    # Assumed, not documented:
    window_past: Duration = Duration(days=30)  # how far a whole read looks back and ahead
    window_ahead: Duration = Duration(days=540)
    token_lifetime: Duration = Duration(hours=24)  # where a reply does not tell
    consent_url: str = "https://admin.octorate.com/octobook/identity/oauth.xhtml"
    redirect_uri: str = (
        "https://localhost/vendorwire"  # one that is registered with Octorate; nothing need answer there
    )
    grant_type: str = "code"  # of the exchange; some clients send authorization_code
    subscription_path: str = "/rest/v1/subscription"
    hint_events: tuple[str, ...] = (  # what to subscribe; one subscription of each is allowed
        *("RESERVATION_CREATED", "RESERVATION_CHANGE"),
        *("RESERVATION_CANCELLED", "RESERVATION_CONFIRMED"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.consent_url.startswith("https://") and not self.base_url.startswith("http://"):
            raise ValueError("consent_url must be an https address")
        if not self.client_id.strip():
            raise ValueError("client_id is empty")
        if not all(each.strip() for each in self.accommodations):
            raise ValueError("accommodations holds an empty id")
        if len(set(self.accommodations)) < len(self.accommodations):
            raise ValueError("accommodations names one twice")

    @property
    def pace(self) -> Budget:
        """The quota holds for each accommodation; where they are not named, for one."""
        known = self.default_budget
        named = msgspec.structs.replace(known, requests=known.requests * max(len(self.accommodations), 1))
        return self.budget or named

    @property
    def needs_consent(self) -> bool:
        """Whether nothing is configured to sign in with."""
        return self.refresh_token is None

    def sign_in(self, token: Token | None) -> SignIn:
        """Renew with the refresh token last given, or the configured one. Raises AuthRefused where there is none."""
        refresh = token.refresh if token else None
        if refresh is None and self.refresh_token is not None:
            refresh = self.refresh_token.reveal()
        if refresh is None:
            raise AuthRefused(f"Octorate needs a person's consent: run `vendorwire authorize {self.name}`")
        return (yield from self._ask("refresh", refresh, refresh_token=refresh, grant_type="refresh_token"))

    def consent(self, redirect_uri: str, state: str) -> str:
        """The address a person opens to consent; Octorate sends the browser on to `redirect_uri`, which it must know."""
        query = {"client_id": self.client_id, "redirect_uri": redirect_uri, "state": state}
        return f"{self.consent_url}?{urlencode(query)}"

    def exchange(self, code: str, redirect_uri: str) -> SignIn:
        """The tokens for a code, which is good for about a minute."""
        return (yield from self._ask("token", None, code=code, redirect_uri=redirect_uri, grant_type=self.grant_type))

    async def subscribe(self, api: Api, address: str, secret: str) -> Sequence[str]:
        """One subscription of each event; one that calls this address with an earlier secret is moved."""
        path, url = self.subscription_path.rstrip("/"), address + quote(secret, safe="")
        listed = [
            decode(raw, _subscription, "a subscription")
            for raw in _items(await api.get(f"{path}/list", _listing, absent=[]))
        ]
        there = {each.type: each for each in listed if each.type in self.hint_events}
        foreign = sorted(kind for kind, each in there.items() if not each.endpoint.startswith(address))
        if foreign:
            raise Misconfigured(
                f"Octorate calls another address for {', '.join(foreign)}: end that subscription there first"
            )
        made = []
        for kind in self.hint_events:
            if kind not in there:
                await api.post(f"{path}/{kind}", _subscription, form={"url": url})
                made.append(kind)
            elif there[kind].endpoint != url:
                await api.put(f"{path}/{quote(str(there[kind].id), safe='')}", _subscription, [("url", url)])
                made.append(kind)
        return made

    def _ask(self, what: str, refresh: str | None, **fields: str) -> SignIn:
        """Tokens; where none comes to renew them with, `refresh` stays good."""
        client = {"client_id": self.client_id, "client_secret": self.client_secret.reveal()}
        url = f"{self.base_url.rstrip('/')}/rest/v1/identity/{what}"
        request = httpx.Request("POST", url, data={**client, **fields})
        reply = yield request
        answer = decode(reply.content, _token, told(request))
        lifetime = _lifetime(answer, reply.headers.get("Date"), self.token_lifetime)
        return Token(access=answer.access_token, refresh=answer.refresh_token or refresh, lifetime=lifetime)

    def refusal(self, reply: httpx.Response) -> VendorError | None:
        """Octorate's error types, from its glossary and from what clients have seen."""
        if reply.is_success:
            return None
        kind = _error_type(reply)
        match reply.status_code, kind:
            case 401 | 403, "ApiLoginExpired" | "ApiKeyInvalid" | "ApiKeyMissing":
                return AuthRefused(f"Octorate refused the credentials ({kind})", renewable=True)
            case 403 | 429, "ApiQuotaException":
                return Throttled("Octorate's quota is used up (ApiQuotaException)", retry_after=60.0)
            case 403, "ApiSecurityException":
                return Forbidden("Octorate does not grant this resource (ApiSecurityException)")
            case 403, "WrongEnviroment":
                return Misconfigured("the Octorate account belongs to the other environment (WrongEnviroment)")
            case 404, "ApiResourceMissing" if "ids[]" not in reply.request.url.params:
                return Forbidden("Octorate does not know what was to be listed (ApiResourceMissing)")
            case 404, "ApiResourceEmpty" | "ApiResourceMissing":
                return NothingThere(f"Octorate has nothing there ({kind})")
            case 404, "":
                return Unavailable("Octorate answered 404 without saying why: a wrong address, or it is down")
            case 422, "ApiResourceMissing":
                return Misconfigured("Octorate does not know what was asked for (ApiResourceMissing)")
        return None

    async def parts(self, api: Api, resource: str) -> Sequence[str]:
        """One per accommodation; properties at once where none is named."""
        if resource == "property":
            return self.accommodations or ("",)
        return self.accommodations or tuple(filter(None, map(id_of, await self._listed(api))))

    def lists_parts(self, resource: str) -> bool:
        """Whose bookings to read is the vendor's word where no accommodation is named."""
        return resource == "booking" and not self.accommodations

    async def read(self, api: Api, query: Query) -> AsyncIterator[Page]:
        """Bookings of one accommodation; one property, or all."""
        if query.resource == "property":
            async for items in self._accommodations(api):
                wanted = [raw for raw in items if not query.part or id_of(raw) in {query.part, None}]
                yield Page(items=wanted, to_record=to_property, key_of=own_key)
            return
        for parameters in self._questions(query):
            async for page in self._bookings(api, query.part, parameters):
                yield page

    def covers(self, query: Query, record: Record) -> bool:
        """STAY lists what lies in the window; its edges are given a day's grace."""
        if not isinstance(record, Booking):
            return query.part in {"", record.id}
        first, last = self._window(query.now)
        inside = record.departure > first + DAY and record.arrival < last - DAY
        return record.property_id == query.part and inside

    async def look_up(self, api: Api, query: Query, records: Sequence[Record]) -> AsyncIterator[Page]:
        """Ask for bookings by id."""
        for start in range(0, len(records), self.looks_up_at_once):
            ids = [("ids[]", record.id) for record in records[start : start + self.looks_up_at_once]]
            async for page in self._bookings(api, query.part, ids):
                yield page

    def _questions(self, query: Query) -> list[list[tuple[str, str]]]:
        today = query.now.astimezone(ROME).date()
        questions = []
        if query.since is not None:
            days = _days(query.since.astimezone(ROME).date() - DAY, today + DAY)
            questions += [[("type", kind), *days] for kind in INCREMENTAL]
        if query.whole:
            stay = [("type", "STAY"), *_days(*self._window(query.now))]
            questions += [stay, [*stay, ("status", "CANCELLED")]]
        return questions

    def _window(self, now: datetime) -> tuple[date, date]:
        today = now.astimezone(ROME).date()
        return today - self.window_past, today + self.window_ahead

    async def _bookings(self, api: Api, part: str, parameters: list[tuple[str, str]]) -> AsyncIterator[Page]:
        place = await self._place(api, part)
        listing = Listing(
            path=f"{RESERVATION}/{quote(part, safe='')}",
            decoder=_listing,
            page=_page,
            key_of=own_key,
            context=f"{place.currency} {place.time_zone}",
            absent=Listed(items=()),
        )

        async def fetch(page: int) -> Sequence[msgspec.Raw]:
            query = [*parameters, ("size", str(PAGE_SIZE)), ("page", str(page)), ("sortBy", "createTime.asc")]
            return (await api.listing(listing, query)).items

        to_record = partial(to_booking, part, place)
        async for items in pages.numbered(fetch, size=PAGE_SIZE, cap=MOST_PAGES):
            yield Page(items=items, to_record=to_record, key_of=own_key, context=listing.context)

    async def _accommodations(self, api: Api) -> AsyncIterator[Sequence[msgspec.Raw]]:
        """Page by page, up to the first that names none but known ones: it is unknown whether the vendor heeds `page`."""
        known: set[str | None] = set()

        async def fetch(page: int) -> Sequence[msgspec.Raw]:
            items = _items(await api.get(ACCOMMODATION, _listing, [("page", str(page))], absent=[]))
            news = {id_of(raw) for raw in items} - known
            known.update(news)
            return items if news else []

        async for items in pages.numbered(fetch, size=None):
            yield items

    async def _listed(self, api: Api) -> list[msgspec.Raw]:
        """All accommodations, as they were within the last minutes."""

        async def ask() -> list[msgspec.Raw]:
            return [raw async for items in self._accommodations(api) for raw in items]

        return await api.remember(ACCOMMODATION, ask)

    async def _place(self, api: Api, part: str) -> wire.Place:
        """The zone and currency of an accommodation, for reservations that do not bring their own."""
        listed = next((raw for raw in await self._listed(api) if id_of(raw) == part), msgspec.Raw(b"{}"))
        found = decode(listed, _place, f"accommodation {part!a}"[:80])
        return msgspec.structs.replace(found, time_zone=found.time_zone or (self.timezone and self.timezone.key))


def _days(first: date, last: date) -> list[tuple[str, str]]:
    return [("startDate", first.isoformat()), ("endDate", last.isoformat())]


def _page(reply: wire.Listing | list[msgspec.Raw]) -> Listed:
    return Listed(items=_items(reply))


def _items(reply: wire.Listing | list[msgspec.Raw]) -> Sequence[msgspec.Raw]:
    return reply.data if isinstance(reply, wire.Listing) else reply


def _error_type(reply: httpx.Response) -> str:
    text = reply.content.removeprefix(BOM).strip()
    return _refusal.decode(text).type if text.startswith(b"{") and text.endswith(b"}") else ""


def _lifetime(answer: wire.Token, date_header: str | None, default: timedelta) -> float:
    """Seconds from now; by the vendor's own clock where the reply gives only a date. Nonsense counts as the default."""
    told: float | str | None = answer.expires_in
    if told is None and answer.expire_date and date_header:
        told = (an_instant(answer.expire_date) - parsedate_to_datetime(date_header)).total_seconds()
    return life(told, default)
