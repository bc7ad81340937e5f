"""carbonTRACK, energy monitoring: devices, what they measure, and their customers.

Signs in by OAuth's password grant; a renewal sends user name and password again beside the refresh token, and may return no
refresh token, then the old one stays good. Reads devices and measurements per distributor by POST, customers by GET; asks
for a device by id before it counts as missing. Odd: a 200 may hold a failure; whether `PageIndex` counts from 0 or 1 is not
documented; the document tells three stories of how to sign in; no device is ever said to be offline, it is silent. Units,
page sizes and rate limits are not documented.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Literal

import httpx
import msgspec

from connectors import pages
from connectors.api import Api
from connectors.auth import SignIn, Token, life
from connectors.base import Connector, Feeding, Page, Points, Query, Resource, Span
from connectors.carbontrack_records import (
    controls,
    customer_id,
    degrees,
    device_id,
    is_offline,
    measured_key,
    to_customer,
    to_point,
)
from connectors.decoding import BOM
from connectors.errors import NothingThere, Throttled, Unreadable, VendorError
from connectors.indexed import Reported, indexed
from connectors.listing import Listed, Listing, key_or_bytes
from connectors.tolerant import a_number, a_whole_number, an_id, an_instant, text
from schemas import carbontrack as wire
from schemas.energy import Batch, Customer, Device, DeviceStatus, Measured
from schemas.records import Record
from schemas.settings import Budget, Duration, Secret

DISTRIBUTOR = "/ctapi/Distributor"
DEVICE = "/ctapi/Device"
MEASUREMENT = "/ctapi/Measurement"
CUSTOMER = "/ctapi/Customer"
AHEAD = timedelta(minutes=15)  # a device's clock may be by less

_SUCCESS = frozenset({"200", "200.0", "ok", "success"})  # as a ResponseCode; assumed, not documented
_ENVELOPE = re.compile(rb'"(?:Error|ResponseCode)')  # looking is cheaper than decoding megabytes
_NO_LISTING = re.compile(rb"\s*(?:null|\[\s*\])?\s*")
_ZONED = re.compile(r"(?:[zZ]|[+-][0-9]{2}:?[0-9]{2})\s*$")

_NO_TOKEN = re.compile(r"no-token-([0-9]{1,9})", re.ASCII)

_distributors = msgspec.json.Decoder(list[wire.Distributor])
_devices = msgspec.json.Decoder(wire.DeviceList | list[msgspec.Raw])
_measurements = msgspec.json.Decoder(wire.MeasurementList | list[msgspec.Raw])
_customers = msgspec.json.Decoder(wire.CustomerList | list[msgspec.Raw])
_device = msgspec.json.Decoder(wire.Device)
_envelope = msgspec.json.Decoder(wire.Envelope)
_token = msgspec.json.Decoder(wire.Token)


class CarbonTrack(Connector, frozen=True, kw_only=True, tag="carbontrack"):
    """A carbonTRACK user. `offline_after`: how long a device may be silent. `timezone`: that of device times without one."""

    resources: ClassVar[Mapping[str, Resource]] = MappingProxyType(
        {
            "device": Resource(
                record=Device,
                every=timedelta(seconds=60),
                changes=("deregistered", "offline", "online", "control_changed"),
                sudden="offline",
                vouched_by="measurement",
            ),
            "measurement": Resource(
                record=Measured, every=timedelta(minutes=5), changes=("batch",), only=True, feed=True, told=Batch
            ),
            "customer": Resource(record=Customer, every=timedelta(hours=1)),
        }
    )
    looks_up: ClassVar[frozenset[str]] = frozenset({"device"})
    default_budget: ClassVar[Budget] = Budget(requests=60, per=Duration(minutes=1))  # 429 exists, its limit is not told

    username: str
    password: Secret
    base_url: str = "https://apiv2.carbontrack.com.au"
    offline_after: Duration = Duration(minutes=15)
    keep_ip_address: bool = False
    # Assumed, not documented:
    auth: Literal["oauth", "header"] = "oauth"  # "header": user and password on every request, no token
    token_path: str = "/oauth/token"  # noqa: S105  # a path; the document also names /token
    token_lifetime: Duration = Duration(hours=24)  # where a reply does not tell
    page_base: Literal[0, 1] | None = None  # what PageIndex counts from; None: find out
    customer_page_size: int = 100
    overlap: Duration = Duration(minutes=15)  # how late measurements may be uploaded
    window: Duration = Duration(hours=1)  # the longest time that is asked for at once

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.username.strip():
            raise ValueError("username is empty")
        if not self.token_path.startswith("/"):
            raise ValueError("token_path begins with a slash")
        if self.customer_page_size < 1:
            raise ValueError("customer_page_size must be at least 1")
        if min(self.offline_after, self.window) <= timedelta(0):
            raise ValueError("offline_after and window must be longer than nothing")

    def sign_in(self, token: Token | None) -> SignIn:
        """By password, or by refresh token with user name and password once more."""
        password = self.password.reveal()
        if self.auth == "header":
            return _no_token(token, self.token_lifetime)
        refresh = token.refresh if token else None
        grant = {"grant_type": "refresh_token", "refresh_token": refresh} if refresh else {"grant_type": "password"}
        form = {**grant, "username": self.username, "password": password}
        reply = yield httpx.Request("POST", self.base_url.rstrip("/") + self.token_path, data=form)
        answer = _token.decode(reply.content.removeprefix(BOM))
        lifetime = _lifetime(answer, reply.headers.get("Date"), self.token_lifetime)
        return Token(access=str(answer.access_token), refresh=text(answer.refresh_token) or refresh, lifetime=lifetime)

    def authorize(self, request: httpx.Request, token: Token) -> None:
        """A bearer token, or what the document calls simple authentication."""
        if self.auth == "oauth":
            super().authorize(request, token)
        else:
            request.headers.encoding = "utf-8"  # else a text may hold ASCII only
            request.headers["UserID"], request.headers["Password"] = self.username, self.password.reveal()

    def refusal(self, reply: httpx.Response) -> VendorError | None:
        """A failure inside a 200, which of a device that is asked for by id says that it is not there; a 429 that does not say
        for how long counts as a minute.
        """
        if reply.status_code == httpx.codes.TOO_MANY_REQUESTS and not reply.headers.get("Retry-After", "").strip():
            return Throttled("carbonTRACK is asked too often (429)", retry_after=60.0)
        body = reply.content.removeprefix(BOM).lstrip()
        if not reply.is_success or not body.startswith(b"{") or not _ENVELOPE.search(body):
            return None
        failure = _reported(_envelope.decode(body))
        return NothingThere(str(failure)) if failure and _asks_by_id(reply.request) else failure

    async def parts(self, api: Api, resource: str) -> Sequence[str]:
        """One per distributor; customers at once."""
        if resource == "customer":
            return ("",)

        async def ask() -> list[wire.Distributor]:
            return await api.get(DISTRIBUTOR, _distributors)

        listed = await api.remember(DISTRIBUTOR, ask)
        return [an_id(each.id, "$.ID") for each in listed if each.id not in {None, ""}]

    def lists_parts(self, resource: str) -> bool:
        """The distributors are the vendor's word."""
        return resource != "customer"

    async def read(self, api: Api, query: Query) -> AsyncIterator[Page]:
        """The devices of one distributor, also those no longer registered; or all customers."""
        if query.resource == "customer":
            fetch = partial(self._customers, api)
            async for items in indexed(fetch, customer_id, base=1, binding=True, keys=api.keys):
                yield Page(items=items, to_record=to_customer, key_of=customer_id)
            return
        fetch = partial(self._devices, api, {"DistributorID": query.part, "RegisteredOnly": False})
        async for items in indexed(fetch, device_id, base=self.page_base, binding=True, keys=api.keys):
            yield self._device_page(query, items)

    async def look_up(self, api: Api, query: Query, records: Sequence[Record]) -> AsyncIterator[Page]:
        """Ask for devices one by one."""

        async def one(id_: str) -> AsyncIterator[Page]:
            yield self._device_page(query, await self._device(api, query.part, id_))

        async for page in pages.each((record.id for record in records), one):
            yield page

    def covers(self, query: Query, record: Record) -> bool:
        """A device is listed under its distributor."""
        return not isinstance(record, Device) or record.distributor_id == query.part

    def patience(self, resource: str) -> timedelta | None:
        """How long a device may be silent."""
        return self.offline_after if resource == "device" else None

    def feeding(self, resource: str) -> Feeding:  # noqa: ARG002  # there is one feed
        """Late uploads are caught by the overlap."""
        return Feeding(overlap=self.overlap, window=self.window)

    async def follow(self, api: Api, span: Span) -> AsyncIterator[Points]:
        """The measurements of one device, or of all devices of a distributor."""
        of = {"DeviceID": span.source} if span.source else {"DistributorID": span.part}
        whole_seconds = timedelta(microseconds=999_999)
        asked = {**of, "FromUTCDate": _utc(span.start), "ToUTCDate": _utc(span.end + whole_seconds)}
        fetch = partial(self._measurements, api, asked)
        async for items in indexed(fetch, measured_key, base=self.page_base, binding=True):
            yield Points(items=items, to_point=to_point)

    async def _devices(self, api: Api, asked: Mapping[str, object], number: int) -> Listed:
        return _listed(await api.post(DEVICE, _devices, json={**asked, "PageIndex": number}))

    async def _device(self, api: Api, distributor: str, id_: str) -> Sequence[msgspec.Raw]:
        """A device by its id. A vendor that counts pages from 1 may show nothing on page 0."""
        asked = {"DistributorID": distributor, "DeviceID": id_, "RegisteredOnly": False}
        listed = await self._devices(api, asked, self.page_base or 0)
        if not listed.items and self.page_base is None:
            listed = await self._devices(api, asked, 1)
        if listed.total and not listed.items:
            raise Unreadable(f"POST {DEVICE}: asked for one device, the vendor counted one and showed none")
        if set(map(key_or_bytes(device_id), listed.items)) - {id_}:
            raise Unreadable(f"POST {DEVICE}: asked for one device, the vendor answered with others")
        return listed.items

    async def _measurements(self, api: Api, asked: Mapping[str, object], number: int) -> Listed:
        return _listed(await api.post(MEASUREMENT, _measurements, json={**asked, "PageIndex": number}))

    async def _customers(self, api: Api, number: int) -> Listed:
        size = str(self.customer_page_size)
        params = [("customerRequest.page", str(number)), ("customerRequest.pageSize", size)]
        listing = Listing(path=CUSTOMER, decoder=_customers, page=_listed, key_of=customer_id)
        return await api.listing(listing, params)

    def _device_page(self, query: Query, items: Sequence[msgspec.Raw]) -> Page:
        return Page(
            items=items,
            to_record=partial(self._to_device, query),
            key_of=device_id,
            timed=True,
            in_doubt=is_offline,
            vouched=partial(self._vouched, query.now),
        )

    def _to_device(self, query: Query, raw: msgspec.Raw) -> Device:
        found = _device.decode(raw)
        times = [
            self._heard(found.device_status_update_date_time, "$.DeviceStatusUpdateDateTime", query.now),
            self._heard(found.device_data_update_date_time, "$.DeviceDataUpdateDateTime", query.now),
        ]
        seen = max((time for time in times if time), default=None)
        status = DeviceStatus.ONLINE if self._is_fresh(seen, query.now) else DeviceStatus.OFFLINE
        if found.is_registered is False:
            status = DeviceStatus.DEREGISTERED
        return Device(
            id=device_id(raw),
            status=status,
            since=seen if status is DeviceStatus.OFFLINE else None,
            last_seen_at=seen,
            distributor_id=query.part,
            name=text(found.device_name),
            customer_reference=text(found.customer_ref),
            timezone_id=a_whole_number(found.timezone_id, "$.TimezoneId"),
            sensors=text(found.sensor_config),
            measures=text(found.measurement_config),
            firmware=text(found.firmware_version),
            ip_address=text(found.ip_address) if self.keep_ip_address else None,
            latitude=degrees(found.latitude, "$.Latitude"),
            longitude=degrees(found.longitude, "$.Longitude"),
            has_inverter=found.is_device_contains_inverter,
            controls=controls(found.controls or ()),
        )

    def _vouched(self, now: datetime, record: Record, measured: Record) -> Record:
        """A device that measures is not silent, whatever the times of its own say."""
        if not isinstance(record, Device) or not isinstance(measured, Measured):
            return record
        seen = min(measured.until, now)
        if record.last_seen_at is not None and seen <= record.last_seen_at:
            return record
        heard = msgspec.structs.replace(record, last_seen_at=seen)
        if not is_offline(record):
            return heard
        if self._is_fresh(seen, now):
            return msgspec.structs.replace(heard, status=DeviceStatus.ONLINE, since=None)
        return msgspec.structs.replace(heard, since=seen)

    def _heard(self, written: str | None, path: str, now: datetime) -> datetime | None:
        """A device's time, never ahead of now: its clock may be.

        The zone of these times is not documented. One without a zone that lies far ahead is local time, and taken for UTC it
        would hide the device's silence for hours: a person must say which zone it is.
        """
        time = an_instant(written, path, self.timezone or UTC)
        if time is None or time <= now:
            return time
        if self.timezone is None and time > now + AHEAD and not _ZONED.search(written or ""):
            raise Unreadable(f"{path}: without a zone, and ahead of now: set `timezone` on the account")
        return now

    def _is_fresh(self, seen: datetime | None, now: datetime) -> bool:
        return seen is not None and now - seen <= self.offline_after


