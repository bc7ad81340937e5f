"""What the console can do: each action by its name, on what, with what, and the sentence that it ends in.

Each works on the bus alone, as the commands do, so that any agent can do it for all. An action that has begun is ended also
when the reader leaves; each is logged and audited, whatever comes of it.
"""

import secrets
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from agent import deletes, signals, vendors
from agent.commands.lines import counted, span_of
from agent.config import Config, UnknownAccountError
from agent.console import questions
from agent.console.asking import Call
from agent.console.refusing import Refused
from agent.console.stories import the_letter
from connectors.base import Connector
from events.circuit import Position, Standing, resumed
from events.jetstream.again import events_again, hand_over, look_back
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.outbox import DeadLetter, dead_count, dead_letters, drop, replay
from events.jetstream.standings import Standings
from events.routes import Route, filters
from events.subjects import Names
from schemas.changes import Scope

MOST = 2_000  # events or letters in one action: a command has patience for more
PATIENCE = 5.0  # seconds for a poll that is under way
RATE = 1_000.0  # events handed over a second


class Acting:
    """The actions of one agent's configuration. Each returns the sentence that says what was done; raises Refused, BusError."""

    def __init__(self, config: Config, names: Names) -> None:
        self._config = config
        self._names = names

    async def act(self, name: str, bus: Bus, call: Call) -> str:
        """Do what an endpoint of this name does."""
        match name:
            case "resume_route":
                return await self._resume_route(bus, call.word("route"))
            case "replay_events":
                return await self._replay_events(bus, call.word("route"), call.body)
            case "replay_dead":
                return await self._replay_dead(bus, call.body)
            case "drop_dead":
                return await self._drop_dead(bus, call.body)
            case _:
                return await self._signal(name, bus, call)

    async def meant(self, bus: Bus, call: Call) -> str:
        """On what, for the audit. Of single dead letters the events: their own numbers mean nothing once they are gone."""
        if call.request.match_info:
            return " ".join(call.request.match_info.values())
        which: questions.WhichDead = call.body
        found = []
        for id_ in which.ids:
            try:
                found.append((await the_letter(bus, self._names, id_)).event_id or id_)
            except Refused:
                found.append(id_)
            except BusError:
                return ", ".join(which.ids)
        return which.route or ", ".join(found)

    async def _signal(self, name: str, bus: Bus, call: Call) -> str:
        """What is told to an account, or to one of its resources."""
        account = self._account(call.word("account")).name
        try:
            match name:
                case "pause":
                    done = await signals.pause(
                        bus, self._config, account, by=call.caller.who, span=_span(call.body.for_)
                    )
                case "resume":
                    done = await signals.resume(bus, self._config, account)
                case _:
                    done = await self._signal_resource(name, bus, account, call.word("resource"), call.body)
        except signals.NotPossible as error:
            raise Refused(409, str(error)) from None
        return f"{done}."

    async def _signal_resource(self, name: str, bus: Bus, account: str, resource: str, body: Any) -> str:
        scope, config = self._scope(account, resource), self._config
        match name:
            case "poll":
                return await self._poll(bus, scope)
            case "approve":
                return await self._approve(bus, scope)
            case "rebaseline":
                return await signals.rebaseline(bus, config, account, resource, events=body.events)
            case "rewind":
                return await signals.rewind(bus, config, account, resource, to=body.to)
            case "interval":
                return await signals.interval(bus, config, account, resource, every=_span(body.every))
            case _:
                raise ValueError(f"no action is named {name}")

    async def _poll(self, bus: Bus, scope: Scope) -> str:
        if scope.account in await signals.paused(bus, self._names):
            raise Refused(409, f"{scope.account} is paused: resume it first")
        if not await signals.poll(bus, self._names, scope, PATIENCE):
            raise Refused(409, f"a poll of {scope} is under way already: try again when it has ended")
        return f"A poll of {scope} was asked for"

    async def _resume_route(self, bus: Bus, name: str) -> str:
        self._route(name)
        standings = Standings(bus, self._names)
        standing = await standings.read(name) or Standing()
        if standing.position is Position.CLOSED:
            return f"{name} does not rest: there is nothing to resume."
        await standings.write(name, resumed(standing, time.time()))
        return f"{name} is tried again with one event, and goes on once that is delivered."

    async def _replay_events(self, bus: Bus, name: str, asked: questions.Replay) -> str:
        route = self._route(name)
        if asked.until is not None and asked.until <= asked.since:
            raise Refused(409, "`until` must be later than `since`")
        try:
            route = route.narrowed(asked.events) if asked.events else route
            accounts = {account.name: account.vendor for account in self._config.accounts}
            subjects = filters(route, self._config.bus.prefix, accounts)
        except ValueError as error:
            raise Refused(409, str(error)) from None
        past = await look_back(bus, self._names, subjects, asked.since, asked.until)
        if past.events > MOST:
            how = f"vendorwire replay {name} --since …"
            raise Refused(409, f"these are {past.events} events: ask for at most {MOST} at once, or use `{how}`")
        run, handed_over = secrets.token_hex(8), 0
        if past.events:
            async with aclosing(events_again(bus, self._names, subjects, past, RATE)) as messages:
                async for message in messages:
                    await hand_over(bus, self._names, name, message, run)
                    handed_over += 1
        asked_for = span_of(asked.since, asked.until, asked.events)
        return f"{counted(handed_over, 'event')} handed to {name} to be delivered again, {asked_for}."

    async def _replay_dead(self, bus: Bus, which: questions.WhichDead) -> str:
        letters = await self._letters(bus, which)
        gone = {letter.route for letter in letters} - {route.name for route in self._config.routes}
        if gone:
            raise Refused(
                409, f"not configured (any more), so nothing can be replayed to it: {', '.join(sorted(gone))}"
            )
        for letter in letters:
            await replay(bus, self._names, letter)
        return f"{counted(len(letters), 'dead letter')} to be delivered again{await self._rest(bus, letters)}."

    async def _drop_dead(self, bus: Bus, which: questions.WhichDead) -> str:
        letters = await self._letters(bus, which)
        for letter in letters:
            await drop(bus, self._names, letter)
        return f"{counted(len(letters), 'dead letter')} dropped{await self._rest(bus, letters)}."

    async def _rest(self, bus: Bus, done: list[DeadLetter]) -> str:
        """What is left of a route's, where there were too many for one action."""
        if len(done) < MOST:
            return ""
        left = (await dead_count(bus, self._names)).get(done[0].route, 0)
        return f"; {left} more of {done[0].route} remain: ask again, or use `vendorwire dead`" if left else ""

    async def _approve(self, bus: Bus, scope: Scope) -> str:
        connector = self._account(scope.account)
        ledger = JetStreamLedger(bus, self._names, self._config.bus.keep_events)
        redact = self._config.redact(connector)
        kind = connector.resources[scope.resource]
        try:
            done = await deletes.approve(ledger, scope, kind, redact, lambda: datetime.now(UTC))
        except deletes.NothingHeld as error:
            raise Refused(409, str(error)) from None
        left = f"; {done.left} more wait for the next sweep" if done.left else ""
        return f"{counted(done.published, 'delete')} of {scope} published{left}"

    async def _letters(self, bus: Bus, which: questions.WhichDead) -> list[DeadLetter]:
        """Those that are meant. Raises Refused where nothing is said, or one is not there."""
        if bool(which.ids) == bool(which.route):
            raise Refused(409, "name either the `ids` of dead letters, or a `route`")
        if which.ids:
            return [await the_letter(bus, self._names, each) for each in dict.fromkeys(which.ids)]
        found: list[DeadLetter] = []
        async with aclosing(dead_letters(bus, self._names, self._known_route(which.route))) as letters:
            async for letter in letters:
                found.append(letter)
                if len(found) == MOST:
                    break
        return found

    def _account(self, name: str) -> Connector:
        try:
            return self._config.account(name)
        except UnknownAccountError:
            raise Refused(404, f"no account is named {name[:80]!r}") from None

    def _scope(self, account: str, resource: str) -> Scope:
        connector = self._account(account)
        if resource not in connector.resources:
            known = ", ".join(connector.resources)
            raise Refused(404, f"the account {account} has no resource {resource[:80]!r}; there are: {known}")
        return vendors.scope(connector, resource)

    def _route(self, name: str) -> Route:
        for route in self._config.routes:
            if route.name == name:
                return route
        raise Refused(404, f"no route is named {name[:80]!r}")

    def _known_route(self, name: str) -> str:
        """Dead letters outlive their route: any name that a route may have."""
        if not name.isprintable():
            raise Refused(404, f"no route is named {name[:80]!r}")
        return name


def _span(text: str | None) -> timedelta | None:
    """Raises Refused for what is no length of time."""
    try:
        return None if text is None else questions.duration(text)
    except (ValueError, OverflowError) as error:
        raise Refused(409, str(error)) from None
