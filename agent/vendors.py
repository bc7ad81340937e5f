"""The accounts, opened: each with its own HTTP client, its one token and its pace."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import msgspec

from agent.config import Config
from agent.poller import Watched
from agent.tokens import TokenKeeper
from connectors.api import Api
from connectors.base import Connector
from connectors.budget import Pacer
from connectors.http import Sender, open_http
from schemas.changes import Scope
from schemas.facts import Fact, VendorAnswered


class Account(msgspec.Struct, frozen=True):
    """An account ready to be read, and the keeper of its token."""

    watched: Watched
    tokens: TokenKeeper


@asynccontextmanager
async def opened(
    config: Config, tell: Callable[[Fact], None], rng: random.Random, only: str | None = None
) -> AsyncIterator[dict[str, Account]]:
    """Every configured account by name, or `only` one, for as long as the block lasts. Nothing is asked of a vendor yet."""
    async with AsyncExitStack() as stack:
        accounts = {}
        for connector in config.accounts:
            if only is None or connector.name == only:
                http = await stack.enter_async_context(open_http())
                accounts[connector.name] = _account(config, connector, http, tell, rng)
        yield accounts


def scope(connector: Connector, resource: str) -> Scope:
    """The scope of one resource of an account."""
    return Scope(connector.vendor, connector.name, resource)


def _account(
    config: Config, connector: Connector, http: httpx.AsyncClient, tell: Callable[[Fact], None], rng: random.Random
) -> Account:
    tokens = TokenKeeper(connector, Sender(http).send, tell, rng=rng)
    pacer = Pacer(connector.pace, floor=connector.quota_floor)

    def answered(status: str, remaining: float | None) -> None:
        tell(VendorAnswered(vendor=connector.vendor, account=connector.name, status=status, remaining=remaining))

    watched = Watched(
        connector=connector,
        api=Api(connector, tokens, http, pacer, answered),
        first_sync=config.first_sync(connector),
        max_ratio=config.deletes(connector).max_ratio,
        redact=config.redact(connector),
    )
    return Account(watched, tokens)