def _no_token(before: Token | None, lifetime: timedelta) -> Token:
    """What stands for a token where none is given out: another one each time, for one that was refused is not used again."""
    found = _NO_TOKEN.fullmatch(before.access) if before else None
    number = int(found[1]) + 1 if found else 1
    return Token(access=f"no-token-{number}", lifetime=lifetime.total_seconds())


def _asks_by_id(request: httpx.Request) -> bool:
    return request.url.path.endswith(DEVICE) and b'"DeviceID"' in request.content


def _reported(envelope: wire.Envelope) -> Reported | None:
    """What `ResponseCode` means is not documented: it counts only where there is nothing else."""
    number, message = envelope.error_number, envelope.error_message
    if not (
        _is_failure(envelope.error)
        or _is_failure(number)
        or (isinstance(message, str) and message.strip())
        or (_is_bad(envelope.response_code) and _lists_nothing(envelope))
    ):
        return None
    digits = str(number).strip()
    known = f" (ErrorNumber {digits})" if digits.isascii() and digits.lstrip("-").isdigit() and len(digits) < 20 else ""
    return Reported(f"the vendor reports a failure inside a 200{known}")


def _lists_nothing(envelope: wire.Envelope) -> bool:
    listings = (envelope.devices, envelope.measurements, envelope.customer_list)
    return all(_NO_LISTING.fullmatch(bytes(listing)) for listing in listings)


