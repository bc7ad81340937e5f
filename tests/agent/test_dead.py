"""`vendorwire dead`: which letters are meant, and that very many of them, or odd ones, are no trouble."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from events.jetstream.connection import Bus
from events.jetstream.ledger import KEY
from events.jetstream.outbox import DeadLetter, RouteQueue, dead_count
from schemas.envelope import encode, event_of
from tests.agent.command import Ran, here
from tests.agent.harness import NAMES, octorate, webhook, write_config
from tests.agent.past import NOW, SCOPE, handed_over, house, on_the_bus
from tests.nats import NatsServer

Say = Callable[..., Ran]


@pytest.fixture
def say(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in a folder whose configuration has the routes `crm` and `ops`."""
    routes = [webhook(name, "http://127.0.0.1:1/hook") for name in ("crm", "ops")]
    account = octorate("hotel", "https://api.example.com")
    write_config(tmp_path, bus={"url": nats.url}, accounts=[account], routes=routes, name="vendorwire.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENDORWIRE_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    return lambda *words: here(capsys, *words)


def letter(key: str, hour: int, status: str, route: str = "crm", record: str = "") -> DeadLetter:
    event = event_of(house(key), SCOPE, observed_at=NOW, poll_id="p-1")
    return DeadLetter(
        route=route,
        event=encode(event),
        event_id=f"{key}-{event.id}",
        reason=f"answered {status}" if status else "connection refused",
        attempts=10,
        status=status,
        failed_at=datetime(2026, 5, 20, hour, tzinfo=UTC).timestamp(),
        record=record or f"{SCOPE}/{key}",
    )


def bury(nats: NatsServer, *letters: DeadLetter) -> None:
    async def work(bus: Bus) -> None:
        for each in letters:
            await RouteQueue(bus, NAMES, each.route, [], 30).bury(each)

    on_the_bus(nats, work)


def some(nats: NatsServer) -> None:
    """a at 1 o'clock, b at 2, c at 3, and d at 4 of another route."""
    bury(nats, letter("a", 1, "500"), letter("b", 2, "422"), letter("c", 3, ""), letter("d", 4, "500", "ops"))


def listed(ran: Ran) -> str:
    """The letters that were listed, each by its key."""
    assert ran.status == 0, ran
    return "".join(json.loads(line)["id"][0] for line in ran.out.splitlines())


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ((), "abcd"),
        (("--since", "2026-05-20T02:00:00Z"), "bcd"),
        (("--until", "2026-05-20T02:00:00Z"), "ab"),
        (("--since", "2026-05-20T02:00:00Z", "--until", "2026-05-20T03:30:00Z"), "bc"),
        (("--since", "1h"), ""),
        (("--reason", "REFUSED"), "c"),
        (("--reason", "500"), "ad"),
        (("--reason", "answered", "--route", "crm"), "ab"),
        (("--reason", "answered", "a-", "c-"), "a"),
        (("--route", "crm", "--since", "2026-05-20T02:00:00Z", "--reason", "4"), "b"),
    ],
)
def test_letters_are_found_by_time_reason_route_and_id_together(
    nats: NatsServer, say: Say, words: tuple[str, ...], meant: str
) -> None:
    some(nats)
    assert listed(say("dead", "list", *words, "--json")) == meant
    assert listed(say("dead", "show", *words, "--json")) == meant


def test_the_list_has_the_newest_last_and_is_counted(nats: NatsServer, say: Say) -> None:
    some(nats)
    told = say("dead", "list", "--route", "crm")
    assert [line.split()[0][0] for line in told.out.splitlines()[1:]] == ["a", "b", "c"]
    assert told.err == "3 dead letters\n"


def test_letters_are_replayed_by_what_they_have_in_common(nats: NatsServer, say: Say) -> None:
    some(nats)
    assert say("dead", "replay", "--reason", "answered", "--since", "2026-05-20T02:00:00Z").out.startswith("2 dead")
    assert [each.headers[KEY] for each in handed_over(nats)] == [f"{SCOPE}/b", f"{SCOPE}/d"]
    assert listed(say("dead", "list", "--json")) == "ac"


