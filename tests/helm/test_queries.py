"""Every query of the dashboard and every rule finds its series: asked of a real Prometheus that scrapes a real agent.

The agent reads all four vendors while they change and fail, and delivers to a receiver that is well and to one that is not.
"""

import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from connectors.sandbox.serve import serve
from schemas.settings import Secret
from tests.agent.harness import NAMES, Process, agent, reading, ready, receiving, webhook, write_config
from tests.faults.worlds import WORLDS, World
from tests.helm.monitoring import Prometheus, prometheus
from tests.helm.queries import RULES, Query, chosen, offered, rules, selectors, shown
from tests.nats import start_nats

pytestmark = pytest.mark.anyio

USER = {"user": "vendorwire", "password": "sandbox-bus"}
# What the account may store is limited, so that it is told how full it is.
LIMITED = """
accounts { here { jetstream: { max_file: 1GB, max_mem: 1MB }, users: [{ user: vendorwire, password: "sandbox-bus" }] } }
"""
LONGEST = 40.0  # seconds until each query must have found something


async def test_every_query_of_the_dashboard_and_of_the_rules_finds_its_series(tmp_path: Path) -> None:
    async with busy(tmp_path) as process:
        scrape = [await process.address()]
        async with prometheus(tmp_path, scrape=scrape, rules=RULES) as watch:
            empty, broken = await without_data(watch, every()), await watch.failing_rules()
    assert empty == []
    assert broken == []


def every() -> list[Query]:
    """The queries as they are sent while all is chosen; of an alert, which finds nothing while all is well, each series in it."""
    asked = [Query(query.where, chosen(query.expression)) for query in (*shown(), *offered())]
    for rule in rules():
        if rule.record:
            asked.append(Query(rule.record, rule.expr))
        else:
            asked += [Query(f"{rule.alert}: {name}", name + labels) for name, labels in selectors(rule.expr)]
    return asked


async def without_data(watch: Prometheus, asked: Sequence[Query]) -> list[str]:
    """Where the queries are shown that have found nothing when the time is over."""
    left = list(asked)
    with anyio.move_on_after(LONGEST):
        while left:
            left = [query for query in left if not await finds(watch, query.expression)]
            await anyio.sleep(0.2)
    return sorted({query.where for query in left})


async def finds(watch: Prometheus, expression: str) -> bool:
    """Whether it gives any number."""
    return any(not math.isnan(sample.value) for sample in await watch.query(expression))


@asynccontextmanager
async def busy(folder: Path) -> AsyncIterator[Process]:
    """An agent in the midst of its work."""
    worlds = [make() for make in WORLDS.values()]
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(start_nats(folder / "nats", config_extra=LIMITED))
        well, ill = [await stack.enter_async_context(receiving()) for _ in range(2)]
        ill.answer = lambda _: web.Response(status=503)
        routes = [webhook("crm", well.url), webhook("audit", ill.url, retries=["100ms"])]
        accounts = [
            world.configured(f"{world.vendor}-1", await stack.enter_async_context(serve(world.sandbox)))
            for world in worlds
        ]
        config = write_config(
            folder,
            bus={"url": nats.url, "max_bytes": 100_000_000, **USER},
            accounts=accounts,
            routes=[{**route, "events": ["*.*"]} for route in routes],
        )
        process = await stack.enter_async_context(agent(config))
        await ready(process)
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        group.start_soon(change, worlds)
        group.start_soon(lose_a_stream, nats.url)
        yield process


async def change(worlds: Sequence[World]) -> None:
    """The vendors change, and something goes wrong at each now and then."""
    rng = random.Random(7)
    while True:
        for world in worlds:
            world.sandbox.heal()
        octorate, ipro, _, powerpro = (world.sandbox for world in worlds)
        octorate.fail(kind="ApiQuotaException", retry_after=1, match="/reservation/")
        ipro.fail(kind="one_bad")
        powerpro.fail(status=503)
        for _ in range(5):
            for world in worlds:
                world.step(rng)
            await anyio.sleep(0.2)


async def lose_a_stream(url: str) -> None:
    async with reading(url, user=USER["user"], password=Secret(USER["password"])) as bus:
        await bus.api(f"STREAM.DELETE.{NAMES.attempts}")
