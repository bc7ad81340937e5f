"""`helm/nats/users.conf` on a real server: a whole life goes with these users, everything else is refused, no grant is idle.

The subscriber's life is that of the guide: tests/test_following.py and tests/test_pulling.py run it as the user `crm`.
"""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest
from aiohttp import web
from anyio.from_thread import BlockingPortal, start_blocking_portal

from connectors.sandbox.serve import serve
from events.jetstream.connection import connect
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.options import BusOptions
from events.jetstream.outbox import DeadLetter, RouteQueue
from events.ledger import Head, Part, Poll
from schemas.changes import Change, Scope
from schemas.envelope import encode, event_of
from schemas.records import Property
from schemas.settings import Secret
from tests.agent.command import Ran, here, started
from tests.agent.harness import (
    NAMES,
    PATIENCE,
    Process,
    Receiver,
    Wire,
    octorate,
    ready,
    receiving,
    synced,
    webhook,
    write_config,
)
from tests.faults.changing import Changing
from tests.helm import clicking, users
from tests.nats import NatsServer

pytestmark = pytest.mark.timeout(240)

STREAMS = (
    "VENDORWIRE",
    *(f"VENDORWIRE_{name}" for name in ("POLLS", "DEAD", "REPLAYS", "ATTEMPTS", "AUDIT", "HISTORY")),
)
BUCKETS = tuple(f"KV_vendorwire_{name}" for name in ("lanes", "routes", "tokens", "signals"))
SCOPE = Scope("octorate", "hotel", "property")
NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
ALERTS = "ops.alerts"