def test_letters_are_dropped_by_what_they_have_in_common_after_a_yes(nats: NatsServer, say: Say) -> None:
    some(nats)
    for words in (("drop", "--reason", "500"), ("drop", "--since", "1d"), ("drop", "--until", "1d")):
        refused = say("dead", *words)
        assert (refused.status, "--yes is needed" in refused.err) == (2, True)
    assert say("dead", "drop", "--reason", "500", "--yes").out == "2 dead letters dropped\n"
    assert say("dead", "drop", "b-").out == "1 dead letter dropped\n"
    assert listed(say("dead", "list", "--json")) == "c"


@pytest.mark.parametrize("action", ["replay", "drop"])
def test_all_letters_at_once_must_be_meant(say: Say, action: str) -> None:
    told = say("dead", action, "--yes")
    assert (told.status, "--route, --since, --until, --reason" in told.err) == (2, True)
    assert say("dead", action, "--since", "1h", "--until", "2h", "--yes").status == 2


def test_a_letter_is_shown_with_all_that_is_known_of_it(nats: NatsServer, say: Say) -> None:
    some(nats)
    shown = say("dead", "show", "b-").out
    for line in (
        f"record:       {SCOPE}/b",
        "reason:       answered 422",
        "status:       422",
        "attempts:     10",
        "change:       property.created",
        "observed:     2026-05-20 08:00:00",
        "last attempt: 2026-05-20 02:00:00",
        '      "name": "House 1"',
    ):
        assert f"{line}\n" in shown


def test_a_replay_is_about_the_events_record_whatever_its_letter_says(nats: NatsServer, say: Say) -> None:
    bury(nats, letter("a", 1, "500", record="replay/something"))
    assert say("dead", "replay", "a-").status == 0
    assert [each.headers[KEY] for each in handed_over(nats)] == [f"{SCOPE}/a"]


@pytest.mark.parametrize(
    ("body", "told"), [(b"not an event", "not an event"), (b"\xff", "\ufffd"), (b'{\n"a": 1}', {"a": 1}), (b"", "")]
)
def test_what_is_no_event_is_shown_as_it_is(nats: NatsServer, say: Say, body: bytes, told: object) -> None:
    async def work(bus: Bus) -> None:
        await bus.publish(NAMES.dead_letter("crm"), body, {"Vendorwire-Event-Id": "odd"})

    on_the_bus(nats, work)
    (line,) = say("dead", "show", "odd", "--json").out.splitlines()
    assert json.loads(line)["event"] == told
    assert say("dead", "show", "odd").status == 0
    assert say("dead", "list").status == 0


def test_ten_thousand_letters_are_no_trouble(nats: NatsServer, say: Say) -> None:
    one = letter("a", 1, "500")

    async def work(bus: Bus) -> None:
        made = {"Vendorwire-Event-Id": one.event_id, "Vendorwire-Reason": one.reason, KEY: one.record}
        for number in range(9_999):
            headers = made | {"Vendorwire-Event-Id": f"{number:04}-{one.event_id}", "Vendorwire-Attempts": "3"}
            publish = bus.publish if number % 500 == 0 else bus.publish_plain  # now and then wait until all is stored
            await publish(NAMES.dead_letter("crm"), one.event, headers)
        await bus.publish(NAMES.dead_letter("crm"), one.event, made)
        assert await dead_count(bus, NAMES) == {"crm": 10_000}

    on_the_bus(nats, work)
    started = time.process_time()
    told = say("dead", "list")
    spent = time.process_time() - started
    rows = told.out.splitlines()
    assert (len(rows), told.err) == (10_001, "10000 dead letters\n")
    assert rows[9_000].index("answered 500") == rows[1].index("answered 500") == rows[0].index("reason")
    assert spent < 2.5  # a table that is drawn as a whole takes more for its rows alone
    assert say("dead", "show", "7777-", "--json").out.count("\n") == 1
