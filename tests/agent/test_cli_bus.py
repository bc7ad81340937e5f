"""The commands that need the bus, against a real server and, where a vendor is asked, the sandbox on loopback."""

import io
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

import anyio
import pytest

from agent.commands.reaching import connected
from agent.config import Bus as BusSettings
from connectors.sandbox import octorate
from events.jetstream import connection, streams
from events.jetstream.connection import Bus
from events.jetstream.errors import BusUnavailable
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.options import BusOptions
from events.jetstream.outbox import DeadLetter, RouteQueue, dead_count
from events.jetstream.schedule import Schedule
from events.ledger import Head, Part, Poll
from events.signing import generate
from events.subjects import Names
from schemas.changes import Change, Scope
from schemas.envelope import encode, event_of
from schemas.records import Property
from schemas.settings import Duration
from tests.agent.command import Ran, Running, here, started
from tests.nats import NatsServer, start_nats

NAMES = Names()
SCOPE = Scope("octorate", "hotel", "property")
NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
POLL = Poll("p-1", NOW)
PASSWORD = "canary-password-of-nats"
SIGNING = generate()
USERS = f'authorization {{ user: "agent", password: "{PASSWORD}" }}'

Say = Callable[..., Ran]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with start_nats(tmp_path / "nats", config_extra=USERS) as server:
        yield server


