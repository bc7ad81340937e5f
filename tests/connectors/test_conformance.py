"""What every connector does, whatever its vendor. A new one joins `Every` and adds its row to VENDORS."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, get_args

import anyio
import httpx
import msgspec
import pytest

from connectors.base import Connector, Query
from connectors.errors import AuthRefused, Throttled, Unavailable, Unreadable
from connectors.every import Every
from connectors.octorate import Octorate
from connectors.sandbox.base import Sandbox
from connectors.sandbox.octorate import CLIENT_SECRET, REFRESH_TOKEN, OctorateSandbox
from schemas.changes import CATALOGUE, COMMON
from schemas.facts import PollOutcome
from tests.polled import NOON, Account, Clock, settings

pytestmark = pytest.mark.anyio

CONNECTORS: tuple[type[Connector], ...] = get_args(Every) or (Every,)


class Vendor(msgspec.Struct, kw_only=True):
    """How a vendor is faked.

    `connector` and `sandbox` make an account and its fake vendor, the same one at every read unless `noise`. `resource` is one
    with more than a page of records, read from paths that hold `listing`; `sign_in` is in the path of signing in.
    """

    connector: Callable[[], Connector]
    sandbox: Callable[[Callable[[], datetime], bool], Sandbox]
    resource: str
    listing: str
    sign_in: str
    records: Callable[[Any], set[str]]
    secrets: tuple[str, ...]


def _octorate(now: Callable[[], datetime], noise: bool) -> OctorateSandbox:
    sandbox = OctorateSandbox(now, seed=0, limit=1_000_000, noise=noise)
    for _ in range(450):
        sandbox.add()
    return sandbox


VENDORS: dict[type[Connector], Vendor] = {
    Octorate: Vendor(
        connector=settings,
        sandbox=_octorate,
        resource="booking",
        listing="/reservation/",
        sign_in="/identity/refresh",
        records=lambda sandbox: {str(id_) for id_ in sandbox.reservations},
        secrets=(CLIENT_SECRET, REFRESH_TOKEN),
    )
}


class Subject:
    """A vendor under test, and an account of it."""

    def __init__(self, vendor: Vendor, *, noise: bool = False) -> None:
        clock = Clock()
        self.of = vendor
        self.sandbox = vendor.sandbox(clock, noise)
        self.account = Account(vendor.connector(), self.sandbox, clock)

    async def read(self) -> list[str]:
        """The keys of everything a whole read of the resource gives, in order. Raises VendorError."""
        keys = []
        connector, api = self.account.connector, self.account.api
        for part in await connector.parts(api, self.of.resource):
            query = Query(resource=self.of.resource, part=part, since=None, whole=True, now=NOON)
            async for page in connector.read(api, query):
                keys += [page.key_of(raw) for raw in page.items]
        return keys

    def sign_ins(self) -> int:
        return sum(self.of.sign_in in seen.path for seen in self.sandbox.seen)

    async def poll(self) -> Any:
        return await self.account.sweep(self.of.resource)


@pytest.fixture(params=CONNECTORS, ids=lambda kind: kind.__struct_config__.tag)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


@pytest.fixture
def subject(vendor: Vendor) -> Subject:
    return Subject(vendor)


def test_every_connector_has_its_row() -> None:
    assert set(VENDORS) == set(CONNECTORS)


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
    known = await subject.account.stored(subject.of.resource)
    ended = await subject.poll()
    assert (ended.outcome, subject.account.told()) == (PollOutcome.UNCHANGED, [])
    assert set(known) == subject.of.records(subject.sandbox)


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


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_outage_is_one(subject: Subject, status: int) -> None:
    subject.sandbox.fail(status=status, match=subject.of.listing)
    with pytest.raises(Unavailable):
        await subject.read()


async def test_silence_is_an_outage(subject: Subject) -> None:
    subject.sandbox.fail(kind="hang", match=subject.of.listing)
    with pytest.raises(Unavailable):
        await subject.read()


@pytest.mark.parametrize("kind", ["html", "truncated", "huge"])
async def test_what_is_no_json_is_unreadable_and_the_sentence_names_the_path(subject: Subject, kind: str) -> None:
    subject.sandbox.fail(kind=kind, match=subject.of.listing)
    with pytest.raises(Unreadable, match=f"GET .*{subject.of.listing}"):
        await subject.read()


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
    plain = subject.account.vendor

    def extended(request: httpx.Request) -> httpx.Response:
        reply = plain(request)
        if reply.headers.get("Content-Type") != "application/json":
            return reply
        return httpx.Response(reply.status_code, headers={"Date": reply.headers["Date"]}, json=_extended(reply.json()))

    subject.account.vendor = extended
    ended = await subject.poll()
    assert (ended.outcome, subject.account.quarantined()) == (PollOutcome.UNCHANGED, [])


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


def test_no_secret_is_in_a_repr(subject: Subject) -> None:
    assert not any(secret in repr(subject.account.connector) for secret in subject.of.secrets)
