"""A real agent leaves a record of its attempts, which `explain` tells."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from aiohttp import web

from agent import configfile
from connectors.sandbox.serve import serve
from events.jetstream.outbox import dead_letters, replay
from tests.agent.command import vendorwire
from tests.agent.harness import (
    NAMES,
    Got,
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

KEY = 92180827  # the sandbox's first booking


async def explained(folder: Path, id_: str) -> dict[str, Any]:
    run = partial(vendorwire, "--config", "config.yaml", "explain", id_, "--json", cwd=folder)
    ran = await anyio.to_thread.run_sync(run)
    assert ran.status == 0, ran
    found: dict[str, Any] = json.loads(ran.out)
    return found


def story(told: dict[str, Any], route: str) -> list[tuple[int, str, str, bool]]:
    (found,) = (each for each in told["routes"] if each["route"] == route)
    return [(each["attempt"], each["outcome"], each["status"], each["replay"]) for each in found["attempts"]]


async def test_each_attempt_is_recorded_on_each_route_to_the_dead_letter_and_its_replay(
    tmp_path: Path, nats: NatsServer
) -> None:
    sandbox = hotel()
    async with serve(sandbox) as vendor, receiving() as failing, receiving() as fine:
        failing.answer = lambda _: web.Response(status=500)
        routes = [webhook("crm", failing.url, retries=["100ms", "100ms"]), webhook("audit", fine.url)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=routes)
        async with inside(configfile.load(file)), reading(nats.url) as bus:
            sandbox.change(KEY, {"totalGuest": 5})
            await until(lambda: len(failing.got) == 3 and len(fine.got) == 1)
            id_ = fine.got[0].id

            async def dead() -> bool:
                return bool([letter async for letter in dead_letters(bus, NAMES)])

            await until(dead)
            failing.answer = lambda _: web.Response(status=204)
            (letter,) = [letter async for letter in dead_letters(bus, NAMES)]
            await replay(bus, NAMES, letter)
            await until(lambda: len(failing.got) == 4)
        told = await explained(tmp_path, id_)  # the agent has ended: what was left is stored
        assert story(told, "audit") == [(1, "delivered", "200", False)]
        assert story(told, "crm") == [
            (1, "retried", "500", False),
            (2, "retried", "500", False),
            (3, "dead", "500", False),
            (1, "delivered", "204", True),
        ]
        (crm,) = (each for each in told["routes"] if each["route"] == "crm")
        first, second, third, _ = crm["attempts"]
        assert first["ended_at"] < first["next_at"] <= second["ended_at"] < third["ended_at"]
        assert (third["next_at"], crm["state"]) == (None, "delivered")
        assert told["event"]["subject"] == str(KEY)
        assert told["sequence"] > 0


async def test_attempts_are_recorded_through_a_restart_of_the_bus(tmp_path: Path, nats: NatsServer) -> None:
    sandbox = hotel()

    def once_bad(got: Got) -> web.Response:
        return web.Response(status=500 if got.attempt == 1 else 200)

    async with serve(sandbox) as vendor, receiving() as receiver:
        receiver.answer = once_bad
        route = webhook("crm", receiver.url, retries=["2s", "1m"])
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], routes=[route])
        async with agent(file) as process:
            await ready(process)
            await synced(process)
            sandbox.change(KEY, {"totalGuest": 5})
            await until(lambda: len(receiver.got) == 1)
            id_ = receiver.got[0].id

            async def recorded(number: int) -> bool:
                return len(story(await explained(tmp_path, id_), "crm")) == number

            await until(partial(recorded, 1))
            nats.stop()
            nats.start()
            await until(lambda: len(receiver.got) >= 2)
            await until(partial(recorded, 2))
        assert story(await explained(tmp_path, id_), "crm") == [
            (1, "retried", "500", False),
            (2, "delivered", "200", False),
        ]