@pytest.fixture
def say(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in a folder whose configuration names the server. No command may ever show a secret."""
    configure(tmp_path, nats, "https://api.example.com")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENDORWIRE_CONFIG", raising=False)
    monkeypatch.setenv("TZ", "UTC")

    def run(*words: str) -> Ran:
        ran = here(capsys, *words)
        assert not leaks(ran), ran
        return ran

    return run


def configure(folder: Path, nats: NatsServer, vendor: str) -> None:
    (folder / "vendorwire.yaml").write_text(
        f"""\
bus: {{url: "{nats.url}", user: agent, password: {PASSWORD}}}
http: {{listen: "127.0.0.1:0"}}
accounts:
  - vendor: octorate
    name: hotel
    base_url: {vendor}/connect
    client_id: {octorate.CLIENT_ID}
    client_secret: {octorate.CLIENT_SECRET}
    refresh_token: {octorate.REFRESH_TOKEN}
    budget: {{requests: 1000, per: 1s}}
    every: {{booking: 1s, property: 1s}}
routes:
  - {{name: crm, events: ["booking.*"], webhook: {{url: "https://crm.example.com/hooks", secret: {SIGNING}}}}}
"""
    )


def leaks(ran: Ran) -> bool:
    secrets = (PASSWORD, SIGNING, octorate.CLIENT_SECRET, octorate.REFRESH_TOKEN, "sandbox-access")
    return any(secret in ran.out + ran.err for secret in secrets)


@asynccontextmanager
async def bus_of(nats: NatsServer) -> AsyncIterator[Bus]:
    options = BusOptions(urls=[f"nats://agent:{PASSWORD}@127.0.0.1:{nats.port}"])
    async with connection.connect(options, lambda _: None) as bus:
        with anyio.fail_after(10):
            await bus.ready()
        yield bus


def on_the_bus(nats: NatsServer, work: Callable[[Bus], Awaitable[None]]) -> None:
    """Do something on the bus from outside."""

    async def run() -> None:
        async with bus_of(nats) as bus:
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            await work(bus)

    anyio.run(run)


def house(key: str, name: str, verb: str | None = "created") -> Change:
    return Change(key=key, version=1, verb=verb, before=None, after=Property(id=key, name=name))


def commit(nats: NatsServer, *changes: Change, head: Head | None = None) -> None:
    async def work(bus: Bus) -> None:
        ledger = JetStreamLedger(bus, NAMES, Duration(days=30))
        await ledger.commit(await ledger.load(SCOPE), changes, head or Head(poll_id="p-1", at=NOW), POLL)

    on_the_bus(nats, work)


def bury(nats: NatsServer, *keys: str, route: str = "crm") -> list[str]:
    """Dead letters of these records; their event ids."""
    events = [event_of(house(key, f"House {key}"), SCOPE, observed_at=NOW, poll_id="p-1") for key in keys]

    async def work(bus: Bus) -> None:
        queue = RouteQueue(bus, NAMES, route, ["vendorwire.event.>"], 30)
        await queue.ensure()
        for event in events:
            letter = DeadLetter(
                route=route,
                event=encode(event),
                event_id=event.id,
                reason="answered 500",
                attempts=10,
                status="500",
                failed_at=NOW.timestamp(),
                record=f"{SCOPE}/{event.subject}",
            )
            await queue.bury(letter)

    on_the_bus(nats, work)
    return [event.id for event in events]


def lines(ran: Ran) -> list[dict[str, object]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def test_snapshots_are_listed_and_shown(nats: NatsServer, say: Say) -> None:
    commit(nats, house("a", "Palace"), house("b", "\x1b[2JWharf"))
    gone = Change(key="b", version=2, verb="deleted", before=Property(id="b", name="Wharf"), after=None)

    both = say("snapshot", "hotel", "property")
    assert both.out.splitlines() == [
        "key  version  name          currency  timezone  category",
        "a    1        Palace        –         –         –",
        "b    1        \\x1b[2JWharf  –         –         –",
    ]

    commit(nats, gone)
    assert lines(say("snapshot", "hotel", "property", "--json")) == [
        {"key": "a", "version": 1, "record": {"id": "a", "name": "Palace"}}
    ]
    assert json.loads(say("snapshot", "hotel", "property", "a").out) == {"id": "a", "name": "Palace"}
    missing = say("snapshot", "hotel", "property", "b")
    assert (missing.status, missing.err) == (1, "vendorwire: octorate/hotel/property has no record 'b'\n")
    assert say("snapshot", "hotel", "account").out == "nothing is stored\n"


def test_held_deletes_are_listed_and_approved(nats: NatsServer, say: Say) -> None:
    assert say("deletes", "list").out == "no deletes are held\n"
    head = Head(poll_id="p-1", at=NOW, records=3, parts={"": Part(swept_at=NOW, missing=("a", "b"), held=2)})
    commit(nats, house("a", "A"), house("b", "B"), house("c", "C"), head=head)

    (listed,) = lines(say("deletes", "list", "--json"))
    assert (listed["account"], listed["resource"], listed["held"]) == ("hotel", "property", 2)
    assert "hotel    property  2" in say("deletes", "list", "hotel").out
    assert say("deletes", "list", "hotel", "property").out == "a\nb\n"

    approved = say("deletes", "approve", "hotel", "property", "--yes")
    assert (approved.status, approved.out) == (0, "2 deletes of octorate/hotel/property published\n")
    assert [line["key"] for line in lines(say("snapshot", "hotel", "property", "--json"))] == ["c"]
    again = say("deletes", "approve", "hotel", "property", "--yes")
    assert (again.status, again.err) == (1, "vendorwire: no deletes of octorate/hotel/property are held\n")


class Person(io.StringIO):
    """Somebody at a terminal who types this."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_before_deletes_are_published(
    nats: NatsServer, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = Head(poll_id="p-1", at=NOW, records=1, parts={"": Part(swept_at=NOW, missing=("a",), held=1)})
    commit(nats, house("a", "A"), head=head)

    monkeypatch.setattr("sys.stdin", Person("\n"))
    refused = say("deletes", "approve", "hotel", "property")
    monkeypatch.setattr("sys.stdin", Person("y\n"))
    approved = say("deletes", "approve", "hotel", "property")

    asked = "publish 1 delete of octorate/hotel/property? [y/N] "
    assert (refused.status, refused.out, refused.err) == (1, "", f"{asked}nothing was published\n")
    assert (approved.status, approved.out) == (0, "1 delete of octorate/hotel/property published\n")


def test_dead_letters_are_listed_shown_replayed_and_dropped(nats: NatsServer, say: Say) -> None:
    assert say("dead", "list").out == "there are no dead letters\n"
    first, second, third = bury(nats, "a", "b", "c")

    listed = say("dead", "list").out.splitlines()
    assert [line.split()[0] for line in listed] == ["id", first, second, third]
    shown = say("dead", "show", first[:13]).out
    assert "reason:       answered 500\n" in shown
    assert f'  "id": "{first}",\n' in shown
    (whole,) = lines(say("dead", "show", first, "--json"))
    assert (whole["route"], whole["attempts"], whole["failed_at"]) == ("crm", 10, "2026-05-20T08:00:00Z")

    assert say("dead", "replay", first).out == "1 dead letter to be delivered again\n"
    assert say("routes").out.splitlines()[1].split() == ["crm", "closed", "1", "0", "2", "–", "–"]
    assert say("dead", "drop", second).out == "1 dead letter dropped\n"
    assert [line["id"] for line in lines(say("dead", "list", "--json"))] == [third]
    (route,) = lines(say("routes", "--json"))
    assert [route[name] for name in ("route", "circuit", "pending", "in_flight", "dead")] == ["crm", "closed", 1, 0, 1]
    assert say("dead", "drop", "--route", "crm", "--yes").status == 0
    assert say("dead", "list", "--route", "crm").out == "there are no dead letters\n"


def test_dead_letters_that_are_not_meant_clearly_stay(nats: NatsServer, say: Say) -> None:
    (old,) = bury(nats, "a", route="gone")

    assert say("dead", "show", "nope").err == "vendorwire: there is no dead letter 'nope'\n"
    assert say("dead", "list", "--route", "cmr").err == "vendorwire: no route is named 'cmr'; there are: crm, gone\n"
    refused = say("dead", "replay", old)
    assert (refused.status, "not configured (any more)" in refused.err) == (1, True)

    async def still_there(bus: Bus) -> None:
        assert await dead_count(bus, NAMES) == {"gone": 1}

    on_the_bus(nats, still_there)


def test_a_poll_is_asked_for_once_however_often_it_is_asked_for(nats: NatsServer, say: Say) -> None:
    assert say("poll", "hotel", "booking").out == "poll of octorate/hotel/booking asked for\n"
    assert say("poll", "hotel").out.splitlines() == [
        "poll of octorate/hotel/booking asked for",
        "poll of octorate/hotel/property asked for",
    ]

    async def two_ticks(bus: Bus) -> None:
        info = await bus.api(f"STREAM.INFO.{NAMES.polls}", {"subjects_filter": ">"})
        assert info["state"]["subjects"] == {
            "vendorwire.poll.octorate.hotel.booking": 1,
            "vendorwire.poll.octorate.hotel.property": 1,
        }

    on_the_bus(nats, two_ticks)


def test_a_poll_in_hand_is_waited_for(nats: NatsServer, say: Say, tmp_path: Path) -> None:
    async def take_and_finish(bus: Bus) -> None:
        schedule = Schedule(bus, NAMES)
        await schedule.ensure()
        await schedule.poll_now(SCOPE)
        async with schedule.ticks() as ticks:
            (tick,) = await ticks.take(1, 5)
            with started("poll", "hotel", "property", cwd=tmp_path) as asking:
                await anyio.sleep(1.5)
                await tick.message.ack()
                await anyio.to_thread.run_sync(asking.until, lambda text: "asked for" in text)
            assert len(await ticks.take(1, 5)) == 1

    on_the_bus(nats, take_and_finish)


@pytest.fixture
def vendor(nats: NatsServer, say: Say, tmp_path: Path) -> Iterator[str]:
    """An Octorate sandbox, and a configuration that names it."""
    with started("sandbox", "octorate", "--json", cwd=tmp_path) as sandbox:
        url: str = json.loads(sandbox.until(lambda text: text.endswith("\n")))["url"]
        configure(tmp_path, nats, url)
        yield url


def control(vendor: str, name: str, **arguments: object) -> None:
    with urlopen(Request(f"{vendor}/_sandbox/{name}", json.dumps(arguments).encode(), method="POST")):
        pass


def test_check_tries_each_account_and_the_bus(vendor: str, say: Say) -> None:
    well = say("check")
    assert well.status == 0, well
    assert [line.split()[:3] for line in well.out.splitlines()[1:]] == [
        ["hotel", "sign", "in"],
        ["hotel", "booking", "ok"],
        ["hotel", "property", "ok"],
        ["–", "bus", "ok"],
    ]

    control(vendor, "revoke")
    refused = say("check", "--json")
    found = [(finding["what"], finding["ok"]) for finding in json.loads(refused.out)]
    assert (refused.status, found) == (1, [("sign in", False), ("bus", True)])


def test_check_leaves_no_embedded_server_behind(vendor: str, say: Say, tmp_path: Path) -> None:
    file = tmp_path / "vendorwire.yaml"
    file.write_text(file.read_text().partition("\n")[2])  # without its bus
    before = {path.name for path in tmp_path.iterdir()}

    assert "NATS 2." in say("check").out
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_rehearsed_poll_tells_its_events_and_stores_nothing(vendor: str, say: Say, nats: NatsServer) -> None:
    fresh = say("poll", "hotel", "property", "--dry-run")
    assert fresh.status == 0, fresh
    assert "never synced before: a silent baseline of 2 records would be stored; nothing was stored" in fresh.out
    assert say("snapshot", "hotel", "property").out == "nothing is stored\n"

    known = Property(id="112696", name="Another name")
    stored = Change(key="112696", version=1, verb=None, before=None, after=known)
    commit(nats, stored, head=Head(poll_id="p-1", at=NOW, records=1, parts={"": Part(swept_at=NOW)}))

    event, other, outcome = lines(say("poll", "hotel", "property", "--dry-run", "--json"))
    assert (event["type"], other["type"], event["subject"]) == ("property.modified", "property.created", "112696")
    assert (outcome["outcome"], outcome["events"], outcome["records"]) == ("changed", 2, 2)
    (kept,) = lines(say("snapshot", "hotel", "property", "--json"))
    assert kept["record"] == {"id": "112696", "name": "Another name"}

    control(vendor, "fail", status=500, times=9)
    failed = say("poll", "hotel", "property", "--dry-run")
    assert (failed.status, "unavailable" in failed.out) == (1, True)


@pytest.mark.usefixtures("say")
def test_watch_follows_over_a_restart_of_the_bus_without_losing_or_repeating(nats: NatsServer, tmp_path: Path) -> None:
    commit(nats, house("before", "Before"))
    with started("watch", "property.*", "--json", "--since", "1h", cwd=tmp_path) as watch:
        watch.until(lambda text: text.count("\n") == 1)
        commit(nats, house("first", "First"))
        watch.until(lambda text: text.count("\n") == 2)
        nats.restart()
        commit(nats, house("second", "Second"))
        watch.until(lambda text: text.count("\n") == 3)
        ended = watch.end()

    assert (ended.status, ended.err) == (0, "")
    assert [json.loads(line)["subject"] for line in ended.out.splitlines()] == ["before", "first", "second"]
    expected = event_of(house("second", "Second"), SCOPE, observed_at=NOW, poll_id="p-1")
    assert ended.out.splitlines()[-1].encode() == encode(expected)


@pytest.mark.usefixtures("say")
def test_watch_begins_now_and_prints_a_line_for_people(nats: NatsServer, tmp_path: Path) -> None:
    commit(nats, house("before", "Before"))
    with started("watch", "--log-level", "debug", cwd=tmp_path) as watch:
        seen = until_followed(nats, watch)
        ended = watch.end(signal.SIGTERM)

    assert ended.status == 0
    assert not leaks(ended)
    assert seen.splitlines()[0].startswith("2026-05-20 08:00:00  hotel  property.created  new-")
    assert "before" not in seen


def until_followed(nats: NatsServer, watch: Running) -> str:
    """Commit until the command sees it: nothing tells from outside that it has begun."""
    seen: list[str] = []
    for number in range(50):
        commit(nats, house(f"new-{number}", "New"))
        try:
            seen.append(watch.until(lambda text: "\n" in text, within=0.5))
            break
        except AssertionError:
            continue
    return seen[0]


def test_the_agent_runs_until_ctrl_c(vendor: str, say: Say, tmp_path: Path) -> None:
    with started("run", "--log-level", "debug", "--roles", "poll", cwd=tmp_path) as agent:
        agent.until(lambda text: " ready " in text, err=True)
        with started("watch", cwd=tmp_path) as watch:
            for _ in range(50):
                control(vendor, "add")
                try:
                    watch.until(lambda text: "booking.created" in text, within=0.5)
                    break
                except AssertionError:
                    continue
            assert watch.end().status == 0
        assert say("snapshot", "hotel", "property").out.count("\n") == 3
        ended = agent.end(signal.SIGINT)

    assert ended.status == 0, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert not leaks(ended)


def test_a_bus_that_refuses_us_is_one_sentence(nats: NatsServer, say: Say, tmp_path: Path) -> None:
    file = tmp_path / "vendorwire.yaml"
    file.write_text(file.read_text().replace(PASSWORD, "canary-wrong"))

    for words in (("routes",), ("run", "--log-level", "error")):
        ran = say(*words)
        assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1), ran
        assert f"NATS at {nats.url} refused the credentials" in ran.err
        assert "canary-wrong" not in ran.err


def test_an_address_that_is_taken_is_one_sentence(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "vendorwire.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(file.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        ran = say("run")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"vendorwire: cannot listen on 127.0.0.1:{port}: address already in use; set http.listen\n"


@pytest.mark.anyio
async def test_a_bus_that_is_away_is_waited_for_only_so_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    settings = BusSettings(url=f"nats://127.0.0.1:{port}")

    with pytest.raises(BusUnavailable, match=f"NATS at nats://127.0.0.1:{port} cannot be reached"):
        async with connected(settings, within=0.5):
            pytest.fail("there is no bus")
