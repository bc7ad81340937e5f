"""One suite over every ledger: what is committed together is there together, and only one of two pollers wins."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from events.diff import Stored, digest
from events.index import Entry
from events.jetstream import streams
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.read import held, last
from events.ledger import BATCH, Conflict, Head, Ledger, LedgerRefused, MemoryLedger, Part, Poll, messages
from schemas.changes import Change, Scope
from schemas.envelope import decode, event_id
from schemas.records import Property
from tests.events.bus import NAMES, open_bus

pytestmark = pytest.mark.anyio

SCOPE = Scope("octorate", "hotel-roma", "property")
OTHER = Scope("octorate", "hotel-napoli", "property")
NOW = datetime(2026, 5, 20, 8, 0, 31, 250_000, tzinfo=UTC)
POLL = Poll("poll-1", NOW)
KEEP = timedelta(days=30)

Make = Callable[[], Ledger]


@asynccontextmanager
async def _memory(_: Path) -> AsyncIterator[Make]:
    shared = MemoryLedger()
    yield lambda: shared


@asynccontextmanager
async def _jetstream(folder: Path) -> AsyncIterator[Make]:
    async with open_bus(folder) as bus:
        yield lambda: JetStreamLedger(bus, NAMES, KEEP)


@pytest.fixture(params=[_memory, _jetstream], ids=["memory", "jetstream"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a ledger as an agent has it; two made are two agents on the same data."""
    async with request.param(tmp_path) as maker:
        yield maker


def house(key: str, name: str = "Sample Palace") -> Property:
    return Property(id=key, name=name)


def created(key: str, version: int = 1, name: str = "Sample Palace") -> Change:
    return Change(key=key, version=version, verb="created", before=None, after=house(key, name))


def modified(key: str, version: int, before: str, after: str) -> Change:
    return Change(
        key=key, version=version, verb="modified", before=house(key, before), after=house(key, after), fields=("name",)
    )


def gone(key: str, version: int) -> Change:
    return Change(key=key, version=version, verb="deleted", before=house(key), after=None)


async def test_a_scope_never_polled_is_empty(make: Make) -> None:
    state = await make().load(SCOPE)
    assert (state.head, state.fence, dict(state.entries)) == (Head(), 0, {})


async def test_a_commit_is_seen_by_another_agent(make: Make) -> None:
    here = make()
    head = Head(poll_id="poll-1", at=NOW, records=1, parts={"112696": Part(cursor=NOW, missing=("7",))})
    await here.commit(await here.load(SCOPE), [created("112696")], head, POLL)
    there = await make().load(SCOPE)
    assert there.head == head
    assert there.entries == {"112696": Entry(1, digest(house("112696")))}


async def test_a_commit_tells_its_events_with_ids_made_from_the_version(make: Make) -> None:
    ledger = make()
    [event] = await ledger.commit(await ledger.load(SCOPE), [created("112696")], Head(), POLL)
    assert event.id == event_id(SCOPE, "112696", 1)
    assert (event.type, event.subject, event.pollid, event.observedat) == ("property.created", "112696", "poll-1", NOW)


async def test_a_silent_change_is_stored_without_an_event(make: Make) -> None:
    ledger = make()
    silent = Change(key="a", version=1, verb=None, before=None, after=house("a"))
    assert await ledger.commit(await ledger.load(SCOPE), [silent], Head(), POLL) == []
    assert (await make().load(SCOPE)).entries["a"].version == 1


async def test_the_state_moves_on_with_its_commits(make: Make) -> None:
    ledger = make()
    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created("a")], Head(records=1), POLL)
    await ledger.commit(state, [modified("a", 2, "Sample Palace", "Palace")], Head(records=2), POLL)
    assert (state.entries["a"].version, state.head.records) == (2, 2)
    assert (await ledger.load(SCOPE)).fence == state.fence


async def test_the_second_of_two_pollers_is_refused_and_nothing_of_it_is_stored(make: Make) -> None:
    here, there = make(), make()
    first, second = await here.load(SCOPE), await there.load(SCOPE)
    await here.commit(first, [created("a")], Head(poll_id="first"), POLL)
    with pytest.raises(Conflict):
        await there.commit(second, [created("a", name="other"), created("b")], Head(poll_id="second"), POLL)
    after = await make().load(SCOPE)
    assert set(after.entries) == {"a"}
    assert after.head.poll_id == "first"


