"""A scene for the console: four living vendors, two agents, receivers of all kinds, and something of each trouble.

python -m tests.console.scene          # prints the addresses and the admin token; Ctrl-C ends it
async with scene(tmp_path) as there: … # in a test
"""

import logging
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from aiohttp import web

from connectors.sandbox.every import FAKES, Fake
from connectors.sandbox.powerpro import PowerProSandbox
from connectors.sandbox.serve import serve
from tests.agent.harness import SECRET, Process, Receiver, agent, ready, receiving, until, write_config
from tests.nats import NatsServer, start_nats

TOKEN = "sandbox-admin-token"
VENDORS = {"octorate": "hotel-roma", "ipro": "coast", "carbontrack": "solar-fleet", "powerpro": "college"}
FAST = {
    "octorate": {"booking": "1s", "property": "2s"},
    "ipro": {"booking": "1s", "property": "2s", "availability": "5s", "enquiry": "2s"},
    "carbontrack": {"device": "1s", "measurement": "3s", "customer": "5s"},
    "powerpro": {"course": "1s", "enrolment": "1s", "student": "1s"},
}
PACE = 0.5  # seconds between two changes at the vendors
GONE = 24  # students that vanish at once


class Scene:
    """What there is. `urls` are the consoles of agent A and agent B, `token` is the admin token of both."""

    def __init__(self, nats: NatsServer, fakes: dict[str, Fake], good: Receiver, bad: Receiver, config: Path) -> None:
        self.nats = nats
        self.fakes = fakes
        self.good = good
        self.bad = bad
        self.config = config
        self.agents: list[Process] = []
        self.urls: list[str] = []
        self.token = TOKEN

    def powerpro(self) -> PowerProSandbox:
        sandbox = self.fakes["powerpro"].sandbox
        assert isinstance(sandbox, PowerProSandbox)
        return sandbox


@asynccontextmanager
async def scene(
    folder: Path, *, agents: int = 2, lively: bool = True, troubles: bool = True, **http: Any
) -> AsyncIterator[Scene]:
    """Everything running and read once; with `troubles`: a failing receiver with dead letters, held deletes, quarantined
    records. `lively`: the vendors go on changing."""
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(start_nats(folder / "nats"))
        fakes = {vendor: make(seed=20, lively=True) for vendor, make in FAKES.items()}
        good = await stack.enter_async_context(receiving())
        bad = await stack.enter_async_context(receiving())
        bad.answer = lambda _: web.Response(status=500)
        accounts = [await _account(stack, vendor, VENDORS[vendor], fake) for vendor, fake in fakes.items()]
        config = write_config(
            folder,
            bus={"url": nats.url},
            http={"listen": "127.0.0.1:0", "admin_token": TOKEN, **http},
            accounts=accounts,
            routes=[
                _route("crm", ["*.*"], good.url, []),
                _route("billing", ["booking.*", "course.*"], bad.url if troubles else good.url, ["200ms"]),
                {"name": "ops", "events": ["account.*"], "subject": "ops.alerts"},
            ],
        )
        there = Scene(nats, fakes, good, bad, config)
        for number in range(agents):
            there.agents.append(await stack.enter_async_context(agent(config, f"agent-{number}.log")))
        for each in there.agents:
            await ready(each)
            there.urls.append(f"http://{await each.address()}")
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        await _read_once(there)
        if troubles:
            _make_trouble(there)
        if lively:
            group.start_soon(_live, list(fakes.values()))
        yield there


async def _account(stack: AsyncExitStack, vendor: str, name: str, fake: Fake) -> dict[str, Any]:
    url = await stack.enter_async_context(serve(fake.sandbox))
    plenty = {"requests": 1_000_000, "per": "1m"}
    account = {**fake.account, "base_url": url + fake.account["base_url"]}
    return {"vendor": vendor, "name": name, **account, "every": FAST[vendor], "budget": plenty}


def _route(name: str, events: list[str], url: str, retries: list[str]) -> dict[str, Any]:
    webhook = {"url": url, "secret": SECRET, "allow_private": True, **({"retries": retries} if retries else {})}
    return {"name": name, "events": events, "webhook": webhook}


async def _read_once(there: Scene) -> None:
    """Until each resource has been read: what changes from now on is told."""

    async def asked() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{there.urls[0]}/api/overview") as reply:
            if reply.status != 200:
                return False
            accounts = (await reply.json())["accounts"]
        return all("last_success" in resource for account in accounts for resource in account["resources"])

    await until(asked)


def _make_trouble(there: Scene) -> None:
    """Many students are gone at once; of the courses one cannot be read."""
    college = there.powerpro()
    college.fail(kind="one_bad", for_=86_400, match="/courses")
    for student in sorted(college.students)[:GONE]:
        del college.students[student]
    for _ in range(3):
        college.cancel_course(max(college.courses))
        there.fakes["octorate"].sandbox.step()


async def _live(fakes: list[Fake]) -> None:
    rng = random.Random(1)
    while True:
        rng.choice(fakes).sandbox.step()
        await anyio.sleep(PACE)


async def _show() -> None:
    with tempfile.TemporaryDirectory(prefix="vendorwire-scene-") as folder:
        async with scene(Path(folder)) as there:
            sys.stdout.write("\n".join([*there.urls, f"token {there.token}", f"nats {there.nats.url}", ""]))
            sys.stdout.flush()
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    return


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.WARNING)
    anyio.run(_show)
