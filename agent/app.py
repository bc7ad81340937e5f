"""The agent, put together. Read this first.

One task group owns everything. Beside the bus run the keepers (tokens, schedule, freshness, backlogs), above it the work:
polls and deliveries. A signal stops the work first, inside `grace`, then the keepers, then the bus.
"""

import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

import anyio
import msgspec

from agent import http, tokenwatch, vendors
from agent.backlogs import Backlogs
from agent.bus import names, open_bus
from agent.config import Config
from agent.console.console import Console
from agent.console.recorder import Recorder
from agent.delivering import RouteWorker
from agent.health import Health
from agent.hooks import Hooks
from agent.log import FactLog
from agent.metrics import Metrics
from agent.obeying import Obeyed
from agent.poller import Poller
from agent.polling import Polling
from agent.pulse import EndedByItself, Pulse
from agent.receivers import SUBJECT_TIMEOUT, Receiver, SubjectReceiver, WebhookReceiver
from agent.tokens import TokenKeeper
from agent.upkeep import Upkeep
from agent.vault import Vault
from events.jetstream import streams
from events.jetstream.attempts import Attempts
from events.jetstream.connection import Bus, beside
from events.jetstream.errors import ApiError, BusError, BusUnavailable
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.outbox import RouteQueue
from events.jetstream.pull import ConsumerGone, Message
from events.jetstream.read import follow
from events.jetstream.schedule import Schedule
from events.jetstream.tokens import JetStreamTokenStore
from events.ledger import Head, LedgerUnavailable
from events.routes import Route, filters
from events.webhook import WebhookSender
from schemas.changes import Scope
from schemas.facts import BusState, Fact, Fresh, Scheduled

ROLES = ("poll", "route")
ENDS = (signal.SIGTERM, signal.SIGINT)
ACK_MARGIN = 5.0  # seconds beyond a delivery's time-out until the server hands an event out again
READY_WITHIN = 2.5

log = logging.getLogger("vendorwire")
_head = msgspec.json.Decoder(Head)