async def test_two_tasks_of_one_agent_fence_each_other_as_two_agents_do(make: Make) -> None:
    ledger = make()
    first, second = await ledger.load(SCOPE), await ledger.load(SCOPE)
    await ledger.commit(first, [created("a")], Head(), POLL)
    with pytest.raises(Conflict):
        await ledger.commit(second, [created("a", name="other")], Head(), POLL)
    await ledger.commit(await ledger.load(SCOPE), [created("b")], Head(), POLL)
    assert set((await make().load(SCOPE)).entries) == {"a", "b"}


async def test_the_refused_one_loads_again_and_goes_on(make: Make) -> None:
    here, there = make(), make()
    first, second = await here.load(SCOPE), await there.load(SCOPE)
    await here.commit(first, [created("a")], Head(), POLL)
    with pytest.raises(Conflict):
        await there.commit(second, [created("a")], Head(), POLL)
    again = await there.load(SCOPE)
    await there.commit(again, [modified("a", 2, "Sample Palace", "Palace")], Head(), POLL)
    assert (await here.load(SCOPE)).entries["a"] == Entry(2, digest(house("a", "Palace")))


async def test_scopes_do_not_fence_each_other(make: Make) -> None:
    ledger = make()
    one, other = await ledger.load(SCOPE), await ledger.load(OTHER)
    await ledger.commit(one, [created("a")], Head(), POLL)
    await ledger.commit(other, [created("a")], Head(), POLL)
    assert set((await make().load(OTHER)).entries) == {"a"}


async def test_stored_gives_the_records_there_are(make: Make) -> None:
    ledger = make()
    await ledger.commit(await ledger.load(SCOPE), [created("a"), created("b")], Head(), POLL)
    found = await ledger.stored(SCOPE, ["a", "b", "c"], Property)
    assert dict(found) == {"a": Stored(1, 1, house("a")), "b": Stored(1, 1, house("b"))}


async def test_a_deleted_record_leaves_a_tombstone_with_its_version(make: Make) -> None:
    ledger = make()
    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created("a")], Head(), POLL)
    [event] = await ledger.commit(state, [gone("a", 2)], Head(), POLL)
    assert event.data["record"] == house("a")
    assert (await make().load(SCOPE)).entries["a"] == Entry(2, 0, deleted=True)
    assert await ledger.stored(SCOPE, ["a"], Property) == {"a": Stored(2, 1, None)}


async def test_snapshots_lists_every_record_and_tombstone(make: Make) -> None:
    ledger = make()
    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created("a"), created("b")], Head(), POLL)
    await ledger.commit(state, [gone("a", 2)], Head(), POLL)
    found = {key: stored.record async for key, stored in make().snapshots(SCOPE, Property)}
    assert found == {"a": None, "b": house("b")}


async def test_snapshots_of_a_scope_never_polled_are_none(make: Make) -> None:
    assert [key async for key, _ in make().snapshots(SCOPE, Property)] == []


async def test_a_key_may_be_any_text(make: Make) -> None:
    ledger = make()
    keys = ["a b", "a.b", "*", ">", "_head", "nul\0", "line\r\nbreak", "é", "%41"]
    await ledger.commit(await ledger.load(SCOPE), [created(key) for key in keys], Head(), POLL)
    there = make()
    assert set((await there.load(SCOPE)).entries) == set(keys)
    assert set(await there.stored(SCOPE, keys, Property)) == set(keys)


