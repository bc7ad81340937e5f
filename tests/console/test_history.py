"""What the agents note for the console: cheap with ten thousand accounts, never in the way, and of no harm whoever wrote it."""

import random
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.console import recorder as recorder_module
from agent.console import watching
from agent.console.picture import SPARK, SPARKS, Hour
from agent.console.recorder import SAY_AGAIN, UNREAD_A_MINUTE, Recorder
from agent.pulse import Pulse
from connectors.sandbox.serve import serve
from events.history import (
    LAGS,
    LARGEST,
    SLOT,
    Alive,
    Columns,
    Deliveries,
    Minute,
    Outcome,
    Roll,
    Unread,
    lag_slot,
    minute_in,
    pack,
    quantile,
)
from events.jetstream import history, streams
from events.jetstream.connection import Bus
from events.jetstream.history import AGENT, MINUTE, OUTCOME, ROLL, UNREAD, History, noted
from schemas.changes import Scope
from schemas.facts import Delivered, DeliveryOutcome, Fact, Polled, PollOutcome, Published, Quarantined, VendorAnswered
from tests.agent.harness import NAMES, agent, hotel, octorate, ready, receiving, synced, until, webhook, write_config
from tests.console.desk import TOKEN, configured, filled, serving
from tests.console.looking import looking
from tests.nats import NatsServer, start_nats

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
BOOKING, PROPERTY = Scope("octorate", "hotel", "booking"), Scope("octorate", "hotel", "property")
ROLL_OF_TWO = Roll([PROPERTY, BOOKING])


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    async with filled(nats.url) as there:
        yield there


def polled(outcome: PollOutcome = PollOutcome.UNCHANGED, scope: Scope = BOOKING, detail: str = "") -> Polled:
    return Polled(scope=scope, outcome=outcome, seconds=0.1, records=3, detail=detail)


async def told(bus: Bus, kind: str) -> list[bytes]:
    async with aclosing(noted(bus, NAMES, kind)) as messages:
        return [message.data async for message in messages]


# What a minute costs


@given(st.dictionaries(st.integers(0, 100_000), st.tuples(*[st.integers(0, 9)] * 3), max_size=50))
def test_columns_say_what_was_counted(rows: dict[int, tuple[int, int, int]]) -> None:
    assert {place: tuple(counts) for place, *counts in Columns.of(rows).rows()} == rows


@pytest.mark.parametrize(("agents", "most"), [(1, 1_500), (3, 25_000)])
def test_a_minute_of_ten_thousand_accounts_is_a_few_kilobytes(agents: int, most: int) -> None:
    rng = random.Random(1)
    scopes = [Scope("octorate", f"hotel-{number}", name) for number in range(10_000) for name in ("a", "b", "c")]
    roll = Roll(scopes)
    rows = {place: (1, 0, 0) for place in range(len(scopes)) if rng.randrange(agents) == 0}
    rows |= {place: (1, 0, rng.randrange(1, 5)) for place in rng.sample(sorted(rows), 50)}
    minute = Minute(agent="a", at=0, roll=roll.digest, resources=Columns.of(rows))
    size = len(pack(minute))
    assert size < most, size
    assert size * 1440 * agents < streams.HISTORY_BYTES * 2  # a day of all agents fits, or nearly
    assert len(roll.pack()) < 300_000  # and the list of them, once an hour, far below the largest message


