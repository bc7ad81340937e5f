"""The console, put together: the page and its API over the bus that one agent has. `endpoints` is the table of it all."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import anyio
import msgspec
from aiohttp import web
from anyio.abc import TaskGroup

from agent.bus import names
from agent.commands.failures import leaves_in_doubt
from agent.commands.lines import span_of
from agent.config import Config
from agent.console import asking, openapi, pages, questions, shapes, stories
from agent.console.acting import Acting
from agent.console.answers import Answers
from agent.console.asking import Call
from agent.console.auditing import Auditing
from agent.console.door import COOKIE, Caller, Door, set_cookie
from agent.console.endpoints import ENDPOINTS, Endpoint
from agent.console.live import Live
from agent.console.refusing import Handler, InDoubt, Refused, answered, json
from agent.console.wrong import EVERY, WrongTokens
from events.history import Roll
from events.jetstream.audit import Outcome
from events.jetstream.connection import Bus
from schemas.facts import Fact, SignedIn, SignInOutcome

ACTS = {
    "approve": "approve deletes",
    "resume_route": "resume",
    "replay_events": "replay",
    "replay_dead": "replay dead letters",
    "drop_dead": "drop dead letters",
}
"""Actions that the audit calls by other words than the endpoint: those of the commands that do the same."""

SPARE = 1.0  # seconds left to say that an action goes on
GOES_ON = "This takes longer, and goes on: the audit will tell how it ended. Do not ask for it again before that."

Read = Callable[[Call], Awaitable[msgspec.Struct]]
Act = Callable[[Bus, Call], Awaitable[str]]
Open = Callable[[Call], Awaitable[web.StreamResponse]]


class Console:
    """One agent's console. `add_to` adds its routes; `run` gives it the bus, for as long as it lasts. `tell` hears of facts."""

    def __init__(self, config: Config, roll: Roll, tell: Callable[[Fact], None]) -> None:
        self._names = names(config.bus)
        self._tell = tell
        self._wrong = WrongTokens()
        self._door = Door(config.http, on_wrong=self._hear_wrong)
        self._answers = Answers(config, self._names, roll, self._the_bus)
        self._auditing = Auditing(self._names, config.bus.replicas)
        self._live = Live(self._the_bus, self._names, self._answers.overview)
        self._acting = Acting(config, self._names)
        self._bus: Bus | None = None
        self._tasks: TaskGroup | None = None

    async def run(self, bus: Bus) -> None:
        """Serve from this bus, until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._bus, self._tasks = bus, tasks
            tasks.start_soon(self._note_wrong, bus)
            try:
                await self._answers.watching.run(bus)
            finally:
                self._bus = self._tasks = None

    def add_to(self, application: web.Application) -> None:
        """Serve the page and the API."""
        pages.add_to(application)
        for each in ENDPOINTS:
            application.router.add_route(each.method, each.path, self._handler(each))

    def _handler(self, endpoint: Endpoint) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            caller = self._let_in(endpoint, request)
            call = await asking.read(endpoint, request, caller)
            if endpoint.kind == "open":
                return await self._opens[endpoint.name](call)
            if endpoint.kind == "act":
                done = await self._do(endpoint, call)
                return json(done, HTTPStatus.ACCEPTED if isinstance(done, shapes.UnderWay) else HTTPStatus.OK)
            await self._note_reveal(call)
            if endpoint.stream:
                return await self._serve_live(call)
            return json(await self._reads[endpoint.name](call))

        async def handle_in_time(request: web.Request) -> web.StreamResponse:
            return await answered(handle, request, endless=endpoint.stream)

        return handle_in_time

    def _let_in(self, endpoint: Endpoint, request: web.Request) -> Caller:
        match endpoint.kind:
            case "open":
                return self._door.let_knock(request)
            case "read":
                return self._door.let_read(request)
            case "act":
                return self._door.let_act(request)

    @property
    def _opens(self) -> Mapping[str, Open]:
        return {"session": self._session, "sign_in": self._sign_in, "sign_out": self._sign_out, "openapi": _openapi}

    @property
    def _reads(self) -> Mapping[str, Read]:
        of = self._answers
        return {
            "overview": lambda call: of.overview(call.query),
            "history": of.history,
            "events": of.events,
            "story": of.story,
            "letters": of.letters,
            "letter": of.letter,
            "deletes": of.deletes,
            "quarantine": of.quarantine,
            "audit": self._audit,
        }

    async def _session(self, call: Call) -> web.StreamResponse:
        caller = call.caller
        return json(
            shapes.Session(
                needed=not self._door.is_open(call.request),
                signed_in=caller.signed_in,
                may_act=caller.signed_in and self._door.acts,
                csrf=caller.csrf,
                actions=self._door.acts,
            )
        )

    async def _sign_in(self, call: Call) -> web.StreamResponse:
        where = call.caller.where
        self._door.check(call.body.token, where)
        self._tell(SignedIn(outcome=SignInOutcome.ADMITTED))
        response = web.Response(status=204)
        cookie = self._door.session()
        set_cookie(response, call.request, cookie)
        await self._auditing.note(self._bus, self._door.holder(cookie, where), "sign in", "console")
        return response

    def _hear_wrong(self, where: str, outcome: SignInOutcome) -> None:
        self._tell(SignedIn(outcome=outcome))
        self._wrong.add(where)

    async def _note_wrong(self, bus: Bus) -> None:
        """In the audit, the first at once, and then together what came since."""
        while True:
            await self._wrong.some()
            where, words = self._wrong.take()
            nobody = Caller(who="nobody", where=where, signed_in=False)
            await self._auditing.note(bus, nobody, "sign in", "console", words, "failed")
            await anyio.sleep(EVERY)

    async def _sign_out(self, call: Call) -> web.StreamResponse:
        response = web.Response(status=204)
        if COOKIE in call.request.cookies:
            set_cookie(response, call.request, "")
        return response

    async def _audit(self, call: Call) -> shapes.Acts:
        return await self._auditing.acts(self._the_bus(), call.query.limit)

    async def _note_reveal(self, call: Call) -> None:
        if not getattr(call.query, "reveal", False):
            return
        self._door.let_reveal(call.caller)
        asked = ", ".join(f"{name} {value}" for name, value in call.request.query.items() if name != "reveal")
        await self._auditing.note(self._bus, call.caller, "reveal", call.request.path.removeprefix("/api/"), asked)

    async def _serve_live(self, call: Call) -> web.StreamResponse:
        subject = stories.subject_of(self._names, call.query)
        async with self._answers.watching.staying():
            return await self._live.serve(call.request, call.query, subject, lambda: self._door.let_read(call.request))

    async def _do(self, endpoint: Endpoint, call: Call) -> shapes.Done | shapes.UnderWay:
        """Do it to its end, whoever leaves and however long it takes: in a task of the agent's own."""
        bus, tasks = self._the_bus(), self._tasks
        if tasks is None:
            raise Refused(503, "the agent is stopping: ask another one", 2)
        ended = _Ended()
        tasks.start_soon(self._do_to_its_end, bus, endpoint, call, ended)
        with anyio.CancelScope(deadline=anyio.current_effective_deadline() - SPARE):
            await ended.event.wait()
        if not ended.event.is_set():
            return shapes.UnderWay(GOES_ON)
        if ended.error is not None:
            raise ended.error
        return shapes.Done(ended.sentence)

    async def _do_to_its_end(self, bus: Bus, endpoint: Endpoint, call: Call, ended: "_Ended") -> None:
        target, asked_for, begun = "", "", bus.connected
        try:
            target, asked_for = await self._acting.meant(bus, call), _asked_for(call.body)
            ended.sentence = await self._acting.act(endpoint.name, bus, call)
        except Exception as error:  # noqa: BLE001 raised again where the answer is made
            ended.error = InDoubt(error) if begun and leaves_in_doubt(error) else error
        detail = ended.sentence if ended.error is None else f"{ended.error}{asked_for}"
        act = ACTS.get(endpoint.name, endpoint.name)
        try:
            await self._auditing.note(bus, call.caller, act, target, detail, ended.outcome)
        finally:
            ended.event.set()

    def _the_bus(self) -> Bus:
        if self._bus is None:
            raise Refused(503, "the agent is not connected to the bus yet: see that the NATS server can be reached", 2)
        return self._bus


class _Ended:
    """How an action ended."""

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.sentence = ""
        self.error: Exception | None = None

    @property
    def outcome(self) -> Outcome:
        """As the audit has it."""
        return "done" if self.error is None else "unknown" if isinstance(self.error, InDoubt) else "failed"


def _asked_for(body: Any) -> str:
    """Which past events were to be replayed, where that failed."""
    if not isinstance(body, questions.Replay):
        return ""
    return f"; events {span_of(body.since, body.until, body.events)}"


async def _openapi(_: Call) -> web.StreamResponse:
    return web.Response(body=openapi.document(), content_type="application/json")
