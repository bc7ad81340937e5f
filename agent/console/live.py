"""What happens, as it happens: server-sent events with changes and overviews, for as long as the page is open.

It stays open while the bus is away: the overview says so, and the changes go on with the first that was not sent yet.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio
import msgspec
from aiohttp import web

from agent.console import questions, shapes
from agent.console.masking import shown
from agent.console.refusing import Refused
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusError
from events.jetstream.pull import ConsumerGone, Message
from events.jetstream.read import follow
from events.subjects import Names

OVERVIEW_EVERY = 2.0  # seconds between two overviews, at least
ANYWAY = 10.0  # seconds after which one is sent though nothing came: ages grow
HEARTBEAT = 10.0
MOST = 50  # pages that may be open at one agent
SLOW = 15.0  # seconds a reader may take; one that takes nothing is let go
AGAIN = 0.5

log = logging.getLogger("vendorwire.console")
MakeOverview = Callable[[questions.Place], Awaitable[shapes.Overview]]


class Live:
    """All open pages of one agent."""

    def __init__(self, bus: Callable[[], Bus], names: Names, overview: MakeOverview) -> None:
        self._bus = bus
        self._names = names
        self._overview = overview
        self._open = 0

    async def serve(
        self, request: web.Request, which: questions.WhichLive, subject: str, may_go_on: Callable[[], object]
    ) -> web.StreamResponse:
        """Send until the reader leaves. `may_go_on` raises once he may no longer read."""
        if self._open >= MOST:
            raise Refused(429, f"{MOST} pages are open here already: close some", 10)
        after = _number(request.headers.get("Last-Event-ID", ""))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        self._open += 1
        try:
            await response.prepare(request)
            stream = _Stream(response)
            async with anyio.create_task_group() as group:
                group.start_soon(self._leave_with, group.cancel_scope, stream, may_go_on)
                if which.only != "changes":
                    group.start_soon(self._tell_overviews, stream, which)
                if which.only != "overview":
                    group.start_soon(self._tell_changes, stream, subject, after)
        except Exception:  # the answer has begun: it ends here, and the page asks again
            log.exception("a page's stream has ended in an unforeseen way")
        finally:
            self._open -= 1
        return response

    async def _leave_with(self, scope: anyio.CancelScope, stream: "_Stream", may_go_on: Callable[[], object]) -> None:
        """Say that it lives; end when nobody reads any more, or may not any longer."""
        while not stream.lost:
            try:
                may_go_on()
            except Refused:
                break
            await stream.send(": still here\n\n")
            with anyio.move_on_after(HEARTBEAT):
                await stream.gone.wait()
        scope.cancel()

    async def _tell_overviews(self, stream: "_Stream", which: questions.WhichLive) -> None:
        told, told_at = b"", float("-inf")
        while True:
            try:
                overview = await self._overview(which.place)
            except (Refused, BusError):  # there is no picture yet
                await anyio.sleep(OVERVIEW_EVERY)
                continue
            now = anyio.current_time()
            if (still := _still(overview)) != told or now > told_at + ANYWAY:
                told, told_at = still, now
                await stream.send(f"event: overview\ndata: {msgspec.json.encode(overview).decode()}\n\n")
            await anyio.sleep(OVERVIEW_EVERY)

    async def _tell_changes(self, stream: "_Stream", subject: str, after: int | None) -> None:
        async with aclosing(self._changes(subject, after)) as messages:
            async for message in messages:
                if (event := shown(message.data, reveal=False)) is not None:
                    view = msgspec.json.encode(shapes.EventView(message.sequence, event)).decode()
                    await stream.send(f"id: {message.sequence}\nevent: change\ndata: {view}\n\n")

    async def _changes(self, subject: str, after: int | None) -> AsyncGenerator[Message, None]:
        """From the first after `after`, else from now; over losses of the bus."""
        while True:
            try:
                bus = self._bus()
                await bus.ready()
                newest = int((await bus.api(f"STREAM.INFO.{self._names.ledger}"))["state"]["last_seq"])
                after = newest if after is None or after > newest else after
                async with aclosing(follow(bus, self._names.ledger, [subject], after=after)) as messages:
                    async for message in messages:
                        if message is not None:
                            yield message
                            after = message.sequence
            except (ApiError, BusError, ConsumerGone, Refused) as lost:
                log.debug("the console follows the changes again: %s", lost)
                await anyio.sleep(AGAIN)


class _Stream:
    """The reader's side: one write at a time, and none that waits for ever."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._turn = anyio.Lock()
        self.gone = anyio.Event()

    @property
    def lost(self) -> bool:
        """Whether nobody reads any more."""
        return self.gone.is_set()

    async def send(self, text: str) -> None:
        async with self._turn:
            try:
                with anyio.fail_after(SLOW):
                    await self._response.write(text.encode())
            except (ConnectionError, TimeoutError):
                self.gone.set()


def _still(overview: shapes.Overview) -> bytes:
    """What tells one overview from another, without what only grows older."""
    plain: dict[str, Any] = msgspec.to_builtins(overview)
    plain.pop("at")
    plain.pop("as_of")
    for account in plain["accounts"]:
        account["token"].pop("in_words")
        for resource in account["resources"]:
            resource.pop("age", None)
    for agent in plain["agents"]:
        agent.pop("seen")
    return msgspec.json.encode(plain)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 17 else None
