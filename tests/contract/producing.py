"""Every event the four fake vendors can bring about, by the real reading and comparing, over a ledger in memory.

The clock only moves when told and nothing is left to chance, so that the same events come about each time.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import anyio
import httpx
import msgspec

from agent.configfile import VENDORS
from agent.health import Health
from connectors.base import Connector
from connectors.sandbox.base import Sandbox
from connectors.sandbox.carbontrack import PASSWORD, USERNAME, CarbontrackSandbox
from connectors.sandbox.ipro import CLIENT_ID as IPRO_ID
from connectors.sandbox.ipro import CLIENT_SECRET as IPRO_SECRET
from connectors.sandbox.ipro import IproSandbox
from connectors.sandbox.octorate import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, OctorateSandbox
from connectors.sandbox.powerpro import API_KEY, PowerProSandbox
from schemas.envelope import encode
from schemas.settings import decode_hook
from tests.contract.scripts import SCRIPTS
from tests.polled import Account, Clock

Event = dict[str, Any]

_BETWEEN = timedelta(minutes=6)  # two polls
_ROUNDS = 3  # polls after each step: a record must be missing at two whole reads running


def _account(vendor: str, clock: Clock) -> tuple[dict[str, Any], Sandbox]:
    match vendor:
        case "octorate":
            sandbox: Sandbox = OctorateSandbox(clock, limit=1_000_000, noise=False)
            own = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
            return {"name": "hotel-roma", **own}, sandbox
        case "ipro":
            return {"name": "cottages", "client_id": IPRO_ID, "client_secret": IPRO_SECRET}, IproSandbox(
                clock, noise=False
            )
        case "carbontrack":
            return {"name": "solar-fleet", "username": USERNAME, "password": PASSWORD}, CarbontrackSandbox(
                clock, noise=False
            )
        case "powerpro":
            return {"name": "college", "api_key": API_KEY}, PowerProSandbox(clock, noise=False)
    raise ValueError(f"{vendor} has no fake account here, nor a script in tests/contract/scripts.py")


class Fake:
    """One vendor's account, and the controls that were tried."""

    def __init__(self, kind: type[Connector]) -> None:
        self.vendor = str(kind.__struct_config__.tag)
        self.clock = Clock()
        known, self.sandbox = _account(self.vendor, self.clock)
        given = {**known, "vendor": self.vendor, "base_url": f"https://{self.vendor}.test", "reconcile": "0s"}
        connector = msgspec.convert({**given, "budget": {"requests": 10**6, "per": "1h"}}, kind, dec_hook=decode_hook)
        self.account = Account(connector, self.sandbox, self.clock)
        self.health = Health(self.account.ledger, self.clock, self.account.facts.append)
        self.tried: set[str] = set()
        self._failures: dict[str, int] = defaultdict(int)

    async def live(self) -> None:
        """Its whole script."""
        await self._read()
        for control, body in SCRIPTS[self.vendor](self.sandbox):
            asked = httpx.Request("POST", f"https://{self.vendor}.test/_sandbox/{control}", json=body)
            answer = self.sandbox(asked)
            assert answer.status_code == 200, f"{self.vendor} {control}: {answer.text}"
            self.tried.add(control)
            await self._read()

    async def _read(self) -> None:
        for _ in range(_ROUNDS):
            for resource in self.account.connector.resources:
                ended = await self.account.poll(resource, after=_BETWEEN)
                failed = not ended.outcome.succeeded
                self._failures[resource] = self._failures[resource] + 1 if failed else 0
                await self.health.note(self.account.watched, resource, ended, self._failures[resource])

    @property
    def events(self) -> list[Event]:
        return [_settled(json.loads(encode(event))) for event in self.account.ledger.events]


@cache
def lived() -> Sequence[Fake]:
    """Each vendor, after its whole script. They are lived through once in a process."""

    async def live() -> list[Fake]:
        fakes = [Fake(kind) for kind in VENDORS]
        for fake in fakes:
            await fake.live()
        return fakes

    return anyio.run(live)


def events() -> list[Event]:
    """Every event, vendor by vendor, in order."""
    return [event for fake in lived() for event in fake.events]


def chosen() -> dict[str, Event]:
    """The first of each type, by type."""
    found: dict[str, Event] = {}
    for event in events():
        found.setdefault(event["type"], _shortened(event))
    return dict(sorted(found.items()))


def _settled(event: Event) -> Event:
    """A poll's id is drawn by lot: here it is made from the poll's time."""
    return event | {"pollid": hashlib.sha256(event["observedat"].encode()).hexdigest()[:16]}


def _shortened(event: Event) -> Event:
    """A calendar of a year, and an hour of measurements, are cut to what fits on a screen."""
    data = event["data"]
    if "measurements" in data:
        kept = data["measurements"][:2]
        data = data | {"measurements": kept, "to": kept[-1]["at"]}
    elif "days" in data["record"]:
        near = sorted(data.get("changes", {}))[:2]
        days = {day: code for day, code in data["record"]["days"].items() if not near or near[0][:7] == day[:7]}
        data = data | {"record": data["record"] | {"days": dict(list(days.items())[:31])}}
    assert re.fullmatch(r"[0-9a-f-]{36}", event["id"])
    return event | {"data": data}
