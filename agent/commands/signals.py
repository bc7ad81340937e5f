"""`vendorwire pause`, `resume`, `rebaseline`, `rewind` and `interval`: what running agents are told by hand."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Literal

from agent import signals
from agent.commands import output, routes
from agent.commands.auditing import audited, operator
from agent.commands.failures import DONE, Failed, WrongUsage
from agent.commands.reaching import Settings, account, finish, polled, reached
from agent.config import Config
from events.jetstream.connection import Bus

Signal = Callable[[Bus, Config], Awaitable[str]]


def pause(settings: Settings, name: str, span: timedelta | None) -> int:
    """Have an account polled no more."""
    config = settings.load()
    account(config, name)

    async def send(bus: Bus, config: Config) -> str:
        return await signals.pause(bus, config, name, by=operator(), span=span)

    return _sent(settings, config, "pause", name, send)


def resume(settings: Settings, name: str, kind: Literal["account", "route"] | None) -> int:
    """Have a paused account polled again, or a route that rests tried again: whichever is named so."""
    config = settings.load()
    kinds = {"account": [each.name for each in config.accounts], "route": [each.name for each in config.routes]}
    fitting = [each for each, known in kinds.items() if name in known and kind in {None, each}]
    if len(fitting) > 1:
        raise WrongUsage(f"an account and a route are named {name!r}: say `--account` or `--route`")
    if not fitting:
        asked = [kind] if kind else list(kinds)
        there = "; ".join(f"{each}s: {', '.join(kinds[each]) or 'none'}" for each in asked)
        raise WrongUsage(f"no {' or '.join(asked)} is named {name!r}; there are {there}")
    if fitting == ["route"]:
        return routes.resume(settings, name)
    return _sent(settings, config, "resume", name, lambda bus, config: signals.resume(bus, config, name))


def rebaseline(settings: Settings, name: str, resource: str, *, events: bool) -> int:
    """Have a resource read as for the first time."""
    config = settings.load()
    polled(account(config, name), resource)

    async def send(bus: Bus, config: Config) -> str:
        return await signals.rebaseline(bus, config, name, resource, events=events)

    return _sent(settings, config, "rebaseline", f"{name} {resource}", send)


def rewind(settings: Settings, name: str, resource: str, to: datetime) -> int:
    """Have a resource read again since a time."""
    config = settings.load()
    polled(account(config, name), resource)

    async def send(bus: Bus, config: Config) -> str:
        return await signals.rewind(bus, config, name, resource, to=to)

    return _sent(settings, config, "rewind", f"{name} {resource}", send)


def interval(settings: Settings, name: str, resource: str, every: timedelta | None) -> int:
    """Have a resource polled every so often; None: as configured."""
    config = settings.load()
    polled(account(config, name), resource)

    async def send(bus: Bus, config: Config) -> str:
        return await signals.interval(bus, config, name, resource, every=every)

    return _sent(settings, config, "interval", f"{name} {resource}", send)


def _sent(settings: Settings, config: Config, act: str, target: str, send: Signal) -> int:
    async def work() -> int:
        async with reached(config) as bus, audited(bus, config.bus, act, target) as doing:
            try:
                doing.detail = await send(bus, config)
            except signals.NotPossible as error:
                raise Failed(str(error)) from None
        if settings.json:
            output.json({"act": act, "target": target, "done": doing.detail})
        else:
            output.line(doing.detail)
        return DONE

    return finish(work)
