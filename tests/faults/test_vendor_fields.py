"""Every field of every vendor's records with every wrong value, and replies cut at every byte: nothing false comes of it."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from events.diff import digest
from schemas.facts import PollOutcome
from schemas.records import Record
from tests.faults.hostile import ID, VENDORS, Watching

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

Measured = Callable[[str, str, str], None]
Path = tuple[str | int, ...]

DIGITS = b"1" * 5000
# What no field is: nothing may be stored of it, and no change be told.
NONSENSE = {
    "an object": b'{"x":{"y":[1]}}',
    "a list": b'[["x"],1]',
    "not a number": b"NaN",
    "infinite": b"1e400",
    "5000 digits": DIGITS,
    "deep": b"[" * 300 + b"]" * 300,
}
# What some fields may be: what is stored must be fit for the bus, and be told as the vendor has it.
ODD = {
    "null": b"null",
    "a text": b'"nonsense"',
    "hostile text": json.dumps("\0\r\nNats-Rollup: all\r\n\u202e.*> \x7f").encode(),
    "half a character": b'"\\ud800"',
    "a huge number": b"1e300",
    "below zero": b"-1",
    "a fraction": b"0.1",
    "yes": b"true",
    "empty": b'""',
}
KEPT_AS_WRITTEN = {("octorate", ("refer",), "5000 digits")}  # a reference may be a number of any length
_MARK = "in the place of the value"


def items_of(page: Any) -> list[dict[str, Any]]:
    """The items in a decoded page: its first list of objects; none where it has no such list."""
    if isinstance(page, list):
        return page
    return next((items_of(value) for value in page.values() if isinstance(value, list | dict) and value), [])


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Where anything stands in a record, outermost first; of a list only the first entry."""
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value[:1]))
    for name, each in entries:
        yield (*at, name)
        yield from paths(each, (*at, name))


def some(record: Any, many: int, *, every: bool) -> list[Path]:
    """About so many of its paths, or every one."""
    found = list(paths(record))
    return found if every else found[:: max(len(found) // many, 1)]


def at_path(record: Any, path: Path) -> Any:
    for name in path:
        record = record[name]
    return record


class Mutated:
    """Pages in which one item has another value at a path; the rest as it was. `seen` counts the pages with that item."""

    def __init__(self, vendor: str, id_: Any, path: Path, wrong: bytes) -> None:
        self._name = ID[vendor]
        self._id = id_
        self._outer, self._last = path[:-1], path[-1]
        self._wrong = wrong
        self.seen = 0

    def __call__(self, content: bytes) -> bytes:
        page = json.loads(content)
        for item in items_of(page):
            if item[self._name] == self._id:
                at_path(item, self._outer)[self._last] = _MARK
                self.seen += 1
        return json.dumps(page).encode().replace(json.dumps(_MARK).encode(), self._wrong)


def alike(now: Mapping[str, Record], before: Mapping[str, Record]) -> bool:
    """Whether nothing that is compared is another."""
    return now.keys() == before.keys() and not any(now[key].differences(before[key]) for key in now)


def fit_for_the_bus(record: Any) -> bool:
    """Whether a record is what it says: it can be written, and read again as what it was."""
    wire = msgspec.json.encode(record)
    again = msgspec.json.decode(wire, type=type(record))
    return bool(again == record) and digest(again) == digest(record)


async def richest_item(account: Watching) -> dict[str, Any]:
    """The record with the most to it, as the vendor writes it."""
    seen: list[dict[str, Any]] = []

    def look(content: bytes) -> bytes:
        seen.extend(items_of(json.loads(content)))
        return content

    account.twist(look)
    await account.read()
    account.heal()
    await account.read()
    assert account.told() == []
    return max(seen, key=lambda item: len(json.dumps(item)))


async def is_well_again(account: Watching, number: int) -> bool:
    """Whether a change that took place meanwhile is told, and nothing else once all is as it was."""
    account.heal()
    await account.read()
    account.told()
    key = account.site.change(number)
    await account.read()
    return [(event.subject, event.type.rpartition(".")[2]) for event in account.told()] == [(key, "modified")]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_no_wrong_value_in_any_field_is_stored_or_told(vendor: str, torture: bool, measured: Measured) -> None:
    account = Watching(vendor)
    record = await richest_item(account)
    id_ = record[ID[vendor]]
    before, tried = await account.known(), 0
    for path in some(record, 40, every=torture):
        for name, wrong in NONSENSE.items():
            if isinstance(at_path(record, path), dict) and name == "an object":
                continue  # an object in its place is one: its fields are tried one by one
            mutated = Mutated(vendor, id_, path, wrong)
            account.twist(mutated)
            ended = await account.read()
            assert mutated.seen
            tried += 1
            told = [event.type for event in account.told()]
            if (vendor, path, name) not in KEPT_AS_WRITTEN:
                assert (path, name, told, alike(await account.known(), before)) == (path, name, [], True)
            assert ended.outcome.succeeded or ended.detail
            account.heal()
            await account.read()
            account.told()
    assert alike(await account.known(), before)
    assert await is_well_again(account, tried)
    measured(
        "nothing false", f"{vendor}: every field of a record a nonsense in turn", f"{tried} replies, 0 false events"
    )


@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_odd_value_in_any_field_changes_its_record_alone_and_deletes_none(
    vendor: str, torture: bool, measured: Measured
) -> None:
    account = Watching(vendor)
    record = await richest_item(account)
    id_ = record[ID[vendor]]
    before, tried = await account.known(), 0
    for path in some(record, 25, every=torture):
        for name, wrong in ODD.items():
            mutated = Mutated(vendor, id_, path, wrong)
            account.twist(mutated)
            await account.read()
            assert mutated.seen
            tried += 1
            told, now = account.told(), await account.known()
            changed = {key for key in before if key in now and now[key].differences(before[key])}
            assert (path, name, len({event.subject for event in told}) <= 1) == (path, name, True)
            assert (path, name, [each.type for each in told if each.type.endswith("deleted")]) == (path, name, [])
            assert (path, name, before.keys() <= now.keys(), len(changed) <= 1) == (path, name, True, True)
            assert all(fit_for_the_bus(each) for each in now.values())
            account.heal()
            await account.read()
            account.told()
            if now.keys() != before.keys():  # another id is another record: it is gone when it is no longer listed
                await account.read()
                account.told()
    assert alike(await account.known(), before)
    measured(
        "no false delete", f"{vendor}: every field of a record an odd value in turn", f"{tried} replies, 0 deletes"
    )


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_listing_cut_at_any_byte_is_no_listing(vendor: str, torture: bool, measured: Measured) -> None:
    account = Watching(vendor, records=2)
    sizes: list[int] = []

    def measure(content: bytes) -> bytes:
        sizes.append(len(content))
        return content

    account.twist(measure)
    await account.read()
    account.heal()
    await account.read()
    account.told()
    before, cuts = await account.known(), range(0, max(sizes), 1 if torture else 29)
    for cut in cuts:
        account.twist(lambda content, cut=cut: content[:cut])  # type: ignore[misc]  # cut is bound now
        ended = await account.read()
        assert (cut, ended.outcome) == (cut, PollOutcome.UNREADABLE)
        assert account.site.of.listing in ended.detail
    assert (account.told(), await account.known()) == ([], before)
    assert await is_well_again(account, 1)
    measured("nothing false", f"{vendor}: a listing cut at {len(cuts)} places", "0 false events, 0 deletes")