def test_the_place_of_a_resource_is_the_same_for_all_who_are_configured_alike() -> None:
    assert ROLL_OF_TWO.scopes == (BOOKING, PROPERTY)
    assert (ROLL_OF_TWO.place(PROPERTY), ROLL_OF_TWO.place_of("octorate", "hotel")) == (1, 0)
    assert ROLL_OF_TWO.place(Scope("ipro", "x", "y")) is None
    assert Roll.unpack(ROLL_OF_TWO.pack()).digest == ROLL_OF_TWO.digest
    assert Roll([BOOKING]).digest != ROLL_OF_TWO.digest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        zlib.compress(b"{"),
        zlib.compress(b" " * (LARGEST + 1)),
        pack({"agent": "a", "at": -1, "roll": ""}),
        pack({"agent": "a", "at": 0, "roll": "", "resources": [[1, 2], [[1], [1], [1]]]}),
        pack({"agent": "a", "at": 0, "roll": "", "resources": [[1], [[1], [1]]]}),
    ],
)
def test_what_a_stranger_wrote_is_no_minute(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        minute_in(data)


def test_a_quantile_lies_where_it_was_counted() -> None:
    lags = [0] * (len(LAGS) + 1)
    assert quantile(lags, 0.5) is None
    for _ in range(98):
        lags[lag_slot(0.02)] += 1
    for _ in range(2):
        lags[lag_slot(20.0)] += 1
    assert 0.01 < (quantile(lags, 0.5) or 0) <= 0.05
    assert 10 < (quantile(lags, 0.99) or 0) <= 30
    assert quantile([*[0] * len(LAGS), 3], 0.5) == LAGS[-1]


# The last hour


def test_a_minute_that_comes_again_longer_is_counted_once() -> None:
    hour = Hour(ROLL_OF_TWO)
    hour.take(minute({0: (1, 0, 2)}), NOW)
    hour.take(minute({0: (3, 1, 5)}), NOW)
    polls, failed, changes = hour.spark(BOOKING, NOW)
    assert (polls[-1], failed[-1], changes, hour.changes) == (4, 1, 5, 5)
    assert hour.spark(PROPERTY, NOW) == ([0] * SPARKS, [0] * SPARKS, 0)


def test_minutes_of_agents_that_are_configured_otherwise_are_understood_by_their_list() -> None:
    hour, other = Hour(ROLL_OF_TWO), Roll([Scope("ipro", "coast", "booking"), PROPERTY, BOOKING])
    assert not hour.knows(other.digest)
    hour.learn(other.digest, other)
    hour.take(minute({0: (7, 0, 0), 1: (2, 0, 1)}, roll=other.digest), NOW)
    assert hour.spark(BOOKING, NOW)[0][-1] == 2
    hour.learn("nobody knows", None)
    hour.take(minute({0: (9, 9, 9), 5000: (1, 1, 1)}, roll="nobody knows", agent="b"), NOW)
    assert hour.spark(BOOKING, NOW)[0][-1] == 2


def test_what_is_older_than_an_hour_or_lies_ahead_is_not_counted() -> None:
    hour = Hour(ROLL_OF_TWO)
    for at in (NOW - SPARKS * SPARK - SLOT, NOW + 3 * SPARK):
        hour.take(minute({0: (1, 0, 1)}, at=at), NOW)
    hour.take(minute({0: (1, 0, 1)}), NOW)
    assert hour.changes == 1
    hour.take(minute({1: (1, 0, 0)}, at=NOW + 3600), NOW + 3600)
    assert hour.changes == 0


def test_routes_are_added_up_over_agents() -> None:
    hour = Hour(ROLL_OF_TWO)
    lags = [0] * (len(LAGS) + 1)
    lags[0] = 1
    for each in ("a", "b"):
        hour.take(minute({}, agent=each, routes={"crm": Deliveries({"delivered": 1, "retried": 2}, lags)}), NOW)
    found = hour.delivered("crm")
    assert (found.outcomes, found.lags[0]) == ({"delivered": 2, "retried": 4}, 2)
    assert hour.delivered("nobody").outcomes == {}


def minute(
    rows: dict[int, tuple[int, int, int]],
    *,
    at: float = NOW,
    roll: str = ROLL_OF_TWO.digest,
    agent: str = "a",
    routes: dict[str, Deliveries] | None = None,
) -> Minute:
    begin = int(at) // SLOT * SLOT
    return Minute(agent=agent, at=begin, roll=roll, resources=Columns.of(rows), routes=routes or {})


# What an agent notes


async def test_an_agent_notes_its_minutes_and_what_went_wrong_at_once_and_nothing_where_nothing_happens(
    bus: Bus,
) -> None:
    clock = Clock()
    recorder = Recorder([BOOKING, PROPERTY], "1.0", ("poll",), clock)
    async with recording(recorder, bus):
        await until_told(bus, AGENT)
        assert await told(bus, MINUTE) == []
        for fact in some_facts():
            recorder.observe(fact)
        clock.now += SLOT
        await until_told(bus, MINUTE)
        clock.now += SLOT
    (only,) = [minute_in(each) for each in await told(bus, MINUTE)]
    assert (only.agent, only.roll) == (recorder.agent, ROLL_OF_TWO.digest)
    assert list(only.resources.rows()) == [(0, 2, 1, 1)]
    assert list(only.accounts.rows()) == [(0, 2, 1)]
    assert only.routes["crm"].outcomes == {"delivered": 1, "dead": 1}
    assert sum(only.routes["crm"].lags) == 1
    outcome = msgspec.json.decode((await told(bus, OUTCOME))[0], type=Outcome)
    assert (outcome.outcome, outcome.at, outcome.since) == ("unchanged", NOW, NOW)  # it was well again in the end
    (unread,) = [msgspec.json.decode(each, type=Unread) for each in await told(bus, UNREAD)]
    assert (unread.scope, unread.key, unread.path) == (BOOKING, "7.*", "$.arrival")
    (alive,) = [msgspec.json.decode(each, type=Alive) for each in await told(bus, AGENT)]
    assert (alive.agent, alive.gone, alive.roles) == (recorder.agent, True, ("poll",))
    assert Roll.unpack((await told(bus, ROLL))[0]).digest == ROLL_OF_TWO.digest


def some_facts() -> list[Fact]:
    return [
        polled(),
        polled(PollOutcome.UNAVAILABLE, detail="503"),
        polled(),
        polled(scope=Scope("octorate", "stranger", "booking")),
        Published(scope=BOOKING, change="created", key="1", event_id="e"),
        VendorAnswered(vendor="octorate", account="hotel", status="200"),
        VendorAnswered(vendor="octorate", account="hotel", status="error"),
        Delivered(
            route="crm", outcome=DeliveryOutcome.DELIVERED, event_id="e", kind="k", attempt=1, seconds=0.1, lag=0.2
        ),
        Delivered(route="crm", outcome=DeliveryOutcome.DEAD, event_id="e", kind="k", attempt=1, seconds=0.1),
        Quarantined(scope=BOOKING, path="$.arrival", key="7.*"),
        Quarantined(scope=BOOKING, path="$.arrival", key="7.*"),
    ]


async def test_a_failure_that_stays_is_noted_once_an_hour_with_the_time_it_began(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "LOOK_EVERY", 0.02)
    clock = Clock()
    recorder = Recorder([BOOKING, PROPERTY], "1.0", ("poll",), clock)
    sequences = []
    async with recording(recorder, bus):
        for seconds in (0, 1, 60, SAY_AGAIN, 1):
            clock.now += seconds
            recorder.observe(polled(PollOutcome.UNAVAILABLE, detail="503"))
            await anyio.sleep(0.2)
            sequences.append(await sequence_of(bus, BOOKING))
    assert sequences[0] == sequences[1] == sequences[2]
    assert sequences[3] == sequences[4] != sequences[0]
    (outcome,) = [msgspec.json.decode(each, type=Outcome) for each in await told(bus, OUTCOME)]
    assert (outcome.at, outcome.since) == (NOW + SAY_AGAIN + 61, NOW)


async def test_a_vendor_that_spoils_everything_is_noted_up_to_a_bound(bus: Bus) -> None:
    recorder = Recorder([BOOKING, PROPERTY], "1.0", ("poll",), Clock())
    async with recording(recorder, bus):
        for number in range(10 * UNREAD_A_MINUTE):
            recorder.observe(Quarantined(scope=BOOKING, path="$", key=str(number)))
    assert len(await told(bus, UNREAD)) == UNREAD_A_MINUTE


async def test_while_the_bus_is_away_what_waits_is_bounded_and_is_written_when_it_is_back(
    bus: Bus, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST", 10)
    there = History(bus, NAMES, 1)
    await there.write()
    nats.kill()
    for number in range(15):
        there.note(b"{}", OUTCOME, "v", str(number), "r")
    there.note(b"{}", OUTCOME, "v", "1", "r")
    with anyio.fail_after(20):
        await there.write()
    assert there.dropped == 5
    nats.restart()
    await bus.ready()
    await until(lambda: _written(there))
    assert len(await told(bus, OUTCOME)) == 10


async def _written(there: History) -> bool:
    await there.write()
    return not there._waiting


async def test_a_history_that_somebody_deleted_is_made_anew(bus: Bus) -> None:
    there = History(bus, NAMES, 1)
    there.note(b"{}", OUTCOME, "v", "a", "r")
    await there.write()
    await bus.api(f"STREAM.DELETE.{NAMES.history}")
    assert await told(bus, OUTCOME) == []
    there.note(b"{}", OUTCOME, "v", "a", "r")
    await until(lambda: _written(there))
    assert len(await told(bus, OUTCOME)) == 1


MAY_NOT = f"""
authorization {{ users = [
  {{ user: vendorwire, password: sandbox-pass, permissions: {{ publish: {{
    allow: [">"], deny: ["$JS.API.STREAM.*.{NAMES.history}", "$JS.API.CONSUMER.*.{NAMES.history}.>"]
  }} }} }}
] }}
"""


async def test_an_agent_that_may_keep_no_history_works_as_ever_and_says_so_once(tmp_path: Path) -> None:
    vendor = hotel()
    with start_nats(tmp_path / "nats", config_extra=MAY_NOT) as nats:
        async with serve(vendor) as url, receiving() as receiver:
            config = write_config(
                tmp_path,
                bus={"url": nats.url, "user": "vendorwire", "password": "sandbox-pass"},
                accounts=[octorate("hotel", url)],
                routes=[webhook("crm", receiver.url)],
            )
            async with agent(config) as process:
                await ready(process)
                await synced(process)
                vendor.add()
                await until(lambda: len(receiver.got) == 1)
                async with looking(f"http://{await process.address()}") as looker:
                    shown = await looker.get("/overview")
                    assert shown["accounts"][0]["resources"][0]["records"] > 0
                    assert (await looker.ask("GET", "/api/history?of=polls"))[0] in {200, 503}
                await until(lambda: "the console shows of the past is not noted" in process.log)
                assert process.log.count("the console shows of the past is not noted") == 1
                assert process.ended is None


# Who reads it


async def test_nothing_is_read_until_somebody_looks_and_nothing_any_more_when_nobody_does(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "IDLE", 0.5)
    config = configured(tmp_path)
    async with serving(config, bus) as url, looking(url) as looker:
        await anyio.sleep(0.3)
        assert await readers(bus) == 0
        await looker.get("/overview")
        assert await readers(bus) > 0

        async def none_left() -> bool:
            return await readers(bus) == 0

        await until(none_left)
        assert (await looker.get("/overview"))["accounts_total"] == 1  # and it begins anew


async def test_what_strangers_write_on_the_bus_spoils_no_picture(bus: Bus, tmp_path: Path) -> None:
    await History(bus, NAMES, 1).write()
    garbage = (b"", b"{", b"null", b'{"at": 1e99}', b"[" * 5000, zlib.compress(b"[]"), b"\xff")
    for number, data in enumerate(garbage):
        for kind in (MINUTE, OUTCOME, UNREAD, AGENT, ROLL):
            await bus.publish(NAMES.noted(kind, f"x{number}"), data)
            await bus.publish(NAMES.noted(kind, "octorate", "hotel", "booking"), data)
        await bus.publish(NAMES.head(Scope("octorate", f"x{number}", "booking")), data)
        await bus.publish(NAMES.snapshot(Scope("octorate", "hotel", "account"), f"x{number}"), data)
        await bus.publish(NAMES.event(BOOKING, "created"), data)
        await bus.publish(NAMES.dead_letter("crm"), data)
        await bus.publish(NAMES.standing("crm"), data)
        await bus.publish(NAMES.audited, data)
    await bus.publish(NAMES.head(BOOKING), b"{")
    config = configured(tmp_path, routes=[webhook("crm", "http://127.0.0.1:1/x")])
    async with serving(config, bus) as url, looking(url, TOKEN) as looker:
        assert (await looker.get("/overview"))["accounts_total"] == 1
        for path in ("/history?of=polls&account=hotel", "/events", "/dead", "/deletes", "/quarantine", "/audit"):
            await looker.get(path)
        letters = (await looker.get("/dead"))["dead"]
        assert (await looker.get(f"/dead/{letters[0]['id']}"))["text"] == "•••"
        assert (await looker.get(f"/dead/{letters[0]['id']}?reveal=true"))["text"] == "\ufffd"


async def readers(bus: Bus) -> int:
    """How many wait for what comes to the ledger."""
    listed = await bus.api(f"CONSUMER.LIST.{NAMES.ledger}")
    return sum(int(each["num_waiting"]) for each in listed.get("consumers") or [])


async def sequence_of(bus: Bus, scope: Scope) -> int:
    async with aclosing(noted(bus, NAMES, OUTCOME)) as messages:
        return [message.sequence async for message in messages][-1]


async def until_told(bus: Bus, kind: str) -> None:
    async def is_told() -> bool:
        return bool(await told(bus, kind))

    await until(is_told)


class recording:  # noqa: N801 it reads as a verb
    """A recorder at work; at the end it writes what is left."""

    def __init__(self, recorder: Recorder, bus: Bus) -> None:
        self._recorder = recorder
        self._bus = bus
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> None:
        group = await self._group.__aenter__()
        group.start_soon(self._recorder.run, self._bus, NAMES, 1, Pulse(lambda: 0.0))
        await until_told(self._bus, AGENT)

    async def __aexit__(self, *_: object) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)
