"""A route's worker where others have touched the bus, or its receiver or a permission has gone."""

from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from agent import configfile
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.errors import BusRefused
from events.jetstream.outbox import dead_letters, replay
from schemas.facts import Delivered, DeliveryOutcome
from schemas.settings import Secret
from tests.agent.harness import (
    NAMES,
    Process,
    Receiver,
    agent,
    events_on,
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
from tests.nats import NatsServer, start_nats

pytestmark = pytest.mark.anyio

KEY = 92180827


def change(sandbox: OctorateSandbox, key: int = KEY) -> None:
    sandbox.change(key, {"totalGuest": sandbox.reservations[key]["totalGuest"] + 1})


def has_got(receiver: Receiver, number: int) -> bool:
    return len(receiver.got) >= number


async def test_a_replay_that_fails_again_is_a_dead_letter_again(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        receiver.answer = lambda _: web.Response(status=422)
        file = write_config(
            tmp_path,
            bus={"url": nats.url},
            accounts=[octorate("hotel", vendor)],
            routes=[webhook("crm", receiver.url, retries=[])],
        )
        async with inside(configfile.load(file)) as agent:

            def dead(number: int) -> bool:
                return [fact.outcome for fact in agent.told(Delivered)] == [DeliveryOutcome.DEAD] * number

            change(sandbox)
            await until(partial(dead, 1))
            for number in (2, 3):
                [letter] = [each async for each in dead_letters(bus, NAMES)]
                await replay(bus, NAMES, letter)
                await until(partial(dead, number))
            assert len([each async for each in dead_letters(bus, NAMES)]) == 1


async def test_a_denied_subject_delivers_nothing(tmp_path: Path) -> None:
    sandbox = hotel()
    users = 'authorization { users: [{user: a, password: b, permissions: {publish: {allow: [">"], deny: ["ops.a"]}}}] }'
    route = {"name": "ops", "events": ["booking.*"], "subject": "ops.a"}
    with start_nats(tmp_path / "nats", config_extra=users) as nats:
        async with serve(sandbox) as vendor:
            bus = {"url": nats.url, "user": "a", "password": "b"}
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", vendor)], routes=[route])
            async with inside(configfile.load(file)) as agent:
                for key in list(sandbox.reservations)[:8]:
                    change(sandbox, key)
                await until(lambda: len(agent.told(Delivered)) >= 4)
                assert {fact.outcome for fact in agent.told(Delivered)} == {DeliveryOutcome.RETRIED}
                assert "may not publish to ops.a" in agent.told(Delivered)[0].status


async def test_what_a_stranger_put_among_the_lanes_is_told_once_and_left_out(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as receiver, reading(nats.url) as bus:
        file = write_config(
            tmp_path,
            bus={"url": nats.url},
            accounts=[octorate("hotel", vendor)],
            routes=[webhook("crm", receiver.url)],
        )
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        await bus.publish(f"$KV.{NAMES.lanes_bucket}.crm.zzz", b"oops")
        await bus.publish(f"$KV.{NAMES.lanes_bucket}.crm.yyy", b'{"record": "a", "lane": "oops"}')
        async with agent(file) as process:
            await synced(process)
            change(sandbox)
            await until(partial(has_got, receiver, 1))
            assert process.ended is None
            assert process.log.count("what was kept of retries cannot be read") == 1


async def test_an_agent_that_only_polls_keeps_the_events_for_one_that_delivers(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with serve(hotel()) as vendor, receiving() as receiver, reading(nats.url) as bus:
        file = write_config(
            tmp_path,
            bus={"url": nats.url},
            accounts=[octorate("hotel", vendor, first_sync="events")],
            routes=[webhook("crm", receiver.url)],
        )
        async with agent(file, "poller.log", "--roles", "poll") as poller:
            await synced(poller)
            told = [event for event in await events_on(bus) if event.type.startswith("booking.")]
            assert told
            async with agent(file, "router.log", "--roles", "route"):
                await until(partial(has_got, receiver, len(told)))


def permitting(denied: str) -> str:
    allowed = f'{{publish: {{allow: [">"], deny: ["{denied}"]}}}}'
    return f"authorization {{ users: [{{user: a, password: b, permissions: {allowed}}}] }}"


async def test_a_trouble_that_comes_back_is_told_again(tmp_path: Path) -> None:
    sandbox = hotel()
    consumer = f"{NAMES.replays}.route-crm"
    fine, denying = permitting("none"), permitting(f"$JS.API.CONSUMER.INFO.{consumer}")

    async def denied(bus: Bus) -> bool:
        try:
            await bus.api(f"CONSUMER.INFO.{consumer}")
        except BusRefused:
            return True
        return False

    def warned(process: Process, times: int) -> bool:
        return process.log.count("the route cannot be worked") == times

    with start_nats(tmp_path / "nats", config_extra=fine) as nats:
        async with serve(sandbox) as vendor, receiving() as receiver:
            file = write_config(
                tmp_path,
                bus={"url": nats.url, "user": "a", "password": "b"},
                accounts=[octorate("hotel", vendor)],
                routes=[webhook("crm", receiver.url)],
            )
            user = {"user": "a", "password": Secret("b")}
            async with agent(file) as process, reading(nats.url, **user) as bus:
                await ready(process)
                await synced(process)
                for times in (1, 2):
                    nats.reload(denying)
                    await until(partial(denied, bus))
                    await bus.api(f"CONSUMER.DELETE.{consumer}")  # it must be made again, which begins with a look
                    await until(partial(warned, process, times))
                    nats.reload(fine)
                    change(sandbox)
                    await until(partial(has_got, receiver, times))
