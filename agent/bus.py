"""The bus as configured: the cluster at `bus.url`, or a server of our own."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from agent import config
from events.jetstream.connection import Bus, connect
from events.jetstream.options import BusOptions, Tls
from events.jetstream.server import embedded
from events.subjects import Names
from schemas.facts import BusState

log = logging.getLogger("vendorwire.bus")


@asynccontextmanager
async def open_bus(settings: config.Bus, tell: Callable[[BusState], None], name: str) -> AsyncIterator[Bus]:
    """The bus, connected or not yet: `await bus.ready()` waits for it. `name` is how the server lists this client."""
    async with AsyncExitStack() as stack:
        if settings.servers:
            options = _remote(settings, name)
        else:
            server = await stack.enter_async_context(embedded(settings.data, log=log))
            options = BusOptions(urls=[server.url], user=server.user, password=server.password, name=name)
        yield await stack.enter_async_context(connect(options, tell))


def names(settings: config.Bus) -> Names:
    """The names under the configured prefix."""
    return Names(settings.prefix)


def _remote(settings: config.Bus, name: str) -> BusOptions:
    tls = settings.tls
    return BusOptions(
        urls=list(settings.servers),
        user=settings.user,
        password=settings.password,
        token=settings.token,
        credentials=settings.credentials,
        nkey=settings.nkey,
        tls=Tls(ca=tls.ca, cert=tls.cert, key=tls.key) if tls else None,
        name=name,
        inbox_prefix=settings.inbox_prefix,
    )
