"""`vendorwire check`: is the configuration right, do the credentials work, can each resource be read, is the bus there?"""

import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec

from agent import config as configured
from agent import vendors
from agent.bus import names
from agent.commands import output
from agent.commands.failures import DONE, FAILED, WRONG
from agent.commands.lines import NOTHING, counted
from agent.commands.reaching import Settings, connected, finish, reached, where
from agent.config import Config
from agent.faults import ConfigError
from agent.vault import Vault
from connectors.api import Api
from connectors.base import Connector, Page, Points, Query, Span
from connectors.decoding import what_is_wrong
from connectors.errors import NothingThere, VendorError
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from events.jetstream.tokens import JetStreamTokenStore
from events.ledger import LedgerUnavailable
from events.tokens import MemoryTokenStore, TokenStore
from schemas.facts import Fact

DEADLINE = 60.0  # seconds for all of an account
BUS = "bus"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing tried. `account` is empty for what belongs to none."""

    account: str
    what: str
    ok: bool
    detail: str
    seconds: float


def main(settings: Settings, *, offline: bool) -> int:
    """Exit status 2 for a faulty configuration, 1 when anything fails that was tried."""
    try:
        config = settings.load()
    except ConfigError as error:
        if not settings.json:
            raise
        output.json(error.faults)
        return WRONG
    if offline:
        if settings.json:
            output.json([])
        else:
            output.line(
                f"no faults: {counted(len(config.accounts), 'account')}, {counted(len(config.routes), 'route')}"
            )
        return DONE

    async def work() -> int:
        findings = await _try(config)
        if settings.json:
            output.json(findings)
        else:
            output.table(("account", "what", "result", "detail", "seconds"), [_row(each) for each in findings])
        return DONE if all(each.ok for each in findings) else FAILED

    return finish(work)


def _row(finding: Finding) -> tuple[str, ...]:
    result = "ok" if finding.ok else "FAILED"
    return (finding.account or NOTHING, finding.what, result, finding.detail, f"{finding.seconds:.2f}")


async def _try(config: Config) -> list[Finding]:
    """All accounts and the bus; in the configuration's order."""
    found: dict[str, list[Finding]] = {account.name: [] for account in config.accounts}
    of_the_bus: list[Finding] = []
    vault = Vault.from_environment()
    async with AsyncExitStack() as stack:
        store = await _store(config, of_the_bus, stack) if vault else MemoryTokenStore()
        own, shared = vendors.Shelf(MemoryTokenStore(), Vault()), vendors.Shelf(store or MemoryTokenStore(), vault)
        accounts: dict[str, vendors.Account] = {}
        for each in config.accounts:
            shelf = own if each.signs_in_anew else shared
            opened = vendors.opened(config, _ignored, random.Random(), shelf, only=each.name)
            accounts |= await stack.enter_async_context(opened)
        async with anyio.create_task_group() as group:
            for name, account in accounts.items():
                if store is None and not account.watched.connector.signs_in_anew:
                    found[name].append(_untried(name))
                else:
                    group.start_soon(_account, account, found[name])
            if not vault:
                group.start_soon(_bus, config, of_the_bus)
    return [finding for findings in found.values() for finding in findings] + of_the_bus


async def _store(config: Config, findings: list[Finding], stack: AsyncExitStack) -> TokenStore | None:
    """Where the agents' tokens are: where a sign-in could use up what they renew with, what it brings is kept there.

    All others sign in for this command alone, so that their credentials are tried, and nobody else is held up.
    """
    opened: list[TokenStore] = []

    async def attempt() -> str:
        bus = await stack.enter_async_context(reached(config))
        opened.append(JetStreamTokenStore(bus, names(config.bus)))
        return await _told(bus, config)

    findings.append(await _tried("", BUS, attempt))
    return opened[0] if opened else None


def _untried(name: str) -> Finding:
    why = "not tried: the bus is not there, and its token could not be kept"
    return Finding(account=name, what="sign in", ok=False, detail=why, seconds=0.0)


