"""What agents serve to Prometheus is clean: names and units as Prometheus has them, labels from closed sets, and not too much."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import parser
from prometheus_client.samples import Sample

from agent.meters import RENEWALS
from agent.metrics import Metrics
from events.jetstream.streams import ROLES
from schemas.changes import CATALOGUE, Scope, changes_of, resources
from schemas.facts import (
    AccountPaused,
    DeliveryOutcome,
    Fact,
    Fresh,
    Hinted,
    HintOutcome,
    PollOutcome,
    RouteState,
    Scheduled,
    SignInOutcome,
    StorageState,
    StreamState,
    TokenState,
    VendorAnswered,
)
from tests.agent.harness import Process, Wire, agent, ready, until
from tests.faults.town import Town
from tests.helm.promtool import ROOT, promtool
from tests.nats import start_nats

ACCOUNTS = {"oct", "ipro", "ct", "ct-header", "pp", "pp-user"}  # of the town
CLOSED: dict[str, set[str]] = {
    "vendor": set(CATALOGUE),
    "account": ACCOUNTS,
    "resource": resources(),
    "change": {change for resource in resources() for change in changes_of(resource)},
    "outcome": {*PollOutcome, *DeliveryOutcome, *HintOutcome, *SignInOutcome, *RENEWALS},
    "route": {"well", "sick"},
    "stream": set(ROLES),
}
OPEN = {"status": r"[1-5]\d\d|error", "le": r"[\d.]+|\+Inf", "version": r"\d+\.\d+\.\d+\S*"}
LIMITED = "accounts { A { jetstream: { max_file: 40MB }, users: [{ user: a, password: b }] } }"
HINTING = {"octorate"}  # vendors that call
MOST = 12_000  # series of 100 accounts and 10 routes: a Prometheus of the smallest kind holds a hundred times as many


@pytest.mark.anyio
async def test_promtool_finds_nothing_to_say_and_no_label_holds_what_a_stranger_wrote(
    tmp_path: Path,
) -> None:
    town = Town()
    with start_nats(tmp_path / "nats", config_extra=LIMITED) as nats:
        bus = {"url": nats.url, "user": "a", "password": "b", "max_bytes": 10_000_000}
        served = await heard(town, tmp_path, bus)
    assert promtool("check", "metrics", given=served) == (0, "")
    ours = [sample for sample in samples(served) if sample.name.startswith("vendorwire_")]
    assert {sample.name for sample in ours} >= {"vendorwire_stream_limit_bytes", "vendorwire_bus_storage_limit_bytes"}
    assert {sample.labels["account"] for sample in ours if "account" in sample.labels} == ACCOUNTS
    assert [sample for sample in ours if not is_closed(sample)] == []


async def heard(town: Town, folder: Path, bus: Wire) -> str:
    """The metrics of an agent that has polled and delivered, and to which everybody then answered with what they were told."""
    async with town.configured(folder, bus) as file, agent(file) as process:
        await ready(process)
        await until(lambda: all_were_read(process), 60)
        town.change()
        await until(lambda: town.ears.blabbed.total() >= 4)  # the receiver that answers with what it was told
        town.blab()
        await until(lambda: sum(vendor.blabbed.total() for vendor in town.vendors.values()) >= 20)
        return (await process.get("/metrics"))[1]


def test_a_hundred_accounts_with_all_their_resources_and_ten_routes_stay_below_twelve_thousand_series() -> None:
    vendors = list(CATALOGUE)
    assert count([vendors[number % len(vendors)] for number in range(100)], routes=10) < MOST
    assert f"below {MOST:,}" in guide()


def test_the_guide_says_how_many_series_an_account_and_a_route_have() -> None:
    beside = count([], 0)
    each = {vendor: (count([vendor] * 3, 0) - count([vendor], 0)) // 2 for vendor in CATALOGUE}
    assert f"{min(each.values())} to {max(each.values())} an account with all its resources" in guide()
    assert f"{count([], 1) - beside} a route" in guide()
    assert beside < 100
    assert "fewer than 100 beside" in guide()


def count(vendors: list[str], routes: int) -> int:
    """The series of an agent with these accounts, each with all its vendor's resources, once each fact has been told."""
    metrics = Metrics("1.2.3")
    accounts = [(vendor, f"{vendor}-{number}") for number, vendor in enumerate(vendors)]
    scopes = [Scope(*account, resource) for account in accounts for resource in CATALOGUE[account[0]]]
    names = [f"route-{number}" for number in range(routes)]
    metrics.declare(scopes, names)
    for fact in (*told_of_accounts(accounts, scopes), *told_of_the_bus(names)):
        metrics.observe(fact)
    return len(list(samples(metrics.render("")[0].decode())))


def told_of_accounts(accounts: list[tuple[str, str]], scopes: list[Scope]) -> Iterator[Fact]:
    for scope in scopes:
        yield Scheduled(scope=scope, interval=60)
        yield Fresh(scope=scope, at=datetime.now(UTC), records=1, held=0)
    for vendor in HINTING & {vendor for vendor, _ in accounts}:
        yield Hinted(vendor=vendor, account="", outcome=HintOutcome.REFUSED)
    for vendor, account in accounts:
        yield VendorAnswered(vendor=vendor, account=account, status="418", remaining=1)
        yield TokenState(vendor=vendor, account=account, healthy=True, expires_at=1)
        yield AccountPaused(vendor=vendor, account=account, paused=False)
        if vendor in HINTING:
            for outcome in (HintOutcome.ACCEPTED, HintOutcome.ABSORBED):
                yield Hinted(vendor=vendor, account=account, outcome=outcome)


def told_of_the_bus(routes: list[str]) -> Iterator[Fact]:
    yield from (RouteState(route=route, pending=0, dead=0) for route in routes)
    yield from (StreamState(stream=role, size=1, limit=2, made_at=1) for role in ROLES)
    yield StorageState(used=1, limit=2)


def is_closed(sample: Sample) -> bool:
    return all(
        value in CLOSED[label] if label in CLOSED else re.fullmatch(OPEN[label], value) is not None
        for label, value in sample.labels.items()
    )


def samples(text: str) -> Iterator[Sample]:
    for family in parser.text_string_to_metric_families(text):
        yield from family.samples


async def all_were_read(process: Process) -> bool:
    lines = (await process.get("/metrics"))[1].splitlines()
    told = [line for line in lines if line.startswith("vendorwire_poll_last_success_timestamp_seconds{")]
    return bool(told) and not any(line.endswith(" 0.0") for line in told)


def guide() -> str:
    return (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
