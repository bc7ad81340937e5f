"""What is remembered between polls saves work and changes nothing: an account that remembers tells what a forgetful one tells."""

import random
from array import array
from datetime import timedelta
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.keyset import KeySet, Newest
from agent.known import Known
from agent.recognised import Recognising, Runs
from connectors.ipro import Ipro
from connectors.ipro_records import Paid, booking_key
from connectors.listing import Listed
from connectors.powerpro import PowerPro
from connectors.sandbox.ipro import IproSandbox
from connectors.sandbox.powerpro import PowerProSandbox
from events.index import Entry, Index
from schemas.facts import PollOutcome
from schemas.settings import Budget, Duration, Secret
from tests.polled import Account, Clock

pytestmark = pytest.mark.anyio

SIZE = 4
WIDE = Budget(requests=1_000_000, per=Duration(hours=1))


class Site:
    """A site whose listing is a list of bytes, which a test rewrites at will."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.asked = 0
        self.fails_at = 0  # the page that fails; 0: none
        self.prefix = b""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("token"):
            return httpx.Response(200, json={"access_token": "x", "token_type": "bearer", "expires_in": 3600})
        if request.url.params.get("bookingstatus") != "3":
            return httpx.Response(404 if "bookingstatus" not in request.url.params else 200, json={"Items": []})
        if "bookingID" in request.url.params:
            return httpx.Response(200, json={"Items": []})
        self.asked += 1
        page, size = int(request.url.params["index"]), int(request.url.params["size"])
        if page == self.fails_at:
            return httpx.Response(502)
        some = self.items[(page - 1) * size : page * size]
        return httpx.Response(200, content=b'{%s"Items": [%s]}' % (self.prefix, b", ".join(some)))


def booking(key: int, *, guest: str = "A. Guest", modified: int = 0, text: str = "") -> bytes:
    return msgspec.json.encode(
        {
            "BookingId": key,
            "PropertyId": 7,
            "CheckIn": "2026-07-01T00:00:00",
            "CheckOut": "2026-07-08T00:00:00",
            "BookingStatusId": 3,
            "Currency": "GBP",
            "ModifiedTime": f"2026-05-01T00:{modified // 60:02}:{modified % 60:02}",
            "CustomerName": guest,
            "Note": text,
        }
    )


def account(site: Site, clock: Clock, kind: type[Ipro] = Ipro) -> Account:
    connector = kind(
        name="site",
        base_url="https://ipro.test",
        client_id="a",
        client_secret=Secret("b"),
        page_size=SIZE,
        reconcile=Duration(0),
        budget=WIDE,
    )
    found = Account(connector, IproSandbox(clock), clock)
    found.vendor = site
    return found


class Life:
    """Whatever a vendor may do to a listing, at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.site = Site()
        self.now = 0
        self.keys = 0
        self.former: list[bytes] = []
        for _ in range(3 * SIZE):
            self.add()

    def step(self) -> None:
        doings = [
            self.add,
            self.change,
            self.change,
            self.touch,
            self.revert,
            self.remove,
            self.move,
            self.double,
            self.spoil,
        ]
        for _ in range(self.random.randint(0, 3)):
            self.random.choice(doings)()
        self.site.fails_at = self.random.choice([0, 0, 0, 0, 2])
        self.site.prefix = self.random.choice([b"", b"", b'"TotalHits": %d, ' % len(self.site.items)])

    def add(self) -> None:
        self.keys += 1
        self.now += 1
        at = self.random.choice([0, len(self.site.items)])
        self.site.items.insert(at, booking(self.keys, modified=self.now))

    def pick(self) -> int:
        return self.random.randrange(len(self.site.items))

    def key(self, at: int) -> int:
        found = msgspec.json.decode(self.site.items[at].replace(b"\\", b""))
        return int(found["BookingId"])

    def change(self) -> None:
        self.now += 1
        at = self.pick()
        self.former.append(self.site.items[at])
        guest = f"Guest {self.random.randint(1, 3)}"
        self.site.items[at] = booking(self.key(at), guest=guest, modified=self.now * self.random.choice([0, 1, 1]))

    def touch(self) -> None:
        """Other bytes, the same record."""
        at = self.pick()
        self.site.items[at] = self.site.items[at].replace(b'"Note":"', b'"Note":"x')

    def revert(self) -> None:
        if self.former:
            old = self.random.choice(self.former)
            at = self.pick()
            self.site.items[at] = old

    def remove(self) -> None:
        if len(self.site.items) > SIZE:
            self.former.append(self.site.items.pop(self.pick()))

    def move(self) -> None:
        self.site.items.insert(self.pick(), self.site.items.pop(self.pick()))

    def double(self) -> None:
        """An older copy beside the present one, or far from it."""
        if self.former:
            self.site.items.insert(self.pick(), self.random.choice(self.former))

    def spoil(self) -> None:
        at = self.pick()
        self.former.append(self.site.items[at])
        self.site.items[at] = self.site.items[at].replace(b'"2026-07-01T00:00:00"', b'"soon"')


