"""Approving held deletes: all that are missing go at once, under the fence."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from agent import deletes
from agent.deletes import Approved, NothingHeld, approve
from connectors.base import Resource
from events.ledger import Conflict, Head, MemoryLedger, Part, Poll, State
from schemas.changes import Change, Scope
from schemas.envelope import CloudEvent
from schemas.records import Property

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
SCOPE = Scope("octorate", "hotel", "property")
RESOURCE = Resource(record=Property, every=timedelta(hours=1))


def clock() -> datetime:
    return NOW


async def fill(ledger: MemoryLedger, keys: Sequence[str], head: Head) -> None:
    for start in range(0, len(keys), 900):
        new = [
            Change(key=key, version=1, verb=None, before=None, after=Property(id=key, name=f"House {key}", city="Roma"))
            for key in keys[start : start + 900]
        ]
        await ledger.commit(await ledger.load(SCOPE), new, head, Poll("p-1", NOW))


def held(*missing: tuple[str, ...], more: int = 0) -> Head:
    parts = {
        str(number): Part(swept_at=NOW, missing=keys, held=len(keys) + more) for number, keys in enumerate(missing)
    }
    return Head(poll_id="p-1", at=NOW, records=3, parts=parts)


async def test_the_missing_of_all_parts_are_deleted_and_nothing_is_held_any_more() -> None:
    ledger = MemoryLedger()
    await fill(ledger, ["a", "b", "c"], held(("a",), ("b",)))

    assert await approve(ledger, SCOPE, RESOURCE, (), clock) == Approved(published=2, left=0)

    head = (await ledger.load(SCOPE)).head
    assert [(event.type, event.subject, event.version) for event in ledger.events] == [
        ("property.deleted", "a", 2),
        ("property.deleted", "b", 2),
    ]
    assert (head.held, head.records, deletes.missing(head)) == (0, 1, [])
    assert head.parts["0"].swept_at == NOW


async def test_what_the_head_had_no_room_for_is_told() -> None:
    ledger = MemoryLedger()
    await fill(ledger, ["a", "b"], held(("a",), more=7))

    assert await approve(ledger, SCOPE, RESOURCE, (), clock) == Approved(published=1, left=7)


async def test_without_anything_held_nothing_is_deleted() -> None:
    ledger = MemoryLedger()
    await fill(ledger, ["a"], Head(poll_id="p-1", at=NOW, records=1, parts={"": Part(swept_at=NOW, missing=("a",))}))

    with pytest.raises(NothingHeld, match="no deletes of octorate/hotel/property are held"):
        await approve(ledger, SCOPE, RESOURCE, (), clock)
    assert ledger.events == []


async def test_what_is_merely_missing_once_in_another_part_stays() -> None:
    ledger = MemoryLedger()
    once = Part(swept_at=NOW, missing=("b",))
    head = held(("a",))
    await fill(ledger, ["a", "b"], msgspec.structs.replace(head, parts={**head.parts, "other": once}))

    assert await approve(ledger, SCOPE, RESOURCE, (), clock) == Approved(published=1, left=0)
    assert [event.subject for event in ledger.events] == ["a"]
    assert (await ledger.load(SCOPE)).head.parts["other"] == once


async def test_an_approved_delete_shows_nothing_that_was_redacted_later() -> None:
    ledger = MemoryLedger()
    await fill(ledger, ["a"], held(("a",)))

    await approve(ledger, SCOPE, RESOURCE, ("city",), clock)
    assert "Roma" not in str(ledger.events)


async def test_more_than_one_commit_takes_are_deleted_once_each() -> None:
    ledger = MemoryLedger()
    keys = tuple(f"k{number:05}" for number in range(2500))
    await fill(ledger, keys, held(keys))

    assert await approve(ledger, SCOPE, RESOURCE, (), clock) == Approved(published=2500, left=0)
    assert sorted(event.subject for event in ledger.events) == list(keys)


class Busy(MemoryLedger):
    """Another poller commits `times` times just before we do."""

    def __init__(self, times: int, head: Head) -> None:
        super().__init__()
        self.times = times
        self.head = head

    async def commit(self, state: State, changes: Sequence[Change], head: Head, poll: Poll) -> list[CloudEvent]:
        if self.times and poll.id != "p-1":
            self.times -= 1
            await super().commit(await self.load(state.scope), [], self.head, Poll("p-1", NOW))
        return await super().commit(state, changes, head, poll)


async def test_after_a_conflict_the_present_list_counts() -> None:
    ledger = Busy(1, held(("b",)))
    await fill(ledger, ["a", "b"], held(("a", "b")))

    assert await approve(ledger, SCOPE, RESOURCE, (), clock) == Approved(published=1, left=0)
    assert [event.subject for event in ledger.events] == ["b"]


async def test_records_that_came_back_meanwhile_are_not_deleted() -> None:
    ledger = Busy(1, Head(poll_id="p-2", at=NOW, records=2))
    await fill(ledger, ["a", "b"], held(("a", "b")))

    with pytest.raises(NothingHeld):
        await approve(ledger, SCOPE, RESOURCE, (), clock)
    assert ledger.events == []


async def test_polls_that_never_stop_coming_between_are_a_conflict() -> None:
    ledger = Busy(99, held(("a",)))
    await fill(ledger, ["a"], held(("a",)))

    with pytest.raises(Conflict):
        await approve(ledger, SCOPE, RESOURCE, (), clock)
