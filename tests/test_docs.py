"""The papers are true: their configurations load, their commands exist, their links lead somewhere, their Python runs."""

import argparse
import asyncio
import json
import re
import shlex
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import nats
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

from agent.arguments import parser
from agent.configfile import load
from agent.metrics import Metrics
from agent.starter import STARTER
from connectors.octorate import Octorate
from events.jetstream import streams
from events.jetstream.connection import connect
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.options import BusOptions
from events.ledger import Head, Poll
from events.signing import Signer, generate
from events.subjects import Names
from schemas.changes import COMMON, Change, Scope, changes_of, resources
from schemas.envelope import decode, event_id
from schemas.records import Booking, Property
from schemas.settings import Secret
from tests.nats import start_nats

ROOT = Path(__file__).parent.parent
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SUBSCRIBERS = ROOT / "docs" / "subscribers.md"
NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
SCOPE = Scope("octorate", "hotel-roma", "property")


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def configurations() -> Iterator[Any]:
    yield pytest.param(STARTER, id="starter")
    for path in PAPERS:
        for number, block in enumerate(blocks(path, "yaml"), 1):
            yield pytest.param(block, id=f"{path.name}-{number}")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person who runs the examples has set."""
    for name in ("OCTORATE_ID", "OCTORATE_SECRET", "OCTORATE_REFRESH"):
        monkeypatch.setenv(name, "sandbox-value")
    monkeypatch.setenv("CRM_SECRET", generate())


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("text", list(configurations()))
def test_each_configuration_shown_is_one_the_agent_takes(text: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(generate())
    file = tmp_path / "vendorwire.yaml"
    file.write_text(re.sub(r"\$\{file:[^}]*\}", f"${{file:{secret}}}", text), encoding="utf-8")
    assert load(file).accounts


def commands_shown(path: Path) -> set[str]:
    """`vendorwire …` in code spans, and at the start of lines in fenced blocks."""
    text = path.read_text(encoding="utf-8")
    fences = re.findall(r"^```(?:sh|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ").partition("  #")[0] for block in fences for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return {each.strip() for each in (*lines, *spans) if each.startswith("vendorwire ")}


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_each_command_shown_can_be_typed(path: Path) -> None:
    refused = []
    for line in commands_shown(path):
        try:
            parser().parse_args(shlex.split(line)[1:])
        except (SystemExit, argparse.ArgumentError) as error:
            if not (isinstance(error, SystemExit) and error.code == 0):  # --help and --version end with 0
                refused.append(line)
    assert refused == []


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.name)
def test_each_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_metric_is_explained_and_no_other() -> None:
    metrics = Metrics("1")
    metrics.declare([SCOPE], ["crm"])
    exposed = set(re.findall(r"^# HELP (vendorwire_\w+)", metrics.render("")[0].decode(), re.MULTILINE))
    table = re.findall(r"^\| `(vendorwire_\w+)` \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert set(table) == exposed


def test_every_event_is_in_the_catalogue_for_subscribers() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", SUBSCRIBERS.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {resource: set(re.findall(r"`(\w+)`", changes)) for resource, changes in rows}
    known = {resource: changes_of(resource) - set(COMMON) for resource in resources()}
    assert {resource: listed.get(resource) for resource in known} == known


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    names = {re.split(r"[\[>=]", requirement)[0] for requirement in wanted}
    given = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z.-]+)`", given, re.MULTILINE)) == names


def test_the_example_event_is_one_of_ours() -> None:
    (text,) = blocks(SUBSCRIBERS, "json")
    event = decode(text.encode())
    assert event.id == event_id(Scope("octorate", "hotel-roma", "booking"), event.subject, event.version)
    assert msgspec.convert(event.data["record"], Booking).id == event.subject


def test_the_example_event_is_a_cloudevent_to_others() -> None:
    (text,) = blocks(SUBSCRIBERS, "json")
    headers = {"content-type": "application/cloudevents+json"}
    event = from_structured_event(HTTPMessage(headers, text.encode()), JSONFormat())
    assert (event.get_type(), event.get_subject()) == ("booking.confirmed", "92180839")


def defined(path: Path, name: str) -> Any:
    """What the Python blocks of a paper define under a name."""
    found: dict[str, Any] = {}
    for block in blocks(path, "python"):
        if f"def {name}(" in block:
            exec(compile(block, str(path), "exec"), found)
    return found[name]


@pytest.fixture(params=["event_in", "is_from_vendorwire"])
def verifies(request: pytest.FixtureRequest) -> Callable[[bytes, dict[str, str], str], bool]:
    """Each of the two ways to verify a signature, as one that says yes or no."""
    function = defined(SUBSCRIBERS, request.param)
    if request.param == "event_in":
        return lambda body, headers, secret: function(body, headers, secret) is not None
    return lambda body, headers, secret: function(body, headers, secret, time.time())


def signed(body: bytes, *secrets: str, age: int = 0) -> dict[str, str]:
    return Signer([Secret(secret) for secret in secrets]).headers("id-1", int(time.time()) - age, body)


Verifies = Callable[[bytes, dict[str, str], str], bool]


def test_what_we_signed_is_verified_as_shown(verifies: Verifies) -> None:
    secret, other = generate(), generate()
    assert verifies(b'{"a": 1}', signed(b'{"a": 1}', secret), secret)
    assert verifies(b'{"a": 1}', signed(b'{"a": 1}', other, secret), secret)


def test_what_is_forged_or_old_is_refused_as_shown(verifies: Verifies) -> None:
    secret, body = generate(), b'{"a": 1}'
    assert not verifies(body, signed(body, generate()), secret)
    assert not verifies(b'{"a": 2}', signed(body, secret), secret)
    assert not verifies(body, signed(body, secret, age=3600), secret)
    assert not verifies(body, {}, secret)


@pytest.mark.anyio
async def test_state_and_then_events_are_read_as_shown(tmp_path: Path) -> None:
    read = defined(SUBSCRIBERS, "state_then_events")
    with start_nats(tmp_path) as server:
        async with connect(BusOptions(urls=[server.url]), lambda _: None) as bus:
            await bus.ready()
            names = Names()
            await streams.ensure(bus, names, replicas=1, max_bytes=None)
            ledger = JetStreamLedger(bus, names, timedelta(days=30))
            client = await nats.connect(server.url)
            try:
                await commit(ledger, "112 696", "Sample Palace")
                told = read(client, str(SCOPE).replace("/", "."))
                assert await next_of(told) == ("record", "112 696", "Sample Palace")
                await commit(ledger, "200100", "Sample Wharf")
                assert await next_of(told) == ("event", "200100", "Sample Wharf")
                await told.aclose()
            finally:
                await client.close()


async def commit(ledger: JetStreamLedger, key: str, name: str) -> None:
    state = await ledger.load(SCOPE)
    change = Change(key=key, version=1, verb="created", before=None, after=Property(id=key, name=name))
    await ledger.commit(state, [change], Head(poll_id="poll-1", at=NOW), Poll("poll-1", NOW))


async def next_of(told: AsyncIterator[tuple[str, str, Any]]) -> tuple[str, str, str]:
    kind, key, value = await asyncio.wait_for(anext(told), 10)
    record = value if kind == "record" else value["data"]["record"]
    return kind, key, record["name"]


def test_signing_in_goes_as_shown() -> None:
    account = Octorate(
        name="hotel-roma", client_id="id", client_secret=Secret("secret"), refresh_token=Secret("refresh")
    )
    (block,) = blocks(ROOT / "docs" / "connectors.md", "python")
    found: dict[str, Any] = {"account": account, "httpx": httpx}
    with suppress(StopIteration):
        exec(compile(block, "connectors.md", "exec"), found)
    assert found["request"].url.path == "/connect/rest/v1/identity/refresh"
    assert repr(found["token"]) == "Token(***, lifetime=86400)"


def test_the_walkthroughs_python_is_python() -> None:
    for block in blocks(ROOT / "docs" / "walkthrough.md", "python"):
        compile(block, "walkthrough.md", "exec")


def test_the_walkthroughs_json_is_json() -> None:
    text = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    bodies = re.findall(r"curl .*?-d '([^']+)'", text)
    assert bodies
    assert all(isinstance(json.loads(body), dict) for body in bodies)