async def _account(account: vendors.Account, findings: list[Finding]) -> None:
    connector = account.watched.connector
    with anyio.move_on_after(DEADLINE) as patience:
        findings.append(await _tried(connector.name, "sign in", partial(_sign_in, account)))
        if findings[-1].ok:
            for resource in connector.resources:
                finding = await _tried(connector.name, resource, partial(_read, account, resource))
                findings.append(finding)  # at once: the deadline may come
    if patience.cancelled_caught:
        late = f"not done within {DEADLINE:g} s"
        findings.append(Finding(account=connector.name, what="in time", ok=False, detail=late, seconds=DEADLINE))


async def _bus(config: Config, findings: list[Finding]) -> None:
    findings.append(await _tried("", BUS, partial(_round_trip, config)))


async def _tried(account: str, what: str, attempt: Callable[[], Awaitable[str]]) -> Finding:
    started = time.monotonic()
    try:
        ok, detail = True, await attempt()
    except (VendorError, BusError, LedgerUnavailable, OSError, ValueError) as error:
        ok, detail = False, str(error)
    return Finding(account=account, what=what, ok=ok, detail=detail, seconds=round(time.monotonic() - started, 3))


async def _sign_in(account: vendors.Account) -> str:
    await account.tokens.token()
    return "the credentials are accepted"


async def _read(account: vendors.Account, resource: str) -> str:
    """The first page of the first part: enough to see that it is granted and can be read."""
    connector, api = account.watched.connector, account.watched.api
    try:
        parts = await connector.parts(api, resource)
        if not parts:
            return "granted, and empty"
        # aclosing: no second page is asked for
        async with aclosing(cast("Any", _pages(connector, api, resource, parts[0]))) as pages:
            async for page in pages:
                return _readable(page)
    except NothingThere:
        pass
    return "granted, and empty"


def _pages(connector: Connector, api: Api, resource: str, part: str) -> AsyncIterator[Page | Points]:
    """What the first poll of a part would read."""
    now = datetime.now(UTC)
    if not connector.resources[resource].feed:
        return connector.read(api, Query(resource=resource, part=part, since=None, whole=True, now=now))
    start = now - connector.feeding(resource).overlap
    return connector.follow(api, Span(resource=resource, part=part, start=start, end=now))


def _readable(page: Page | Points) -> str:
    """How many there are. Raises ValueError that names the place in the first that cannot be read."""
    for raw in page.items:
        try:
            if isinstance(page, Points):
                page.to_point(raw)
                continue
            record = page.to_record(raw)
            if page.in_doubt is not None and page.vouched is not None and page.in_doubt(record):
                page.vouched(record, None)
        except VendorError:
            raise
        except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"a record cannot be read: {what_is_wrong(error)}") from None
    return f"{counted(len(page.items), 'record')} on its first page"


async def _round_trip(config: Config) -> str:
    with _leaving_nothing(config.bus) as settings:
        async with connected(settings) as bus:
            return await _told(bus, config)


async def _told(bus: Bus, config: Config) -> str:
    seconds = await bus.ping()
    version = bus.client.connected_server_version
    number = f"{version.major}.{version.minor}.{version.patch}"
    return f"NATS {number} at {where(config.bus)}, {seconds * 1000:.1f} ms"


@contextmanager
def _leaving_nothing(settings: configured.Bus) -> Iterator[configured.Bus]:
    """An embedded server that has no folder yet is tried in one beside it, which goes again."""
    if settings.servers or settings.data.exists():
        yield settings
        return
    parent = next(folder for folder in settings.data.absolute().parents if folder.exists())
    with tempfile.TemporaryDirectory(prefix=".vendorwire-check-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield msgspec.structs.replace(settings, data=Path(folder) / "data")


def _ignored(_: Fact) -> None:
    """What is tried here is told in a table."""
