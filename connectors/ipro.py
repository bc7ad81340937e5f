"""iPRO, booking software for agencies of holiday lettings; each has its own site.

Signs in with client credentials, anew each time: there is no refresh token. Reads bookings by the day of their last change,
properties whole, enquiries property by property, and day calendars of those properties alone that the availability check names.
Odd: bookings are asked for once per status, as the default may hide cancelled ones; dates come in three formats inside one
booking; a currency may be a mere symbol; a 200 may report a failure; two GETs change data, and nothing here comes near them.
"""

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, timedelta
from functools import partial
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote

import httpx
import msgspec

from connectors import pages
from connectors.api import Api
from connectors.auth import SignIn, Token, life
from connectors.base import Connector, Page, Query, Resource
from connectors.decoding import BOM
from connectors.errors import Forbidden, Misconfigured, NothingThere, Unavailable, Unreadable, VendorError
from connectors.indexed import LONGEST, READINGS, indexed
from connectors.ipro_records import (
    NO_CURRENCY,
    Paid,
    booking_key,
    codes,
    flag,
    in_doubt,
    own_key,
    property_id_of,
    to_availability,
    to_booking,
    to_enquiry,
    to_property,
    vouched_booking,
    vouched_property,
)
from connectors.listing import Listed, Listing, key_or_bytes
from connectors.tolerant import an_id
from schemas import ipro as wire
from schemas.lettings import Availability, Enquiry
from schemas.records import Booking, Property, Record
from schemas.settings import Budget, Duration, Secret

DAY = timedelta(days=1)
MOST_PAGES = 2000  # of one listing: a million bookings of one site, in pages of 1000
LEAST_MARGIN = timedelta(minutes=2)
TOKEN_LIFETIME = timedelta(hours=1)  # where a reply does not tell
STATUSES = ([("bookingstatus", str(wire.BOOKED))], [("bookingstatus", str(wire.CANCELLED))])
NOTHING = wire.Listing(items=[])

_PROPERTY_PATH = re.compile(r"/property/(?!dayavailabilitycheck$)[^/]+(?:/[^/]+)?$")

