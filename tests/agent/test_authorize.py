"""`vendorwire authorize`: consent in the browser, and tokens where the agents find them."""

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import httpx
import pytest

from agent.consent import LONGEST, Declined, NotOurs, listening, pasted
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from tests.agent.command import Ran, Running, here, started, vendorwire
from tests.agent.harness import agent, octorate, ready, until, write_config
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

STATE = "canary-state"
HEALTHY = 'vendorwire_token_healthy{account="hotel",vendor="octorate"}'


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    made = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv("VENDORWIRE_KEY", made)
    return made


@pytest.fixture
async def sandbox() -> OctorateSandbox:
    return OctorateSandbox(seed=3, limit=10**9)


@pytest.fixture
async def vendor(sandbox: OctorateSandbox) -> AsyncIterator[str]:
    async with serve(sandbox) as url:
        yield url


@pytest.fixture
def file(tmp_path: Path, nats: NatsServer, vendor: str) -> Path:
    """A configuration without a refresh token."""
    account = octorate(
        "hotel",
        f"{vendor}/connect",
        consent_url=f"{vendor}/octobook/identity/oauth.xhtml",
        redirect_uri="https://x.test/",
    )
    del account["refresh_token"]
    return write_config(tmp_path, bus={"url": nats.url}, accounts=[account])


async def ran(file: Path, *words: str) -> Ran:
    return await anyio.to_thread.run_sync(lambda: vendorwire(*words, "--config", str(file), cwd=file.parent))


async def consented(url: str) -> str:
    """What the browser does once a person has said yes: the address it is sent to."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        reply = await browser.get(url)
        assert reply.status_code == 302
        return reply.headers["Location"]


async def code_of(url: str, vendor: str) -> str:
    query = "client_id=sandbox-client&redirect_uri=https://x.test/"
    location = await consented(f"{vendor}/octobook/identity/oauth.xhtml?{query}")
    return parse_qs(urlsplit(location).query)["code"][0]


def shown(command: Running, *, err: bool = False) -> str:
    return command.until(lambda text: "http://127.0.0.1" in text and "\n" in text.partition("http://")[2], err=err)


@pytest.mark.usefixtures("key")
async def test_the_browser_comes_back_to_this_machine_and_agents_that_run_recover_at_once(
    file: Path, sandbox: OctorateSandbox
) -> None:
    async with agent(file) as process:
        await ready(process)
        await until(lambda: "run `vendorwire authorize hotel`" in process.log)
        assert await process.metric(HEALTHY) == 0
        assert [seen for seen in sandbox.seen if "identity" in seen.path] == []
        words = ("authorize", "hotel", "--listen", "127.0.0.1:0", "--config", str(file))
        with started(*words, cwd=file.parent) as command:
            text = await anyio.to_thread.run_sync(shown, command)
            back = await consented(next(line for line in text.splitlines() if line.startswith("http")))
            async with httpx.AsyncClient(trust_env=False) as browser:
                forged = await browser.get(back.replace("state=", "state=x"))
                assert (forged.status_code, "belongs to another attempt" in forged.text) == (400, True)
                assert (await browser.get(back)).status_code == 200
            done = await anyio.to_thread.run_sync(command.until, lambda written: "hotel is authorized" in written)
        await until(lambda: "credentials accepted again" in process.log)
        assert await process.metric(HEALTHY) == 1
        assert "sandbox-" not in done.replace("sandbox-client", "") + process.log
    async with agent(file, "again.log") as process:  # the stored token outlives the agents
        await ready(process)
        assert await process.metric(HEALTHY) == 1


@pytest.mark.usefixtures("key")
async def test_a_known_code_is_exchanged_and_is_good_once(file: Path, vendor: str) -> None:
    code = await code_of("", vendor)
    first = await ran(file, "authorize", "hotel", "--code", code, "--json")
    assert (first.status, json.loads(first.out)) == (0, {"account": "hotel", "authorized": True})
    again = await ran(file, "authorize", "hotel", "--code", code)
    assert (again.status, again.out) == (1, "")
    assert again.err.startswith("vendorwire: Octorate refused the credentials (ApiKeyInvalid); a code is good once")
    checked = await ran(file, "check")
    assert checked.status == 0, checked


async def test_without_a_key_it_says_what_is_missing(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VENDORWIRE_KEY", raising=False)
    ways = "set it, or set VENDORWIRE_KEY and run `vendorwire authorize hotel`, which stores one"
    for words in (("authorize", "hotel"), ("check", "--offline"), ("run",)):
        refused = here(capsys, *words, "--config", str(file))
        assert (refused.status, refused.out) == (2, "")
        assert refused.err == f"{file}:1: accounts[0].refresh_token: is missing: {ways}\n"
    told = json.loads(file.read_text())
    told["accounts"][0]["refresh_token"] = "canary-refresh"
    file.write_text(json.dumps(told))
    refused = here(capsys, "authorize", "hotel", "--config", str(file))
    assert (refused.status, refused.err.startswith("VENDORWIRE_KEY: is not set, so the tokens")) == (2, True)


@pytest.mark.usefixtures("key")
async def test_an_account_that_is_not_there_is_wrong_usage(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert here(capsys, "authorize", "nobody", "--config", str(file)).status == 2
    assert here(capsys, "authorize", "hotel", "--listen", "0.0.0.0:80", "--config", str(file)).status == 2


async def test_what_is_forgotten_lets_an_agent_with_another_key_start(
    file: Path, vendor: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ran(file, "authorize", "hotel", "--code", await code_of("", vendor))).status == 0
    monkeypatch.setenv("VENDORWIRE_KEY", key.swapcase())
    async with agent(file, "refused.log") as refused:
        assert await refused.exit() == 2
        assert "vendorwire authorize hotel --forget" in refused.log
    forgotten = await ran(file, "authorize", "hotel", "--forget")
    assert (forgotten.status, forgotten.out) == (0, "the stored token of hotel is forgotten\n")
    async with agent(file) as process:
        await ready(process)


def test_a_pasted_address_or_its_code_alone_is_taken() -> None:
    assert pasted(f" https://x.test/?code=abc&state={STATE}\n", STATE) == "abc"
    assert pasted("abc\n", STATE) == "abc"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "x" * (LONGEST + 1),
        "https://x.test/?code=abc&state=é",
        "https://x.test/?code=abc&state=\udcff",
        f"http://[x?code=abc&state={STATE}",
        "https://x.test/?code=abc",
        f"https://x.test/?state={STATE}",
    ],
)
def test_a_pasted_address_of_another_attempt_is_not(text: str) -> None:
    with pytest.raises(NotOurs):
        pasted(text, STATE)


def test_a_consent_that_was_declined_is_told_as_such() -> None:
    with pytest.raises(Declined):
        pasted(f"https://x.test/?error=access_denied&state={STATE}", STATE)


async def test_the_page_waits_on_after_a_strangers_request() -> None:
    async with listening("127.0.0.1", 0, STATE) as page, httpx.AsyncClient(trust_env=False) as browser:
        for path in ("favicon.ico", "?code=stolen&state=guess", "?code=stolen", f"?state={STATE}"):
            assert (await browser.get(page.address + path)).status_code == 400
        assert (await browser.get(f"{page.address}?code=abc&state={STATE}")).status_code == 200
        with anyio.fail_after(5):
            assert await page.code() == "abc"
