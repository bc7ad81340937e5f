"""singer-sdk: a tap with one RESTStream, and a target that finds what changed by key and hash in SQLite.

Both as its documentation advises, with the faster of the formats it comes with, and without validating what the vendor says.
They share a process here, and the lines between them stay in memory.
"""

import io
import logging
from collections.abc import Iterable
from contextlib import redirect_stdout
from hashlib import sha256
from typing import Any

import msgspec
import orjson
import requests
from singer_sdk import BatchSink, RESTStream, Tap, Target
from singer_sdk import typing as th
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.contrib.msgspec import MsgSpecReader, MsgSpecWriter
from singer_sdk.pagination import BasePageNumberPaginator
from singer_sdk.singerlib import Message

from benchmarks.peers.known import Known, arguments, asked

_TEXTS = (
    *("ExternalReservationID", "Status", "OrderTime", "ModifiedTime", "CheckIn", "CheckOut", "Country", "Currency"),
    *("Source", "CustomerName", "DepositDueDate", "BalanceDueDate", "GuestNotes"),
)
_NUMBERS = (
    *("RenterAmount", "BookingFee", "RenterBalance", "Commission", "SecurityDeposit", "RenterTotal", "RatePerDay"),
    *("Discount", "Deposit", "Balance"),
)
_COUNTS = (
    "BookingId",
    "PropertyId",
    "ContactID",
    "BookingStatusId",
    "BrandId",
    "Adults",
    "Children",
    "Infants",
    "Pets",
)


class _Pages(BasePageNumberPaginator):
    def __init__(self, page: int) -> None:
        super().__init__(start_value=1)
        self._page = page

    def has_more(self, response: requests.Response) -> bool:
        total: int = orjson.loads(response.content)["TotalHits"]
        return self.current_value * self._page < total


class Bookings(RESTStream[int]):
    name = "bookings"
    path = "/apis/bookings"
    primary_keys = ("BookingId",)
    replication_key = None
    schema = th.PropertiesList(
        *(th.Property(name, th.StringType) for name in _TEXTS),
        *(th.Property(name, th.NumberType) for name in _NUMBERS),
        *(th.Property(name, th.IntegerType) for name in _COUNTS),
        th.Property("BookingTags", th.ArrayType(th.StringType)),
    ).to_dict()

    @property
    def url_base(self) -> str:
        return str(self.config["vendor"])

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        return BearerTokenAuthenticator(token="benchmark")

    def get_new_paginator(self) -> _Pages:
        return _Pages(self.config["page"])

    def get_url_params(self, context: Any, next_page_token: int | None) -> dict[str, Any]:  # noqa: ARG002
        return {"bookingstatus": 3, "size": self.config["page"], "index": next_page_token or 1}

    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        items: list[dict[str, Any]] = orjson.loads(response.content)["Items"]
        return items


class _Writer(MsgSpecWriter):
    """Keeps the lines for the target."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = io.BytesIO()

    def write_message(self, message: Message) -> None:
        self.lines.write(self.format_message(message))


class _Hashes(BatchSink):
    max_size = 10_000

    def process_batch(self, context: dict[str, Any]) -> None:
        found: list[tuple[int, bytes]] = self.config["found"]
        for record in context["records"]:
            digest = sha256(msgspec.json.encode(record, order="sorted")).digest()
            found.append((record["BookingId"], digest))


class Comparison(Target):
    name = "target-comparison"
    config_jsonschema = th.PropertiesList(
        th.Property("found", th.ArrayType(th.AnyType)), th.Property("validate_records", th.BooleanType)
    ).to_dict()
    default_sink_class = _Hashes
    message_reader_class = MsgSpecReader


class Site(Tap):
    name = "tap-bookings"
    config_jsonschema = th.PropertiesList(
        th.Property("vendor", th.StringType, required=True), th.Property("page", th.IntegerType, required=True)
    ).to_dict()

    def discover_streams(self) -> list[Bookings]:
        return [Bookings(tap=self)]


def main() -> None:
    told = arguments()
    logging.disable(logging.WARNING)
    known = Known(told.folder)

    def poll() -> int:
        writer = _Writer()
        Site(config={"vendor": told.vendor, "page": told.page}, message_writer=writer).sync_all()
        writer.lines.seek(0)
        found: list[tuple[int, bytes]] = []
        target = Comparison(config={"found": found, "validate_records": False})
        with redirect_stdout(io.StringIO()):  # where it tells the state
            target.listen(writer.lines)
        return known.changed(target.config["found"])

    asked(poll)


if __name__ == "__main__":
    main()
