"""`vendorwire deletes`: what is held because too much vanished at once, and a person's approval of it."""

import sys
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec

from agent import deletes, vendors
from agent.bus import names
from agent.commands import output
from agent.commands.auditing import audited
from agent.commands.failures import DONE, FAILED, Failed, WrongUsage, say
from agent.commands.lines import NOTHING, counted
from agent.commands.reaching import Settings, account, finish, polled, reached
from agent.config import Config
from events.jetstream.connection import Bus
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.read import held, last
from events.ledger import Head
from schemas.changes import Scope

_head = msgspec.json.Decoder(Head)


def show(settings: Settings, name: str | None, resource: str | None) -> int:
    """All that is held, or the keys of one resource."""
    config = settings.load()
    wanted = account(config, name).name if name is not None else None
    if name is not None and resource is not None:
        return _keys(settings, config, vendors.scope(account(config, name), _one(config, name, resource)))

    async def work() -> int:
        async with reached(config) as bus:
            found = await _held(bus, config)
        rows = [(scope, head) for scope, head in found if wanted in {None, scope.account}]
        for scope, head in rows if settings.json else []:
            output.json({**_where(scope), "held": head.held, "swept_at": _swept_at(head)})
        if not settings.json:
            _print(rows)
        return DONE

    return finish(work)


def approve(settings: Settings, name: str, resource: str, *, yes: bool) -> int:
    """Publish the held deletes, after a yes."""
    config = settings.load()
    connector = account(config, name)
    scope = vendors.scope(connector, _one(config, name, resource))
    if not yes:
        if not sys.stdin.isatty():
            raise WrongUsage("nobody can be asked here: `--yes` approves")
        count = _count(config, scope)
        sys.stderr.write(f"publish {counted(count, 'delete')} of {scope}? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            say("nothing was published")
            return FAILED

    async def work() -> int:
        target = f"{scope.account} {scope.resource}"
        async with reached(config) as bus, audited(bus, config.bus, "approve deletes", target) as doing:
            ledger = JetStreamLedger(bus, names(config.bus), config.bus.keep_events)
            try:
                done = await deletes.approve(
                    ledger, scope, connector.resources[resource], config.redact(connector), lambda: datetime.now(UTC)
                )
            except deletes.NothingHeld as error:
                raise Failed(str(error)) from None
            doing.detail = f"{counted(done.published, 'delete')} published"
        if settings.json:
            output.json({**_where(scope), "published": done.published, "left": done.left})
        else:
            left = f"; {done.left} more wait for the next sweep" if done.left else ""
            output.line(f"{counted(done.published, 'delete')} of {scope} published{left}")
        return DONE

    return finish(work)


def _one(config: Config, name: str, resource: str) -> str:
    return polled(account(config, name), resource)[0]


def _count(config: Config, scope: Scope) -> int:
    """How many are held. Its own visit to the bus: nobody keeps a connection waiting for an answer at a prompt."""
    head = Head()

    async def work() -> int:
        nonlocal head
        async with reached(config) as bus:
            head = await _read(bus, config, scope)
        return DONE

    finish(work)
    if not head.held:
        raise Failed(f"no deletes of {scope} are held")
    return len(deletes.missing(head))


def _keys(settings: Settings, config: Config, scope: Scope) -> int:
    async def work() -> int:
        async with reached(config) as bus:
            head = await _read(bus, config, scope)
        keys = deletes.missing(head) if head.held else []
        if settings.json:
            output.json({**_where(scope), "held": head.held, "swept_at": _swept_at(head), "keys": keys})
        else:
            for key in keys:
                output.line(key)
            if not keys:
                output.line(f"no deletes of {scope} are held")
        return DONE

    return finish(work)


def _print(rows: list[tuple[Scope, Head]]) -> None:
    if not rows:
        output.line("no deletes are held")
        return
    cells = [(scope.account, scope.resource, head.held, _local(_swept_at(head))) for scope, head in rows]
    output.table(("account", "resource", "held", "missing since the sweep of"), cells)


async def _held(bus: Bus, config: Config) -> list[tuple[Scope, Head]]:
    subjects, found = names(config.bus), []
    async with aclosing(held(bus, subjects.ledger, [subjects.heads])) as messages:
        async for message in messages:
            head = _head.decode(message.data)
            if head.held:
                found.append((subjects.scope_of(message.subject), head))
    return sorted(found, key=lambda each: each[0])


async def _read(bus: Bus, config: Config, scope: Scope) -> Head:
    subjects = names(config.bus)
    found = await last(bus, subjects.ledger, subjects.head(scope))
    return _head.decode(found.data) if found else Head()


def _swept_at(head: Head) -> datetime | None:
    return max((part.swept_at for part in head.parts.values() if part.held and part.swept_at), default=None)


def _local(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else NOTHING


def _where(scope: Scope) -> dict[str, str]:
    return {"vendor": scope.vendor, "account": scope.account, "resource": scope.resource}
