"""The demo: fake vendors that keep changing, the real agent with its own NATS server, a receiver, and a screen.

All of it lives in this process, its children and one temporary folder; Ctrl-C ends it and leaves nothing.
"""

import io
import logging
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

import anyio
import msgspec
from rich.console import Console
from rich.live import Live

from agent import loop
from agent.app import App
from agent.configfile import load
from agent.receiver import Receiver
from agent.receiver import serve as serve_receiver
from agent.scenes import acts
from agent.screen import Acted, Board, plain, render
from connectors.sandbox.every import ENOUGH, FAKES, Fake
from connectors.sandbox.serve import serve as serve_sandbox
from events.signing import generate
from schemas.changes import Scope
from schemas.facts import Fact, Polled, Scheduled

SEED = 12
TOKEN = secrets.token_urlsafe(12)  # of the console, another one each time
PACE = (0.7, 2.0)  # seconds between two changes at the fake vendors
REDRAW = 0.2  # seconds
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: the terminal's window was closed

Heard = Sequence[tuple[datetime, Fact]]


def main(
    json: bool = False,  # noqa: FBT001, FBT002 the command line hands it over like this
    seconds: float | None = None,
) -> int:
    """Run the demo for so many seconds, or until a signal; the exit status. Raises BusError where there is no nats-server.

    On a terminal it is a screen, elsewhere a line for each thing that happens; with `json` each fact is an object a line.
    """
    console = Console()
    view: View = Json() if json else Screen(console) if _draws(console) else Lines()
    loop.run(_run, view, seconds)
    return 0


async def _run(view: "View", seconds: float | None) -> None:
    prefix = "vendorwire-"
    with (
        anyio.open_signal_receiver(*ENDS) as signals,
        # Another process that had joined our server may be about to take it over: what it writes there goes too.
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder,
    ):
        async with AsyncExitStack() as stack:
            secret = generate()
            receiver = Receiver(secret, time.time)
            hooks = await stack.enter_async_context(serve_receiver(receiver))
            fakes = {vendor: make(SEED, lively=True) for vendor, make in FAKES.items()}
            accounts = []
            for vendor, fake in fakes.items():
                url = await stack.enter_async_context(serve_sandbox(fake.sandbox))
                accounts.append(_account(vendor, fake, url))
            config = Path(folder) / "vendorwire.yaml"
            data = Path(folder) / "data"
            text = _CONFIG.format(data=data, accounts="".join(accounts), receiver=hooks, secret=secret, token=TOKEN)
            config.write_text(text, encoding="utf-8")
            await _Demo(config, data, acts(fakes, random.Random()), receiver, view, random.Random()).run(
                signals, seconds
            )


