"""What most commands begin with: the configuration, the account meant, and the bus, reached within seconds or not at all."""

import math
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
import msgspec

from agent import config as configured
from agent import loop
from agent.bus import names, open_bus
from agent.commands.failures import WrongUsage
from agent.config import Config, UnknownAccountError
from agent.configfile import find, load
from connectors.base import Connector
from events.jetstream import streams
from events.jetstream.connection import Bus, beside
from events.jetstream.errors import ApiError, BusUnavailable
from schemas.facts import BusState
from schemas.records import Account, Record

WITHIN = 10.0  # seconds a command waits for the bus


class Settings(msgspec.Struct, frozen=True):
    """The options that all commands take. `config` as given, None for the default."""

    config: str | None
    json: bool

    def load(self) -> Config:
        """The configuration. Raises ConfigError with all its faults."""
        return load(find(self.config))


class _Signalled(Exception):
    """Ctrl-C or SIGTERM."""


def finish(work: Callable[[], Awaitable[int]]) -> int:
    """Run a command to its exit status; Ctrl-C and SIGTERM cancel it in good order and raise KeyboardInterrupt."""
    try:
        return loop.run(_unless_signalled, work)
    except _Signalled:
        raise KeyboardInterrupt from None


async def _unless_signalled(work: Callable[[], Awaitable[int]]) -> int:
    async with beside(_signalled):
        return await work()


async def _signalled() -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            raise _Signalled


def account(config: Config, name: str) -> Connector:
    """The account of this name. Raises WrongUsage, which lists those there are."""
    try:
        return config.account(name)
    except UnknownAccountError as error:
        raise WrongUsage(str(error)) from None


def polled(connector: Connector, resource: str | None) -> tuple[str, ...]:
    """The resource named, or all that are polled. Raises WrongUsage, which lists those there are."""
    if resource is None:
        return tuple(connector.resources)
    if resource not in connector.resources:
        raise _unknown(connector, resource, list(connector.resources))
    return (resource,)


def stored(connector: Connector, resource: str) -> type[Record]:
    """The kind of record a resource is stored as; `account` is the account's own health. Raises WrongUsage."""
    if resource == Account.resource:
        return Account
    if resource not in connector.resources:
        raise _unknown(connector, resource, [*connector.resources, Account.resource])
    return connector.resources[resource].record


def _unknown(connector: Connector, resource: str, known: list[str]) -> WrongUsage:
    return WrongUsage(f"the account {connector.name} has no resource {resource!r}; there are: {', '.join(known)}")


@asynccontextmanager
async def reached(config: Config, *, within: float = WITHIN) -> AsyncIterator[Bus]:
    """The bus, connected, with its streams. Raises BusUnavailable, which says where it was looked for, and BusRefused."""
    async with connected(config.bus, within=within) as bus:
        await _streams(bus, config)
        yield bus


@asynccontextmanager
async def connected(settings: configured.Bus, *, within: float = WITHIN) -> AsyncIterator[Bus]:
    """The bus, connected, with nothing made or changed there."""
    state = BusState(connected=False)

    def tell(now: BusState) -> None:
        nonlocal state
        state = now

    with anyio.move_on_after(within) as patience:
        async with open_bus(settings, tell, f"vendorwire {version('vendorwire')} command") as bus:
            await bus.ready()
            patience.deadline = math.inf
            yield bus
            return
    raise BusUnavailable(state.detail or f"the bus at {where(settings)} did not answer within {within:g} s")


def where(settings: configured.Bus) -> str:
    """The bus's address, for people; the configuration sees to it that it holds no password."""
    return ", ".join(settings.servers) or f"the embedded server in {settings.data}"


async def _streams(bus: Bus, config: Config) -> None:
    """Make the streams where there are none yet; changing those there are is left to the agent."""
    try:
        await bus.api(f"STREAM.INFO.KV_{names(config.bus).signals_bucket}")  # the last that is made
        return
    except ApiError as error:
        if error.err_code != streams.STREAM_NOT_FOUND:
            raise
    with anyio.move_on_after(WITHIN):
        while True:
            try:
                settings = config.bus
                await streams.ensure(
                    bus,
                    names(settings),
                    replicas=settings.replicas,
                    max_bytes=settings.max_bytes,
                    keep_events=settings.keep_events,
                )
                return
            except streams.NotYet:
                await anyio.sleep(0.2)
    raise BusUnavailable("the bus could not make its streams: it has no leader yet, or is still recovering")
