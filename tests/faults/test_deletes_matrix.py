"""A thousand records, and every way in which a vendor may show fewer: no delete is told that is none, and a real one soon is."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from agent.deletes import approve
from schemas.facts import PollOutcome
from tests.faults.hostile import ID, VENDORS, Watching

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

Measured = Callable[[str, str, str], None]
Change = Callable[[httpx.Request, httpx.Response], httpx.Response]

MANY = 1000
SWEEP = timedelta(hours=1)
LISTED = {"octorate": "data", "ipro": "Items", "carbontrack": "Devices", "powerpro": "data"}


async def stocked(vendor: str, records: int = MANY) -> Watching:
    """An account that knows so many records."""
    account = Watching(vendor, records)
    await sweep(account)
    await sweep(account)
    assert (account.told(), len(await account.known())) == ([], records)
    return account


def by_id(request: httpx.Request) -> bool:
    """Whether one record, or some, are asked for by name."""
    asked = request.url.params
    last = request.url.path.rpartition("/")[2]
    named = "ids[]" in asked or "bookingID" in asked or b'"DeviceID"' in request.content
    return named or (request.url.path.startswith("/courses/") and last.isdecimal())


def answered(like: httpx.Response, status: int, content: bytes) -> httpx.Response:
    """The same reply with another body."""
    headers = {"Date": like.headers["Date"], "Content-Type": "application/json"}
    return httpx.Response(status, headers=headers, content=content)


def always(status: int, content: bytes) -> Change:
    return lambda _, reply: answered(reply, status, content)


def shortened(vendor: str, hidden: set[str], *, even_by_id: bool) -> Change:
    """A listing that leaves some out, its own figures to match; by id they may be there all the same."""
    field, name = LISTED[vendor], ID[vendor]

    def change(request: httpx.Request, reply: httpx.Response) -> httpx.Response:
        if reply.status_code != httpx.codes.OK or (by_id(request) and not even_by_id):
            return reply
        page = json.loads(reply.content)
        left = _without(page, field, name, hidden)
        return answered(reply, 200, json.dumps(left).encode())

    return change


def _without(page: Any, field: str, name: str, hidden: set[str]) -> Any:
    listed = page.get(field)
    if isinstance(listed, dict) and "data" in listed:  # a listing inside its paging
        return {**page, field: _without(listed, "data", name, hidden)}
    if not isinstance(listed, list):
        return page
    kept = [each for each in listed if str(each[name]) not in hidden]
    figures = {each: None for each in ("TotalHits", "Count", "Pages", "total", "last_page") if each in page}
    return {**page, **figures, field: kept, **({"meta": {}} if "meta" in page else {})}


EMPTY = {
    "octorate": b'{"data":[]}',
    "ipro": b'{"TotalHits":0,"Items":[]}',
    "carbontrack": b'{"Devices":[],"Count":0,"Pages":0,"PagesIndex":0}',
    "powerpro": b'{"data":[],"meta":{"total":0,"last_page":1,"current_page":1}}',
}
ENVELOPE = {
    "octorate": b'{"message":"err","nested":[],"type":"ApiSecurityException"}',
    "ipro": b'{"Success":false,"Message":"no","Items":[]}',
    "carbontrack": b'{"Devices":[],"Count":0,"Pages":0,"Error":true,"ErrorNumber":1000,"ErrorMessage":"no"}',
    "powerpro": b'{"error":{"code":1,"description":"no"},"data":[]}',
}
FAULTS: dict[str, Callable[[str, list[str]], Change]] = {
    "to 0: an empty list": lambda vendor, _: always(200, EMPTY[vendor]),
    "to 0: an empty body": lambda _, __: always(200, b""),
    "to 0: null": lambda _, __: always(200, b"null"),
    "to 0: an empty object": lambda _, __: always(200, b"{}"),
    "to 0: a 204": lambda _, __: always(204, b""),
    "to 0: a 404": lambda _, __: always(404, b""),
    "to 0: an error inside a 200": lambda vendor, _: always(200, ENVELOPE[vendor]),
    "to 0: a page for people": lambda _, __: always(200, b"<!doctype html><title>Login</title>"),
    "to 799, gone by id too": lambda vendor, keys: shortened(vendor, set(keys[799:]), even_by_id=True),
    "to 799, there by id": lambda vendor, keys: shortened(vendor, set(keys[799:]), even_by_id=False),
    "to 801, there by id": lambda vendor, keys: shortened(vendor, set(keys[801:]), even_by_id=False),
}
ONCE: dict[str, Callable[[str, list[str]], Change]] = {
    **FAULTS,
    "to 801, gone by id too": lambda vendor, keys: shortened(vendor, set(keys[801:]), even_by_id=True),
}


def fault(account: Watching, change: Change) -> None:
    """From now on the vendor's records are what this makes of them."""
    plain, of = account.site.sandbox, account.site.of

    def answer(request: httpx.Request) -> httpx.Response:
        reply: httpx.Response = plain(request)
        return change(request, reply) if of.listing in request.url.path else reply

    account.vendor = answer


