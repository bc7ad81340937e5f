"""The accounts, opened: each with its own HTTP client, its one token and its pace."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import msgspec

from agent.config import Config
from agent.signin import DEADLINE
from agent.tokens import TokenKeeper
from agent.vault import Vault
from agent.watched import Watched
from connectors.api import Api
from connectors.base import Connector
from connectors.budget import Pacer
from connectors.http import Sender, open_http
from events.tokens import TokenStore
from schemas.changes import Scope
from schemas.facts import Fact, VendorAnswered


class Account(msgspec.Struct, frozen=True):
    """An account ready to be read, and the keeper of its token."""

    watched: Watched
    tokens: TokenKeeper


class Shelf(msgspec.Struct, frozen=True):
    """Where the agents keep their tokens, and the keys to it."""

    store: TokenStore
    vault: Vault


@asynccontextmanager
async def opened(
    config: Config,
    tell: Callable[[Fact], None],
    rng: random.Random,
    shelf: Shelf,
    only: str | None = None,
) -> AsyncIterator[dict[str, Account]]:
    """Every configured account by name, or `only` one, for as long as the block lasts. Nothing is asked of a vendor yet."""
    async with AsyncExitStack() as stack:
        accounts = {}
        for connector in config.accounts:
            if only is None or connector.name == only:
                http = await stack.enter_async_context(open_http())
                accounts[connector.name] = _account(config, connector, http, tell, rng, shelf)
        yield accounts


def scope(connector: Connector, resource: str) -> Scope:
    """The scope of one resource of an account."""
    return Scope(connector.vendor, connector.name, resource)


def _account(
    config: Config,
    connector: Connector,
    http: httpx.AsyncBaseTransport,
    tell: Callable[[Fact], None],
    rng: random.Random,
    shelf: Shelf,
) -> Account:
    pacer = Pacer(connector.pace, floor=connector.quota_floor)

    def answered(status: str, remaining: float | None) -> None:
        tell(VendorAnswered(vendor=connector.vendor, account=connector.name, status=status, remaining=remaining))

    async def send(request: httpx.Request) -> httpx.Response:
        status = "error"
        try:
            reply = await Sender(http, deadline=DEADLINE).send(request)
            status = str(reply.status_code)
            return reply
        finally:
            answered(status, pacer.left())

    tokens = TokenKeeper(connector, send, tell, rng=rng, store=shelf.store, vault=shelf.vault)
    watched = Watched(
        connector=connector,
        api=Api(connector, tokens, http, pacer, answered),
        first_sync=config.first_sync(connector),
        max_ratio=config.deletes(connector).max_ratio,
        redact=(*config.redact(connector), *connector.hidden),
    )
    return Account(watched, tokens)
