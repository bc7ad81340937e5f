"""The shared place of tokens: in memory and in a JetStream bucket alike."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from events.jetstream import streams
from events.jetstream.connection import connect
from events.jetstream.options import BusOptions
from events.jetstream.tokens import JetStreamTokenStore
from events.ledger import LedgerUnavailable
from events.subjects import Names
from events.tokens import Entry, Held, MemoryTokenStore, Moved, Taken, TokenStore, Trouble
from tests.nats import NatsServer, start_nats

pytestmark = pytest.mark.anyio

ONE, TWO = Entry(sealed="one", lifetime=60, left=60), Entry(sealed="two", lifetime=60, left=60)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with start_nats(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", "jetstream"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[TokenStore]:
    if request.param == "memory":
        yield MemoryTokenStore()
        return
    server: NatsServer = request.getfixturevalue("nats")
    async with connect(BusOptions(urls=[server.url]), lambda _: None) as bus:
        await bus.ready()
        await streams.ensure(bus, Names(), replicas=1, max_bytes=None)
        yield JetStreamTokenStore(bus, Names())


async def read(store: TokenStore) -> Held:
    held = await store.read("hotel")
    assert held is not None
    return held


async def test_an_entry_is_read_as_it_was_stored_with_its_age(store: TokenStore) -> None:
    assert await store.read("hotel") is None
    revision = await store.write("hotel", ONE, 0)
    await anyio.sleep(0.3)
    held = await read(store)
    assert (held.entry, held.revision) == (ONE, revision)
    assert 0.3 <= held.age < 2


async def test_only_one_of_two_replaces_an_entry(store: TokenStore) -> None:
    first = await store.write("hotel", ONE, 0)
    with pytest.raises(Moved):
        await store.write("hotel", TWO, 0)
    second = await store.write("hotel", TWO, first)
    with pytest.raises(Moved):
        await store.write("hotel", ONE, first)
    assert ((await read(store)).entry, second > first) == (TWO, True)


async def test_accounts_do_not_touch_each_other(store: TokenStore) -> None:
    await store.write("hotel", ONE, 0)
    await store.write("claim", TWO, 0)
    assert isinstance(await store.claim("hotel", "a", 20), int)
    assert isinstance(await store.claim("claim", "a", 20), int)
    assert (await read(store)).entry == ONE


async def test_a_claim_is_one_agents_until_it_is_released(store: TokenStore) -> None:
    claim = await store.claim("hotel", "a", 20)
    taken = await store.claim("hotel", "b", 20)
    assert isinstance(claim, int)
    assert isinstance(taken, Taken)
    assert taken.trouble is None
    assert 15 < taken.left <= 20
    await store.release("hotel", claim)
    assert isinstance(await store.claim("hotel", "b", 20), int)


async def test_a_claim_ends_by_itself_and_its_release_then_frees_nobody_elses(store: TokenStore) -> None:
    first = await store.claim("hotel", "a", 1)
    assert isinstance(first, int)
    with anyio.fail_after(10):
        while isinstance(second := await store.claim("hotel", "b", 20), Taken):  # noqa: ASYNC110 the server ends it
            await anyio.sleep(0.05)
    await store.release("hotel", first)
    await store.rest("hotel", first, Trouble("AuthRefused", "no"), 60)
    taken = await store.claim("hotel", "c", 20)
    assert isinstance(taken, Taken)
    assert taken.trouble is None
    await store.release("hotel", second)


async def test_a_claim_left_to_rest_tells_everybody_why_and_for_how_long(store: TokenStore) -> None:
    claim = await store.claim("hotel", "a", 20)
    assert isinstance(claim, int)
    await store.rest("hotel", claim, Trouble("AuthRefused", "no"), 60)
    for holder in ("a", "b"):
        taken = await store.claim("hotel", holder, 20)
        assert isinstance(taken, Taken)
        assert taken.trouble == Trouble("AuthRefused", "no")
        assert 55 < taken.left <= 60


async def test_followers_hear_what_is_there_and_what_comes(store: TokenStore) -> None:
    await store.write("hotel", ONE, 0)
    heard: list[tuple[str, Entry]] = []
    with anyio.fail_after(10):
        async with aclosing(store.follow()) as news:
            async for each in news:
                if each is None:
                    continue
                heard.append((each[0], each[1].entry))
                if len(heard) == 1:
                    await store.claim("hotel", "a", 20)
                    await store.write("solar", TWO, 0)
                else:
                    break
    assert heard == [("hotel", ONE), ("solar", TWO)]


async def test_what_is_forgotten_is_gone_with_its_claim(store: TokenStore) -> None:
    await store.write("hotel", ONE, 0)
    await store.claim("hotel", "a", 20)
    await store.forget("hotel")
    await store.forget("hotel")
    assert await store.read("hotel") is None
    assert isinstance(await store.claim("hotel", "b", 20), int)


async def test_what_a_stranger_wrote_is_an_entry_that_cannot_be_opened(nats: NatsServer) -> None:
    async with connect(BusOptions(urls=[nats.url]), lambda _: None) as bus:
        await bus.ready()
        await streams.ensure(bus, Names(), replicas=1, max_bytes=None)
        await bus.publish("$KV.vendorwire_tokens.hotel", b"\xff{")
        held = await JetStreamTokenStore(bus, Names()).read("hotel")
        assert held is not None
        assert held.entry.sealed


async def test_a_claim_of_which_no_answer_came_is_taken_back(nats: NatsServer) -> None:
    async with connect(BusOptions(urls=[nats.url]), lambda _: None) as bus:
        await bus.ready()
        await streams.ensure(bus, Names(), replicas=1, max_bytes=None)
        store = JetStreamTokenStore(bus, Names())
        await store.claim("hotel", "a", 20)
        assert await store.claim("hotel", "a", 20) == Taken(None, 0.0)
        assert isinstance(await store.claim("hotel", "a", 20), int)


async def test_without_the_bus_it_says_so(nats: NatsServer) -> None:
    async with connect(BusOptions(urls=[nats.url]), lambda _: None) as bus:
        await bus.ready()
        store = JetStreamTokenStore(bus, Names())
        nats.kill()
        with pytest.raises(LedgerUnavailable):
            await store.read("hotel")
        with pytest.raises(LedgerUnavailable):
            await store.claim("hotel", "a", 20)