class App:
    """One agent process. `listeners` hear every fact, besides the metrics and the log. `vault` has the keys to the tokens."""

    def __init__(
        self,
        config: Config,
        roles: Sequence[str] = ROLES,
        listeners: Sequence[Callable[[Fact], None]] = (),
        vault: Vault = Vault(),  # noqa: B008 - it never changes
    ) -> None:
        self._config = config
        self._roles = roles
        self._vault = vault
        self._names = names(config.bus)
        self._bus: Bus | None = None
        self._metrics = Metrics(version("vendorwire"), self._time)
        self._recorder = Recorder(self._intervals, version("vendorwire"), roles, self._time)
        self._console = Console(config, self._recorder.roll, self._tell)
        self._hooks = Hooks(config, self._names, self._tell, self._time)
        self._sinks = [self._metrics.observe, FactLog().observe, self._recorder.observe, *listeners]
        self._pulse = Pulse(time.monotonic)
        self._upkeep = Upkeep(config.bus, self._names, self._pulse, self._tell)
        self._rng = random.Random()
        self._waiting_for = "the bus is not connected yet"
        self._stop = anyio.Event()
        self._hurry = anyio.Event()
        self.address = ""  # where HTTP is served, once it is

    def stop(self) -> None:
        """End in good order; `run` returns. Asked again, without waiting for the deliveries in hand: they come again."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped. Raises BusError, ListenError, ConfigError where a person must act first."""
        self._declare()
        async with http.serve(
            self._config.http.listen,
            metrics=self._metrics,
            live=self._stale,
            ready=self._reasons,
            pages=(self._console.add_to, self._hooks.add_to),
        ) as self.address:
            log.info("listening on %s", self.address)
            with anyio.CancelScope() as start:
                async with beside(partial(self._cancel_when_stopped, start)):
                    await self._run()
        if not self._stop.is_set():
            raise EndedByItself("the agent")
        log.info("stopped")

    async def _run(self) -> None:
        async with (
            open_bus(self._config.bus, self._tell, f"vendorwire {version('vendorwire')}") as bus,
            WebhookSender(version=version("vendorwire")) as sender,
            vendors.opened(self._config, self._tell, self._rng, self._shelf(bus)) as accounts,
        ):
            self._bus = bus
            queues = {route.name: self._queue(bus, route) for route in self._config.routes}
            await self._prepare(bus, accounts, queues)
            self._waiting_for = ""
            log.info("ready", extra={"accounts": len(accounts), "routes": len(queues)})
            try:
                await self._work(bus, sender, accounts, queues)
            except Exception:
                log.exception("an unforeseen failure ends the agent")
                raise

    async def _work(
        self,
        bus: Bus,
        sender: WebhookSender,
        accounts: dict[str, vendors.Account],
        queues: dict[str, RouteQueue],
    ) -> None:
        ledger = JetStreamLedger(bus, self._names, self._config.bus.keep_events)
        schedule = Schedule(bus, self._names)
        obeyed = Obeyed(bus, self._names, self._intervals, self._pulse, self._tell)
        polling = Polling(
            bus,
            schedule,
            Poller(ledger, schedule.now, self._tell),
            Health(ledger, schedule.now, self._tell),
            {name: account.watched for name, account in accounts.items()},
            self._pulse,
            self._tell,
            self._rng,
            obeyed,
        )
        attempts = Attempts(bus, self._names)
        workers = [self._worker(route, queues[route.name], bus, sender, attempts) for route in self._config.routes]
        async with anyio.create_task_group() as keepers:
            keepers.start_soon(self._watch_freshness, bus)
            keepers.start_soon(tokenwatch.watch, bus, self._shelf(bus).store, _tokens(accounts), self._pulse)
            keepers.start_soon(self._upkeep.run, bus)
            keepers.start_soon(Backlogs(bus, self._names, queues, self._pulse, self._tell).run)
            keepers.start_soon(self._recorder.run, bus, self._names, self._config.bus.replicas, self._pulse)
            keepers.start_soon(self._console.run, bus)
            keepers.start_soon(obeyed.run)
            keepers.start_soon(self._hooks.run, bus, self._pulse)
            async with anyio.create_task_group() as work:
                keepers.start_soon(self._cut_short, work.cancel_scope)
                if "route" in self._roles:
                    keepers.start_soon(attempts.run)
                    for worker in workers:
                        work.start_soon(worker.run)
                if "poll" in self._roles:
                    for account in accounts.values():
                        keepers.start_soon(account.tokens.keep)
                    keepers.start_soon(polling.keep_schedule)
                    work.start_soon(polling.run)
                await self._stop.wait()
                log.info("stopping")
                polling.stop()
                for worker in workers:
                    worker.stop()
                work.cancel_scope.deadline = anyio.current_time() + self._config.grace.total_seconds()
            keepers.cancel_scope.cancel()

    async def _cut_short(self, work: anyio.CancelScope) -> None:
        """Whoever asks twice does not want to wait."""
        await self._hurry.wait()
        work.cancel()

    async def _prepare(self, bus: Bus, accounts: dict[str, vendors.Account], queues: dict[str, RouteQueue]) -> None:
        """Wait for the bus, however long it takes, make its streams and the routes' consumers as they must be, and open the
        tokens stored there.

        The consumers are there before the first poll, also where another agent works them: a new route misses no event
        from then on.
        """
        while True:
            await bus.ready()
            self._waiting_for = "the streams are not there yet"
            try:
                await self._upkeep.prepare(bus)
                for queue in queues.values():
                    await queue.ensure()
                await tokenwatch.prepare(_tokens(accounts))
                return
            except (streams.NotYet, BusUnavailable, ApiError, LedgerUnavailable) as error:
                self._waiting_for = f"the streams are not there yet: {error}"
                await anyio.sleep(0.5)

    async def _cancel_when_stopped(self, start: anyio.CancelScope) -> None:
        """Until the agent is ready there is nothing to end in good order."""
        await self._stop.wait()
        if self._waiting_for:
            start.cancel()

    def _queue(self, bus: Bus, route: Route) -> RouteQueue:
        vendors_of_accounts = {account.name: account.vendor for account in self._config.accounts}
        subjects = filters(route, self._config.bus.prefix, vendors_of_accounts)
        timeout = route.webhook.timeout.total_seconds() if route.webhook else SUBJECT_TIMEOUT
        return RouteQueue(bus, self._names, route.name, subjects, timeout + ACK_MARGIN, route.from_)

    def _worker(
        self, route: Route, queue: RouteQueue, bus: Bus, sender: WebhookSender, attempts: Attempts
    ) -> RouteWorker:
        receiver: Receiver = SubjectReceiver(route.subject or "", bus)
        if route.webhook is not None:
            receiver = WebhookReceiver(route.webhook, sender)
        return RouteWorker(
            route.name,
            receiver,
            queue,
            bus,
            self._names,
            self._pulse,
            self._tell,
            self._rng,
            attempts,
            ordered=route.order == "record",
        )

    async def _watch_freshness(self, bus: Bus) -> None:
        """Every agent knows how fresh every account is, whoever polled it: the heads on the bus tell."""
        self._pulse.expect("freshness", within=60)
        while True:
            self._pulse.beat("freshness")
            with anyio.move_on_after(5):
                await bus.ready()
            try:
                async for message in follow(bus, self._names.ledger, [self._names.heads]):
                    self._pulse.beat("freshness")
                    if message is not None:
                        self._tell_freshness(message)
            except (BusError, ConsumerGone) as lost:
                log.debug("freshness is watched again: %s", lost)
                await anyio.sleep(0.5)

    def _tell_freshness(self, message: Message) -> None:
        try:
            head = _head.decode(message.data)
        except (ValueError, RecursionError):  # whoever polls it tells what is wrong with it
            return
        if head.at is not None:
            scope = self._names.scope_of(message.subject)
            at = min(head.at, datetime.fromtimestamp(message.published_at, UTC))  # its agent's clock may be ahead
            self._tell(Fresh(scope=scope, at=at, records=head.records, held=head.held))

    def _shelf(self, bus: Bus) -> vendors.Shelf:
        return vendors.Shelf(JetStreamTokenStore(bus, self._names), self._vault)

    def _declare(self) -> None:
        """What is configured, and how often it should be read: also where this agent does not poll, or has no bus yet."""
        self._metrics.declare(self._intervals, [route.name for route in self._config.routes])
        for scope, interval in self._intervals.items():
            self._tell(Scheduled(scope=scope, interval=interval))
        self._hooks.declare()

    @property
    def _intervals(self) -> dict[Scope, float]:
        """How often each resource is to be read, in seconds, as configured."""
        return {
            vendors.scope(account, resource): account.interval(resource).total_seconds()
            for account in self._config.accounts
            for resource in account.resources
        }

    def _tell(self, fact: Fact) -> None:
        if isinstance(fact, BusState) and not fact.connected:
            self._waiting_for = self._waiting_for and fact.detail
        for sink in self._sinks:
            sink(fact)

    def _time(self) -> float:
        """In Unix seconds, the server's where it is known: a clock that is off must not make what is old look fresh."""
        return time.time() if self._bus is None else self._bus.now()

    def _stale(self) -> list[str]:
        return [f"{loop} makes no progress" for loop in self._pulse.stale(time.monotonic())]

    async def _reasons(self) -> list[str]:
        """Why the agent is not ready; nothing when it is. A real round trip to the bus each time."""
        if self._waiting_for or self._bus is None:
            return [self._waiting_for or "the agent is starting"]
        try:
            with anyio.fail_after(READY_WITHIN):
                await self._bus.ping()
        except (BusError, TimeoutError) as error:
            return [str(error) or "the bus does not answer"]
        if self._upkeep.trouble:
            return [self._upkeep.trouble]
        return ["the agent is stopping"] if self._stop.is_set() else []


@asynccontextmanager
async def stopped_by_signals(app: App) -> AsyncIterator[None]:
    """SIGTERM and Ctrl-C stop the agent in good order, for as long as the block lasts; after it they do nothing."""
    async with beside(partial(_await_signal, app)):
        yield


async def _await_signal(app: App) -> None:
    try:
        with anyio.open_signal_receiver(*ENDS) as signals:
            async for _ in signals:
                app.stop()
    finally:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)  # one that comes now must not spoil the exit status


def _tokens(accounts: Mapping[str, vendors.Account]) -> dict[str, TokenKeeper]:
    return {name: account.tokens for name, account in accounts.items()}
