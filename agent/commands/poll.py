"""`vendorwire poll`: ask the agents for a poll now, or poll here without storing anything."""

import random
from collections.abc import Callable
from datetime import UTC, datetime

from agent import signals, vendors
from agent.bus import names
from agent.commands import lines, output
from agent.commands.auditing import audited
from agent.commands.failures import DONE, FAILED, Failed, say
from agent.commands.reaching import Settings, account, finish, polled, reached
from agent.config import Config
from agent.outcomes import Ended
from agent.poller import Poller
from agent.rehearsal import RehearsalLedger
from agent.vault import Vault
from connectors.base import Connector
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.tokens import JetStreamTokenStore
from events.ledger import State
from schemas.changes import Scope
from schemas.envelope import CloudEvent, decode, encode
from schemas.facts import Fact, Quarantined


def main(settings: Settings, name: str, resource: str | None, *, dry_run: bool) -> int:
    """Exit status 0 when each poll is asked for, or rehearsed to its end."""
    config = settings.load()
    connector = account(config, name)
    resources = polled(connector, resource)

    async def work() -> int:
        async with reached(config) as bus:
            if dry_run:
                return await _rehearse(config, bus, connector, resources, settings)
            for each in resources:
                await _ask(bus, config, vendors.scope(connector, each), settings)
            return DONE

    return finish(work)


async def _ask(bus: Bus, config: Config, scope: Scope, settings: Settings) -> None:
    async with audited(bus, config.bus, "poll", f"{scope.account} {scope.resource}") as doing:
        if scope.account in await signals.paused(bus, names(config.bus)):
            raise Failed(f"{scope.account} is paused: `vendorwire resume {scope.account}` first")
        if not await signals.poll(bus, names(config.bus), scope):
            seconds = f"{signals.PATIENCE:g} s"
            raise Failed(f"a poll of {scope} has been under way for {seconds}: try again when it has ended")
        doing.detail = f"poll of {scope} asked for"
    if settings.json:
        output.json({"vendor": scope.vendor, "account": scope.account, "resource": scope.resource})
    else:
        output.line(doing.detail)


async def _rehearse(
    config: Config, bus: Bus, connector: Connector, resources: tuple[str, ...], settings: Settings
) -> int:
    real = JetStreamLedger(bus, names(config.bus), config.bus.keep_events)
    status = DONE
    shelf = vendors.Shelf(JetStreamTokenStore(bus, names(config.bus)), Vault.from_environment())
    async with vendors.opened(config, _ignored, random.Random(), shelf, connector.name) as accounts:
        for resource in resources:
            ledger = RehearsalLedger(real, _printer(settings))
            poller = Poller(ledger, lambda: datetime.now(UTC), _noted)
            before = await ledger.load(vendors.scope(connector, resource))
            ended = await poller.poll(accounts[connector.name].watched, resource)
            _conclude(before, ended, ledger, settings)
            status = status if ended.outcome.succeeded else FAILED
    return status


def _printer(settings: Settings) -> Callable[[CloudEvent], None]:
    if settings.json:
        return output.json
    return lambda event: output.line(lines.line(decode(encode(event))))  # as it would be read from the bus


def _conclude(before: State, ended: Ended, ledger: RehearsalLedger, settings: Settings) -> None:
    if settings.json:
        where = {"vendor": before.scope.vendor, "account": before.scope.account, "resource": before.scope.resource}
        counts = {"records": ended.records, "events": ledger.events, "silent": ledger.silent}
        output.json({**where, "outcome": ended.outcome, "detail": ended.detail, **counts})
        return
    found = f"{before.scope}: {ended.outcome}, {lines.counted(ended.records, 'record')} read"
    would = f"{lines.counted(ledger.events, 'event')} would be published"
    if before.fence == 0 and not ledger.events:
        would = f"never synced before: a silent baseline of {lines.counted(ledger.silent, 'record')} would be stored"
    detail = f" ({ended.detail})" if ended.detail else ""
    output.line(f"{found}{detail}; {would}; nothing was stored")


def _noted(fact: Fact) -> None:
    """Of what a poll tells, a person wants to know what could not be read."""
    if isinstance(fact, Quarantined):
        say(f"{fact.scope}: a record cannot be read: {fact.path}")


def _ignored(_: Fact) -> None:
    """Answers and tokens of this one poll are nobody's metrics."""