async def sweep(account: Watching) -> PollOutcome:
    return (await account.poll(account.resource, after=SWEEP)).outcome


def deletes(account: Watching) -> list[str]:
    return [event.subject for event in account.told() if event.type.endswith(".deleted")]


async def settled(account: Watching) -> None:
    """The vendor is well again: all is there, and there is nothing to tell."""
    account.heal()
    assert (await sweep(account)).succeeded
    assert (account.told(), len(await account.known())) == ([], MANY)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_thousand_that_only_seem_gone_are_never_told_as_deleted(
    vendor: str, torture: bool, measured: Measured
) -> None:
    account = await stocked(vendor)
    keys, told = sorted(account.site.keys), 0
    assert len(keys) == MANY
    for name, make in ONCE.items():
        sweeps = 1 if name not in FAULTS else 10 if torture else 3
        fault(account, make(vendor, keys))
        outcomes = [await sweep(account) for _ in range(sweeps)]
        told += len(deletes(account))
        assert (name, outcomes, told, len(await account.known())) == (name, outcomes, 0, MANY)
        await settled(account)
    measured("no false delete", f"{vendor}: 1000 records that only seem gone, in {len(ONCE)} ways", "0 deletes told")


def narrow(account: Watching) -> Callable[[], object]:
    """The credentials reach less than before; what takes that back."""
    sandbox: Any = account.site.sandbox
    match account.site.vendor:
        case "octorate":
            name, place = sandbox.accommodations.popitem()
            return lambda: sandbox.accommodations.update({name: place})
        case "carbontrack":
            distributor = sandbox.distributors.pop()
            return lambda: sandbox.distributors.append(distributor)
        case "powerpro":
            sandbox.forbid("courses")
            return lambda: sandbox.allow("courses")
    hidden = set(account.site.keys[:150])
    less = shortened("ipro", hidden, even_by_id=True)
    fault(account, lambda asked, reply: answered(reply, 403, b"") if by_id(asked) else less(asked, reply))
    return account.heal


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_permission_that_is_narrowed_deletes_nothing(vendor: str, measured: Measured) -> None:
    account = await stocked(vendor)
    widen = narrow(account)
    assert not any([(await sweep(account)).succeeded for _ in range(4)])
    assert (deletes(account), len(await account.known())) == ([], MANY)
    widen()
    for _ in range(12):  # what is listed is remembered for ten minutes
        await account.read()
    await settled(account)
    measured("no false delete", f"{vendor}: a permission is narrowed over four sweeps", "0 deletes told")


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_real_delete_is_told_within_two_sweeps(vendor: str, measured: Measured) -> None:
    account = await stocked(vendor)
    gone = account.site.of.remove(account.site.sandbox)
    await sweep(account)
    assert deletes(account) == []
    await sweep(account)
    assert deletes(account) == [gone]
    measured("no false delete", f"{vendor}: one of 1000 is really deleted", "told in the second sweep")


@pytest.mark.parametrize("vendor", VENDORS)
async def test_what_is_held_goes_when_a_person_says_so_and_returns_as_restored(vendor: str) -> None:
    account = await stocked(vendor, 100)
    fault(account, FAULTS["to 0: an empty list"](vendor, []))
    assert [await sweep(account) for _ in range(2)] == [PollOutcome.HELD] * 2
    scope, resource = account.watched.scope(account.resource), account.connector.resources[account.resource]
    await approve(account.ledger, scope, resource, (), account.clock)
    assert (len(deletes(account)), await account.known()) == (100, {})
    account.heal()
    await sweep(account)
    assert {event.type.rpartition(".")[2] for event in account.told()} == {"restored"}
    assert len(await account.known()) == 100
