"""What the agent serves, asked by a real HTTP client; and the pulse behind /livez."""

import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import aiohttp
import anyio
import pytest
from aiohttp import web
from prometheus_client import parser

from agent import http
from agent.http import ListenError, serve
from agent.metrics import Metrics
from agent.pulse import Pulse

pytestmark = pytest.mark.anyio


class Health:
    """What the probes are told."""

    def __init__(self) -> None:
        self.against_live: list[str] = []
        self.against_ready: list[str] = []
        self.bus_answers = True
        self.asked = anyio.Event()
        self.cancelled = anyio.Event()

    def live(self) -> list[str]:
        return self.against_live

    async def ready(self) -> list[str]:
        self.asked.set()
        try:
            if not self.bus_answers:
                await anyio.sleep_forever()
        finally:
            self.cancelled.set()
        return self.against_ready


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(health) as address, aiohttp.ClientSession(f"http://{address}") as session:
        yield session


def serving(health: Health, listen: str = "127.0.0.1:0") -> AbstractAsyncContextManager[str]:
    return serve(listen, metrics=Metrics("1.2.3"), live=health.live, ready=health.ready)


async def test_a_process_that_makes_progress_is_live(client: aiohttp.ClientSession) -> None:
    async with client.get("/livez") as reply:
        assert (reply.status, await reply.json()) == (200, {"live": True})


async def test_a_loop_that_stopped_beating_fails_liveness(health: Health, client: aiohttp.ClientSession) -> None:
    now = 100.0
    pulse = Pulse(lambda: now)
    pulse.expect("poller", within=30)
    now = 131.0
    health.against_live = pulse.stale(now)
    async with client.get("/livez") as reply:
        assert (reply.status, await reply.json()) == (503, {"live": False, "reasons": ["poller"]})


async def test_readiness_gives_its_reasons_and_liveness_is_not_touched(
    health: Health, client: aiohttp.ClientSession
) -> None:
    async with client.get("/readyz") as reply:
        assert (reply.status, await reply.json()) == (200, {"ready": True})
    health.against_ready = ["bus not connected"]
    async with client.get("/readyz") as reply:
        assert (reply.status, await reply.json()) == (503, {"ready": False, "reasons": ["bus not connected"]})
    async with client.get("/livez") as reply:
        assert reply.status == 200


async def test_a_bus_that_does_not_answer_makes_readiness_fail_in_time(
    health: Health, client: aiohttp.ClientSession
) -> None:
    health.bus_answers = False
    with anyio.fail_after(http.READY_WITHIN + 2):
        async with client.get("/readyz") as reply:
            assert (reply.status, await reply.json()) == (
                503,
                {"ready": False, "reasons": ["bus round trip timed out"]},
            )
    assert health.cancelled.is_set()


async def test_a_prober_that_hangs_up_leaves_no_round_trip_behind(
    health: Health, client: aiohttp.ClientSession
) -> None:
    health.bus_answers = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.get, "/readyz")
        await health.asked.wait()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(http.READY_WITHIN / 2):
        await health.cancelled.wait()


async def test_metrics_are_served_in_both_formats(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as reply:
        families = {family.name for family in parser.text_string_to_metric_families(await reply.text())}
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "vendorwire_bus_connected" in families
    async with client.get("/metrics", headers={"Accept": "application/openmetrics-text"}) as reply:
        assert reply.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert (await reply.text()).endswith("# EOF\n")


async def test_what_others_add_is_served_beside_with_the_headers_of_all_and_its_own(health: Health) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="here", headers={"Cache-Control": "public"})

    pages = [lambda application: application.router.add_get("/page", page)]
    metrics = Metrics("1.2.3")
    async with (
        serve("127.0.0.1:0", metrics=metrics, live=health.live, ready=health.ready, pages=pages) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/page") as reply,
    ):
        assert (await reply.text(), reply.headers["Cache-Control"]) == ("here", "public")
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_unknown_paths_and_methods_are_refused_in_json(client: aiohttp.ClientSession) -> None:
    async with client.get("/<script>alert(1)</script>") as reply:
        assert (reply.status, await reply.json()) == (404, {"error": "not found"})
    async with client.post("/metrics", data=b"x" * 200_000) as reply:
        assert (reply.status, await reply.json()) == (405, {"error": "method not allowed"})
        assert reply.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/nothing"])
async def test_every_answer_is_uncached_unsniffed_and_hides_the_server(
    client: aiohttp.ClientSession, path: str
) -> None:
    async with client.get(path) as reply:
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Server"] == "vendorwire"


async def test_a_port_in_use_is_told_in_a_sentence(health: Health) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError) as raised:
            async with serving(health, listen):
                pass
    assert str(raised.value) == f"cannot listen on {listen}: address already in use; set http.listen"


@pytest.mark.parametrize("listen", ["", "8787", ":8787", "localhost:", "localhost:http", "127.0.0.1:65536"])
async def test_an_address_that_is_none_is_told_in_a_sentence(health: Health, listen: str) -> None:
    with pytest.raises(ListenError, match=r"write host:port; set http\.listen"):
        async with serving(health, listen):
            pass


async def test_ipv6_is_written_with_brackets(health: Health) -> None:
    async with serving(health, "[::1]:0") as address:
        assert address.startswith("[::1]:")


async def test_the_port_is_free_again_at_once_though_a_probe_is_under_way(health: Health) -> None:
    health.bus_answers = False
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            async with serving(health) as address:
                tasks.start_soon(hang, address)
                await health.asked.wait()
            tasks.cancel_scope.cancel()
        async with serving(health, address) as again:
            assert again == address


async def hang(address: str) -> None:
    async with aiohttp.ClientSession() as session:
        await session.get(f"http://{address}/readyz")


async def test_a_pulse_names_only_loops_past_their_allowance() -> None:
    now = 0.0
    pulse = Pulse(lambda: now)
    pulse.expect("poller", within=30)
    pulse.expect("router", within=60)
    assert pulse.stale(30.0) == []
    assert pulse.stale(30.1) == ["poller"]
    assert pulse.stale(61.0) == ["poller", "router"]


async def test_a_beat_starts_the_allowance_anew() -> None:
    now = 0.0
    pulse = Pulse(lambda: now)
    pulse.expect("poller", within=30)
    now = 25.0
    pulse.beat("poller")
    assert pulse.stale(55.0) == []
    assert pulse.stale(55.1) == ["poller"]


async def test_a_loop_that_ended_in_good_order_is_not_missed() -> None:
    pulse = Pulse(lambda: 0.0)
    pulse.expect("poller", within=30)
    pulse.done("poller")
    assert pulse.stale(1000.0) == []


async def test_a_beat_of_an_unknown_loop_is_an_error() -> None:
    with pytest.raises(KeyError, match="poler"):
        Pulse(lambda: 0.0).beat("poler")