class _Demo:
    """Everything that runs beside the agent."""

    def __init__(
        self,
        config: Path,
        data: Path,
        acts: Iterator[str],
        receiver: Receiver,
        view: "View",
        rng: random.Random,
    ) -> None:
        self._config = config
        self._data = data
        self._acts = acts
        self._receiver = receiver
        self._view = view
        self._rng = rng
        self._app = App(load(config), listeners=[self._hear])
        self._heard: deque[tuple[datetime, Fact]] = deque()
        self._unread: set[Scope] = set()
        self._baseline = anyio.Event()
        self._gone: OSError | None = None

    async def run(self, signals: AsyncIterator[signal.Signals], seconds: float | None) -> None:
        """Until a signal comes, the time is over, or nobody reads what is shown."""
        with self._view.open():
            async with anyio.create_task_group() as group:
                group.start_soon(self._end_on, signals)
                group.start_soon(self._show)
                group.start_soon(self._change)
                if seconds is not None:
                    group.start_soon(self._end_after, seconds)
                await self._app.run()
                with suppress(OSError):  # at once: a process that had joined finds nothing to take over
                    self._data.rename(self._data.with_name("ended"))
                group.cancel_scope.cancel()
            if self._gone is None:
                self._view.show(self._taken(), self._notes())
        if self._gone is not None:
            raise self._gone
        self._view.end(str(self._receiver))

    def _hear(self, fact: Fact) -> None:
        self._heard.append((datetime.now().astimezone(), fact))
        if isinstance(fact, Scheduled):
            self._unread.add(fact.scope)
        elif isinstance(fact, Polled) and fact.outcome.succeeded:
            self._unread.discard(fact.scope)
            if not self._unread:
                self._baseline.set()

    async def _end_on(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for _ in signals:
            self._app.stop()

    async def _end_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._app.stop()

    async def _show(self) -> None:
        while True:
            try:
                self._view.show(self._taken(), self._notes())
            except OSError as gone:  # a pipe whose reader has seen enough, a terminal that was closed
                self._gone = gone
                self._app.stop()
                return
            await anyio.sleep(REDRAW)

    async def _change(self) -> None:
        """Changes at the vendors, once their first state is stored: that is not news."""
        await self._baseline.wait()
        while True:
            await anyio.sleep(self._rng.uniform(*PACE))
            self._hear(Acted(text=next(self._acts)))

    def _taken(self) -> Heard:
        taken = list(self._heard)
        self._heard.clear()
        return taken

    def _notes(self) -> Sequence[str]:
        return (
            f"receiver {self._receiver}",
            f"console  http://{self._app.address}/  (to act: {TOKEN})   Ctrl-C ends   in a second terminal:",
            f"{_command()} --config {self._config} watch",
        )


class View(Protocol):
    """How the demo is shown. `show` may raise OSError: nobody reads it any more."""

    def open(self) -> AbstractContextManager[None]:
        """For as long as there is something to show."""
        ...

    def show(self, heard: Heard, notes: Sequence[str]) -> None:
        """What was heard since the last time; `notes` tell what else there is to see."""
        ...

    def end(self, receiver: str) -> None:
        """What it came to, after all else."""
        ...


class Json:
    """Each fact as an object a line: its name, when it was heard, what it says."""

    def open(self) -> AbstractContextManager[None]:
        return nullcontext()

    def show(self, heard: Heard, notes: Sequence[str]) -> None:  # noqa: ARG002 notes are for people
        for at, fact in heard:
            line = {"fact": type(fact).__name__, "heard": at, "data": fact}
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()

    def end(self, receiver: str) -> None:
        """All has been told."""


class Lines:
    """A line for each change, delivery and trouble."""

    def __init__(self) -> None:
        self._board = Board()
        self._begun = False

    def open(self) -> AbstractContextManager[None]:
        return nullcontext()

    def show(self, heard: Heard, notes: Sequence[str]) -> None:
        lines = []
        for at, fact in heard:
            self._board.observe(fact, at)
            lines.append(plain(self._board, fact, at))
            if not self._begun and isinstance(fact, Polled):
                self._begun = True
                lines += notes[1:]
        sys.stdout.write("".join(f"{line}\n" for line in lines if line))
        sys.stdout.flush()

    def end(self, receiver: str) -> None:
        sys.stdout.write(f"{self._board.totals}\n{receiver}\n")


class Screen:
    """Three panels on the whole terminal; when it ends, the last picture stays in the scrollback."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._board = Board()
        self._live = Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    @contextmanager
    def open(self) -> Iterator[None]:
        with _log_kept_back(), self._live:
            yield

    def show(self, heard: Heard, notes: Sequence[str]) -> None:
        for at, fact in heard:
            self._board.observe(fact, at)
        size = self._console.size
        self._live.update(render(self._board, notes, _now(), size.width, size.height), refresh=True)

    def end(self, receiver: str) -> None:
        size = self._console.size
        self._console.print(render(self._board, [f"receiver {receiver}"], _now(), size.width, size.height - 2))


@contextmanager
def _log_kept_back() -> Iterator[None]:
    """Errors that are logged while the screen is up are written after it; anything less is what the screen shows."""
    kept = io.StringIO()
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
    before = [(each, each.level, each.setStream(kept)) for each in handlers if each.stream.isatty()]
    for handler, _, _ in before:
        handler.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for handler, level, stream in before:
            handler.setLevel(level)
            handler.setStream(stream)
        sys.stderr.write(kept.getvalue())


def _draws(console: Console) -> bool:
    return sys.stdout.isatty() and not console.is_dumb_terminal


def _now() -> datetime:
    return datetime.now().astimezone()


def _command() -> str:
    """How this command was called, as it can be typed again."""
    typed = Path(sys.argv[0])
    if typed.name != "vendorwire" or shutil.which("vendorwire") == str(typed.absolute()):
        return "vendorwire"
    with suppress(ValueError):
        return str(typed.absolute().relative_to(Path.cwd()))
    return str(typed)


def _account(vendor: str, fake: Fake, url: str) -> str:
    """The account of a fake vendor in the configuration, given where it is served."""
    settings = {**fake.account, "base_url": url + fake.account["base_url"]}
    lines = [f"  - vendor: {vendor}", *(f"    {name}: {value}" for name, value in settings.items())]
    return "\n".join([*lines, LIVELY[vendor].rstrip(), f"    budget: {{requests: {ENOUGH}, per: 5m}}\n"])


# What else each account says: all at a pace at which a minute shows something.
LIVELY = {
    "octorate": """\
    name: hotel-roma
    every: {booking: 1s, property: 10s}
    reconcile: 20s
""",
    "ipro": """\
    name: cottages
    every: {booking: 1s, property: 2s, availability: 2s, enquiry: 3s}
    reconcile: 20s
""",
    "carbontrack": """\
    name: solar-fleet
    every: {device: 1s, measurement: 15s, customer: 5s}
    offline_after: 8s
""",
    "powerpro": """\
    name: college
    every: {course: 2s, enrolment: 1s, student: 5s}
""",
}

_CONFIG = """\
# What the demo runs with; it is gone when the demo ends. `vendorwire init` writes a file to keep.
bus:
  data: {data}
http:
  listen: 127.0.0.1:0
  admin_token: {token}
grace: 2s
accounts:
{accounts}
routes:
  - name: crm
    events: ["booking.*", "availability.*", "enquiry.*", "course.*", "enrolment.*"]
    webhook:
      url: {receiver}
      secret: {secret}
      retries: [1s, 2s, 5s, 10s, 30s]
      allow_private: true
  - name: energy
    events: ["device.*", "measurement.*", "account.*"]
    webhook:
      url: {receiver}
      secret: {secret}
      retries: [1s, 2s, 5s, 10s, 30s]
      allow_private: true
"""