def _is_failure(value: object) -> bool:
    """Not zero, however that is written."""
    if isinstance(value, str):
        return value.strip().lower() not in {"", "false"} and value.strip().strip("0") not in {"", "."}
    return bool(value)


def _is_bad(code: object) -> bool:
    """Neither zero nor a word for success."""
    return _is_failure(code) and str(code).strip().lower() not in _SUCCESS


def _lifetime(answer: wire.Token, date_header: str | None, default: timedelta) -> float:
    """Seconds from receipt; by the vendor's own clock where the reply gives only dates. Nonsense counts as the default."""
    seconds: float | None = None
    try:
        if answer.expires_in not in {None, ""}:
            seconds = a_number(answer.expires_in, "expires_in")
        elif (end := _date(answer.expires)) and (begin := _date(answer.issued) or _date(date_header)):
            seconds = (end - begin).total_seconds()
    except Unreadable:
        seconds = None
    return life(seconds, default)


def _date(written: str | None) -> datetime | None:
    """`Sat, 16 May 2026 07:00:00 GMT` or ISO."""
    if written and written[:3].isalpha():
        try:
            parsed = parsedate_to_datetime(written)
        except ValueError:
            raise Unreadable("not a date") from None
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return an_instant(written, "a date")


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _listed(reply: wire.DeviceList | wire.MeasurementList | wire.CustomerList | list[msgspec.Raw]) -> Listed:
    match reply:
        case wire.DeviceList(devices=items) | wire.MeasurementList(measurements=items):
            pages, index, total = map(_count, (reply.pages, reply.pages_index, reply.count))
            return Listed(items=items or [], pages=pages, index=index, total=total)
        case wire.CustomerList(customer_list=items, record_count=total):
            return Listed(items=items or [], total=_count(total))
    return Listed(items=reply)


def _count(value: float | str | None) -> int | None:
    """A figure of the vendor's about its paging; nonsense is as good as none."""
    try:
        return a_whole_number(value, "")
    except Unreadable:
        return None