@pytest.mark.parametrize("seed", range(25))
async def test_remembering_changes_nothing_that_is_told(seed: int) -> None:
    life, clock = Life(seed), Clock()
    remembers, forgets = account(life.site, clock), account(life.site, clock)
    for _ in range(25):
        clock.at += timedelta(minutes=1)
        ended = await remembers.poller.poll(remembers.watched, "booking")
        forgets.restart()
        other = await forgets.poller.poll(forgets.watched, "booking")
        assert (ended.outcome, ended.records, ended.changes) == (other.outcome, other.records, other.changes)
        told, plain = ([_plain(event) for event in each.told()] for each in (remembers, forgets))
        assert sorted(told, key=str) == sorted(plain, key=str)
        assert await remembers.stored() == await forgets.stored()
        life.step()


def _plain(event: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(event)
    return {name: value for name, value in found.items() if name != "pollid"}


class Counting(Ipro, frozen=True, kw_only=True, tag="counting"):
    """Counts how many items each page had that was split."""

    splits: ClassVar[list[int]] = []

    def _booking_listing(self, paid: Paid, missing: Listed | None) -> Any:
        listing = super()._booking_listing(paid, missing)

        def page(reply: Any) -> Listed:
            found = listing.page(reply)
            if found.items:
                self.splits.append(len(found.items))
            return found

        return msgspec.structs.replace(listing, page=page)


async def test_what_is_known_is_not_decoded_again() -> None:
    site, clock = Site(), Clock()
    site.items = [booking(key) for key in range(5 * SIZE - 1)]
    hotel = account(site, clock, Counting)
    await hotel.poll()
    assert isinstance(hotel.connector, Counting)
    splits = hotel.connector.splits
    splits.clear()
    assert (await hotel.poll()).outcome is PollOutcome.UNCHANGED
    assert splits == []  # not even the first time after the first sync
    site.items[6] = booking(6, guest="B. Guest")
    ended = await hotel.poll()
    assert (ended.outcome, ended.records, ended.changes) == (PollOutcome.CHANGED, 5 * SIZE - 1, 1)
    assert splits == [SIZE]  # the page of the change alone
    assert (await hotel.poll()).outcome is PollOutcome.UNCHANGED
    assert splits == [SIZE]


async def test_pages_become_known_where_their_changes_take_several_commits() -> None:
    site, clock, pages = Site(), Clock(), 600
    site.items = [booking(key) for key in range(pages * SIZE - 1)]
    hotel = account(site, clock, Counting)
    await hotel.poll()
    assert isinstance(hotel.connector, Counting)
    splits = hotel.connector.splits
    splits.clear()
    assert (await hotel.poll()).outcome is PollOutcome.UNCHANGED
    assert splits == []
    site.items[::SIZE] = [booking(key, guest="B. Guest") for key in range(0, pages * SIZE, SIZE)]
    assert (await hotel.poll()).changes == pages
    assert len(splits) == pages
    assert (await hotel.poll()).outcome is PollOutcome.UNCHANGED
    assert len(splits) == pages


async def test_an_agent_that_was_overtaken_does_not_believe_its_memory() -> None:
    """Another agent stored a change; the vendor has taken it back since. The bytes are those that this agent remembers."""
    site, clock = Site(), Clock()
    first = [booking(key) for key in range(SIZE)]
    site.items = list(first)
    here, there = account(site, clock), account(site, clock)
    there.ledger = here.ledger
    there.restart()
    await here.poll()
    site.items[0] = booking(0, guest="B. Guest", modified=5)
    assert (await there.poll()).changes == 1
    site.items = first
    assert (await here.poll()).changes == 1
    assert [event.version for event in here.told()] == [2, 3]


async def test_a_failure_is_never_taken_for_a_page_that_is_known() -> None:
    """The token is refused inside a 200, and what follows its renewal is a page under another good status."""
    refused = b'{"error": {"code": 7, "description": "Unauthorized"}, "data": []}'
    page = b'{"data": [{"id": 1, "name": "x"}], "meta": {"total": 1, "per_page": 15, "last_page": 1}}'
    replies: list[httpx.Response] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json={"access_token": str(len(replies)), "expires_in": 3600})
        return replies.pop(0) if replies else httpx.Response(200, content=refused)

    clock = Clock()
    connector = PowerPro(name="college", base_url="https://powerpro.test", api_key=Secret("k"), budget=WIDE)
    college = Account(connector, PowerProSandbox(clock), clock)
    college.vendor = vendor
    replies[:] = [httpx.Response(200, content=refused), httpx.Response(203, content=page)]
    assert (await college.poll("course")).outcome is PollOutcome.UNCHANGED
    assert (await college.poll("course")).outcome is PollOutcome.UNAUTHORIZED


