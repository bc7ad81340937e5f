"""Reading the whole picture from the bus, for as long as somebody looks and some minutes more: unwatched it costs nothing."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec

from agent import signals
from agent.config import Config
from agent.console.picture import Picture, RouteNow, TokenNow
from agent.console.shapes import Paused, StreamView
from events.circuit import Standing
from events.history import Alive, Minute, Outcome, Roll, Unread, minute_in
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusError, BusRefused
from events.jetstream.history import AGENT, MINUTE, OUTCOME, ROLL, UNREAD
from events.jetstream.outbox import CONSUMER_NOT_FOUND, Backlog, RouteQueue, dead_count
from events.jetstream.pull import ConsumerGone, Message
from events.jetstream.read import follow, last
from events.jetstream.schedule import Schedule
from events.jetstream.standings import Standings
from events.jetstream.streams import STREAM_NOT_FOUND
from events.jetstream.streams import storage as stored
from events.jetstream.tokens import JetStreamTokenStore
from events.ledger import Head, LedgerUnavailable
from events.subjects import HEAD, Names
from schemas.changes import Scope
from schemas.records import Account

IDLE = 180.0  # seconds after the last look until nothing is read any more
FIRST_LOOK = 6.0  # seconds the first one waits for the picture to be whole
COUNT_EVERY = 2.0  # seconds between two looks at routes and streams
AGAIN = 0.5
NO_HISTORY = 5.0  # seconds until the history is looked for again that is not there

log = logging.getLogger("vendorwire.console")
_head = msgspec.json.Decoder(Head)
_account = msgspec.json.Decoder(Account)
_outcome = msgspec.json.Decoder(Outcome)
_unread = msgspec.json.Decoder(Unread)
_alive = msgspec.json.Decoder(Alive)


class Watching:
    """One agent's readers. `run` runs in the task group that owns them; `looked` starts them."""

    def __init__(self, config: Config, names: Names, roll: Roll) -> None:
        self._config = config
        self._names = names
        self._roll = roll
        self.picture = Picture(roll)
        self._scopes = frozenset(roll.scopes)
        self._names_of_accounts = frozenset(account for _, account in roll.accounts)
        self._wanted = anyio.Event()
        self._looked_at = 0.0
        self._looking = 0
        self._behind: set[str] = {"not begun"}  # the readers that have not caught up yet
        self._whole = anyio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether all of it has been read once."""
        return not self._behind

    async def looked(self) -> Picture:
        """Somebody looks: the picture, whole unless the bus is slow or away."""
        self._looked_at = time.monotonic()
        self._wanted.set()
        if self._behind:
            with anyio.move_on_after(FIRST_LOOK):
                await self._whole.wait()
        return self.picture

    @asynccontextmanager
    async def staying(self) -> AsyncIterator[None]:
        """Somebody looks for as long as the block lasts."""
        self._looking += 1
        try:
            yield
        finally:
            self._looking -= 1
            self._looked_at = time.monotonic()

    async def run(self, bus: Bus) -> None:
        """Read while somebody looks, until cancelled."""
        while True:
            await self._wanted.wait()
            self.picture = Picture(self._roll)
            readers: dict[str, Callable[[Bus], Awaitable[None]]] = {
                "heads": self._heads,
                "accounts": self._accounts,
                "notes": self._notes,
                "minutes": self._minutes,
                "tokens": self._tokens,
                "routes": self._routes,
            }
            self._behind = set(readers)
            async with anyio.create_task_group() as group:
                for name, reader in readers.items():
                    group.start_soon(self._again, name, reader, bus)
                await self._nobody_looks()
                group.cancel_scope.cancel()
            self._wanted, self._whole, self._behind = anyio.Event(), anyio.Event(), {"not begun"}

    async def _nobody_looks(self) -> None:
        """Returns when nobody has looked for a while."""
        while True:
            left = IDLE if self._looking else self._looked_at + IDLE - time.monotonic()
            if left <= 0:
                return
            await anyio.sleep(left)

    async def _again(self, name: str, reader: Callable[[Bus], Awaitable[None]], bus: Bus) -> None:
        while True:
            pause = AGAIN
            try:
                await bus.ready()
                await reader(bus)
            except (ApiError, BusRefused) as refused:
                if isinstance(refused, BusRefused) or refused.err_code == STREAM_NOT_FOUND:
                    pause = NO_HISTORY
                self._caught_up(name)
                log.debug("the console reads its %s later: %s", name, refused)
            except (BusError, ConsumerGone, LedgerUnavailable) as lost:
                log.debug("the console reads its %s again: %s", name, lost)
            except Exception:  # a bug in what only shows must not end the agent
                pause = NO_HISTORY
                self._caught_up(name)
                log.exception("the console could not read its %s, in an unforeseen way", name)
            await anyio.sleep(pause)

    def _caught_up(self, name: str) -> None:
        self._behind.discard(name)
        if not self._behind:
            self._whole.set()

    async def _follow(
        self, name: str, bus: Bus, stream: str, subjects: Sequence[str], take: Callable[[Message], None], **since: Any
    ) -> None:
        async with aclosing(follow(bus, stream, subjects, **since)) as messages:
            async for message in messages:
                if message is not None or not self.picture.heard:  # silence may be that of a bus that hangs
                    self.picture.heard = bus.now()
                if message is not None:
                    with suppress(ValueError, RecursionError):  # a stranger's; msgspec's errors are ValueErrors
                        take(message)
                    self.picture.news(bus.now())
                if message is None or not message.pending:
                    self._caught_up(name)

    async def _heads(self, bus: Bus) -> None:
        def take(message: Message) -> None:
            scope = self._names.scope_of(message.subject)
            if scope in self._scopes:
                self.picture.heads[scope] = _head.decode(message.data)
                self.picture.written[scope] = message.published_at

        await self._follow("heads", bus, self._names.ledger, [self._names.heads], take)

    async def _accounts(self, bus: Bus) -> None:
        def take(message: Message) -> None:
            if not message.subject.endswith(HEAD) and message.data:
                account = _account.decode(message.data)
                if account.id in self._names_of_accounts:
                    self.picture.accounts[account.id] = account

        subject = self._names.snapshots(Scope("*", "*", Account.resource))
        await self._follow("accounts", bus, self._names.ledger, [subject], take)

    async def _notes(self, bus: Bus) -> None:
        picture = self.picture

        def take(message: Message) -> None:
            kind, *words = message.subject.removeprefix(f"{self._names.prefix}.history.").split(".")
            if kind == OUTCOME:
                scope = Scope(*words) if len(words) == 3 else None
                if scope is not None and scope in self._scopes:
                    picture.outcomes[scope] = _outcome.decode(message.data)
            elif kind == UNREAD:
                unread = _unread.decode(message.data)
                if unread.scope in self._scopes:
                    picture.take_unread(unread)
            else:
                picture.take_alive(_alive.decode(message.data))

        subjects = [self._names.noted(kind, ">") for kind in (OUTCOME, UNREAD, AGENT)]
        await self._follow("notes", bus, self._names.history, subjects, take)

    async def _minutes(self, bus: Bus) -> None:
        since = datetime.fromtimestamp(bus.now(), UTC) - timedelta(hours=1, minutes=2)
        subjects = [self._names.noted(MINUTE, ">")]
        async with aclosing(follow(bus, self._names.history, subjects, since=since)) as messages:
            async for message in messages:
                if message is not None:
                    await self._minute(bus, message)
                    await anyio.lowlevel.checkpoint()
                if message is None or not message.pending:
                    self._caught_up("minutes")

    async def _minute(self, bus: Bus, message: Message) -> None:
        try:
            minute: Minute = minute_in(message.data)
        except (ValueError, RecursionError):
            return
        hour = self.picture.hour
        if not hour.knows(minute.roll):
            hour.learn(minute.roll, await read_roll(bus, self._names, minute.roll))
        hour.take(minute, bus.now())
        self.picture.news(bus.now())

    async def _tokens(self, bus: Bus) -> None:
        async with aclosing(JetStreamTokenStore(bus, self._names).follow()) as news:
            async for each in news:
                if each is None:
                    self._caught_up("tokens")
                    continue
                account, held = each
                left = held.entry.left - held.age
                expires = bus.now() + left if held.entry.lifetime else 0.0
                if account in self._names_of_accounts:
                    self.picture.tokens[account] = TokenNow(expires, held.entry.problem)
                    self.picture.news(bus.now())

    async def _routes(self, bus: Bus) -> None:
        """What nobody tells by himself: how much waits, how each route stands, how large the streams are."""
        standings, schedule = Standings(bus, self._names), Schedule(bus, self._names)
        while True:
            dead = await dead_count(bus, self._names)
            routes = {}
            for route in self._config.routes:
                backlog = await _backlog(RouteQueue(bus, self._names, route.name, (), 0))
                waited = self.picture.routes.get(route.name)
                routes[route.name] = RouteNow(
                    standing=await standings.read(route.name) or Standing(),
                    waiting=backlog.waiting,
                    in_hand=backlog.in_hand,
                    dead=dead.get(route.name, 0),
                    paused=backlog.paused,
                    untouched_since=_untouched(backlog, waited, bus.now()),
                )
            streams = await _streams(bus, self._names)
            storage = await stored(bus)
            picture = self.picture
            picture.storage = (storage.used, storage.limit)
            found = (routes, streams, await schedule.is_paused(), *await self._signals(bus))
            known = (picture.routes, picture.streams, picture.ticks_paused, picture.paused, picture.intervals)
            if found != known:
                picture.routes, picture.streams, picture.ticks_paused, picture.paused, picture.intervals = found
                picture.news(bus.now())
            picture.heard = bus.now()
            self._caught_up("routes")
            await anyio.sleep(COUNT_EVERY)

    async def _signals(self, bus: Bus) -> tuple[dict[str, Paused], dict[Scope, float]]:
        """The pauses and the intervals that were set by hand."""
        pauses = await signals.paused(bus, self._names)
        intervals = await signals.intervals(bus, self._names)
        return (
            {name: Paused(since=each.since, until=each.until, by=each.by) for name, each in pauses.items()},
            {scope: every.total_seconds() for scope, every in intervals.items()},
        )


async def read_roll(bus: Bus, names: Names, digest: str) -> Roll | None:
    """Another agent's list of resources; None where nobody can say. Raises BusError."""
    found = await last(bus, names.history, names.noted(ROLL, digest))
    try:
        return Roll.unpack(found.data) if found else None
    except (ValueError, RecursionError):
        return None


async def _backlog(queue: RouteQueue) -> Backlog:
    try:
        return await queue.backlog()
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        return Backlog(waiting=0, in_hand=0, settled_up_to=0, handed_out_up_to=0)


def _untouched(backlog: Backlog, before: RouteNow | None, now: float) -> float | None:
    """Since when nothing of what waits was taken up."""
    if not backlog.waiting:
        return None
    seen = before.untouched_since if before is not None else backlog.handed_out_at
    return max(seen or now, backlog.handed_out_at)


async def _streams(bus: Bus, names: Names) -> list[StreamView]:
    found = []
    for name in (names.ledger, names.polls, names.dead, names.replays, names.attempts, names.history):
        try:
            info = await bus.api(f"STREAM.INFO.{name}")
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            continue
        limit = info["config"].get("max_bytes", -1)
        state = info["state"]
        found.append(
            StreamView(
                stream=name, bytes=state["bytes"], messages=state["messages"], limit=limit if limit > 0 else None
            )
        )
    return found
