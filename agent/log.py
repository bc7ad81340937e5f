"""The log: one line per record on stderr, without secrets and without anything that could forge or colour a line.

`setup` is called once by the command; `FactLog` writes what operators should read: changes of state, not attempts.
"""

import json as jsonlib
import logging
import re
import sys
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import TextIO, assert_never
from urllib.parse import quote, quote_plus

from schemas.changes import Scope
from schemas.facts import (
    AccountPaused,
    BusState,
    Delivered,
    DeliveryOutcome,
    Fact,
    Fresh,
    Hinted,
    Polled,
    PollOutcome,
    Published,
    Quarantined,
    Replanned,
    RouteState,
    RouteTurned,
    Scheduled,
    SignedIn,
    StorageState,
    StreamRemade,
    StreamState,
    TokenState,
    VendorAnswered,
)
from schemas.settings import Secret

MASK = "***"
TALKATIVE = ("httpx", "httpcore", "nats", "aiohttp", "asyncio")  # at DEBUG they write headers, bodies and URLs
SHORTEST = 4  # characters of a secret that is masked; fewer would mask ordinary words
LONGEST = 8192  # characters of one text in a line
REMEMBERED = 10_000  # retried events of a route, and places of a resource, that FactLog keeps apart
PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}  # whatever else is `extra`
BASE64 = re.compile(r"[\w+/-]+=*", re.ASCII)
BARE = re.compile(r"[^\s\"=\\]+")


def setup(level: str, *, json: bool) -> None:
    """Write all records of `level` (`debug`, `info`, …) and above to stderr. Raises ValueError for an unknown level."""
    handler = _Stderr(sys.stderr)
    handler.setFormatter(_JsonLine() if json else _TextLine())
    root = logging.getLogger()
    root.setLevel(level.upper())
    root.handlers[:] = [handler]
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class _Masking:
    """The forms in which known secrets may appear, worked out anew when another secret became known."""

    def __init__(self) -> None:
        self._known: dict[str, _Forms] = {}
        self._forms: list[str] = []
        self._cores: list[str] = []

    def __call__(self, text: str) -> str:
        if self._known.keys() != Secret.known:
            self._learn(Secret.known)
        if self._encoded_in(text):
            # the whole run around a core goes, since its edges hold bits of the secret too
            text = BASE64.sub(lambda run: MASK if self._encoded_in(run.group()) else run.group(), text)
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def _encoded_in(self, text: str) -> bool:
        return any(core in text for core in self._cores)

    def _learn(self, known: set[str]) -> None:
        """Only what is new is worked out: with a thousand accounts each renewal brings one, and each is long."""
        self._known = {secret: self._known.get(secret) or _Forms(secret) for secret in known}
        # longest first: one secret may hold another
        self._forms = sorted({form for each in self._known.values() for form in each.plain}, key=len, reverse=True)
        self._cores = sorted({core for each in self._known.values() for core in each.cores})


class _Forms:
    """What one secret may look like."""

    def __init__(self, secret: str) -> None:
        self.plain = frozenset(_forms(secret)) if len(secret) >= SHORTEST else frozenset()
        self.cores = frozenset(core for form in self.plain for core in _base64_cores(form))


def _forms(secret: str) -> Iterator[str]:
    """As it is, in URLs, as Python or JSON quotes it; of several lines (a key file) each line."""
    lines = [line for line in secret.splitlines() if len(line) >= 8]
    for text in (secret, *lines):
        yield from (text, quote(text), quote(text, safe=""), quote_plus(text), repr(text)[1:-1])
        yield from (repr(text.encode(errors="replace"))[2:-1], jsonlib.dumps(text)[1:-1])


