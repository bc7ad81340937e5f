"""What every connector does, whatever its vendor. A new one joins `Every` and brings its row in `subjects/<vendor>.py`.

`make conformance` prints the table of it.
"""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, get_args

import anyio
import httpx
import pytest

from connectors.base import Connector
from connectors.errors import AuthRefused, Forbidden, Throttled, Unavailable, Unreadable
from connectors.every import Every
from schemas.changes import CATALOGUE, COMMON
from schemas.facts import PollOutcome
from tests.connectors.subjects import Subject, Vendor, vendor_of

pytestmark = pytest.mark.anyio

CONNECTORS: tuple[type[Connector], ...] = get_args(Every) or (Every,)


@pytest.fixture(params=CONNECTORS, ids=lambda kind: kind.__struct_config__.tag)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return vendor_of(request.param)


@pytest.fixture
def subject(vendor: Vendor) -> Subject:
    return Subject(vendor)


def test_resources_and_verbs_are_those_of_the_catalogue(subject: Subject) -> None:
    connector = subject.account.connector
    offered = {name: set(resource.changes) for name, resource in connector.resources.items()}
    published = CATALOGUE[connector.vendor]
    assert offered == {name: set(published[name]) - set(COMMON) for name in offered}


def test_every_record_type_is_the_one_of_its_resource(subject: Subject) -> None:
    for name, resource in subject.account.connector.resources.items():
        assert resource.record.resource == name
        assert resource.record.volatile <= set(resource.record.__struct_fields__)
        assert set(resource.record.added_in) <= set(resource.record.__struct_fields__)


async def test_pages_are_read_to_the_end(subject: Subject) -> None:
    assert set(await subject.read()) == subject.of.records(subject.sandbox)


@pytest.mark.parametrize("noise", [False, True])
async def test_the_same_state_twice_is_no_change(vendor: Vendor, noise: bool) -> None:
    subject = Subject(vendor, noise=noise)
    await subject.poll()
    known = await subject.stored()
    ended = await subject.poll()
    assert (ended.outcome, subject.account.told()) == (PollOutcome.UNCHANGED, [])
    assert known == subject.of.records(subject.sandbox)


async def test_an_id_twice_in_one_sweep_is_one_record(subject: Subject) -> None:
    await subject.poll()
    subject.account.vendor = _changing(subject, _doubled)
    ended = await subject.poll()
    assert (ended.outcome, subject.account.told()) == (PollOutcome.UNCHANGED, [])
    assert await subject.stored() == subject.of.records(subject.sandbox)


async def test_records_that_move_between_pages_while_they_are_read_are_not_lost(subject: Subject) -> None:
    await subject.poll()
    plain, removed = subject.account.vendor, ""

    def moving(request: httpx.Request) -> httpx.Response:
        nonlocal removed
        reply = plain(request)
        if subject.of.listing in request.url.path and not removed:
            removed = subject.of.remove(
                subject.sandbox
            )  # all that come after it move up, one of them onto the page just read
        return reply

    subject.account.vendor = moving
    for _ in range(4):
        await subject.poll()
    assert [(event.type, event.subject) for event in subject.account.told()] == [
        (f"{subject.of.resource}.deleted", removed)
    ]
    assert await subject.stored() == subject.of.records(subject.sandbox)


async def test_a_listing_without_an_end_ends_as_unreadable(subject: Subject) -> None:
    await subject.poll()
    known = await subject.stored()
    subject.sandbox.fail(kind="endless", match=subject.of.listing, times=100_000)
    assert (await subject.poll()).outcome is PollOutcome.UNREADABLE
    assert await subject.stored() >= known


async def test_a_listing_that_begins_again_and_again_deletes_nothing(subject: Subject) -> None:
    await subject.poll()
    known = await subject.stored()
    subject.sandbox.fail(kind="repeat", match=subject.of.listing, times=100_000)
    for _ in range(3):
        await subject.poll()
    assert await subject.stored() == known
    assert subject.account.told() == []


async def test_many_requests_need_one_sign_in(subject: Subject) -> None:
    await subject.read()
    await subject.read()
    assert subject.sign_ins() == 1
    assert len(subject.account.requests) > 4


