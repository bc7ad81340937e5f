"""`vendorwire authorize`: a person's one-time consent in the browser, and its tokens stored where all agents find them."""

import random
import secrets
import sys
import time
from contextlib import suppress
from urllib.parse import quote

import msgspec

from agent import vendors
from agent.bus import names
from agent.commands import output
from agent.commands.auditing import audited
from agent.commands.failures import DONE, Failed, WrongUsage
from agent.commands.reaching import Settings, account, finish, reached
from agent.config import Config
from agent.consent import Declined, NotOurs, listening, pasted
from agent.faults import ConfigError, Fault
from agent.sharing import Sharing
from agent.signin import DEADLINE, drive, to_the_end
from agent.standing import Standing
from agent.vault import MAKE_ONE, VARIABLE, Vault
from connectors.auth import Consents, Token
from connectors.base import Connector
from connectors.errors import AuthRefused, Misconfigured
from connectors.hints import Hints
from connectors.http import Sender, open_http
from events.jetstream.errors import BusError
from events.jetstream.schedule import Schedule
from events.jetstream.tokens import JetStreamTokenStore
from events.tokens import Moved
from schemas.facts import Fact


class How(msgspec.Struct, frozen=True, kw_only=True):
    """How the code comes back: `code` given, caught at `listen` (host and port), or asked for. `redirect`: where to."""

    redirect: str | None
    listen: tuple[str, int] | None
    code: str | None


def main(settings: Settings, name: str, how: How) -> int:
    """Exit status 0 when the tokens are stored, 1 when the vendor refuses, 2 without a key or for a vendor without consent."""
    config = settings.load()
    connector = account(config, name)
    if not isinstance(connector, Consents):
        raise WrongUsage(f"the account {name} signs in with what is configured: there is nothing to consent to")
    vault = Vault.from_environment()
    if not vault:
        message = f"is not set, so the tokens could not be kept: {MAKE_ONE}; all agents need the same"
        raise ConfigError([Fault(VARIABLE, None, "", message)])
    command = _Authorize(config, connector, vault, settings)
    if how.code is None:
        finish(command.visited)
    if how.listen and how.code is None:
        return finish(lambda: command.caught(how.listen or ("", 0), how.redirect))
    redirect_uri = how.redirect or connector.redirect_uri
    code = command.asked(redirect_uri) if how.code is None else how.code
    return finish(lambda: command.exchanged(code, redirect_uri))


def forget(settings: Settings, name: str) -> int:
    """Remove what is stored, also where no key opens it."""
    config = settings.load()
    wanted = account(config, name).name

    async def work() -> int:
        async with reached(config) as bus, audited(bus, config.bus, "forget token", wanted) as doing:
            await JetStreamTokenStore(bus, names(config.bus)).forget(wanted)
            doing.detail = "the stored token is forgotten"
        if settings.json:
            output.json({"account": wanted, "forgotten": True})
        else:
            output.line(f"the stored token of {wanted} is forgotten")
        return DONE

    return finish(work)


def subscribe(settings: Settings, name: str, public: str) -> int:
    """Have the vendor call the account's hook, at the address where agents are reached from outside."""
    config = settings.load()
    connector = account(config, name)
    if not isinstance(connector, Hints):
        raise WrongUsage(f"the account {name} is polled only: its vendor has no webhooks that could be subscribed")
    if connector.hint_secret is None:
        raise WrongUsage(f"the account {name} takes no hints: give it a hint_secret")
    secret, address = connector.hint_secret.reveal(), f"{public}/hooks/{connector.vendor}/{quote(name, safe='')}/"

    async def work() -> int:
        async with reached(config) as bus, audited(bus, config.bus, "subscribe", name) as doing:
            shelf = vendors.Shelf(JetStreamTokenStore(bus, names(config.bus)), Vault.from_environment())
            async with vendors.opened(config, _unheard, random.Random(), shelf, name) as accounts:
                made = await connector.subscribe(accounts[name].watched.api, address, secret)
            doing.detail = f"{', '.join(made) or 'nothing new'} subscribed, to {address}***"
        if settings.json:
            output.json({"account": name, "subscribed": list(made)})
        elif made:
            output.line(f"{connector.vendor} calls {address}*** from now on: {', '.join(made)}")
        else:
            output.line(f"{connector.vendor} calls {address}*** already")
        return DONE

    return finish(work)


