"""What vendors call when something changed: `POST /hooks/<vendor>/<account>/<secret>` makes the matching poll due now.

The answer never waits for the bus, and the body is not even read: who knows the secret can make us ask the vendor, at most
once in `SPACING` beyond the schedule, and no more. A call is noted here and followed beside; of many calls, at many agents,
one makes the poll, and whatever was changed before the last of them is read by that poll or a later one.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import anyio
import msgspec
from aiohttp import web

from agent import signals
from agent.config import Config
from agent.pulse import Pulse
from connectors.base import Connector
from connectors.hints import Hints
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from events.jetstream.schedule import Schedule
from events.jetstream.signals import Signals
from events.subjects import Names
from schemas.changes import Scope
from schemas.facts import Fact, Hinted, HintOutcome
from schemas.settings import MissingReferenceError, Secret

SPACING = timedelta(seconds=5)  # between two extra polls of an account, whoever makes them
LARGEST = 64 * 1024  # bytes of a body that is passed over
DOUBT = 0.2  # seconds by which our idea of the server's time may be off
GLANCE = 0.1  # seconds between two looks at a claim that is about to end
AGAIN = 0.5  # seconds until the bus, which could not be asked, is asked again
NOBODY = secrets.token_bytes(32)  # what is offered for an account that takes no hints is compared with this

log = logging.getLogger("vendorwire.hooks")


class _Account(msgspec.Struct, frozen=True):
    """An account that takes hints, and what is to be polled on one."""

    vendor: str
    name: str
    secret: Secret
    scopes: tuple[Scope, ...]


class _Waiting(msgspec.Struct):
    """Hints that no poll has followed yet: how many, and when the last came, by the server's clock."""

    hints: int
    at: float


class Hooks:
    """The hooks of one agent. `add_to` adds their routes; `run` follows what comes, for as long as it lasts."""

    def __init__(self, config: Config, names: Names, tell: Callable[[Fact], None], clock: Callable[[], float]) -> None:
        self._accounts = {each.name: each for each in map(_account, config.accounts) if each is not None}
        self._names = names
        self._tell = tell
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._followed: set[str] = set()
        self._woken = anyio.Event()

    def declare(self) -> None:
        """The counters of those that take hints are there before the first comes."""
        for account in self._accounts.values():
            self._tell(Hinted(vendor=account.vendor, account="", outcome=HintOutcome.REFUSED, hints=0))
            for outcome in (HintOutcome.ACCEPTED, HintOutcome.ABSORBED):
                self._tell(Hinted(vendor=account.vendor, account=account.name, outcome=outcome, hints=0))

    def add_to(self, application: web.Application) -> None:
        """Serve the hooks, where any account takes hints."""
        for vendor in sorted({account.vendor for account in self._accounts.values()}):
            application.router.add_post(f"/hooks/{vendor}/{{account}}/{{secret:.+}}", self._handler(vendor))

    async def run(self, bus: Bus, pulse: Pulse) -> None:
        """Make the polls that are hinted at, until cancelled."""
        pulse.expect("hooks", within=60)
        async with anyio.create_task_group() as tasks:
            while True:
                pulse.beat("hooks")
                for name in self._waiting.keys() - self._followed:
                    self._followed.add(name)
                    tasks.start_soon(self._follow, bus, self._accounts[name])
                self._woken = anyio.Event()
                with anyio.move_on_after(5):
                    await self._woken.wait()

    def _handler(self, vendor: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            account = self._accounts.get(request.match_info["account"])
            if not _fits(account, request.match_info["secret"]) or account is None or account.vendor != vendor:
                self._tell(Hinted(vendor=vendor, account="", outcome=HintOutcome.REFUSED))
                raise web.HTTPNotFound
            if (request.content_length or 0) > LARGEST:
                raise web.HTTPRequestEntityTooLarge(LARGEST, request.content_length or 0)
            self._note(account.name)
            return web.Response()

        return handle

    def _note(self, name: str) -> None:
        waiting = self._waiting.setdefault(name, _Waiting(0, 0.0))
        waiting.hints += 1
        waiting.at = self._clock()
        self._woken.set()

    async def _follow(self, bus: Bus, account: _Account) -> None:
        """Until nothing waits. A claim on the bus keeps the extra polls of all agents apart."""
        try:
            while account.name in self._waiting:
                try:
                    await self._follow_once(bus, account)
                except BusError as lost:
                    log.debug("hints wait for the bus: %s", lost)
                    await _until_ready(bus)
        finally:
            self._followed.discard(account.name)

    async def _follow_once(self, bus: Bus, account: _Account) -> None:
        schedule = Schedule(bus, self._names)
        if await self._is_held_off(schedule, account):
            self._settle(account, accepted=False)  # the poll that is planned will read it
            return
        claimed = await Signals(bus, self._names).claim_hint(account.name, SPACING)
        waiting = self._waiting[account.name]
        if claimed is None:
            self._settle(account, accepted=True)
            async with anyio.create_task_group() as polls:
                for scope in account.scopes:
                    polls.start_soon(self._poll, bus, scope)
        elif claimed > waiting.at + DOUBT:  # another agent's poll began after the last of ours came
            self._settle(account, accepted=False)
        else:
            await anyio.sleep(max(claimed + SPACING.total_seconds() - bus.now(), GLANCE))

    async def _is_held_off(self, schedule: Schedule, account: _Account) -> bool:
        for scope in account.scopes:
            if not await schedule.waits_for_vendor(scope):
                return False
        return True

    async def _poll(self, bus: Bus, scope: Scope) -> None:
        """A poll that begins after the hint: one in hand may have read that page already."""
        polled = False
        while not polled:
            try:
                polled = await signals.poll(bus, self._names, scope)
            except BusError as lost:
                log.debug("a hint waits for the bus: %s", lost)
                await _until_ready(bus)

    def _settle(self, account: _Account, *, accepted: bool) -> None:
        """Count what waited: whatever comes from now on waits for another poll."""
        waiting = self._waiting.pop(account.name)
        for outcome, hints in (
            (HintOutcome.ACCEPTED, int(accepted)),
            (HintOutcome.ABSORBED, waiting.hints - accepted),
        ):
            if hints:
                self._tell(Hinted(vendor=account.vendor, account=account.name, outcome=outcome, hints=hints))


async def _until_ready(bus: Bus) -> None:
    await anyio.sleep(AGAIN)
    with suppress(BusError):
        await bus.ready()


def _account(connector: Connector) -> _Account | None:
    if not isinstance(connector, Hints) or connector.hint_secret is None:
        return None
    return _Account(
        connector.vendor,
        connector.name,
        connector.hint_secret,
        tuple(Scope(connector.vendor, connector.name, resource) for resource in connector.hinted),
    )


def _fits(account: _Account | None, offered: str) -> bool:
    """Whether this is the account's secret. It takes as long for an account that is not there."""
    expected = NOBODY
    if account is not None:
        with suppress(MissingReferenceError):  # a file that is gone: nobody knows what is in it
            expected = account.secret.reveal().encode()
    one, other = (hashlib.sha256(text).digest() for text in (offered.encode("utf-8", "surrogatepass"), expected))
    return hmac.compare_digest(one, other)