async def test_the_largest_batch_fits_and_a_larger_one_is_our_own_error(make: Make) -> None:
    ledger = make()
    state = await ledger.load(SCOPE)
    most = [created(str(number)) for number in range((BATCH - 1) // 2)]
    assert len(await ledger.commit(state, most, Head(), POLL)) == len(most)
    too_many = [created(str(number)) for number in range(1000, 1000 + BATCH)]
    assert messages(too_many) > BATCH
    with pytest.raises(ValueError, match="at most 1000"):
        await ledger.commit(state, too_many, Head(), POLL)
    assert len((await make().load(SCOPE)).entries) == len(most)


async def test_catching_up_reads_what_others_committed_in_between(make: Make) -> None:
    here, there = make(), make()
    await here.load(SCOPE)
    state = await there.load(SCOPE)
    for number in range(3):
        await there.commit(state, [created(str(number))], Head(records=number), POLL)
    await there.commit(state, [gone("0", 2)], Head(records=2), POLL)
    caught_up = await here.load(SCOPE)
    assert caught_up.entries == state.entries
    assert (caught_up.fence, caught_up.head) == (state.fence, state.head)


# What only JetStream has.


async def test_events_age_out_and_snapshots_stay(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        ledger = JetStreamLedger(bus, NAMES, timedelta(seconds=1))
        await ledger.commit(await ledger.load(SCOPE), [created("a")], Head(), POLL)
        assert await last(bus, NAMES.ledger, NAMES.event(SCOPE, "created")) is not None
        with anyio.fail_after(10):
            while await last(bus, NAMES.ledger, NAMES.event(SCOPE, "created")) is not None:  # noqa: ASYNC110
                await anyio.sleep(0.1)
        assert set(await ledger.stored(SCOPE, ["a"], Property)) == {"a"}


async def test_a_changed_keep_events_applies_to_new_events(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        for days, key in ((30, "a"), (7, "b")):
            ledger = JetStreamLedger(bus, NAMES, timedelta(days=days))
            await ledger.commit(await ledger.load(SCOPE), [created(key)], Head(), POLL)
        ttls = [m.headers["Nats-TTL"] async for m in held(bus, NAMES.ledger, [NAMES.events], every=True)]
        assert ttls == [str(30 * 86400), str(7 * 86400)]


async def test_the_event_on_the_bus_is_the_event_told(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        ledger = JetStreamLedger(bus, NAMES, KEEP)
        [event] = await ledger.commit(await ledger.load(SCOPE), [created("a")], Head(), POLL)
        stored = await last(bus, NAMES.ledger, "vendorwire.event.octorate.hotel-roma.property.created")
        assert stored is not None
        assert decode(stored.data).id == event.id
        assert stored.headers["Content-Type"] == "application/cloudevents+json"


async def test_snapshot_event_and_head_stand_side_by_side_in_the_stream(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        ledger = JetStreamLedger(bus, NAMES, KEEP)
        await ledger.commit(await ledger.load(SCOPE), [created("a")], Head(), POLL)
        subjects = [m.subject async for m in held(bus, NAMES.ledger, ["vendorwire.>"], every=True)]
        base = "octorate.hotel-roma.property"
        assert subjects == [
            f"vendorwire.snapshot.{base}.a",
            f"vendorwire.event.{base}.created",
            f"vendorwire.snapshot.{base}._head",
        ]


async def test_streams_have_safe_settings_and_drift_is_mended(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        before = (await bus.api(f"STREAM.INFO.{NAMES.ledger}"))["config"]
        assert (before["discard"], before["deny_delete"], before["allow_atomic"]) == ("new", True, True)
        drifted: dict[str, Any] = {**before, "max_bytes": 10_000_000, "discard": "old"}
        await bus.api(f"STREAM.UPDATE.{NAMES.ledger}", drifted)
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        after = (await bus.api(f"STREAM.INFO.{NAMES.ledger}"))["config"]
        assert (after["discard"], after["max_bytes"]) == ("new", -1)


async def test_a_stream_made_anew_is_noticed(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        ledger = JetStreamLedger(bus, NAMES, KEEP)
        await ledger.commit(await ledger.load(SCOPE), [created("a")], Head(), POLL)
        await bus.api(f"STREAM.DELETE.{NAMES.ledger}")
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        assert (await ledger.load(SCOPE)).entries == {}


async def test_a_full_stream_refuses_the_whole_commit_and_takes_it_when_there_is_room(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=4000)
        ledger = JetStreamLedger(bus, NAMES, KEEP)
        state = await ledger.load(SCOPE)
        many = [created(str(number)) for number in range(50)]
        with pytest.raises(LedgerRefused, match="maximum bytes exceeded"):
            await ledger.commit(state, many, Head(), POLL)
        assert (await ledger.load(SCOPE)).entries == {}
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        assert len(await ledger.commit(await ledger.load(SCOPE), many, Head(), POLL)) == 50