async def test_a_failure_in_the_middle_of_a_long_reply_is_one() -> None:
    site, clock = Site(), Clock()
    site.items = [booking(1)]
    hotel = account(site, clock)
    await hotel.poll()
    report = {"Items": None, "Message": "m" * 5000, "Success": False, "StackTrace": "s" * 5000}
    hotel.vendor = lambda request: (
        httpx.Response(200, json=report) if request.url.path.endswith("/bookings") else site(request)
    )
    for _ in range(3):
        assert (await hotel.poll(after=timedelta(hours=24))).outcome is PollOutcome.UNAVAILABLE
    assert (hotel.kinds(), set(await hotel.stored())) == ([], {"1"})


# The parts


def index(count: int) -> Index:
    return Index((str(row), Entry(1, row)) for row in range(count))


_entries = st.dictionaries(
    st.text(max_size=3),
    st.builds(Entry, st.integers(1, 2**32 - 1), st.integers(0, 2**64 - 1), deleted=st.booleans()),
    max_size=60,
)


class TestIndex:
    def test_it_is_a_mapping_of_entries(self) -> None:
        found = index(3)
        found["1"] = Entry(2, 0, deleted=True)
        assert found == {"0": Entry(1, 0), "1": Entry(2, 0, deleted=True), "2": Entry(1, 2)}
        assert (found.alive, len(found), found.is_alive(1)) == (2, 3, False)

    def test_a_record_that_returns_counts_again(self) -> None:
        found = index(1)
        for deleted, alive in ((True, 0), (True, 0), (False, 1), (False, 1)):
            found["0"] = Entry(2, 0, deleted=deleted)
            assert found.alive == alive

    def test_an_entry_that_changes_is_not_what_its_bytes_said(self) -> None:
        found = index(2)
        found.tell("0", 7)
        found.tell("1", 8)
        found["0"] = Entry(2, 5)
        assert list(found.prints) == [0, 8]

    @given(_entries, _entries, _entries)
    def test_what_was_prepared_is_entered_whatever_came_in_between(
        self, before: dict[str, Entry], ours: dict[str, Entry], between: dict[str, Entry]
    ) -> None:
        found = Index(before.items())
        for key in before:
            found.tell(key, 7)
        enter = found.prepared(ours)
        assert (dict(found), len(found)) == (before, len(before))
        found.update(between.items())
        enter()
        expected = before | between | ours
        assert dict(found) == expected
        assert found.alive == sum(not entry.deleted for entry in expected.values())
        prints = [found.prints[found.rows.get(key)] for key in expected]
        assert prints == [0 if key in ours or key in between else 7 for key in expected]


