"""What a ledger writes and believes, to the letter: its headers, its limits, and whom it trusts when two of them differ."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from events.diff import Stored, digest
from events.index import Entry
from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.read import held
from events.ledger import Conflict, Head, LedgerRefused, LedgerUnavailable, MemoryLedger, Part, entry_of, messages
from schemas.changes import Change
from schemas.records import Property
from tests.events.bus import NAMES, connected, open_bus
from tests.events.test_ledger import KEEP, NOW, OTHER, POLL, SCOPE, Make, created, gone, house, modified
from tests.events.test_ledger import make as make
from tests.nats import start_nats

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    async with open_bus(tmp_path) as opened:
        yield opened


def silent(key: str) -> Change:
    return Change(key=key, version=1, verb=None, before=None, after=house(key))


async def all_of(bus: Bus) -> dict[str, Mapping[str, str]]:
    """The subject of each message in the ledger, without its beginning, and its headers."""
    return {
        message.subject.removeprefix("vendorwire.").replace("octorate.hotel-roma.property.", ""): message.headers
        async for message in held(bus, NAMES.ledger, ["vendorwire.>"], every=True)
    }


# Over every ledger


def test_a_change_takes_two_messages_a_silent_one_takes_one_and_the_head_one_more() -> None:
    assert [messages(changes) for changes in ([], [silent("a")], [created("a")], [created("a"), silent("b")])] == [
        1,
        2,
        3,
        4,
    ]


def test_the_index_keeps_version_and_digest_and_of_what_is_gone_only_that_it_is() -> None:
    assert entry_of(created("a", 3)) == Entry(3, digest(house("a")))
    assert entry_of(gone("a", 4)) == Entry(4, 0, deleted=True)


def test_a_head_counts_the_deletes_that_are_held_over_all_its_parts() -> None:
    assert Head().held == 0
    assert Head(parts={"1": Part(held=2), "2": Part(), "3": Part(held=40)}).held == 42


def test_what_a_head_does_not_say_is_as_it_was_before_the_first_poll() -> None:
    assert (msgspec.json.encode(Head()), msgspec.json.encode(Part())) == (b"{}", b"{}")
    assert msgspec.json.decode(b"{}", type=Head) == Head(poll_id="", at=None, records=0, stale_at=None, parts={})
    assert msgspec.json.decode(b"{}", type=Part) == Part(
        began=None, cursor=None, swept_at=None, missing=(), held=0, unread=()
    )


async def test_of_a_scope_never_polled_nothing_is_stored(make: Make) -> None:
    assert await make().stored(SCOPE, ["a"], Property) == {}


async def test_a_commit_may_hold_a_thousand_messages_and_not_one_more(make: Make) -> None:
    ledger = make()
    state = await ledger.load(SCOPE)
    loud = [created(str(number)) for number in range(499)]
    with pytest.raises(ValueError, match="a commit holds at most 1000 messages"):
        await ledger.commit(state, [*loud, silent("x"), silent("y")], Head(), POLL)
    assert (state.fence, dict(state.entries)) == (0, {})
    assert len(await ledger.commit(state, [*loud, silent("x")], Head(), POLL)) == 499
    assert len((await make().load(SCOPE)).entries) == 500


async def test_who_is_refused_by_the_fence_is_told_of_which_resource(make: Make) -> None:
    ledger = make()
    first, second = await ledger.load(SCOPE), await ledger.load(SCOPE)
    await ledger.commit(first, [created("a")], Head(), POLL)
    with pytest.raises(Conflict, match=r"^octorate/hotel-roma/property$"):
        await ledger.commit(second, [created("a")], Head(), POLL)
    assert second.fence == 0


async def test_a_refused_commit_leaves_neither_an_event_nor_a_record(make: Make) -> None:
    ledger = make()
    first, second = await ledger.load(SCOPE), await ledger.load(SCOPE)
    await ledger.commit(first, [created("a")], Head(), POLL)
    with pytest.raises(Conflict):
        await ledger.commit(second, [created("b"), gone("a", 2)], Head(), POLL)
    assert dict(await ledger.stored(SCOPE, ["a", "b"], Property)) == {"a": Stored(1, 1, house("a"))}
    assert [key async for key, _ in ledger.snapshots(SCOPE, Property)] == ["a"]


async def test_events_are_told_in_the_order_of_their_changes(make: Make) -> None:
    ledger = make()
    state = await ledger.load(SCOPE)
    told = await ledger.commit(state, [created("b"), silent("c"), created("a")], Head(), POLL)
    told += await ledger.commit(state, [gone("b", 2)], Head(), POLL)
    assert [(event.subject, event.type, event.version) for event in told] == [
        ("b", "property.created", 1),
        ("a", "property.created", 1),
        ("b", "property.deleted", 2),
    ]


async def test_a_memory_ledger_remembers_all_the_events_it_told() -> None:
    ledger = MemoryLedger()
    state = await ledger.load(SCOPE)
    told = await ledger.commit(state, [created("a"), silent("b")], Head(), POLL)
    told += await ledger.commit(state, [gone("a", 2)], Head(), POLL)
    assert ledger.events == told
    assert (
        state.fence == 4 + 3
    )  # one for each message: two snapshots, an event and a head; a tombstone, an event and a head


async def test_a_memory_ledger_made_of_the_records_of_another_knows_the_same_of_them() -> None:
    ledger, twin = MemoryLedger(), MemoryLedger()
    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created("a"), created("b", 6)], Head(), POLL)
    await ledger.commit(state, [gone("b", 7)], Head(), POLL)
    twin._records = {SCOPE: dict(ledger._records[SCOPE])}
    assert dict((await twin.load(SCOPE)).entries) == {
        "a": Entry(1, digest(house("a"))),
        "b": Entry(7, 0, deleted=True),
    }
    assert dict((await twin.load(OTHER)).entries) == {}


# What only JetStream has


async def test_what_other_releases_and_subscribers_read_of_a_message_stands_in_its_headers(bus: Bus) -> None:
    ledger = JetStreamLedger(bus, NAMES, KEEP)
    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created("a"), silent("b.c")], Head(), POLL)
    await ledger.commit(state, [gone("a", 2)], Head(), POLL)
    found = await all_of(bus)
    month, quarter = str(30 * 86400), str(90 * 86400)
    tombstone, other = found["snapshot.a"], found["snapshot.b%2Ec"]
    assert {
        name: value for name, value in tombstone.items() if name.startswith("Vendorwire-") or name == "Nats-TTL"
    } == {
        "Vendorwire-Version": "2",
        "Vendorwire-Schema": "1",
        "Vendorwire-Deleted": "1",
        "Nats-TTL": quarter,
    }
    assert {name: value for name, value in other.items() if name.startswith("Vendorwire-")} == {
        "Vendorwire-Version": "1",
        "Vendorwire-Schema": "1",
        "Vendorwire-Digest": f"{digest(house('b.c')):016x}",
    }
    assert "Nats-TTL" not in other
    for event in (found["event.created"], found["event.deleted"]):
        assert {name: event[name] for name in ("Content-Type", "Nats-TTL", "Vendorwire-Key")} == {
            "Content-Type": "application/cloudevents+json",
            "Nats-TTL": month,
            "Vendorwire-Key": "a",
        }


@pytest.mark.parametrize(
    ("keep", "event", "tombstone"),
    [
        (timedelta(seconds=0.4), 1, 90 * 86400),
        (timedelta(seconds=1.9), 1, 90 * 86400),
        (timedelta(days=45), 45 * 86400, 90 * 86400),
        (timedelta(days=46), 46 * 86400, 92 * 86400),
    ],
)
async def test_a_tombstone_outlives_events_twice_and_ninety_days(
    bus: Bus, keep: timedelta, event: int, tombstone: int
) -> None:
    ledger = JetStreamLedger(bus, NAMES, keep)
    await ledger.commit(await ledger.load(SCOPE), [created("a"), gone("b", 2)], Head(), POLL)
    found = await all_of(bus)
    assert found["event.created"]["Nats-TTL"] == str(event)
    assert found["snapshot.b"]["Nats-TTL"] == str(tombstone)


async def test_each_record_and_the_head_have_one_message_however_often_they_change(bus: Bus) -> None:
    ledger = JetStreamLedger(bus, NAMES, KEEP)
    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created("a")], Head(), POLL)
    for version in (2, 3):
        await ledger.commit(state, [modified("a", version, "x", f"{version}")], Head(), POLL)
    subjects = [message.subject async for message in held(bus, NAMES.ledger, ["vendorwire.snapshot.>"], every=True)]
    assert [subject.rpartition(".")[2] for subject in subjects] == ["a", "_head"]


async def test_thousands_of_records_are_asked_for_at_once(bus: Bus) -> None:
    ledger = JetStreamLedger(bus, NAMES, KEEP)
    kept = ["0", "999", "1000", "2400"]
    await ledger.commit(await ledger.load(SCOPE), [created(key) for key in kept], Head(), POLL)
    found = await ledger.stored(SCOPE, [str(number) for number in range(2401)], Property)
    assert dict(found) == {key: Stored(1, 1, house(key)) for key in kept}
    assert await ledger.stored(SCOPE, [], Property) == {}


class Lagging:
    """A bus whose quick reads come from a replica that has not got the last commits yet."""

    def __init__(self, bus: Bus, replies: Sequence[tuple[dict[str, str], bytes]]) -> None:
        self._bus = bus
        self._replies = replies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def request_many(self, subject: str, body: bytes) -> Sequence[tuple[dict[str, str], bytes]]:
        return self._replies


async def test_a_replica_that_lags_behind_is_not_believed(bus: Bus) -> None:
    first = JetStreamLedger(bus, NAMES, KEEP)
    state = await first.load(SCOPE)
    await first.commit(state, [created("a"), created("b")], Head(), POLL)
    old = await bus.request_many(
        f"$JS.API.DIRECT.GET.{NAMES.ledger}", f'{{"multi_last":["{NAMES.snapshot(SCOPE, "a")}"],"batch":1}}'.encode()
    )
    await first.commit(state, [modified("a", 2, "Sample Palace", "Palace")], Head(), POLL)
    behind = JetStreamLedger(cast("Bus", Lagging(bus, old)), NAMES, KEEP)
    assert (await behind.stored(SCOPE, ["a"], Property))["a"].version == 1  # it knows no better yet
    await behind.load(SCOPE)
    found = await behind.stored(SCOPE, ["a", "b", "c"], Property)
    assert dict(found) == {"a": Stored(2, 1, house("a", "Palace")), "b": Stored(1, 1, house("b"))}


async def test_what_one_agent_commits_is_not_read_again_by_itself(bus: Bus) -> None:
    ledger, other = JetStreamLedger(bus, NAMES, KEEP), JetStreamLedger(bus, NAMES, KEEP)
    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created("a")], Head(), POLL)
    assert ledger._indexes[SCOPE].fence == state.fence
    assert (await ledger.load(SCOPE)).entries is state.entries
    await other.commit(await other.load(SCOPE), [created("b")], Head(), POLL)
    again = await ledger.load(SCOPE)
    assert again.entries is state.entries
    assert set(again.entries) == {"a", "b"}


async def test_a_record_that_this_release_cannot_read_is_known_as_one_by_its_version(bus: Bus) -> None:
    version = {"Vendorwire-Version": "3", "Vendorwire-Digest": "ff"}
    await bus.publish(NAMES.snapshot(SCOPE, "old"), msgspec.json.encode(house("old")), version)
    await bus.publish(NAMES.snapshot(SCOPE, "later"), b'{"id":"later","name":7}', {**version, "Vendorwire-Schema": "9"})
    await bus.publish(NAMES.snapshot(SCOPE, "broken"), b"{", version)
    ledger = JetStreamLedger(bus, NAMES, KEEP)
    assert dict(await ledger.stored(SCOPE, ["old", "later", "broken"], Property)) == {
        "old": Stored(3, 1, house("old")),  # written before there were versions of a record's shape
        "later": Stored(3, 9, None, unreadable=True),
        "broken": Stored(3, 1, None, unreadable=True),
    }


async def test_a_stream_that_is_full_is_a_matter_for_a_person(bus: Bus) -> None:
    await streams.ensure(bus, NAMES, replicas=1, max_bytes=2000)
    ledger = JetStreamLedger(bus, NAMES, KEEP)
    state = await ledger.load(SCOPE)
    with pytest.raises(LedgerRefused, match=r"^the bus refused: maximum bytes exceeded$"):
        await ledger.commit(state, [created(str(number)) for number in range(20)], Head(), POLL)
    assert (state.fence, state.head, dict(state.entries)) == (0, Head(), {})


async def test_a_bus_that_is_away_leaves_it_unknown_whether_it_has_the_commit(tmp_path: Path) -> None:
    with start_nats(tmp_path) as server:
        async with connected(server.url) as bus:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            ledger = JetStreamLedger(bus, NAMES, KEEP)
            state = await ledger.load(SCOPE)
            server.kill()
            with pytest.raises(LedgerUnavailable) as failed:
                await ledger.commit(state, [created("a")], Head(at=NOW), POLL)
            assert not isinstance(failed.value, LedgerRefused)
            assert str(failed.value) not in {"", "None"}
            assert (state.fence, state.head) == (0, Head())
            with pytest.raises(LedgerUnavailable):
                await ledger.load(SCOPE)
            with pytest.raises(LedgerUnavailable):
                await ledger.stored(SCOPE, ["a"], Property)