async def test_an_expired_token_is_renewed_once_and_the_request_sent_again(subject: Subject) -> None:
    await subject.read()
    subject.sandbox.expire_tokens()
    assert set(await subject.read()) == subject.of.records(subject.sandbox)
    assert subject.sign_ins() == 2


async def test_a_401_is_met_with_one_renewal(subject: Subject) -> None:
    await subject.read()
    subject.sandbox.fail(status=401, match=subject.of.listing)
    await subject.read()
    assert subject.sign_ins() == 2


async def test_a_401_that_stays_is_refused_after_one_renewal(subject: Subject) -> None:
    await subject.read()
    subject.sandbox.fail(status=401, match=subject.of.listing, times=100)
    with pytest.raises(AuthRefused):
        await subject.read()
    assert subject.sign_ins() == 2


async def test_refused_credentials_are_told_as_such(subject: Subject) -> None:
    subject.sandbox.revoke()
    with pytest.raises(AuthRefused):
        await subject.read()
    assert (await subject.account.poll(subject.of.resource)).outcome is PollOutcome.UNAUTHORIZED


async def test_a_429_says_when_to_come_back(subject: Subject) -> None:
    subject.sandbox.fail(status=429, match=subject.of.listing, retry_after=7)
    with pytest.raises(Throttled) as caught:
        await subject.read()
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("status", [500, 502, 503, 504, 550])
async def test_an_outage_is_one(subject: Subject, status: int) -> None:
    subject.sandbox.fail(status=status, match=subject.of.listing)
    with pytest.raises(Unavailable):
        await subject.read()


async def test_a_403_is_a_matter_of_this_resource_alone(subject: Subject) -> None:
    await subject.read()
    subject.sandbox.fail(status=403, match=subject.of.listing, times=100)
    with pytest.raises(Forbidden):
        await subject.read()
    assert subject.sign_ins() == 1


