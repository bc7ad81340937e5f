"""A rehearsal reads the real ledger and leaves it as it is."""

from datetime import UTC, datetime

import pytest

from agent.rehearsal import RehearsalLedger
from events.ledger import Head, MemoryLedger, Poll
from schemas.changes import Change, Scope
from schemas.envelope import CloudEvent
from schemas.records import Property

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
SCOPE = Scope("octorate", "hotel", "property")
POLL = Poll("p-1", NOW)
OLD, NEW = Property(id="a", name="Old"), Property(id="a", name="New")


def created(verb: str | None) -> Change:
    return Change(key="a", version=1, verb=verb, before=None, after=OLD)


def renamed() -> Change:
    return Change(key="a", version=2, verb="modified", before=OLD, after=NEW, fields=("name",))


def silently(_: CloudEvent) -> None:
    """For tests that look at the ledger only."""


async def test_a_commit_tells_its_events_and_stores_nothing() -> None:
    real = MemoryLedger()
    await real.commit(await real.load(SCOPE), [created(None)], Head(poll_id="p-0"), POLL)
    told: list[CloudEvent] = []
    ledger = RehearsalLedger(real, told.append)

    state = await ledger.load(SCOPE)
    published = await ledger.commit(state, [renamed()], Head(poll_id="p-1"), POLL)

    stored = await real.load(SCOPE)
    assert [event.type for event in told] == ["property.modified"]
    assert published == told
    assert (ledger.events, ledger.silent) == (1, 0)
    assert (real.events, stored.head.poll_id, stored.entries["a"].version) == ([], "p-0", 1)


async def test_the_rehearsed_poll_goes_on_from_what_it_would_have_stored() -> None:
    real = MemoryLedger()
    ledger = RehearsalLedger(real, silently)

    state = await ledger.load(SCOPE)
    await ledger.commit(state, [created(None)], Head(poll_id="p-1"), POLL)

    assert state.entries["a"].version == 1
    assert (await ledger.stored(SCOPE, ["a", "b"], Property))["a"].record == OLD
    assert await real.stored(SCOPE, ["a"], Property) == {}
    assert (ledger.events, ledger.silent) == (0, 1)


async def test_the_index_of_the_real_ledger_is_left_alone() -> None:
    real = MemoryLedger()
    await real.commit(await real.load(SCOPE), [created(None)], Head(poll_id="p-0"), POLL)
    cached = await real.load(SCOPE)

    class Caching(MemoryLedger):
        async def load(self, scope: Scope):  # type: ignore[no-untyped-def] # the cache hands out one and the same state
            return cached

    ledger = RehearsalLedger(Caching(), silently)
    await ledger.commit(await ledger.load(SCOPE), [renamed()], Head(poll_id="p-1"), POLL)

    assert cached.entries["a"].version == 1
    assert cached.head.poll_id == "p-0"


async def test_records_are_listed_from_the_real_ledger() -> None:
    real = MemoryLedger()
    await real.commit(await real.load(SCOPE), [created(None)], Head(poll_id="p-0"), POLL)

    listed = [key async for key, _ in RehearsalLedger(real, silently).snapshots(SCOPE, Property)]

    assert listed == ["a"]