def _base64_cores(text: str) -> Iterator[str]:
    """The part of the base64 of a longer text (such as `user:secret`) that this text alone decides, at each alignment."""
    raw = text.encode(errors="replace")
    for offset in range(3):
        code = b64encode(bytes(offset) + raw).decode()
        core = code[(0, 2, 3)[offset] : (offset + len(raw)) * 8 // 6]
        yield core
        yield core.translate({ord("+"): "-", ord("/"): "_"})


mask = _Masking()
"""Replaces every known secret in a text by ***, also where it is encoded. For whatever is printed outside the log."""


def escape(text: str) -> str:
    """Control characters, line ends, ANSI and bidirectional marks, lone surrogates as visible escapes."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class _Line(logging.Formatter):
    """What both formats share: masked texts of a record."""

    def time(self, record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def fields(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        """The record's `extra`, and the traceback as `trace`. Numbers stay numbers."""
        for name, value in vars(record).items():
            if name not in PLAIN:
                text = clean(str(value))
                number = isinstance(value, int) or (isinstance(value, float) and isfinite(value))
                yield mask(name), value if number and text == str(value) else text
        if record.exc_info:
            yield "trace", clean("".join(traceback.format_exception(*record.exc_info)))
        if record.stack_info:
            yield "stack", clean(record.stack_info)


class _TextLine(_Line):
    """`2026-05-20T08:00:31Z WARNING logger message key=value key="a value"`"""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.time(record)} {record.levelname} {mask(record.name)} {clean(record.getMessage())}"
        return escape(" ".join([head, *(f"{name}={_quoted(str(value))}" for name, value in self.fields(record))]))


class _JsonLine(_Line):
    """An object per line; `time`, `level`, `logger` and `message` are the record's own, ASCII only."""

    def format(self, record: logging.LogRecord) -> str:
        own = {
            "time": self.time(record),
            "level": record.levelname.lower(),
            "logger": mask(record.name),
            "message": clean(record.getMessage()),
        }
        return jsonlib.dumps(own | {name: value for name, value in self.fields(record) if name not in own})