async def test_a_redirect_is_not_followed(subject: Subject) -> None:
    plain, asked = subject.account.vendor, []

    def moved(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if subject.of.listing in request.url.path:
            return httpx.Response(302, headers={"Location": "https://elsewhere.test/"})
        return plain(request)

    subject.account.vendor = moved
    with pytest.raises(Unavailable):
        await subject.read()
    assert set(asked) == {httpx.URL(subject.account.connector.base_url).host}


async def test_silence_is_an_outage(subject: Subject) -> None:
    subject.sandbox.fail(kind="hang", match=subject.of.listing)
    with pytest.raises(Unavailable):
        await subject.read()


@pytest.mark.parametrize("kind", ["html", "truncated", "huge"])
async def test_what_is_no_json_is_unreadable_and_the_sentence_names_the_path(subject: Subject, kind: str) -> None:
    subject.sandbox.fail(kind=kind, match=subject.of.listing)
    with pytest.raises(Unreadable, match=f"(GET|POST) .*{subject.of.listing}"):
        await subject.read()


async def test_a_byte_order_mark_is_passed_over(subject: Subject) -> None:
    subject.sandbox.fail(kind="bom", match=subject.of.listing, times=1000)
    assert set(await subject.read()) == subject.of.records(subject.sandbox)


@pytest.mark.parametrize("kind", ["wrong_types", "one_bad"])
async def test_an_unreadable_record_names_its_place_and_nothing_else(subject: Subject, kind: str) -> None:
    subject.sandbox.fail(kind=kind, match=subject.of.listing)
    await subject.poll()
    places = subject.account.quarantined()
    assert places
    assert all(" at $." in place for place in places)


async def test_one_unreadable_record_does_not_keep_the_others_out(subject: Subject) -> None:
    subject.sandbox.fail(kind="one_bad", match=subject.of.listing)
    await subject.poll()
    assert len(await subject.account.stored(subject.of.resource)) == len(subject.of.records(subject.sandbox)) - 1


async def test_where_no_record_can_be_read_the_poll_says_so_and_the_first_sync_is_not_over(subject: Subject) -> None:
    subject.sandbox.fail(kind="wrong_types", match=subject.of.listing, times=10_000)
    assert (await subject.poll()).outcome is PollOutcome.UNREADABLE
    subject.sandbox.heal()
    await subject.poll()
    assert subject.account.told() == []
    assert set(await subject.account.stored(subject.of.resource)) == subject.of.records(subject.sandbox)


async def test_unknown_fields_are_ignored(subject: Subject) -> None:
    await subject.poll()
    subject.account.vendor = _changing(subject, _extended)
    ended = await subject.poll()
    assert (ended.outcome, subject.account.quarantined()) == (PollOutcome.UNCHANGED, [])


def _changing(subject: Subject, change: Callable[[Any], Any]) -> Callable[[httpx.Request], httpx.Response]:
    """The vendor with every reply to a listing's path changed."""
    plain = subject.account.vendor

    def answer(request: httpx.Request) -> httpx.Response:
        reply = plain(request)
        if not reply.headers.get("Content-Type", "").startswith("application/json"):
            return reply
        if subject.of.listing not in request.url.path:
            return reply
        return httpx.Response(reply.status_code, headers={"Date": reply.headers["Date"]}, json=change(reply.json()))

    return answer


def _doubled(value: Any) -> Any:
    """The same JSON with the first of each longer list of objects once more at its end."""
    if isinstance(value, dict):
        return {name: _doubled(each) for name, each in value.items()}
    if isinstance(value, list) and len(value) > 5 and all(isinstance(each, dict) for each in value):
        return [*value, value[0]]
    return value


def _extended(value: Any) -> Any:
    """The same JSON with one more field in every object."""
    if isinstance(value, dict):
        return {"brandNew": {"of": ["the", "vendor"]}, **{name: _extended(each) for name, each in value.items()}}
    return [_extended(each) for each in value] if isinstance(value, list) else value


class Slow(httpx.AsyncByteStream):
    """A reply whose body never ends."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun.set()
        yield b"["
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True


async def test_a_read_cancelled_midway_leaves_nothing_open_and_commits_nothing(subject: Subject) -> None:
    slow, plain, asked = Slow(), subject.account.vendor, 0

    def stuck(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += subject.of.listing in request.url.path
        return httpx.Response(200, stream=slow) if asked == 2 else plain(request)

    subject.account.vendor = stuck
    async with anyio.create_task_group() as group:
        group.start_soon(subject.poll)
        with anyio.fail_after(10):
            await slow.begun.wait()
        group.cancel_scope.cancel()
    assert slow.closed
    assert await subject.account.stored(subject.of.resource) == {}
    subject.account.vendor = plain
    assert (await subject.poll()).outcome is PollOutcome.UNCHANGED
    assert set(await subject.account.stored(subject.of.resource)) == subject.of.records(subject.sandbox)


async def test_no_failure_holds_a_secret(subject: Subject) -> None:
    kinds = ["html", "truncated", "hang", *subject.sandbox.errors]
    told = []
    for kind in kinds:
        subject.sandbox.heal()
        subject.sandbox.fail(kind=kind, times=5)
        told.append((await subject.account.poll(subject.of.resource, after=timedelta(hours=1))).detail)
    assert any(told)
    for secret in (*subject.of.secrets, "sandbox-access"):
        assert not any(secret in detail for detail in told)


async def test_nothing_but_reading_is_ever_asked(subject: Subject) -> None:
    connector = subject.account.connector
    for kind in (None, 500, 403, 401):
        subject.sandbox.heal()
        if kind:
            subject.sandbox.fail(status=kind, times=3)
        for resource in connector.resources:
            for _ in range(2):
                await subject.account.poll(resource, after=timedelta(hours=25))
    asked = {seen.path for seen in subject.sandbox.seen}
    assert [path for path in asked if not any(part in path for part in subject.of.reads)] == []


async def test_every_resource_can_be_polled(subject: Subject) -> None:
    for resource in subject.account.connector.resources:
        first = await subject.account.poll(resource)
        again = await subject.account.poll(resource, after=timedelta(seconds=1))
        assert (first.outcome.succeeded, again.outcome.succeeded, first.detail + again.detail) == (True, True, "")


def test_no_secret_is_in_a_repr(subject: Subject) -> None:
    assert not any(secret in repr(subject.account.connector) for secret in subject.of.secrets)
