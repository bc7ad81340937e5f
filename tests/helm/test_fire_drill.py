"""The fire drill: a vendor withdraws its consent, somebody is paged, does what the page says, and is told that it is over.

All of it is real and on this machine: the agent, its bus, Prometheus with the rules that are shipped, and Alertmanager. Only
the durations of the rules are divided, so that a minute takes a second.
"""

import base64
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import httpx
import msgspec
import pytest

from connectors.sandbox.octorate import CLIENT_ID, OctorateSandbox
from connectors.sandbox.serve import serve
from tests.agent.command import vendorwire
from tests.agent.harness import agent, octorate, receiving, synced, until, webhook, write_config
from tests.helm.monitoring import JOB, Pager, Prometheus, Sample, alertmanager, pager, prometheus, shortened
from tests.helm.queries import RULES, chosen, panels
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

MINUTES_A_SECOND = 60
WELL_FOR = 6.0  # seconds: longer than what a page waits for before it is sent
REDIRECT = "https://hotel.example/"


class Drill(msgspec.Struct, frozen=True):
    """An installation that is watched: the vendor, its configuration, Prometheus, and who is paged."""

    sandbox: OctorateSandbox
    config: Path
    watch: Prometheus
    page: Pager


@asynccontextmanager
async def drill(folder: Path, nats: NatsServer) -> AsyncIterator[Drill]:
    """A fresh installation, watched from its first moment, that has read what its vendor holds."""
    sandbox = OctorateSandbox(seed=3, limit=10**9)
    async with serve(sandbox) as vendor, receiving() as receiver, pager() as page:
        consent = {"consent_url": f"{vendor}/octobook/identity/oauth.xhtml", "redirect_uri": REDIRECT}
        account = octorate("hotel-roma", f"{vendor}/connect", **consent)
        routes = [webhook("crm", receiver.url)]
        config = write_config(folder, bus={"url": nats.url}, accounts=[account], routes=routes)
        rules = shortened(RULES, MINUTES_A_SECOND, folder)
        async with agent(config) as process, alertmanager(folder, page.url) as desk:
            scrape = [await process.address()]
            async with prometheus(folder, scrape=scrape, rules=rules, alertmanager=desk) as watch:
                await synced(process, "hotel-roma")
                yield Drill(sandbox, config, watch, page)


async def test_credentials_that_are_refused_page_somebody_who_then_mends_them(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VENDORWIRE_KEY", base64.b64encode(os.urandom(32)).decode())
    async with drill(tmp_path, nats) as at:
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > WELL_FOR)
        assert (await at.watch.failing_rules(), at.page.pages) == ([], [])
        assert await not_green(at.watch) == []

        at.sandbox.revoke()
        await until(lambda: at.page.of("firing") != [])
        (paged,) = at.page.pages
        assert paged.labels == {
            "alertname": "VendorwireCredentialsRefused",
            "severity": "page",
            "job": JOB,
            "vendor": "octorate",
            "account": "hotel-roma",
        }
        assert paged.annotations["summary"].startswith(
            "octorate/hotel-roma does not let us in: correct its credentials"
        )
        assert paged.annotations["runbook_url"].endswith("runbooks.md#vendorwirecredentialsrefused")
        assert "sandbox-" not in str(paged)
        assert await not_green(at.watch) == ["Alerts firing", "Credentials refused"]

        at.sandbox.grant()
        words = ("authorize", "hotel-roma", "--code", code(at.sandbox), "--config", str(at.config))
        done = await anyio.to_thread.run_sync(lambda: vendorwire(*words, cwd=tmp_path))
        assert done.status == 0, done
        await until(lambda: at.page.of("resolved") != [])
        assert [(page.status, page.labels) for page in at.page.pages[1:]] == [("resolved", paged.labels)]
        assert (await at.watch.alerts(), await not_green(at.watch)) == ([], [])


async def not_green(watch: Prometheus) -> list[str]:
    """The dashboard's tiles that tell of trouble."""
    found = []
    for tile in [panel for panel in panels() if panel["type"] == "stat"]:
        (sample,) = await watch.query(chosen(tile["targets"][0]["expr"])) or [Sample({}, math.nan)]
        steps = tile["fieldConfig"]["defaults"]["thresholds"]["steps"]
        reached = [step["color"] for step in steps if step["value"] is None or sample.value >= step["value"]]
        if reached[-1] != "green" and not math.isnan(sample.value):
            found.append(tile["title"])
    return found


def code(sandbox: OctorateSandbox) -> str:
    """What the browser brings back once the owner of the hotel has consented."""
    query = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT}
    reply = sandbox(httpx.Request("GET", "https://x.example/octobook/identity/oauth.xhtml", params=query))
    return parse_qs(urlsplit(reply.headers["Location"]).query)["code"][0]
