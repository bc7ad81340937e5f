"""Upgrades: what an earlier release left on the bus is gone on with, and so is what this one leaves to the earlier one.

What was left is kept in `releases`; the release itself too, and runs beside ours.
"""

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from aiohttp import web

from events.diff import Stored, Unknown, decide
from events.jetstream import streams
from events.jetstream.connection import Bus
from schemas.envelope import CloudEvent
from schemas.records import Booking, BookingStatus
from tests.agent.harness import NAMES, Wire, agent, fine, ready, until
from tests.faults.releases import KEY, later
from tests.faults.releases.left import Left, bookings, change_is_told, command, left, polled
from tests.faults.releases.record import running
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

ENROLMENTS = 'account="powerpro-account",resource="enrolment",vendor="powerpro"'
HELD = 12  # enrolments that the vendor stopped listing all at once

Measured = Callable[[str, str, str], None]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDORWIRE_KEY", KEY)


def told(events: list[CloudEvent]) -> dict[str, Wire]:
    """Record → what its one event says has changed. Fails where a record has more than one."""
    assert len({event.subject for event in events}) == len(events), [(each.type, each.subject) for each in events]
    return {event.subject: event.data["changes"] for event in events}


async def test_what_the_release_before_left_is_gone_on_with(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    async with left(nats, tmp_path, at_home=True) as then:
        kept = await then.events()
        waiting = str(min(then.scene.octorate.reservations))
        async with then.today() as process:
            await polled(process)
            await until(lambda: len(then.slow.got) >= 2)
            assert await then.events() == kept
            assert [(got.key, got.version, got.attempt) for got in then.slow.got] == [(waiting, 2, 2), (waiting, 3, 1)]
            assert (then.all.got, then.broken.got, then.signed_in()) == ([], [], [])
            assert await process.metric(f"vendorwire_deletes_held{{{ENROLMENTS}}}") == HELD
            await streams_are_todays(then.bus)

            changed = then.change(number=9)
            await until(lambda: len(then.all.got) >= len(changed))
            await polled(process, times=4)
            events = (await then.events())[len(kept) :]
            assert {key: changes[changed[key][0]]["after"] for key, changes in told(events).items()} == {
                key: value for key, (_, value) in changed.items()
            }
            assert [event.version for event in events] == [3, 3, 3, 3]
            measured(
                "upgrades are silent",
                "this release on what the one before left: four vendors, waiting retries, dead letters, held deletes, tokens",
                f"{len(kept)} events before, 0 invented, 0 told again; 4 of 4 changes told; 0 sign-ins",
            )


async def streams_are_todays(there: Bus) -> None:
    """Every stream is as this release wants it."""
    wanted = [
        *(streams.ledger(NAMES, 1, None), streams.polls(NAMES, 1), streams.dead(NAMES, 1), streams.replays(NAMES, 1)),
        *(streams.lanes(NAMES, 1), streams.routes(NAMES, 1), streams.tokens(NAMES, 1)),
        streams.attempts(NAMES, 1, streams.KEEP_EVENTS),
    ]
    for config in wanted:
        present = (await there.api(f"STREAM.INFO.{config['name']}"))["config"]
        assert {key: present.get(key) for key in config} == config


async def test_a_person_can_go_on_with_what_the_release_before_left(tmp_path: Path, nats: NatsServer) -> None:
    async with left(nats, tmp_path) as then:
        kept = await then.events()
        removed = next(event.subject for event in kept if event.type == "device.deleted")
        letters = [json.loads(line) for line in command(then, "dead", "list", "--json").splitlines()]
        assert [(each["id"], each["attempts"]) for each in letters] == [(id_, 2) for id_ in buried(kept)]
        async with then.today() as process:
            await polled(process)
            await changed_by_another(then, "broken")
            command(then, "dead", "replay", "--route", "broken")
            await until(lambda: [got.id for got in then.broken.got] == buried(kept))
            assert all(got.event.replay for got in then.broken.got)
            assert command(then, "dead", "list", "--json") == ""

            then.scene.do("carbontrack", "add_device", fields={"DeviceID": removed})
            await until(lambda: bool(then.all.of(removed)))
            (back,) = then.all.of(removed)
            assert (back.event.type, back.version) == ("device.restored", 3)

            command(then, "deletes", "approve", "powerpro-account", "enrolment", "--yes")
            await until(lambda: len(then.all.got) == 1 + HELD)
            assert {got.event.type for got in then.all.got[1:]} == {"enrolment.deleted"}
        old = next(event for event in kept if event.vendor == "octorate")
        explained = command(then, "explain", old.id)
        assert explained.startswith(f"booking.modified  octorate/octorate-account/booking/{old.subject}  version 2")
        assert "guests" in explained


async def changed_by_another(then: Left, route: str) -> None:
    """Another release takes the route's replays in another way, and has changed the consumer at which ours waits."""
    name = f"{NAMES.replays}.route-{route}"
    config = (await then.bus.api(f"CONSUMER.INFO.{name}"))["config"] | {"priority_groups": ["others"]}
    await then.bus.api(f"CONSUMER.CREATE.{name}", {"stream_name": NAMES.replays, "config": config})


async def test_a_step_back_to_the_release_before_and_forward_again_is_not_noticed(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    async with left(nats, tmp_path, retries=("60s", *["1s"] * 60)) as then, AsyncExitStack() as stack:
        waiting = str(min(then.scene.octorate.reservations))
        then.slow.answer = lambda got: web.Response(status=503 if got.key == waiting else 200)
        kept = await then.events()
        then.broken.answer = lambda _: web.Response(status=500)

        ours = await stack.enter_async_context(then.today())
        await change_is_told(then, ours, number=1)
        await tried_on(then)
        assert (await ours.end())[0] == 0
        await step_back(then)

        theirs = await stack.enter_async_context(then.before())
        then.broken.answer = fine
        command(then, "dead", "replay", "--route", "broken")
        await until(lambda: {got.id for got in then.broken.got if got.event.replay} >= set(buried(kept)))
        await change_is_told(then, theirs, number=2)
        await tried_on(then)

        again = await stack.enter_async_context(then.today("again.log"))  # beside the other one
        await ready(again)
        assert (await theirs.end())[0] == 0
        await change_is_told(then, again, number=3)
        await tried_on(then)
        news = (await then.events())[len(kept) :]
        await check_each_told_once(then, news, times=3)
        tried = [got.attempt for got in then.slow.of(waiting)]
        assert tried == list(range(2, 2 + len(tried)))
        measured(
            "upgrades are silent",
            "from this release back to the one before and forward again, with a change at each of four vendors under each",
            f"{len(news)} of 12 changes told, 0 invented, 0 delivered twice; {len(tried)} attempts counted on",
        )


async def step_back(then: Left) -> None:
    """What docs/operations.md says must be done before the release before can go on."""
    with pytest.raises(AssertionError, match="order"):
        async with agent(then.config, "refused.log", env=running(then.code_before)) as process:
            await ready(process)
    for route in ("all", "slow", "broken"):
        await then.bus.api(f"CONSUMER.DELETE.{NAMES.replays}.route-{route}")


async def tried_on(then: Left) -> None:
    """What the receiver refuses is tried again."""
    before = len(then.slow.of(min(then.scene.octorate.reservations)))
    await until(lambda: len(then.slow.of(min(then.scene.octorate.reservations))) > before)


def buried(events: list[CloudEvent]) -> list[str]:
    """The ids of those that became dead letters."""
    return [event.id for event in events if event.type.startswith("device.")]


async def check_each_told_once(then: Left, news: list[CloudEvent], times: int) -> None:
    """Every record that was changed was told each time, from where it was before, and delivered once."""
    by_record: dict[str, list[CloudEvent]] = {}
    for event in news:
        by_record.setdefault(event.subject, []).append(event)
    assert len(by_record) == 4
    for events in by_record.values():
        assert [event.version for event in events] == list(range(3, 3 + times))
        sides = [next(iter(event.data["changes"].values())) for event in events]
        assert [side["before"] for side in sides[1:]] == [side["after"] for side in sides[:-1]]
    assert sorted(got.id for got in then.all.got) == sorted(event.id for event in news)


async def test_a_newly_mapped_field_is_stored_without_an_event_and_a_step_back_from_it_loses_nothing(
    tmp_path: Path, nats: NatsServer, measured: Measured
) -> None:
    code = later.build(tmp_path / "later")
    async with left(nats, tmp_path, reconcile="1s") as then:
        one, two = sorted(then.scene.octorate.reservations)[1:3]
        kept = await then.events()
        then.scene.do("octorate", "change", id_=one, fields={"totalGuest": 21})
        async with agent(then.config, "later.log", env=running(code)) as process:
            await until(lambda: len(then.all.got) >= 1)
            await polled(process)
            restated = await bookings(then)
            assert {(each.schema, each.record["loyalty"]) for each in restated.values()} == {(2, later.LOYALTY)}
            await change_is_told(then, process, number=22)
            then.scene.do("octorate", "change", id_=two, fields={"status": later.OPTION.upper()})
            await until(lambda: len(then.all.of(two)) == 1)
            await process.end()
        first, *_ = (await then.events())[len(kept) :]
        assert (first.version, list(first.data["changes"])) == (3, ["guests"])

        then.scene.do("octorate", "change", id_=two, fields={"status": "CONFIRMED"})
        async with then.today() as process:
            await change_is_told(then, process, number=23)
            assert len(then.all.of(two)) == 1
            assert f"record quarantined scope=octorate/octorate-account/booking key={two} path=" in process.log
            assert (await bookings(then))[str(one)].schema == 1
            await process.end()
        async with agent(then.config, "again.log", env=running(code)) as process:
            await until(lambda: len(then.all.of(two)) == 2)
            await change_is_told(then, process, number=24)
            await process.end()
        events = (await then.events())[len(kept) :]
        assert [event.version for event in events if event.subject == str(one)] == [3, 4, 5, 6]
        assert [event.data["changes"] for event in events if event.subject == str(two)][1] == {
            "status": {"before": "option", "after": "confirmed"}
        }
        assert len(events) == 1 + 3 * 4 + 2
        assert sorted(got.id for got in then.all.got) == sorted(event.id for event in events)
        measured(
            "upgrades are silent",
            "a release that maps one more field and knows one more status, a step back from it, and forward again",
            f"{len(restated)} bookings restated without an event, {len(events)} of {len(events)} changes told once",
        )


class Later(Booking, frozen=True, kw_only=True):
    """A booking of a release that has come to know when a guest has checked in."""

    schema: ClassVar[int] = 2
    added_in: ClassVar[dict[str, int]] = {"checked_in_at": 2}


def test_a_newly_mapped_field_has_no_part_in_what_is_told_of_a_real_change() -> None:
    day = date(2026, 5, 20)
    known = Later(id="1", property_id="7", arrival=day, departure=day, status=BookingStatus.CONFIRMED)
    after = msgspec.structs.replace(known, guests=2, checked_in_at=datetime(2026, 5, 20, 8, 0, tzinfo=UTC))
    change = decide("1", Stored(4, 1, known), after, ("checked_in",), Unknown())
    assert change is not None
    assert (change.verb, change.version, change.fields) == ("modified", 5, ("guests",))