def clean(text: str) -> str:
    """Masked, and cut in its middle: a traceback tells most at its end. In this order: a cut could leave half a secret."""
    text = mask(text)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]} … {len(text)} characters … {text[-LONGEST // 2 :]}"


def _quoted(value: str) -> str:
    if BARE.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Stderr(logging.StreamHandler[TextIO]):
    """logging's own report of a record that cannot be written shows its arguments; this one shows only its place."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        with suppress(OSError, ValueError):  # stderr itself may be closed
            self.stream.write(f"a record could not be logged: {record.filename}:{record.lineno}\n")


class FactLog:
    """Logs facts where something changed. Quiet while all is well, and while what is wrong stays as it is."""

    def __init__(self) -> None:
        self._log = logging.getLogger("vendorwire")
        self._outcomes: dict[Scope, PollOutcome] = {}
        self._places: dict[Scope, set[str]] = {}
        self._refused: set[tuple[str, str]] = set()
        self._retrying: dict[str, set[str]] = {}
        self._failing: set[str] = set()
        self._refusing: set[str] = set()
        self._connected: bool | None = None

    def observe(self, fact: Fact) -> None:
        """Log a fact, if it changes something."""
        match fact:
            case Polled():
                self._polled(fact)
            case Quarantined():
                self._quarantined(fact)
            case TokenState():
                self._token(fact)
            case Delivered() | RouteTurned() | RouteState():
                self._of_route(fact)
            case BusState():
                self._bus(fact)
            case StreamRemade(name=name):
                self._log.warning("a stream was gone: it is made anew, empty", extra={"stream": name})
            case AccountPaused():
                self._paused(fact)
            case (
                Hinted()
                | SignedIn()
                | Scheduled()
                | Fresh()
                | Published()
                | VendorAnswered()
                | StreamState()
                | StorageState()
                | Replanned()
            ):
                return  # metrics tell these
            case _:
                raise TypeError(f"no log line is made of {type(fact).__name__}")

    def _polled(self, fact: Polled) -> None:
        if fact.outcome is PollOutcome.CONFLICT:  # another agent polled first: nothing is wrong with the account
            return
        before = self._outcomes.get(fact.scope, PollOutcome.UNCHANGED)
        outcome = PollOutcome.UNCHANGED if fact.outcome is PollOutcome.CHANGED else fact.outcome
        self._outcomes[fact.scope] = outcome
        if outcome is before:
            return
        where = {"scope": str(fact.scope)}
        if outcome is PollOutcome.UNCHANGED:
            self._log.info("poll recovered", extra=where | {"was": before.value})
        elif outcome is PollOutcome.HELD:
            self._log.warning("deletes are held until a person approves them", extra=where | {"detail": fact.detail})
        else:
            self._log.warning("poll fails", extra=where | {"outcome": outcome.value, "detail": fact.detail})

    def _quarantined(self, fact: Quarantined) -> None:
        places = self._places.setdefault(fact.scope, set())
        if fact.path not in places and len(places) < REMEMBERED:
            places.add(fact.path)
            self._log.warning(
                "record quarantined", extra={"scope": str(fact.scope), "key": fact.key, "path": fact.path}
            )

    def _token(self, fact: TokenState) -> None:
        account = (fact.vendor, fact.account)
        where = {"vendor": fact.vendor, "account": fact.account}
        if fact.healthy and account in self._refused:
            self._refused.remove(account)
            self._log.info("credentials accepted again", extra=where)
        elif not fact.healthy and account not in self._refused:
            self._refused.add(account)
            self._log.warning("credentials do not work", extra=where | {"renewal": fact.renewal})

    def _paused(self, fact: AccountPaused) -> None:
        told: dict[str, object] = {"vendor": fact.vendor, "account": fact.account}
        if fact.paused:
            until = {"until": fact.until.isoformat()} if fact.until else {}
            self._log.warning("an account is paused: it is not polled", extra={**told, "by": fact.by, **until})
        else:
            self._log.info("an account that was paused is polled again", extra=told)

    def _of_route(self, fact: Delivered | RouteTurned | RouteState) -> None:
        match fact:
            case Delivered():
                self._delivered(fact)
            case RouteTurned():
                self._turned(fact)
            case RouteState():
                self._route(fact)
            case _:
                assert_never(fact)

    def _delivered(self, fact: Delivered) -> None:
        """A route fails while an event of it is being retried: one poisonous event among good ones is one line."""
        route = fact.route
        if fact.outcome is DeliveryOutcome.DELIVERED and route not in self._failing:
            return
        retrying = self._retrying.setdefault(route, set())
        about = {"route": route, "status": fact.status, "event": fact.event_id, "attempt": fact.attempt}
        if fact.outcome is DeliveryOutcome.RETRIED:
            if not retrying:
                self._log.warning("route fails", extra=about)
            if len(retrying) < REMEMBERED:
                retrying.add(fact.event_id)
            self._failing.add(route)
            return
        retrying.discard(fact.event_id)
        if fact.outcome is DeliveryOutcome.DEAD:
            self._log.warning("dead letter", extra=about | {"type": fact.kind})
        elif fact.outcome is DeliveryOutcome.REFUSED and route not in self._refusing:
            self._refusing.add(route)
            self._failing.add(route)
            self._log.warning("delivery refused", extra=about)
        elif fact.outcome is DeliveryOutcome.DELIVERED:
            self._refusing.discard(route)
            if route in self._failing and not retrying:
                self._failing.remove(route)
                self._log.info("route recovered", extra={"route": route})

    def _turned(self, fact: RouteTurned) -> None:
        about = {"route": fact.route, "error": fact.error}
        match fact.circuit:
            case "open":
                self._log.warning("route rests: its receiver keeps failing, and is tried now and then", extra=about)
            case "stopped":
                again = f"`vendorwire resume {fact.route}` starts it again"
                self._log.error("route stopped: its receiver is gone for good; %s", again, extra=about)
            case _:
                self._log.info("route delivers again, and catches up", extra={"route": fact.route})

    def _route(self, fact: RouteState) -> None:
        if fact.pending == 0:  # what was retried here may have been delivered by another agent
            self._retrying.pop(fact.route, None)

    def _bus(self, fact: BusState) -> None:
        if fact.connected is self._connected:
            return
        self._connected = fact.connected
        if fact.connected:
            self._log.info("bus connected")
        else:
            self._log.warning("bus lost", extra={"detail": fact.detail})
