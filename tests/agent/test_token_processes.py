"""Tokens over real processes and a real bus."""

import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest

from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from events.jetstream import streams
from events.jetstream.read import held, last
from tests.agent.harness import NAMES, ROOT, agent, octorate, reading, ready, synced, until, write_config
from tests.agent.token_user import Got
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

REFRESH = "/connect/rest/v1/identity/refresh"
HEALTHY = 'vendorwire_token_healthy{account="hotel",vendor="octorate"}'
EXPIRES = 'vendorwire_token_expires_timestamp_seconds{account="hotel",vendor="octorate"}'
RENEWED = 'vendorwire_token_renewals_total{account="hotel",outcome="renewed",vendor="octorate"}'
Process = subprocess.Popen[str]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """What all agents started from here on have."""
    made = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv("VENDORWIRE_KEY", made)
    return made


def vendor(lifetime: float = 86400) -> OctorateSandbox:
    return OctorateSandbox(
        seed=3, limit=10**9, token_lifetime=timedelta(seconds=lifetime), expiry="expires_in", rotates=True
    )


def refreshes(sandbox: OctorateSandbox) -> int:
    return sum(seen.path == REFRESH for seen in sandbox.seen)


@asynccontextmanager
async def users(url: str, nats: NatsServer, key: str, skews: Sequence[int]) -> AsyncIterator[list[Process]]:
    command = [sys.executable, "-m", "tests.agent.token_user"]
    started = [
        subprocess.Popen(
            [*command, url, nats.url, key, str(skew)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for skew in skews
    ]
    try:
        for process in started:
            assert await line(process) == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


async def line(process: Process) -> str:
    assert process.stdout is not None
    with anyio.fail_after(30):
        return await anyio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)


async def all_ask(processes: Sequence[Process]) -> list[Got]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [msgspec.json.decode(await line(process), type=Got) for process in processes]


async def test_three_processes_with_fifty_users_each_renew_an_expired_token_once(nats: NatsServer, key: str) -> None:
    sandbox = vendor(2)
    async with reading(nats.url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
    async with serve(sandbox) as url, users(f"{url}/connect", nats, key, [0, 7200, -7200]) as processes:
        for turn in range(1, 5):
            got = await all_ask(processes)
            assert {access for each in got for access in each.accesses} == {f"sandbox-access-{turn}"}
            assert refreshes(sandbox) == sum(each.renewals for each in got) == turn
            await anyio.sleep(2.1)  # it has expired for each
    assert not sandbox.revoked


async def test_agents_share_a_rotating_token_and_all_tell_its_health(
    tmp_path: Path, nats: NatsServer, key: str
) -> None:
    sandbox = vendor(3)
    async with serve(sandbox) as url:
        accounts = [octorate("hotel", url + "/connect")]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)
        async with (
            agent(file, "a.log") as a,
            agent(file, "b.log") as b,
            agent(file, "router.log", "--roles", "route") as router,
        ):
            await synced(a)
            await until(lambda: refreshes(sandbox) >= 4)
            await anyio.sleep(0.5)  # not between the vendor's reply and the store: that is another story
            a.kill()
            before = refreshes(sandbox)
            await until(lambda: refreshes(sandbox) >= before + 3, 60)
            assert not sandbox.revoked
            assert await router.metric(HEALTHY) == await b.metric(HEALTHY) == 1
            assert await router.metric(EXPIRES) > 0
            assert await router.metric(RENEWED) == 0
            logs, metrics = a.log + b.log + router.log, (await b.get("/metrics"))[1]
            async with reading(nats.url) as bus:
                stored = [each async for each in held(bus, f"KV_{NAMES.tokens_bucket}", ["$KV.>"])]
            texts = [logs, metrics, *(each.data.decode() for each in stored)]
            assert stored
            assert not [text for text in texts if "sandbox-access" in text or "sandbox-refresh" in text or key in text]
            assert "Traceback" not in logs


async def test_an_agent_with_another_key_or_none_ends_with_a_sentence(
    tmp_path: Path, nats: NatsServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = vendor()
    async with serve(sandbox) as url:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url + "/connect")])
        async with agent(file, "first.log") as first:
            await synced(first)
            await first.end()
        for text in ("", base64.b64encode(os.urandom(32)).decode(), "canary-no-key"):
            monkeypatch.setenv("VENDORWIRE_KEY", text)
            async with agent(file, "second.log") as second:
                assert await second.exit() == 2
                assert "VENDORWIRE_KEY" in second.log.splitlines()[-1]
                assert "canary" not in second.log
                assert "Traceback" not in second.log
        both = f"{base64.b64encode(os.urandom(32)).decode()},{key}"
        monkeypatch.setenv("VENDORWIRE_KEY", both)
        async with agent(file, "third.log") as third:
            await ready(third)
        assert refreshes(sandbox) == 1


async def test_a_refused_account_is_asked_once_a_minute_by_three_agents(
    tmp_path: Path, nats: NatsServer, key: str
) -> None:
    sandbox = vendor()
    sandbox.revoke()
    async with serve(sandbox) as url:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url + "/connect")])
        async with agent(file, "a.log") as a, agent(file, "b.log") as b, agent(file, "c.log") as c:
            for process in (a, b, c):
                await ready(process)
            await until(lambda: refreshes(sandbox) > 0)
            for process in (a, b, c):
                await until(lambda told=process: "credentials do not work" in told.log)  # type: ignore[misc] # bound now
            async with reading(nats.url) as bus:
                for _ in range(3):
                    await bus.publish("vendorwire.poll.octorate.hotel.booking", b"{}")
                    await anyio.sleep(0.5)
                claim = await last(bus, f"KV_{NAMES.tokens_bucket}", NAMES.token_claim("hotel"))
            assert claim is not None
            assert claim.headers["Nats-TTL"] == "60s"
            assert refreshes(sandbox) == 1


async def test_the_bus_away_during_a_renewal_is_outlived(tmp_path: Path, nats: NatsServer, key: str) -> None:
    sandbox = vendor(3)
    async with serve(sandbox) as url:
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=[octorate("hotel", url + "/connect")])
        async with agent(file) as process:
            await synced(process)
            await until(lambda: refreshes(sandbox) >= 2)
            nats.kill()
            await anyio.sleep(4)  # longer than the token lives
            nats.start()
            before = refreshes(sandbox)
            await until(lambda: refreshes(sandbox) >= before + 2, 60)
            assert not sandbox.revoked
            assert process.ended is None
            assert "Traceback" not in process.log