class Life:
    """A town around one agent, and an operator who types commands."""

    def __init__(
        self, folder: Path, portal: BlockingPortal, nats: NatsServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self._portal = portal
        self._capsys = capsys
        self._nats = nats
        self.vendor = Changing()
        self.url = ""
        self.crm, self.audit = Receiver(), Receiver()

    def configured(self, user: str, *accounts: str, routes: Sequence[str] = ("crm", "audit", "ops")) -> Path:
        there: dict[str, Wire] = {
            "crm": webhook("crm", self.crm.url),
            "audit": webhook("audit", self.audit.url, retries=["0.1s", "4s"]),
            "ops": {"name": "ops", "events": ["booking.*"], "subject": ALERTS},
            "old": webhook("old", self.crm.url),
        }
        return write_config(
            self.folder,
            bus=users.bus_of(self._nats, user),
            accounts=[
                octorate(
                    name,
                    f"{self.url}/connect",
                    consent_url=f"{self.url}/octobook/identity/oauth.xhtml",
                    redirect_uri="https://x.test/",
                    hint_secret=clicking.HINT,
                )
                for name in accounts
            ],
            routes=[there[name] for name in routes],
            http=clicking.HTTP,
            name=f"{user}.yaml",
        )

    def run(self, file: Path) -> Process:
        """An agent that has read the bookings."""
        process = Process(file, self.folder / "agent.log")
        self._portal.call(ready, process)
        self._portal.call(synced, process)
        return process

    def is_read(self, process: Process, resource: str) -> None:
        """Wait until an account's resource has been read."""
        polled = (
            f'vendorwire_poll_last_success_timestamp_seconds{{account="hotel",resource="{resource}",vendor="octorate"}}'
        )
        self.waits(lambda: self._portal.call(process.metric, polled) > 0)

    def clicks(self, process: Process, event: str, route: str) -> None:
        """What a vendor does, and somebody in the console."""
        self._portal.call(clicking.hinted, process)
        self._portal.call(clicking.clicked, process, event, route)

    def says(self, *words: str, status: int = 0) -> Ran:
        """What the operator types."""
        ran = here(self._capsys, "--config", str(self.folder / "operator.yaml"), *words)
        assert ran.status == status, (words, ran)
        assert "may not" not in ran.err, (words, ran)
        return ran

    def waits(self, true: Callable[[], bool]) -> None:
        """Wait here, in the thread in which commands run."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def consented(self) -> str:
        """The code of a person's consent."""
        page = f"{self.url}/octobook/identity/oauth.xhtml?client_id=sandbox-client&redirect_uri=https://x.test/"
        with httpx.Client(trust_env=False) as browser:
            return parse_qs(urlsplit(browser.get(page).headers["Location"]).query)["code"][0]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDORWIRE_KEY", base64.b64encode(os.urandom(32)).decode())


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as running:
        yield running


@pytest.mark.usefixtures("key")
def test_a_whole_life_goes_with_these_users_and_needs_every_grant(
    tmp_path: Path, portal: BlockingPortal, capsys: pytest.CaptureFixture[str]
) -> None:
    with users.started(tmp_path / "nats", "\ntrace: true\n", users.EXTRA) as nats:
        life = Life(tmp_path, portal, nats, capsys)
        with (
            portal.wrap_async_context_manager(serve(life.vendor.sandbox)) as life.url,
            portal.wrap_async_context_manager(receiving()) as life.crm,
            portal.wrap_async_context_manager(receiving()) as life.audit,
        ):
            logs = lived(life, nats)
    with users.started(
        tmp_path / "empty", "\ntrace: true\n", users.EXTRA
    ) as empty:  # an agent comes before any operator
        life = Life(tmp_path / "first", portal, empty, capsys)
        with portal.wrap_async_context_manager(serve(life.vendor.sandbox)) as life.url:
            process = life.run(life.configured("agent", "hotel", routes=[]))
            portal.call(process.end)
    traces = [(tmp_path / name / "nats.log").read_text() for name in ("nats", "empty")]
    assert "Permissions Violation" not in "".join(traces)
    assert "may not" not in logs + process.log
    used = published(traces[0]) | published(traces[1])
    assert ("agent", ALERTS) in used
    idle = {
        user: [
            each
            for each in users.granted(user, "publish", users.EXTRA)
            if not any(within(each, done) for by, done in used if by == user)
        ]
        for user in ("agent", "operator")
    }
    assert idle == {"agent": [], "operator": []}


def lived(life: Life, nats: NatsServer) -> str:
    """All that agents and operators do; the agents' logs."""
    life.configured("operator", "hotel")
    life.says("check")
    life.audit.answer = lambda _: web.Response(status=500)
    process = life.run(life.configured("agent", "hotel", "motel", routes=["crm", "audit", "ops", "old"]))
    for guests in (2000, 2001):
        life.vendor.sandbox.change(life.vendor.keys[0], {"totalGuest": guests})
        life.waits(lambda: len({got.version for got in life.crm.got}) == guests - 1999)  # noqa: B023 it is asked at once
    life.waits(lambda: len(life.audit.got) >= 2)
    life.is_read(process, "property")
    waiting, behind = life.audit.got[0].id, life.crm.got[-1].id
    anyio.run(process.end)
    between_two_agents(life, nats, waiting, behind)

    logs, process = process.log, life.run(life.configured("agent", "hotel"))
    life.waits(lambda: len(life.audit.got) >= 3)
    in_daily_use(life, waiting)
    life.clicks(process, waiting, "crm")
    anyio.run(process.end)
    return logs + process.log


def between_two_agents(life: Life, nats: NatsServer, waiting: str, behind: str) -> None:
    """An agent has ended; one event waits for its retry, and another behind it. Then somebody spoils the streams' settings."""
    assert "waits" in life.says("explain", waiting).out
    assert "an earlier event" in life.says("explain", behind).out
    aged_out = anyio.run(hold_and_bury, nats)
    assert "dead letter" in life.says("explain", aged_out).out
    life.says("dead", "drop", aged_out)
    assert "2" in life.says("deletes", "list").out
    assert life.says("deletes", "list", "hotel", "property").out == "a\nb\n"
    assert "2 deletes" in life.says("deletes", "approve", "hotel", "property", "--yes").out
    for _ in range(2):
        assert "asked for" in life.says("poll", "hotel", "booking").out
    life.vendor.change()
    assert "booking.modified" in life.says("poll", "hotel", "booking", "--dry-run").out
    anyio.run(tidy_up, nats)


def in_daily_use(life: Life, dead: str) -> None:
    """Commands beside an agent that works."""
    life.waits(lambda: dead in life.says("dead", "list").out)
    key = str(life.audit.got[0].key)
    assert key in life.says("snapshot", "hotel", "booking").out
    assert key in life.says("snapshot", "hotel", "booking", key).out
    assert "answered 500" in life.says("dead", "show", dead).out
    life.audit.answer = lambda _: web.Response(status=410)
    life.says("dead", "replay", dead)
    life.waits(lambda: "stopped" in life.says("routes").out)
    life.audit.answer = lambda _: web.Response()
    assert "tried again" in life.says("resume", "audit").out
    life.waits(lambda: "stopped" not in life.says("routes").out)
    got = len(life.crm.got)
    life.says("replay", "crm", "--since", "1h", "--yes")
    life.waits(lambda: len(life.crm.got) > got)
    assert "delivered" in life.says("explain", life.crm.got[0].id).out
    words = ("watch", "booking.*", "--since", "1h", "--config", str(life.configured("operator", "hotel")))
    with started(*words, cwd=life.folder) as watching:
        assert "booking.modified" in watching.until(lambda text: "\n" in text)
    life.says("authorize", "hotel", "--code", life.consented())
    life.says("authorize", "hotel", "--forget")
    life.says("pause", "hotel", "--for", "1h")
    life.says("resume", "hotel")
    life.says("interval", "hotel", "property", "30s")
    assert "pause" in life.says("audit").out


async def hold_and_bury(nats: NatsServer) -> str:
    """As an agent would: deletes that are held, and dead letters whose events have aged out; the id of the first."""
    sign_in = BusOptions(urls=[nats.url], user="agent", password=Secret(users.password("agent")))
    houses = [Change(key=key, version=1, verb=None, before=None, after=Property(id=key, name=key)) for key in "ab"]
    events = [event_of(house, SCOPE, observed_at=NOW, poll_id="p-1") for house in houses]
    async with connect(sign_in, lambda _: None) as bus:
        await bus.ready()
        ledger = JetStreamLedger(bus, NAMES, timedelta(days=30))
        head = Head(poll_id="p-1", at=NOW, records=2, parts={"": Part(swept_at=NOW, missing=("a", "b"), held=2)})
        await ledger.commit(await ledger.load(SCOPE), houses, head, Poll("p-1", NOW))
        for route, event in zip(("audit", "crm"), events, strict=True):
            letter = DeadLetter(
                route=route,
                event=encode(event),
                event_id=event.id,
                reason="answered 500",
                attempts=3,
                status="500",
                failed_at=NOW.timestamp(),
                record=f"{SCOPE}/{event.subject}",
            )
            await RouteQueue(bus, NAMES, route, [], 30).bury(letter)
    return events[0].id


async def tidy_up(nats: NatsServer) -> None:
    """What operators do with the `nats` command; and somebody who changes every stream, for the next agent to mend."""
    async with users.signed_in(nats, "operator") as operator:
        for consumer in ("VENDORWIRE_POLLS.agents", "VENDORWIRE.route-crm"):
            assert "error" not in await users.asked(operator, f"CONSUMER.PAUSE.{consumer}")
        for stream in ("VENDORWIRE", "VENDORWIRE_REPLAYS"):
            assert "error" not in await users.asked(operator, f"CONSUMER.DELETE.{stream}.route-old")
    async with users.signed_in(nats, "agent") as agent:
        for stream in (*STREAMS, *BUCKETS):
            config = (await users.asked(agent, f"STREAM.INFO.{stream}"))["config"]
            changed = await users.asked(agent, f"STREAM.UPDATE.{stream}", config | {"allow_direct": False})
            assert "error" not in changed, changed


def published(trace: str) -> set[tuple[str, str]]:
    """User and subject of each message in a server's trace."""
    who: dict[str, str] = {}
    found = set()
    for cid, verb, rest in re.findall(r"cid:(\d+) - .*?<<- \[(CONNECT|PUB|HPUB) (.*)\]$", trace, re.MULTILINE):
        if verb == "CONNECT":
            who[cid] = json.loads(rest)["user"]
        else:
            found.add((who[cid], rest.split()[0]))
    return found


def within(grant: str, subject: str) -> bool:
    """Whether a subject matches."""
    wanted, words = grant.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, words = wanted[:-1], words[: len(wanted) - 1] if len(words) >= len(wanted) else []
    return len(wanted) == len(words) and all(want in {"*", word} for want, word in zip(wanted, words, strict=True))