_listing = msgspec.json.Decoder(wire.Listing | list[msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_touched = msgspec.json.Decoder(wire.Touched | list[wire.Touched | int | float | str])
_calendar = msgspec.json.Decoder(wire.Calendar)
_token = msgspec.json.Decoder(wire.Token)
_outcome = msgspec.json.Decoder(wire.Outcome)


class Ipro(Connector, frozen=True, kw_only=True, tag="ipro"):
    """An iPRO site. `currency`: the ISO code of amounts for which the site gives neither a code nor a plain symbol, and of
    which nothing is stored yet."""

    resources: ClassVar[Mapping[str, Resource]] = MappingProxyType(
        {
            "booking": Resource(
                record=Booking,
                every=timedelta(seconds=60),
                changes=("cancelled", "reactivated", "confirmed"),
                incremental=True,
                vouched_by="booking",
            ),
            "property": Resource(
                record=Property,
                every=timedelta(minutes=15),
                changes=("withdrawn", "suspended", "reinstated"),
                vouched_by="property",
            ),
            "availability": Resource(
                record=Availability,
                every=timedelta(minutes=5),
                changes=("changed",),
                incremental=True,
                by_our_clock=True,
                only=True,
            ),
            "enquiry": Resource(record=Enquiry, every=timedelta(minutes=15)),
        }
    )
    looks_up: ClassVar[frozenset[str]] = frozenset({"booking", "property"})
    # No limit is known; the vendor recommends caching on the caller's side.
    default_budget: ClassVar[Budget] = Budget(requests=2, per=Duration(seconds=1))

    client_id: str
    client_secret: Secret
    token_path: str = "/oauth/2.0/token"  # noqa: S105  # an address
    # Assumed, not documented:
    path: str = "/apis"
    page_size: int = 200
    currency: str | None = None
    availability_margin: Duration = Duration(minutes=10)  # at least; never less than two intervals
    months: int = 24  # of a calendar

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.client_id.strip():
            raise ValueError("client_id is empty")
        if not all(path.startswith("/") and not {"?", "#"} & set(path) for path in (self.path, self.token_path)):
            raise ValueError("path and token_path begin with a slash and hold no query")
        if self.currency is not None and (not re.fullmatch("[A-Z]{3}", self.currency) or self.currency == NO_CURRENCY):
            raise ValueError("currency is an ISO 4217 code such as GBP")
        if not 1 <= self.page_size <= 1000:
            raise ValueError("page_size is from 1 to 1000")
        if not 1 <= self.months <= 120:
            raise ValueError("months are from 1 to 120")
        if self.availability_margin < timedelta(0):
            raise ValueError("availability_margin is below zero")

    def sign_in(self, token: Token | None) -> SignIn:  # noqa: ARG002  # there is nothing to renew
        """Client credentials, in an HTTP Basic header."""
        pair = f"{self.client_id}:{self.client_secret.reveal()}".encode()
        reply = yield httpx.Request(
            "POST",
            self.base_url.rstrip("/") + self.token_path,
            headers={
                "Authorization": f"Basic {b64encode(pair).decode()}",
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            },
            data={"grant_type": "client_credentials"},
        )
        answer = _token.decode(reply.content.removeprefix(BOM))
        return Token(access=answer.access_token, lifetime=life(answer.expires_in, TOKEN_LIFETIME))

    def authorize(self, request: httpx.Request, token: Token) -> None:
        """The vendor's own client sends the version too."""
        super().authorize(request, token)
        request.headers["version"] = "2.0"

    def refusal(self, reply: httpx.Response) -> VendorError | None:
        """A failure inside a 200; and what it means that something is not there."""
        if reply.is_success:
            if reply.content.rfind(b'uccess"') < 0:  # looking is cheaper than decoding, from the end more than twice so
                return None
            told = _outcome.decode(reply.content.removeprefix(BOM))
            failed = False in (flag(told.success), flag(told.small))
            return Unavailable("iPRO reports a failure inside a 200 (Success: false)") if failed else None
        path, asked = reply.request.url.path, reply.request.url.params
        if reply.status_code == 404 and _PROPERTY_PATH.search(path):
            return NothingThere("iPRO does not know this property")
        if reply.status_code in {400, 404} and path.endswith("/bookings") and "bookingstatus" not in asked:
            return NothingThere("iPRO lists no bookings without a status")
        if reply.status_code == 404 and "bookingID" in asked:
            return NothingThere("iPRO does not know this booking")
        return None

    async def read(self, api: Api, query: Query) -> AsyncIterator[Page]:
        """Bookings, properties, calendars or enquiries."""
        match query.resource:
            case "booking":
                found = self._bookings(api, query)
            case "property":
                found = self._properties(api)
            case "availability" if self._asks_for_changes(query):
                found = pages.each(await self._touched(api, query), partial(self._days, api))
            case "availability":
                found = self._of_each_property(api, self._days)
            case _:
                found = self._of_each_property(api, self._enquiries)
        async for page in found:
            yield page

    def covers(self, query: Query, record: Record) -> bool:  # noqa: ARG002  # all parts list all they have
        """Calendars are never missed: a property whose calendar came back empty is not one that has none."""
        return not isinstance(record, Availability)

    async def look_up(self, api: Api, query: Query, records: Sequence[Record]) -> AsyncIterator[Page]:
        """Ask for bookings or properties by id."""
        paid = await self._paid(api) if query.resource == "booking" else Paid()
        for record in records:
            found = self._booking(api, paid, record.id) if isinstance(record, Booking) else self._all(api, record.id)
            async for page in found:
                yield page

    # Bookings

    async def _bookings(self, api: Api, query: Query) -> AsyncIterator[Page]:
        """One pass for each status that has a number, and one for whatever the site lists by itself, if it does."""
        paid = await self._paid(api)
        asked = [("Sort", "CreateDate"), ("SortDirection", "asc")]
        if query.since is not None and not query.whole:
            asked.append(("modifiedTimeFrom", (query.since - DAY).date().isoformat()))
            asked.append(("modifiedTimeTo", (query.now + DAY).date().isoformat()))
        for status in (*STATUSES, []):
            missing = None if status else Listed(items=())
            async for items in self._listed(api, self._booking_listing(paid, missing), [*status, *asked]):
                yield self._booking_page(paid, items)

    async def _booking(self, api: Api, paid: Paid, id_: str) -> AsyncIterator[Page]:
        """Asked for in every way: where one is refused or hides it, another may still show it."""
        for status in ([], *STATUSES):
            asked = [("bookingID", id_), *status, *self._page(1)]
            forbidden = None if status else NOTHING
            items = _items(await api.get(f"{self.path}/bookings", _listing, asked, absent=NOTHING, forbidden=forbidden))
            if any(key_or_bytes(booking_key)(raw) != id_ for raw in items):
                raise Unreadable(f"GET {self.path}/bookings: asked for one by id, the site lists others")
            yield self._booking_page(paid, items)
            if items:
                return

    def _booking_listing(self, paid: Paid, missing: Listed | None) -> Listing[wire.Listing | list[msgspec.Raw]]:
        return Listing(
            path=f"{self.path}/bookings",
            decoder=_listing,
            page=_page,
            key_of=booking_key,
            context=paid.digest,
            absent=missing,
            forbidden=missing,
        )

    def _booking_page(self, paid: Paid, items: Sequence[msgspec.Raw]) -> Page:
        return Page(
            items=items,
            to_record=partial(to_booking, paid, self.timezone or UTC),
            key_of=booking_key,
            context=paid.digest,
            in_doubt=in_doubt,
            vouched=partial(vouched_booking, self.currency),
        )

    async def _paid(self, api: Api) -> Paid:
        """What each property is paid in, as it was within the last minutes; nothing where the site does not show them.

        That it does not is never remembered: the next poll asks again.
        """

        async def ask() -> Paid:
            listed = _items(await api.get(f"{self.path}/properties", _listing))
            if not listed:
                raise NothingThere("iPRO lists no properties")
            return Paid.of(listed)

        try:
            return await api.remember("paid", ask)
        except (Forbidden, Misconfigured, NothingThere):  # Misconfigured: a 404, from a site without such a listing
            return Paid()

    # Properties, and what is read of each

    async def _properties(self, api: Api) -> AsyncIterator[Page]:
        yield self._property_page(_items(await api.get(f"{self.path}/properties", _listing)))

    async def _all(self, api: Api, id_: str) -> AsyncIterator[Page]:
        item = await api.get(f"{self._place(id_)}/all", _raw, absent=msgspec.Raw(b""))
        yield self._property_page([item] if bytes(item) else [])

    def _property_page(self, items: Sequence[msgspec.Raw]) -> Page:
        vouched = partial(vouched_property, self.currency)
        return Page(items=items, to_record=to_property, key_of=own_key, in_doubt=in_doubt, vouched=vouched)

    async def _of_each_property(self, api: Api, read: Callable[[Api, str], AsyncIterator[Page]]) -> AsyncIterator[Page]:
        """Of all that are listed. Where not one is known by its id, it is not the properties that are missing."""
        listed = _items(await api.get(f"{self.path}/properties", _listing))
        known = not listed

        async def one(id_: str) -> AsyncIterator[Page]:
            nonlocal known
            async for page in read(api, id_):
                yield page
            known = True

        async for page in pages.each(dict.fromkeys(property_id_of(raw) or "" for raw in listed), one):
            yield page
        if not known:
            raise Unavailable("iPRO answered 404 for each of its own properties: a wrong `path`, or it is down")

    async def _enquiries(self, api: Api, id_: str) -> AsyncIterator[Page]:
        enquiries = Listing(path=f"{self._place(id_)}/enquiries", decoder=_listing, page=_page, key_of=own_key)
        async for items in self._listed(api, enquiries, []):
            yield Page(items=items, to_record=partial(to_enquiry, self.timezone or UTC), key_of=own_key)

    def _asks_for_changes(self, query: Query) -> bool:
        """After more than a day the check is not relied on any more."""
        return query.since is not None and not query.whole and query.now - query.since <= DAY

    async def _touched(self, api: Api, query: Query) -> list[str]:
        """The properties whose calendar changed since. The check is asked in minutes, counted by the site's own clock."""
        margin = max(self.availability_margin, 2 * self.interval("availability"), LEAST_MARGIN)
        minutes = -(-(query.now - (query.since or query.now) + margin) // timedelta(minutes=1))
        asked = [("lastUpdated", str(minutes))]
        reply = await api.get(f"{self.path}/property/dayavailabilitycheck", _touched, asked)
        ids: list[int | float | str] = []
        for entry in reply if isinstance(reply, list) else [reply]:
            ids += (entry.property_ids or []) if isinstance(entry, wire.Touched) else [entry]
        return list(dict.fromkeys(an_id(id_, "$.PropertyIDs") for id_ in ids))

    async def _days(self, api: Api, id_: str) -> AsyncIterator[Page]:
        """A property's calendar. One without a day is no news: it must not wipe what is known."""
        asked = [("months", str(self.months))]
        calendar = await api.get(f"{self._place(id_)}/dayavailability", _calendar, asked)
        items = [msgspec.Raw(msgspec.json.encode(calendar, order="deterministic"))] if codes(calendar) else []
        yield Page(items=items, to_record=partial(to_availability, id_), key_of=lambda _: id_, context=id_)

    def _place(self, id_: str) -> str:
        if not id_:
            raise Unreadable(f"GET {self.path}/properties: a property is listed without an id that can be read")
        return f"{self.path}/property/{quote(id_, safe='')}"

    # Listings

    def _page(self, index: int) -> list[tuple[str, str]]:
        return [("size", str(self.page_size)), ("index", str(index))]

    async def _listed(
        self, api: Api, listing: Listing[wire.Listing | list[msgspec.Raw]], asked: list[tuple[str, str]]
    ) -> AsyncIterator[Sequence[msgspec.Raw]]:
        """A listing, page by page; again from its start where records may have moved from page to page meanwhile."""
        further = msgspec.structs.replace(listing, absent=None, forbidden=None)
        shown: list[Listed] = []

        async def fetch(index: int) -> Listed:
            page = await api.listing(listing if index == 1 else further, [*asked, *self._page(index)])
            if page.items:
                shown[:] = [*shown[:1], page]  # the first and the last
            return page

        for _ in range(READINGS):
            shown.clear()
            async for items in indexed(fetch, listing.key_of, base=1, cap=MOST_PAGES, keys=api.keys):
                yield items
            if not has_moved(shown):
                return


def has_moved(shown: Sequence[Listed]) -> bool:
    """Whether records may have slipped to a page that was read already: the site's own count is another at the end; or it
    counts nothing, and the last page was as long as the others."""
    if len(shown) < 2:
        return False
    first, last = shown[0], shown[-1]
    return first.total != last.total or (last.total is None and len(last.items) >= len(first.items))


def _page(reply: wire.Listing | list[msgspec.Raw]) -> Listed:
    return Listed(items=_items(reply), total=_total(reply))


def _items(reply: wire.Listing | list[msgspec.Raw]) -> Sequence[msgspec.Raw]:
    items = (reply.items or ()) if isinstance(reply, wire.Listing) else reply
    if len(items) > LONGEST:
        raise Unreadable(f"a listing of {len(items)} items on one page, more than {LONGEST}")
    return items


def _total(reply: wire.Listing | list[msgspec.Raw]) -> int | None:
    """The site's own count; None for none, and for nonsense."""
    spelt = str(reply.total_hits).removesuffix(".0") if isinstance(reply, wire.Listing) else ""
    return int(spelt) if spelt.isascii() and spelt.isdecimal() and len(spelt) < 10 else None
