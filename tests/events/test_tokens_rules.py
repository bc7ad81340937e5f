"""The shared place of tokens, to the second: by a clock of the test in memory, by the server's own where it is a bucket."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import msgspec
import pytest

from events.jetstream.connection import Bus
from events.jetstream.tokens import JetStreamTokenStore, _unix
from events.ledger import LedgerRefused, LedgerUnavailable
from events.tokens import Entry, Held, MemoryTokenStore, Moved, Taken, Trouble
from tests.events.bus import NAMES, connected, open_bus
from tests.nats import start_nats

pytestmark = pytest.mark.anyio

ONE, TWO = Entry(sealed="one", lifetime=60, left=60), Entry(sealed="two", lifetime=60, left=60)
REFUSED = Trouble("AuthRefused", "no")


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryTokenStore:
    return MemoryTokenStore(clock)


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with open_bus(tmp_path) as opened:
        yield opened


async def test_an_entry_is_written_without_what_it_does_not_hold() -> None:
    assert msgspec.json.encode(Entry()) == b"{}"
    assert msgspec.json.decode(b"{}", type=Entry) == Entry(
        sealed="", lifetime=0, left=0, trial=0, spent=False, problem="", failures=0
    )


async def test_only_the_entry_that_was_read_is_replaced(store: MemoryTokenStore) -> None:
    revision = await store.write("hotel", ONE, 0)
    for other in (0, revision - 1, revision + 1):
        with pytest.raises(Moved, match="hotel"):
            await store.write("hotel", TWO, other)
    with pytest.raises(Moved, match="solar"):
        await store.write("solar", TWO, revision)
    assert await store.read("hotel") == Held(ONE, revision, 0.0)


async def test_an_entrys_age_counts_from_when_it_was_stored_and_never_backwards(
    store: MemoryTokenStore, clock: Clock
) -> None:
    revision = await store.write("hotel", ONE, 0)
    clock.now = 107.0
    assert await store.read("hotel") == Held(ONE, revision, 7.0)
    clock.now = 90.0
    assert await store.read("hotel") == Held(ONE, revision, 0.0)


async def test_a_claim_lasts_to_the_second(store: MemoryTokenStore, clock: Clock) -> None:
    claim = await store.claim("hotel", "a", 20)
    clock.now = 119.5
    assert await store.claim("hotel", "b", 20) == Taken(None, 0.5)
    clock.now = 120.0
    later = await store.claim("hotel", "b", 20)
    assert isinstance(later, int)
    assert later != claim


async def test_a_rest_lasts_from_when_it_began_and_ends_by_itself(store: MemoryTokenStore, clock: Clock) -> None:
    claim = await store.claim("hotel", "a", 20)
    assert isinstance(claim, int)
    clock.now = 110.0
    await store.rest("hotel", claim, REFUSED, 60)
    clock.now = 169.0
    assert await store.claim("hotel", "a", 20) == Taken(REFUSED, 1.0)
    clock.now = 170.0
    assert isinstance(await store.claim("hotel", "a", 20), int)


async def test_a_claim_that_is_no_longer_ones_own_is_left_alone(store: MemoryTokenStore, clock: Clock) -> None:
    first = await store.claim("hotel", "a", 20)
    assert isinstance(first, int)
    await store.release("solar", first)
    clock.now = 130.0
    await store.claim("hotel", "b", 20)
    await store.release("hotel", first)
    await store.rest("hotel", first, REFUSED, 60)
    assert await store.claim("hotel", "c", 20) == Taken(None, 20.0)


async def test_who_follows_hears_each_entry_once_in_the_order_it_was_stored(
    store: MemoryTokenStore, clock: Clock
) -> None:
    solar = await store.write("solar", ONE, 0)
    clock.now = 97.0
    hotel = await store.write("hotel", TWO, 0)
    clock.now = 104.0
    async with aclosing(store.follow()) as news:
        with anyio.fail_after(10):
            assert await anext(news) == ("solar", Held(ONE, solar, 4.0))
            assert await anext(news) == ("hotel", Held(TWO, hotel, 7.0))
            assert await anext(news) is None
            again = await store.write("solar", TWO, solar)
            clock.now = 90.0
            assert await anext(news) == ("solar", Held(TWO, again, 0.0))
            assert await anext(news) is None


async def test_who_waits_for_news_is_woken_by_them(store: MemoryTokenStore) -> None:
    heard = []

    async def listen() -> None:
        async with aclosing(store.follow()) as news:
            async for each in news:
                heard.append(each)
                if each is not None:
                    return

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            await store.write("hotel", ONE, 0)
    assert heard == [("hotel", Held(ONE, 1, 0.0))]


# What only a bucket has.


async def test_in_a_bucket_a_claim_lasts_at_least_a_second_and_whole_ones(bus: Bus) -> None:
    store = JetStreamTokenStore(bus, NAMES)
    for account, asked, longest in (("hotel", 0.1, 1.0), ("solar", 4.2, 5.0)):
        assert isinstance(await store.claim(account, "a", asked), int)
        taken = await store.claim(account, "b", 20)
        assert isinstance(taken, Taken)
        assert longest - 1 < taken.left <= longest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-05-20T08:00:31Z", 1_779_264_031.0),
        ("2026-05-20T08:00:31.25Z", 1_779_264_031.25),
        ("2026-05-20T08:00:31.123456789Z", 1_779_264_031.123456789),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_the_servers_time_is_read_to_its_last_digit_wherever_the_agent_runs(
    zone: str, text: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setenv("TZ", zone)
        time.tzset()
        read = _unix(text)
    time.tzset()
    assert read == pytest.approx(seconds, abs=1e-6)


async def test_in_a_bucket_who_follows_goes_on_hearing_after_a_silence(bus: Bus) -> None:
    store = JetStreamTokenStore(bus, NAMES)
    async with aclosing(store.follow()) as news:
        with anyio.fail_after(30):
            assert await anext(news) is None
            await store.write("hotel", ONE, 0)
            while (heard := await anext(news)) is None:
                pass
    assert (heard[0], heard[1].entry) == ("hotel", ONE)


async def test_in_a_bucket_who_follows_hears_how_old_each_entry_is(bus: Bus) -> None:
    store = JetStreamTokenStore(bus, NAMES)
    solar = await store.write("solar", ONE, 0)
    await anyio.sleep(0.5)
    hotel = await store.write("hotel", TWO, 0)
    told = {}
    async with aclosing(store.follow()) as news:
        with anyio.fail_after(10):
            async for each in news:
                if each is not None:
                    told[each[0]] = each[1]
                if len(told) == 2:
                    break
    assert {name: (held.entry, held.revision) for name, held in told.items()} == {
        "solar": (ONE, solar),
        "hotel": (TWO, hotel),
    }
    assert 0.5 <= told["solar"].age < 5
    assert 0.4 < told["solar"].age - told["hotel"].age < 5


async def test_in_a_bucket_what_is_given_back_twice_is_given_back(bus: Bus) -> None:
    store = JetStreamTokenStore(bus, NAMES)
    claim = await store.claim("hotel", "a", 20)
    assert isinstance(claim, int)
    await store.release("hotel", claim)
    await store.release("hotel", claim)
    assert isinstance(await store.claim("hotel", "b", 20), int)


async def test_in_a_bucket_a_rest_is_nobodys_to_take_back(bus: Bus) -> None:
    store = JetStreamTokenStore(bus, NAMES)
    claim = await store.claim("hotel", "a", 20)
    assert isinstance(claim, int)
    await store.rest("hotel", claim, REFUSED, 60)
    for _ in range(2):
        taken = await store.claim("hotel", "a", 20)
        assert isinstance(taken, Taken)
        assert taken.trouble == REFUSED


async def test_in_a_bucket_a_claim_alone_is_forgotten_too(bus: Bus) -> None:
    store = JetStreamTokenStore(bus, NAMES)
    await store.claim("hotel", "a", 20)
    await store.forget("hotel")
    assert isinstance(await store.claim("hotel", "b", 20), int)


async def test_a_bus_that_does_not_take_the_tokens_is_named_as_one(bus: Bus) -> None:
    store = JetStreamTokenStore(bus, NAMES)
    revision = await store.write("hotel", ONE, 0)
    with pytest.raises(Moved, match="hotel"):
        await store.write("hotel", TWO, revision + 1)
    config = (await bus.api("STREAM.INFO.KV_vendorwire_tokens"))["config"]
    await bus.api("STREAM.UPDATE.KV_vendorwire_tokens", {**config, "max_msg_size": 4})
    for asked in (store.write("hotel", TWO, revision), store.claim("hotel", "a", 20)):
        with pytest.raises(LedgerRefused, match="the bus does not take the tokens: "):
            await asked
    assert (await store.read("hotel")) is not None


async def test_a_bus_that_is_away_is_named_in_a_sentence(tmp_path: Path) -> None:
    with start_nats(tmp_path) as server:
        async with connected(server.url) as bus:
            store = JetStreamTokenStore(bus, NAMES)
            server.kill()
            with pytest.raises(LedgerUnavailable) as failed:
                await store.read("hotel")
    assert not isinstance(failed.value, LedgerRefused)
    assert str(failed.value) not in {"", "None"}
