"""`explain` against a real server: what is told of an event in each of the ways it can end, and where it is found."""

import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from agent.commands import fates, tracing
from events.circuit import Position, Standing
from events.jetstream import streams
from events.jetstream.attempts import Attempts
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.outbox import DeadLetter, RouteQueue, replay
from events.jetstream.outbox import dead_letters as letters_on
from events.jetstream.pull import Message
from events.jetstream.standings import Standings
from events.lanes import Lanes
from events.ledger import Head, Poll
from schemas.changes import Change, Scope
from schemas.energy import Batch, Measured, Measurement
from schemas.envelope import CloudEvent, encode, event_id
from schemas.facts import DeliveryOutcome
from schemas.records import Booking, BookingStatus
from tests.agent.command import Ran, here
from tests.agent.harness import until
from tests.events.bus import NAMES, connected
from tests.nats import NatsServer

SCOPE = Scope("octorate", "hotel", "booking")
NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
KEEP = timedelta(days=30)
DELIVERED, RETRIED, DEAD, REFUSED = DeliveryOutcome

Say = Callable[..., Ran]
Work = Callable[[Bus], Awaitable[None]]


@pytest.fixture
def say(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Explains in a folder whose configuration names the server, and three routes."""
    account = {"vendor": "octorate", "name": "hotel", "client_id": "id", "client_secret": "secret"}
    routes = [
        {"name": "crm", "events": ["booking.*"], "subject": "crm"},
        {"name": "audit", "events": ["*.*"], "subject": "audit"},
        {"name": "pms", "events": ["property.*"], "subject": "pms"},
    ]
    told = {
        "bus": {"url": nats.url, "keep_events": "7d"},
        "accounts": [{**account, "refresh_token": "right"}],
        "routes": routes,
    }
    (tmp_path / "vendorwire.yaml").write_text(json.dumps(told))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENDORWIRE_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return lambda *words: here(capsys, *words)


def on(nats: NatsServer, *works: Work) -> None:
    """Do something on the bus, as agents would have done."""

    async def run() -> None:
        async with connected(nats.url) as bus:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            for work in works:
                await work(bus)

    anyio.run(run)


def booking(key: str, **fields: Any) -> Booking:
    told = {"property_id": "1", "arrival": "2026-06-01", "departure": "2026-06-03", "status": BookingStatus.CONFIRMED}
    return msgspec.convert({"id": key, **told, **fields}, Booking)


def created(key: str) -> Change:
    return Change(key=key, version=1, verb="created", before=None, after=booking(key))


def cancelled(key: str) -> Change:
    after = booking(key, status="cancelled", cancelled_at="2026-05-20T07:59:30Z", guests=2)
    return Change(key=key, version=2, verb="cancelled", before=booking(key), after=after, fields=("status", "guests"))


def id_of(change: Change, scope: Scope = SCOPE) -> str:
    return event_id(scope, change.key, change.version)


async def commit(bus: Bus, *changes: Change, scope: Scope = SCOPE, keep: timedelta = KEEP) -> None:
    ledger = JetStreamLedger(bus, NAMES, keep)
    await ledger.commit(await ledger.load(scope), list(changes), Head(), Poll("poll-1", NOW))


def committed(*changes: Change, **how: Any) -> Work:
    return lambda bus: commit(bus, *changes, **how)


def queue(bus: Bus, route: str) -> RouteQueue:
    subject = "vendorwire.event.*.*.booking.*" if route == "crm" else "vendorwire.event.>"
    return RouteQueue(bus, NAMES, route, [subject], 30)


async def worked(bus: Bus) -> None:
    """The routes' consumers are there."""
    for route in ("crm", "audit"):
        await queue(bus, route).ensure()


def noted(event: str, *attempts: dict[str, Any], route: str = "crm", sequence: int = 2) -> Work:
    """Attempts that have ended a second after each other, unless they say when."""

    async def work(bus: Bus) -> None:
        record = Attempts(bus, NAMES)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(record.run)
            for number, each in enumerate(attempts, 1):
                usual = {"attempt": number, "seconds": 0.25, "at": NOW.timestamp() + number, "sequence": sequence}
                record.note(route=route, event_id=event, **{**usual, **each})
            await until(lambda: len(record) == 0)
            tasks.cancel_scope.cancel()

    return work


def tried(outcome: DeliveryOutcome, status: str, **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "status": status, **more}


def buried(event: str, body: bytes, route: str = "crm") -> Work:
    async def work(bus: Bus) -> None:
        letter = DeadLetter(
            route=route,
            event=body,
            event_id=event,
            reason="answered 500",
            attempts=2,
            status="500",
            failed_at=NOW.timestamp() + 2,
            record="octorate/hotel/booking/1",
        )
        await queue(bus, route).bury(letter)

    return work


def told_of(say: Say, id_: str) -> dict[str, Any]:
    ran = say("explain", id_, "--json")
    assert ran.status == 0, ran
    return as_json(ran)


def as_json(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.out)
    return found


def route_of(say: Say, id_: str, name: str = "crm") -> dict[str, Any]:
    return on_route(told_of(say, id_), name)


def on_route(told: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (each for each in told["routes"] if each["route"] == name)
    return found


def test_an_event_is_told_from_its_poll_to_its_delivery_on_each_route(nats: NatsServer, say: Say) -> None:
    change = cancelled("7")
    due = NOW.timestamp() + 6
    on(
        nats,
        worked,
        committed(change),
        noted(id_of(change), tried(RETRIED, "500", due=due), tried(DELIVERED, "204", at=due, seconds=0.0012)),
    )
    ran = say("explain", id_of(change)[:8])
    assert ran.status == 0, ran
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[:2] == ["booking.cancelled  octorate/hotel/booking/7  version 2", f"id         {id_of(change)}"]
    assert "vendor     2026-05-20 07:59:30" in lines
    assert "observed   2026-05-20 08:00:00  by poll poll-1, 30 s after the vendor's time" in lines
    assert any(line.startswith("published  20") and line.endswith("as number 2") for line in lines)
    at = lines.index("field         before     after")
    assert lines[at + 1 : at + 4] == [
        "status        confirmed  cancelled",
        "guests        –          2",
        "cancelled_at  –          2026-05-20T07:59:30Z",
    ]
    at = lines.index("crm: delivered 2026-05-20 08:00:06, after 2 attempts")
    assert lines[at + 1 : at + 4] == [
        "attempt  ended                took    outcome    next due             status",
        "1        2026-05-20 08:00:01  250 ms  retried    2026-05-20 08:00:06  500",
        "2        2026-05-20 08:00:06  1 ms    delivered  –                    204",
    ]
    assert "audit: waits: others are before it" in lines
    assert "pms: the route does not take this event" in lines
    assert max(map(len, lines)) <= 100
    assert len(lines) < 40


def test_json_has_the_event_and_everything_about_it(nats: NatsServer, say: Say) -> None:
    change = cancelled("7")
    on(nats, worked, committed(change), noted(id_of(change), tried(RETRIED, "no answer", due=NOW.timestamp() + 9)))
    found = told_of(say, id_of(change))
    assert found["id"] == found["event"]["id"] == id_of(change)
    assert found["event"]["data"]["changes"]["status"] == {"before": "confirmed", "after": "cancelled"}
    assert (found["sequence"], found["published_at"][:2]) == (2, "20")
    (attempt,) = route_of(say, id_of(change))["attempts"]
    assert attempt == {
        "attempt": 1,
        "outcome": "retried",
        "status": "no answer",
        "seconds": 0.25,
        "ended_at": "2026-05-20T08:00:01Z",
        "next_at": "2026-05-20T08:00:09Z",
        "replay": False,
    }


def test_a_dead_letter_comes_with_the_command_that_replays_it(nats: NatsServer, say: Say) -> None:
    change = created("7")
    on(nats, worked, committed(change))
    body = json.dumps(told_of(say, id_of(change))["event"]).encode()
    attempts = (tried(RETRIED, "500", due=NOW.timestamp() + 2), tried(DEAD, "500"))
    on(nats, noted(id_of(change), *attempts), buried(id_of(change), body))
    assert route_of(say, id_of(change))["state"] == "dead"
    shown = say("explain", id_of(change)).out
    assert "crm: a dead letter since 2026-05-20 08:00:02: answered 500" in shown
    (command,) = (line.partition(": ")[2] for line in shown.splitlines() if "dead replay" in line)
    assert say(*command.split()[1:]).status == 0
    assert route_of(say, id_of(change))["state"] == "removed"
    on(nats, noted(id_of(change), tried(DELIVERED, "200", replay=True, at=NOW.timestamp() + 60), sequence=0))
    assert route_of(say, id_of(change))["state"] == "delivered"
    assert "1 (replay)  2026-05-20 08:01:00" in say("explain", id_of(change)).out


def test_a_replay_that_fails_again_is_a_dead_letter_again(nats: NatsServer, say: Say) -> None:
    change = created("7")
    later = NOW.timestamp() + 60
    on(nats, worked, committed(change), noted(id_of(change), tried(DEAD, "500")), buried(id_of(change), b"{}"))

    async def replayed(bus: Bus) -> None:
        async for letter in letters_on(bus, NAMES):
            await replay(bus, NAMES, letter)

    again = noted(id_of(change), tried(RETRIED, "500", replay=True, at=later, due=time.time() + 3600), sequence=0)
    on(nats, replayed, again)
    found = route_of(say, id_of(change))
    assert found["state"] == "waiting"
    assert found["detail"].startswith("waits for attempt 2, due ")


def test_an_event_nobody_has_tried_to_deliver_is_found_in_the_ledger(
    nats: NatsServer, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [created(str(number)) for number in range(40)]
    on(nats, committed(*changes))
    monkeypatch.setattr(tracing, "FIRST_STEP", 7)
    for change in (changes[0], changes[20], changes[39]):
        assert told_of(say, id_of(change)[:8])["event"]["subject"] == change.key
        found = route_of(say, id_of(change))
        assert (found["state"], found["detail"]) == ("waiting", "waits: no agent has worked the route yet")


def test_a_search_begins_with_the_newest_events(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [created(str(number)) for number in range(300)]
    read: list[int] = []
    monkeypatch.setattr(tracing, "TELL_EVERY", 1)
    monkeypatch.setattr(tracing, "FIRST_STEP", 20)

    async def search(bus: Bus) -> None:
        found = await tracing._search(bus, NAMES, id_of(changes[-3]), read.append)
        assert found is not None
        assert found.event.subject == "297"

    on(nats, committed(*changes), search)
    assert 0 < len(read) <= 20


def test_a_bus_without_a_record_of_attempts_explains_all_the_same(nats: NatsServer, say: Say) -> None:
    change = created("7")

    async def older(bus: Bus) -> None:
        await bus.api(f"STREAM.DELETE.{NAMES.attempts}")

    on(nats, committed(change), older)
    assert told_of(say, id_of(change))["event"]["subject"] == "7"


def test_of_an_event_that_aged_out_its_attempts_are_still_told(nats: NatsServer, say: Say) -> None:
    change = created("7")

    async def gone(bus: Bus) -> None:
        async def is_gone() -> bool:
            info = await bus.api(f"STREAM.INFO.{NAMES.ledger}", {"subjects_filter": NAMES.events})
            return not info["state"].get("subjects")

        await until(is_gone)

    attempts = noted(id_of(change), tried(RETRIED, "500", due=NOW.timestamp() + 9))
    on(nats, worked, committed(change, keep=timedelta(seconds=1)), attempts, gone)
    found = told_of(say, id_of(change))
    assert (found["event"], found["sequence"], found["published_at"]) == (None, None, None)
    assert route_of(say, id_of(change))["state"] == "lost"
    assert "crm: it left the ledger before it could be delivered" in say("explain", id_of(change)[:8]).out


def test_an_event_that_only_a_dead_letter_holds_is_told_from_there(nats: NatsServer, say: Say) -> None:
    change = cancelled("7")
    event = CloudEvent(
        id=id_of(change),
        source="/octorate/hotel",
        type="booking.cancelled",
        subject="7",
        time=NOW,
        dataschema="urn:vendorwire:booking.cancelled:1",
        vendor="octorate",
        account="hotel",
        version=2,
        observedat=NOW,
        pollid="poll-1",
        data={"record": {"id": "7"}, "changes": {"status": {"before": "confirmed", "after": "cancelled"}}},
    )
    on(nats, worked, buried(event.id, encode(event)))
    shown = say("explain", event.id[:8]).out
    assert "published  not in the ledger any more; this is from a dead letter" in shown
    assert "status  confirmed  cancelled" in shown
    assert route_of(say, event.id)["state"] == "dead"


def test_a_dead_letter_that_is_no_event_is_told_too(nats: NatsServer, say: Say) -> None:
    on(nats, worked, buried("unreadable-12", b"\x00 no event"))
    found = told_of(say, "unreadable-12")
    assert found["event"] is None
    assert [each["state"] for each in found["routes"]] == ["dead", "unknown", "unknown"]
    assert "unreadable-12  the event itself is gone" in say("explain", "unreadable-12").out


def test_an_id_that_is_not_there_is_a_sentence_that_says_what_to_check(nats: NatsServer, say: Say) -> None:
    on(nats, committed(created("7")))
    ran = say("explain", "00000000-0000")
    assert (ran.status, ran.out) == (1, "")
    assert "'00000000-0000'" in ran.err
    assert "webhook-id" in ran.err
    assert "7 days" in ran.err


def test_on_a_new_bus_attempts_are_kept_as_configured(nats: NatsServer, say: Say) -> None:
    async def kept() -> int:
        async with connected(nats.url) as bus:
            return int((await bus.api(f"STREAM.INFO.{NAMES.attempts}"))["config"]["max_age"])

    assert say("explain", "00000000-0000").status == 1
    assert timedelta(microseconds=anyio.run(kept) / 1000) == timedelta(days=7)


def test_a_beginning_that_is_too_short_or_stands_for_several_is_refused(nats: NatsServer, say: Say) -> None:
    attempt = tried(DELIVERED, "200")
    on(nats, noted("01234567-one", attempt), noted("01234567-two", attempt))
    short = say("explain", "0123456")
    assert (short.status, "at least 8" in short.err) == (2, True)
    several = say("explain", "01234567")
    assert (several.status, "01234567-one, 01234567-two" in several.err) == (2, True)
    assert say("explain", "01234567-two").status == 0


def test_a_number_of_a_ledger_that_is_gone_leads_to_no_other_event(nats: NatsServer, say: Say) -> None:
    mine, other = created("7"), created("8")
    on(nats, worked, committed(other, mine), noted(id_of(mine), tried(DELIVERED, "200"), sequence=2))
    found = told_of(say, id_of(mine))
    assert (found["event"]["subject"], found["sequence"]) == ("7", 4)


def test_an_event_behind_one_that_waits_says_so(nats: NatsServer, say: Say) -> None:
    first, second = created("7"), cancelled("7")

    async def first_failed(bus: Bus) -> None:
        crm = queue(bus, "crm")
        async with crm.events() as events:
            taken: list[Message] = []
            while len(taken) < 2:
                taken += await events.take(2, 10)
            lanes, record, now = Lanes(), "octorate/hotel/booking/7", time.time()
            for message in taken:
                lanes.arrive(record, message.sequence, now)
            lanes.failed(record, taken[0].sequence, now, 3600)
            await crm.save_lane(record, lanes.snapshot(record))

    due = noted(id_of(first), tried(RETRIED, "500", due=time.time() + 3600))
    on(nats, worked, committed(first), committed(second), first_failed, due)
    assert route_of(say, id_of(first))["detail"].startswith("waits for attempt 2, due ")
    assert route_of(say, id_of(second))["detail"] == "waits for an earlier event of its record, due in 60 min"


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (
            Standing(Position.STOPPED, last_error="answered 410"),
            "the route is stopped (answered 410): vendorwire resume crm",
        ),
        (
            Standing(Position.OPEN, probe_at=NOW.timestamp(), last_error="answered 500"),
            "the route rests, and is tried at 2026-05-20 08:00:00 (answered 500)",
        ),
    ],
)
def test_a_route_that_rests_is_why_an_event_waits(nats: NatsServer, say: Say, standing: Standing, words: str) -> None:
    change = created("7")

    async def rests(bus: Bus) -> None:
        await Standings(bus, NAMES).write("crm", standing)

    on(nats, worked, committed(change), rests)
    assert route_of(say, id_of(change))["detail"] == f"waits: others are before it; {words}"


def test_an_attempt_that_was_refused_is_made_again_once_the_route_is_resumed(nats: NatsServer, say: Say) -> None:
    change = created("7")

    async def stopped(bus: Bus) -> None:
        await Standings(bus, NAMES).write("crm", Standing(Position.STOPPED, last_error="answered 410"))
        await in_hand(bus)

    async def in_hand(bus: Bus) -> None:
        async with queue(bus, "crm").events() as events:
            await events.take(1, 10)

    on(nats, worked, committed(change), stopped, noted(id_of(change), tried(REFUSED, "410")))
    assert route_of(say, id_of(change))["detail"] == (
        "waits for attempt 1; the route is stopped (answered 410): vendorwire resume crm"
    )


def test_an_attempt_that_is_late_is_due_now(nats: NatsServer, say: Say) -> None:
    change = created("7")
    on(nats, worked, committed(change), noted(id_of(change), tried(RETRIED, "500", due=NOW.timestamp())))
    assert route_of(say, id_of(change))["detail"] == "waits for attempt 2, due now"


def test_measurements_are_told_by_device_span_and_number(nats: NatsServer, say: Say) -> None:
    scope = Scope("carbontrack", "fleet", "measurement")
    measured = [Measurement(at=NOW + timedelta(minutes=number), power1=1.0) for number in range(5)]
    told = Batch(device="d-1", from_=NOW, to=NOW + timedelta(minutes=4), measurements=measured)
    after = Measured(id="d-1", until=NOW)
    change = Change(key="d-1", version=3, verb="batch", before=None, after=after, told=told, at=NOW)
    on(nats, committed(change, scope=scope))
    shown = [line.split() for line in say("explain", id_of(change, scope)).out.splitlines()]
    assert ["device", "d-1"] in shown
    assert ["from", "2026-05-20T08:00:00Z"] in shown
    assert ["to", "2026-05-20T08:04:00Z"] in shown
    assert ["measurements", "5"] in shown


def test_what_strangers_wrote_cannot_hurt_a_terminal(nats: NatsServer, say: Say) -> None:
    change = Change(key="7", version=1, verb="created", before=None, after=booking("7", reference="\x1b[2J"))
    on(nats, committed(change), noted(id_of(change), tried(RETRIED, "\x1b[31mred", due=1.0)))
    ran = say("explain", id_of(change))
    assert ran.status == 0
    assert "\x1b" not in ran.out
    assert "\\x1b[31mred" in ran.out


def test_many_attempts_and_fields_stay_in_one_screen(nats: NatsServer, say: Say) -> None:
    before, after = booking("7"), booking("7", guests=2, notes="long " * 60)
    change = Change(key="7", version=2, verb="modified", before=before, after=after, fields=("guests",))
    failed = [tried(RETRIED, "500", due=NOW.timestamp() + 9) for _ in range(40)]
    on(nats, worked, committed(change), noted(id_of(change), *failed))
    lines = say("explain", id_of(change)).out.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 40
    assert any(line.startswith("…  ") and "28 more" in line for line in lines)
    assert any(line.startswith("40  ") for line in lines)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0 ms"), (0.0004, "0 ms"), (0.9996, "1.0 s"), (9.96, "10 s"), (99, "99 s"), (100, "2 min")],
)
def test_a_length_of_time_is_short(seconds: float, told: str) -> None:
    assert fates.span(seconds) == told
