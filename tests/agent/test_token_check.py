"""`vendorwire check` beside running agents: it tries the credentials it is given, and holds nobody up."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from connectors.sandbox.powerpro import API_KEY, PASSWORD, USERNAME, PowerProSandbox
from connectors.sandbox.serve import serve
from tests.agent.command import vendorwire
from tests.agent.harness import agent, until, write_config
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

HEALTHY = 'vendorwire_token_healthy{account="college",vendor="powerpro"}'


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDORWIRE_KEY", base64.b64encode(os.urandom(32)).decode())


async def checked(folder: Path, nats: NatsServer, url: str, **credentials: str) -> dict[str, bool]:
    """What `check` finds of the account."""
    file = write_config(folder, bus={"url": nats.url}, accounts=[college(url, **credentials)], name="check.yaml")
    ran = await anyio.to_thread.run_sync(lambda: vendorwire("check", "--json", "--config", str(file), cwd=folder))
    return {finding["what"]: finding["ok"] for finding in json.loads(ran.out)}


def college(url: str, **credentials: str) -> dict[str, Any]:
    return {"vendor": "powerpro", "name": "college", "base_url": url, "every": {"course": "1s"}, **credentials}


async def test_credentials_are_tried_for_themselves_and_nobody_else_is_held_up(
    tmp_path: Path, nats: NatsServer
) -> None:
    async with serve(PowerProSandbox()) as url:
        accounts = [college(url, username=USERNAME, password=PASSWORD)]
        file = write_config(tmp_path, bus={"url": nats.url}, accounts=accounts)
        async with agent(file) as process:
            await until(lambda: "listening on" in process.log)

            async def is_healthy() -> bool:
                return await process.metric(HEALTHY) == 1

            await until(is_healthy)
            found = await checked(tmp_path, nats, url, username=USERNAME, password="canary-typo")
            assert found == {"bus": True, "sign in": False}
            assert (await checked(tmp_path, nats, url, api_key=API_KEY))["sign in"]
            assert await is_healthy()
            assert "credentials do not work" not in process.log
