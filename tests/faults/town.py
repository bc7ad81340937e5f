"""Vendors and receivers that answer with all they were told, and a configuration that holds every secret there is."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import httpx
from aiohttp import web

from connectors.sandbox import carbontrack, ipro, octorate, powerpro
from connectors.sandbox.base import Sandbox
from connectors.sandbox.serve import serve
from tests.agent.harness import Wire, write_config
from tests.faults.canaries import CANARIES

STATUSES = (500, 200, 404, 302, 400, 403, 401, 429)
SANDBOXES = MappingProxyType({"octorate": octorate, "ipro": ipro, "carbontrack": carbontrack, "powerpro": powerpro})
STAYS = ("guest.email", "guest.phone", "email", "phone")
PERSONAL = MappingProxyType(
    {"octorate": STAYS, "ipro": STAYS, "carbontrack": ("email", "phone"), "powerpro": ("email",)}
)


class Talkative:
    """A vendor whose people have addresses that are canaries; when it `blabs`, it answers with all it was told."""

    def __init__(self, sandbox: Sandbox, statuses: Iterator[int]) -> None:
        self.sandbox = sandbox
        self.blabs = False
        self.blabbed: Counter[int] = Counter()
        self._statuses = statuses

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.blabs:
            return self._blab(request)
        reply = self.sandbox(request)
        headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
        content = reply.content.replace(b"@example.com", b"@canary-person.example")
        return httpx.Response(reply.status_code, headers=headers, content=content)

    def _blab(self, request: httpx.Request) -> httpx.Response:
        status = next(self._statuses)
        self.blabbed[status] += 1
        told = f"{request.url} {dict(request.headers)} {request.content.decode()}"
        names = ("error", "error_description", "message", "type", "code", "status", "data", "expires_in")
        return httpx.Response(status, json=dict.fromkeys(names, told), headers={"Location": told, "Retry-After": told})


class Ears:
    """A receiver: `well` takes everything, `sick` answers with all it was told."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.blabbed: Counter[int] = Counter()
        self._statuses = itertools.cycle([400, 500, 302, 429])

    async def well(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.Response(status=204)

    async def sick(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        status = next(self._statuses)
        self.blabbed[status] += 1
        told = f"{request.url} {dict(request.headers)}"
        return web.Response(status=status, text=told, headers={"Location": told, "Retry-After": told})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_post("/well/{rest:.*}", self.well)
        application.router.add_post("/sick/{rest:.*}", self.sick)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()


class Town:
    """All four vendors, six accounts at them, two receivers, and the configuration that holds every secret."""

    def __init__(self) -> None:
        sandboxes = {
            "octorate": octorate.OctorateSandbox(seed=3, limit=10**9, rotates=True),
            "ipro": ipro.IproSandbox(seed=3),
            "carbontrack": carbontrack.CarbontrackSandbox(seed=3),
            "carbontrack by header": carbontrack.CarbontrackSandbox(seed=3, auth="header"),
            "powerpro": powerpro.PowerProSandbox(seed=3),
        }
        statuses = itertools.cycle(STATUSES)
        self.vendors = {name: Talkative(sandbox, statuses) for name, sandbox in sandboxes.items()}
        self.ears = Ears()

    @asynccontextmanager
    async def configured(self, folder: Path, bus: Wire) -> AsyncIterator[Path]:
        async with AsyncExitStack() as stack:
            urls = {name: await stack.enter_async_context(serve(vendor)) for name, vendor in self.vendors.items()}
            ears = await stack.enter_async_context(self.ears.open())
            secret = folder / "a-secret"
            secret.write_text(CANARIES["a secret in a file"])
            yield write_config(
                folder,
                bus=bus,
                accounts=accounts(urls),
                routes=[route("well", ears, secret), route("sick", ears, secret, retries=["1s"])],
                http={"listen": "127.0.0.1:0", "admin_token": CANARIES["the admin token"]},
            )

    def change(self) -> None:
        """Something for each vendor to tell."""
        for vendor in self.vendors.values():
            for _ in range(4):
                vendor.sandbox.step()

    def blab(self) -> None:
        """From now on each vendor answers everything with all it is told, and nobody's token is good any more."""
        for vendor in self.vendors.values():
            vendor.sandbox.expire_tokens()
            vendor.blabs = True

    def has_blabbed(self) -> bool:
        """Each vendor, and with every status. (One may answer just once: who is refused a token does not ask again soon.)"""
        told = [set(vendor.blabbed) for vendor in self.vendors.values()]
        return all(told) and set().union(*told) == {*STATUSES}


def accounts(urls: dict[str, str]) -> list[Wire]:
    both = ("username", "password")
    return [
        account(
            urls["octorate"],
            "octorate",
            "oct",
            ("client_id", "client_secret", "refresh_token"),
            ("booking", "property"),
        ),
        account(urls["ipro"], "ipro", "ipro", ("client_id", "client_secret"), ("booking", "property")),
        account(urls["carbontrack"], "carbontrack", "ct", both, ("device", "customer")),
        account(urls["carbontrack by header"], "carbontrack", "ct-header", both, ("customer",)),
        account(urls["powerpro"], "powerpro", "pp", ("api_key",), ("student",)),
        account(urls["powerpro"], "powerpro", "pp-user", both, ("enrolment",)),
    ]


def account(url: str, vendor: str, name: str, keys: Sequence[str], resources: Sequence[str]) -> Wire:
    return {
        "vendor": vendor,
        "name": name,
        "base_url": url + ("/connect" if vendor == "octorate" else ""),
        **{key: getattr(SANDBOXES[vendor], key.upper()) for key in keys},
        **({"auth": "header"} if name == "ct-header" else {}),
        "redact": PERSONAL[vendor],
        "every": dict.fromkeys(resources, "1s"),
        "budget": {"requests": 1_000_000, "per": "1m"},
    }


def route(name: str, ears: str, file: Path, **rest: Any) -> Wire:
    signing = ["the secret of a webhook", "its secret before that", "the private key of a webhook"]
    prefixes = ["whsec_", "whsec_", "whsk_"]
    path, query = CANARIES["the path of a webhook"], CANARIES["the query of a webhook"]
    webhook = {
        "url": f"{ears}/{name}/{path}?key={query}",
        "secret": [prefix + CANARIES[each] for prefix, each in zip(prefixes, signing, strict=True)],
        "headers": {"authorization": CANARIES["a header of a webhook"], "x-file": f"${{file:{file}}}"},
        "allow_private": True,
        **rest,
    }
    return {"name": name, "events": ["*.*"], "webhook": webhook}