def _unheard(_: Fact) -> None:
    """The requests of one command are nobody's metrics."""


class _Authorize:
    """One attempt."""

    def __init__(self, config: Config, connector: Connector, vault: Vault, settings: Settings) -> None:
        assert isinstance(connector, Consents)  # noqa: S101 - it says so to the type checker; `main` has asked
        self._config = config
        self._consents: Consents = connector
        self._connector = connector
        self._vault = vault
        self._settings = settings
        self._state = secrets.token_urlsafe(24)

    async def visited(self) -> int:
        """Before anybody opens a browser: the bus is there to keep what comes of it."""
        async with reached(self._config):
            return DONE

    async def caught(self, listen: tuple[str, int], redirect: str | None) -> int:
        """The browser brings the code."""
        async with listening(*listen, self._state) as page:
            redirect_uri = redirect or page.address
            self._show(redirect_uri, f"waiting for the browser at {page.address}")
            try:
                code = await page.code()
            except Declined:
                raise Failed("the consent was declined") from None
            return await self.exchanged(code, redirect_uri)

    def asked(self, redirect_uri: str) -> str:
        """A person brings the code. Before any connection: nobody keeps one waiting for an answer at a prompt."""
        self._show(redirect_uri, "then paste here the address the browser ends at, or the code in it")
        try:
            return pasted(sys.stdin.readline(), self._state)
        except NotOurs as error:
            raise Failed(f"{error}: run `vendorwire authorize {self._connector.name}` again") from None
        except Declined:
            raise Failed("the consent was declined") from None

    async def exchanged(self, code: str, redirect_uri: str) -> int:
        """The code for tokens, and those to the store: not lost half-way, since a code is good only once."""
        name = self._connector.name
        async with (
            reached(self._config) as bus,
            open_http() as http,
            audited(bus, self._config.bus, "authorize", name) as doing,
        ):
            store = JetStreamTokenStore(bus, names(self._config.bus))
            sharing = Sharing(store, self._vault, self._connector.name, self._connector)

            async def work() -> Token:
                steps = self._consents.exchange(code, redirect_uri)
                token = await drive(steps, self._connector, Sender(http, deadline=DEADLINE).send, time.time)
                await _kept(sharing, token)
                return token

            try:
                await to_the_end(work)
            except (AuthRefused, Misconfigured) as error:
                again = "a code is good once, for about a minute, and for the redirect it was made for"
                raise Failed(f"{error}; {again}") from None
            schedule = Schedule(bus, names(self._config.bus))
            for resource in self._connector.resources:
                with suppress(BusError):  # no agent has run yet: each begins with a poll
                    await schedule.poll_now(vendors.scope(self._connector, resource))
            doing.detail = "a person has consented: the tokens are stored"
        if self._settings.json:
            output.json({"account": self._connector.name, "authorized": True})
        else:
            output.line(
                f"{self._connector.name} is authorized: its tokens are stored, encrypted, and agents use them now"
            )
        return DONE

    def _show(self, redirect_uri: str, then: str) -> None:
        url = self._consents.consent(redirect_uri, self._state)
        if self._settings.json:
            output.json({"account": self._connector.name, "open": url, "redirect_uri": redirect_uri})
        else:
            output.line("open in a browser, as a user of the account:")
            output.line(url)
            output.line(then)


async def _kept(sharing: Sharing, token: Token) -> None:
    """Whatever was stored before is replaced, also by an agent at this moment."""
    entry = Standing(time.monotonic, random.Random()).entry_of(token, sharing.sealed(token), 0.0)
    while True:
        held = await sharing.read()
        try:
            await sharing.write(entry, held.revision if held else 0)
            return
        except Moved:
            continue
