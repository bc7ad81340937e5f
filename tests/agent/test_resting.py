"""A route whose receiver keeps failing or is gone: it rests, is probed, catches up, and is resumed by hand."""

import itertools
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
from aiohttp import web

from agent import configfile, delivering
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from events import circuit
from events.circuit import Position, Standing, resumed
from events.jetstream.connection import Bus
from events.jetstream.standings import Standings
from schemas.facts import RouteTurned
from tests.agent.command import Ran, vendorwire
from tests.agent.harness import (
    NAMES,
    Got,
    Receiver,
    agent,
    hotel,
    inside,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

PROBE = 0.6  # seconds until the first
GONE = web.HTTPGone.status_code


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The circuit by a quicker clock."""
    monkeypatch.setattr(circuit, "SUSTAINED", 0.5)
    monkeypatch.setattr(circuit, "FIRST_PROBE", PROBE)
    monkeypatch.setattr(circuit, "CATCH_UP_FROM", 5.0)
    monkeypatch.setattr(circuit, "CATCH_UP_DOUBLES", 1000.0)


def bookings(sandbox: OctorateSandbox, count: int) -> list[int]:
    return [key for key, each in sandbox.reservations.items() if each["status"] != "CANCELLED"][:count]


def change(sandbox: OctorateSandbox, key: int) -> None:
    sandbox.change(key, {"totalGuest": sandbox.reservations[key]["totalGuest"] + 1})


def answering(status: int) -> Callable[[Got], web.Response]:
    return lambda _: web.Response(status=status)


def has_got(receiver: Receiver, number: int) -> bool:
    return len(receiver.got) >= number


async def standing(bus: Bus) -> Standing:
    return await Standings(bus, NAMES).read("crm") or Standing()


def stands(bus: Bus, position: Position) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return (await standing(bus)).position is position

    return asked


async def command(file: Path, *words: str) -> Ran:
    return await anyio.to_thread.run_sync(partial(vendorwire, "--config", str(file), *words, cwd=file.parent))


@pytest.mark.usefixtures("quick")
async def test_a_receiver_that_keeps_failing_is_probed_and_then_catches_up(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel(seed=30)
    keys = bookings(sandbox, 15)
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        receiver.answer = answering(500)
        route = webhook("crm", receiver.url, retries=["400ms"] * 4 + ["1h"])
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=[route])
        async with inside(configfile.load(file)) as agent:
            for key in keys[:8]:
                change(sandbox, key)
            await until(stands(bus, Position.OPEN))
            await anyio.sleep(PROBE / 2)  # what was under way is answered
            asked = len(receiver.got)
            for key in keys[8:]:
                change(sandbox, key)
            await until(partial(has_got, receiver, asked + 3))
            probes = [got.at for got in receiver.got[asked:]]
            assert min(b - a for a, b in itertools.pairwise(probes)) > PROBE * 0.9  # one by one
            receiver.answer = answering(200)
            await until(lambda: {got.key for got in receiver.got} >= {str(key) for key in keys})
            await until(stands(bus, Position.CLOSED))
            caught_up = [got.at for got in receiver.got if got.key in {str(key) for key in keys[8:]}][-4:]
            assert (
                min(b - a for a, b in itertools.pairwise(caught_up)) > 0.1
            )  # at 5 a second, where all come at once else
            assert [fact.circuit for fact in agent.told(RouteTurned)] == ["open", "closed"]
        kept = await standing(bus)
    assert (kept.last_error, kept.position) == ("answered 500", Position.CLOSED)
    assert kept.last_success > kept.last_error_at > 0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["a delivery", "a person"])
async def test_what_waits_for_a_retry_comes_soon_once_the_receiver_is_well(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(delivering, "AWAY", 0.5)
    sandbox = hotel(seed=30)
    keys = bookings(sandbox, 17)
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        receiver.answer = answering(500)
        route = webhook("crm", receiver.url, retries=["1h", "1h"])
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=[route])
        async with inside(configfile.load(file)):
            for key in keys[:8]:
                change(sandbox, key)
            await until(partial(has_got, receiver, 8))
            await anyio.sleep(circuit.SUSTAINED)
            for key in keys[8:16]:
                change(sandbox, key)
            await until(stands(bus, Position.OPEN))
            receiver.answer = answering(200)
            if how == "a person":
                await Standings(bus, NAMES).write("crm", resumed(await standing(bus), time.time()))
            else:
                change(sandbox, keys[16])
            await until(stands(bus, Position.CLOSED))
            again = {str(key) for key in keys[:8]}
            await until(lambda: {got.key for got in receiver.got if got.attempt == 2} >= again)


async def test_a_receiver_that_is_gone_stops_its_route_for_all_agents_until_it_is_resumed(
    tmp_path: Path, nats: NatsServer
) -> None:
    sandbox = hotel(seed=12)
    keys = bookings(sandbox, 8)
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        receiver.answer = answering(GONE)
        file = write_config(
            tmp_path,
            bus={"url": nats.url},
            accounts=[octorate("hotel", vendor)],
            routes=[webhook("crm", receiver.url, retries=["1m"])],
        )

        async def waiting() -> int:
            info = await bus.api(f"CONSUMER.INFO.{NAMES.ledger}.route-crm")
            return int(info["num_pending"] + info["num_ack_pending"])

        async def all_wait() -> bool:
            return await waiting() == len(keys)

        async with agent(file, "poller.log", "--roles", "poll") as poller:
            await synced(poller)
            for key in keys:
                change(sandbox, key)
            await until(all_wait)
        async with agent(file, "first.log", "--roles", "route") as process:
            await until(stands(bus, Position.STOPPED))
            await until(lambda: "`vendorwire resume crm` starts it again" in process.log)
            await process.end()
        assert len(receiver.got) == 1
        async with agent(file, "second.log", "--roles", "route") as process:
            await ready(process)

            async def open_here() -> bool:
                return await process.metric('vendorwire_route_circuit_open{route="crm"}') == 1

            await until(open_here)
            assert len(receiver.got) == 1
            assert await all_wait()

            (shown,) = (await command(file, "routes", "--json")).out.splitlines()
            told = msgspec.json.decode(shown)
            assert (told["circuit"], told["last_error"], told["dead"]) == ("stopped", "answered 410", 0)
            assert "stopped: vendorwire resume crm" in (await command(file, "routes")).out

            receiver.answer = answering(200)
            assert (await command(file, "resume", "crm")).status == 0
            await until(lambda: {got.key for got in receiver.got} == {str(key) for key in keys})
            await until(stands(bus, Position.CLOSED))
        assert {got.attempt for got in receiver.got} == {1}
        again = await command(file, "resume", "crm")
        assert (again.status, again.out) == (0, "crm does not rest: there is nothing to resume\n")
        unknown = await command(file, "resume", "cmr")
        assert (unknown.status, unknown.err) == (
            2,
            "vendorwire: no account or route is named 'cmr'; there are accounts: hotel; routes: crm\n",
        )


async def test_a_route_that_was_stopped_starts_again_with_another_url(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    (key,) = bookings(sandbox, 1)
    accounts = []
    async with serve(sandbox) as vendor, receiving() as gone, receiving() as there, reading(nats.url) as bus:
        gone.answer = answering(GONE)
        accounts = [octorate("hotel", vendor)]
        for receiver, position in ((gone, Position.STOPPED), (there, Position.CLOSED)):
            file = write_config(
                tmp_path, bus={"url": nats.url}, accounts=accounts, routes=[webhook("crm", receiver.url)]
            )
            async with agent(file) as process:
                await synced(process)
                if receiver is gone:
                    change(sandbox, key)
                await until(partial(has_got, receiver, 1))
                await until(stands(bus, position))
                await process.end()
    assert (len(gone.got), len(there.got)) == (1, 1)


async def test_without_order_a_record_that_waits_holds_nothing_back(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    (key,) = bookings(sandbox, 1)

    def first_fails(got: Got) -> web.Response:
        return web.Response(status=500 if got.version == 2 else 200)

    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = first_fails
        route = {**webhook("crm", receiver.url, retries=["1h"]), "order": "none"}
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=[route])
        async with inside(configfile.load(file)):
            change(sandbox, key)
            await until(partial(has_got, receiver, 1))
            change(sandbox, key)
            await until(partial(has_got, receiver, 2))
    assert [(got.version, got.attempt) for got in receiver.got] == [(2, 1), (3, 1)]