class TestKeySet:
    def test_keys_are_in_it_wherever_the_index_knows_them(self) -> None:
        known = index(2)
        keys = KeySet(known)
        assert [keys.add(key) for key in ("0", "x", "0", "x")] == [True, True, False, False]
        assert ("0" in keys, "1" in keys, "x" in keys, len(keys)) == (True, False, True, 2)

    def test_what_comes_into_the_index_meanwhile_is_counted_once(self) -> None:
        known = index(1)
        keys = KeySet(known)
        keys.add("x")
        known["x"] = Entry(1, 1)
        assert keys.add_rows((1,)) == 0
        assert (len(keys), "x" in keys, keys.missing()) == (1, True, ["0"])

    def test_the_missing_are_those_that_are_there_and_not_in_it(self) -> None:
        known = index(4)
        known["2"] = Entry(2, 0, deleted=True)
        keys = KeySet(known)
        keys.add_runs(Runs(_rows(0, 1)))
        assert keys.missing() == ["3"]


class TestRuns:
    CASES: ClassVar = [[], [3], [3, 4, 5], [5, 4, 3], [1, 3, 5], [7, 7, 8], [0, 2, 1, 9]]

    @pytest.mark.parametrize("rows", CASES)
    def test_they_are_the_rows_they_were_made_of(self, rows: list[int]) -> None:
        runs = Runs(_rows(*rows))
        keys = KeySet(index(10))
        assert keys.add_runs(runs) == len(set(rows))
        assert (len(runs), keys.add_rows(rows)) == (len(rows), 0)


class TestNewest:
    def test_times_are_kept_where_the_index_comes_to_know_a_key(self) -> None:
        known = index(1)
        newest = Newest(known)
        newest.put("x", 5.0)
        known["x"] = Entry(1, 1)
        newest.put("0", 6.0)
        assert (newest.get("x"), newest.get("0"), newest.get("y")) == (5.0, 6.0, 0.0)


class TestRecognising:
    def test_records_are_found_where_they_came_last_time_and_else_by_key(self) -> None:
        known = index(100)
        for row in range(100):
            known.tell(str(row), 1000 + row)
        recognising = Recognising(known)
        asked: list[int] = []

        def rows(order: list[int]) -> list[int]:
            def by_key(at: int) -> int:
                asked.append(at)
                return order[at]

            asked.clear()
            prints = _prints(*(1000 + row for row in order))
            return list(recognising.rows(prints, by_key))

        shuffled = random.Random(1).sample(range(100), 100)
        for order in (list(range(100)), shuffled, shuffled, list(range(50, 100)) + list(range(50))):
            assert rows(order) == order
        assert rows(shuffled) == shuffled
        assert rows(shuffled) == shuffled
        assert len(asked) <= 1

    def test_an_unknown_record_has_no_row(self) -> None:
        assert list(Recognising(Index()).rows(_prints(1, 2), lambda _: -1)) == [-1, -1]


def test_a_reply_is_the_same_but_for_what_varies() -> None:
    known = Known()
    known.begin(Index())
    raw = msgspec.Raw(booking(1))
    listed = known.listed(b"1", lambda: Listed(items=[raw], total=1), booking_key, "")
    assert (list(listed.items), listed.total, known.knows(b"1")) == ([raw], 1, False)


def _rows(*rows: int) -> "array[int]":
    return array("i", rows)


def _prints(*prints: int) -> "array[int]":
    return array("Q", prints)
