"""The vendor of the benchmarks: one site with any number of bookings, served as cheaply as can be.

    python -m benchmarks.vendor_server --records 100000

prints its address. A booking is rendered from its number and its revision, a page is kept once it is rendered, as long as
there is room: a million bookings take a few megabytes. It answers as an iPRO site does, as far as reading bookings needs:

    POST /oauth/2.0/token                         a token; any client is known
    GET  /apis/properties                         five properties
    GET  /apis/bookings?bookingstatus=3&size=&index=   {"TotalHits": n, "Items": [...]}; 4 lists none, without it: 400
    POST /control/change?share=0.01&round=1&newest=1   changes that share of the bookings, spread evenly over the newest part
                                                  (1: over all); each round others
    POST /control/asked                           {"asked": [...]}: what was asked since the last time, page by page
"""

import argparse
import asyncio
import signal
from collections import OrderedDict
from datetime import date, timedelta
from urllib.parse import parse_qsl

import msgspec

PROPERTIES = ((7858, "GBP"), (7864, "GBP"), (7902, "GBP"), (8849, "EUR"), (8862, "USD"))
FIRST = 3691  # the number of the first booking
ROOM = 160 * 2**20  # bytes of rendered pages that are kept
_SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}
_DAYS = [(date(2026, 1, 3) + timedelta(days=day)).isoformat() for day in range(400)]
_SOURCES = ("Website", "Phone", "Portal")
_GUESTS = ("Sam Sample", "Kim Sample", "Robin Muster", "Ada Esempio", "Jan Voorbeeld")

_BOOKING = (
    '{"BookingId":%d,"ExternalReservationID":"X%08X","PropertyId":%d,"ContactID":%d,"BookingStatusId":3,'
    '"Status":"Booking","BrandId":1,"OrderTime":"2026-01-02T08:48:22.8070000Z",'
    '"ModifiedTime":"2026-01-02T%02d:%02d:22.8070000Z","CheckIn":"%s","CheckOut":"%s","Country":"United Kingdom",'
    '"Currency":"%s","RenterAmount":%d.0,"BookingFee":25.0,"RenterBalance":%d.0,"Commission":144.0,'
    '"SecurityDeposit":500.0,"RenterTotal":%d.0,"RatePerDay":118.57,"Discount":0.0,"Source":"%s",'
    '"BookingTags":["Returning"],"CustomerName":"%s","Adults":%d,"Children":%d,"Infants":0,"Pets":0,"Deposit":206.25,'
    '"DepositDueDate":"04/01/2026","Balance":618.75,"BalanceDueDate":"01/11/2026","GuestNotes":""}'
)


class Site:
    """`records` bookings, each at a revision."""

    def __init__(self, records: int) -> None:
        self.records = records
        self.asked: list[str] = []
        self._revisions = bytearray(records)
        self._pages: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._kept = 0

    def booking(self, number: int) -> str:
        revision = self._revisions[number]
        property_id, currency = PROPERTIES[number % len(PROPERTIES)]
        day, total = number % 365, 600 + number % 997 + revision
        return _BOOKING % (
            *(FIRST + number, number * 2654435761 % 2**32, property_id, 4000 + number % 2000),
            *(revision // 60, revision % 60, _DAYS[day], _DAYS[day + 7], _SYMBOLS[currency]),
            *(total - 25, total, total, _SOURCES[number % 3], _GUESTS[number % 5], 1 + number % 4, number % 3),
        )

    def page(self, size: int, index: int) -> bytes:
        """The page as JSON; `index` counts from 1."""
        known = self._pages.get((size, index))
        if known is not None:
            return known
        first = (index - 1) * size
        items = ",".join(map(self.booking, range(first, min(first + size, self.records))))
        page = f'{{"TotalHits":{self.records},"Items":[{items}]}}'.encode()
        self._pages[size, index] = page
        self._kept += len(page)
        while self._kept > ROOM:
            _, oldest = self._pages.popitem(last=False)
            self._kept -= len(oldest)
        return page

    def change(self, share: float, turn: int, newest: float) -> int:
        """Change every so-manieth booking of the newest part, beginning with another at each turn; how many that are."""
        step = max(round(newest / share), 1)
        changed = range(round(self.records * (1 - newest)) + turn % step, self.records, step)
        for number in changed:
            self._revisions[number] = (self._revisions[number] + 1) % 256
        self._pages.clear()
        self._kept = 0
        return len(changed)

    def answer(self, method: str, target: str) -> tuple[int, bytes]:
        """Status and body."""
        path, _, query = target.partition("?")
        asked = dict(parse_qsl(query))
        match method, path:
            case "GET", "/apis/bookings":
                self.asked.append(target)
                return self._bookings(asked)
            case "GET", "/apis/properties":
                return 200, msgspec.json.encode(_properties())
            case "POST", "/oauth/2.0/token":
                return 200, msgspec.json.encode(
                    {"access_token": "A" * 1400, "token_type": "bearer", "expires_in": 86400}
                )
            case "POST", "/control/change":
                return 200, b'{"changed":%d}' % self.change(
                    float(asked["share"]), int(asked["round"]), float(asked["newest"])
                )
            case "POST", "/control/asked":
                told, self.asked = self.asked, []
                return 200, msgspec.json.encode({"asked": told})
        return 404, b'{"Success":false}'

    def _bookings(self, asked: dict[str, str]) -> tuple[int, bytes]:
        match asked.get("bookingstatus"):
            case "3":
                return 200, self.page(int(asked.get("size", "15")), int(asked.get("index", "1")))
            case "4":
                return 200, b'{"TotalHits":0,"Items":[]}'
        return 400, b'{"Success":false,"Message":"bookingstatus"}'


def _properties() -> list[dict[str, object]]:
    return [
        {
            "Id": id_,
            "Name": f"Cottage {id_}",
            "Currency": _SYMBOLS[currency],
            "CurrencyISO": currency,
            "Suspended": False,
            "Withdrawn": False,
        }
        for id_, currency in PROPERTIES
    ]


class Connection(asyncio.Protocol):
    """Enough of HTTP/1.1 for clients that send well-formed requests, with or without a body."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            length = _content_length(self._got[:end])
            if len(self._got) < end + 4 + length:
                return
            method, target, _ = self._got[: self._got.index(b"\r\n")].decode("ascii").split(" ")
            self._got = self._got[end + 4 + length :]
            status, body = self._site.answer(method, target)
            head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            assert self._transport is not None
            self._transport.writelines([head.encode(), body])


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(site: Site) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(site), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    loop.add_signal_handler(signal.SIGTERM, server.close)
    await server.wait_closed()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--records", type=int, required=True)
    asyncio.run(serve(Site(parser.parse_args().records)))


if __name__ == "__main__":
    main()
