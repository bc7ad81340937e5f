"""What the fake vendors share: failures on demand, a log of requests, access tokens, and the controls over HTTP.

A sandbox is a callable from request to response: tests put it behind `httpx.MockTransport`, `serve` puts it behind a port.
`POST /_sandbox/<control>` with a JSON object calls the method of that name with those arguments and answers what it
returns; an unknown control is a 404 that lists them, a bad body a 400 with a sentence. `GET /_sandbox/requests` and
`GET /_sandbox/state` only look. A vendor adds its own controls, `answer`, `error` and perhaps `headers`.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from inspect import signature
from typing import Any, ClassVar, Literal, get_type_hints
from urllib.parse import parse_qs

import httpx
import msgspec

Wire = dict[str, Any]
"""A JSON object in the vendor's own shape."""
Control = Callable[..., Any]

BROKEN = ("html", "truncated", "bom", "huge", "hang")
"""Failures of any reply: a maintenance page, cut JSON, a byte order mark, 50 MB, silence."""
LISTING = ("empty", "wrong_types", "one_bad", "endless", "repeat")
"""Failures of a listing: no items, none readable, one unreadable, a page always full of new ids, always the first page."""

_PREFIX = "/_sandbox/"
_SECRET_NAMES = ("token", "secret", "password", "key", "code")
_HUGE = 50_000_000  # bytes


class Hang(httpx.ReadTimeout):
    """The vendor never answers: served over HTTP it is a silent connection, called directly it is a read time-out."""


class Refused(Exception):
    """A control was asked for something it cannot do. The message is a sentence for whoever asked."""


class Refusal(Exception):
    """A request is answered with one of the vendor's own errors; `kind` is one of the sandbox's `errors`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Seen(msgspec.Struct, frozen=True):
    """A request that came in; values of secret parameters are masked."""

    method: str
    path: str
    query: list[tuple[str, str]]


class Call(msgspec.Struct, frozen=True):
    """A webhook that the vendor is to call, with JSON."""

    url: str
    body: bytes


class Fault(msgspec.Struct, kw_only=True):
    """A failure to come, on paths that contain `match`: `left` times more, or until an instant."""

    status: int | None
    kind: str | None
    match: str
    left: int | None
    until: datetime | None
    retry_after: float | str | None


class Tokens:
    """The access tokens given out, and when each runs out."""

    def __init__(self, now: Callable[[], datetime], lifetime: timedelta) -> None:
        self.lifetime = lifetime
        self._now = now
        self._ends: dict[str, datetime] = {}
        self._issued = 0

    def issue(self) -> str:
        self._issued += 1
        access = f"sandbox-access-{self._issued}"
        self._ends[access] = self._now() + self.lifetime
        return access

    def check(self, access: str) -> Literal["valid", "expired", "unknown"]:
        if access not in self._ends:
            return "unknown"
        return "valid" if self._now() < self._ends[access] else "expired"

    def expire(self) -> None:
        self._ends = dict.fromkeys(self._ends, self._now())

    def forget(self) -> None:
        self._ends = {}


def utc_now() -> datetime:
    return datetime.now(UTC)


class Sandbox:
    """One fake vendor in memory. `answer` may raise Refusal."""

    errors: ClassVar[Mapping[str, int]] = {}  # the vendor's own kinds of error → status

    def __init__(self, now: Callable[[], datetime], token_lifetime: timedelta) -> None:
        self.now = now
        self.tokens = Tokens(now, token_lifetime)
        self.revoked = False
        self.faults: list[Fault] = []
        self.seen: deque[Seen] = deque(maxlen=10_000)
        self.call: Callable[[Call], None] = lambda _: None  # where it is served, calls go out

    def answer(self, request: httpx.Request) -> httpx.Response:
        """The vendor's reply while nothing is set to fail."""
        raise NotImplementedError

    def error(self, status: int, kind: str | None, message: str) -> httpx.Response:
        """An error in the vendor's shape. Without a kind, the vendor's usual one for that status."""
        raise NotImplementedError

    def headers(self) -> dict[str, str]:
        """Headers that every reply of this vendor has."""
        return {}

    def step(self) -> str:
        """Make one random plausible change; returns what happened in a few words."""
        raise NotImplementedError

    def state(self) -> Wire:
        """What the vendor holds now."""
        raise NotImplementedError

    def controls(self) -> dict[str, Control]:
        """What `POST /_sandbox/<name>` calls."""
        return {
            control.__name__: control for control in (self.fail, self.heal, self.expire_tokens, self.revoke, self.grant)
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith(_PREFIX):
            return self._control(request)
        self.seen.append(Seen(request.method, path, [_masked(*pair) for pair in request.url.params.multi_items()]))
        fault = self.due(path, (*BROKEN, *self.errors))
        response = self._reply(request, fault)
        if fault and fault.retry_after is not None:
            response.headers["Retry-After"] = str(fault.retry_after)
        response.headers.update({"Date": format_datetime(self.now().astimezone(UTC), usegmt=True), **self.headers()})
        return response

    def _reply(self, request: httpx.Request, fault: Fault | None) -> httpx.Response:
        if fault and fault.kind == "hang":
            raise Hang("the sandbox was told to hang", request=request)
        if fault and (fault.status or fault.kind in self.errors):
            return self.error(fault.status or self.errors[fault.kind or ""], fault.kind, "errSandboxFault")
        try:
            response = self.answer(request)
        except Refusal as refusal:
            response = self.error(self.errors[refusal.kind], refusal.kind, str(refusal))
        return broken(response, fault.kind) if fault and fault.kind else response

    def due(self, path: str, kinds: tuple[str, ...]) -> Fault | None:
        """The failure to show now, and one less of it. A plain status counts as one of the `kinds` unless they are LISTING."""
        now = self.now()
        self.faults = [fault for fault in self.faults if fault.left != 0 and (fault.until is None or now < fault.until)]
        for fault in self.faults:
            fits = fault.kind in kinds if fault.kind else kinds != LISTING
            if fits and fault.match in path:
                fault.left = None if fault.left is None else fault.left - 1
                return fault
        return None

    def fail(
        self,
        status: int | None = None,
        kind: str | None = None,
        times: int | None = None,
        for_: float | None = None,
        match: str = "",
        retry_after: float | str | None = None,
    ) -> Fault:
        """Fail requests whose path contains `match`, `times` times (default once) or `for` seconds.

        Either `status` (400 to 599) or `kind`: BROKEN, LISTING (only listings use these up) or the vendor's own errors.
        Without `match` sign-in fails too.
        """
        kinds = (*BROKEN, *LISTING, *self.errors)
        if (status is None) == (kind is None):
            raise Refused("Give either a status or a kind.")
        if status is not None and not 400 <= status <= 599:
            raise Refused("A status is from 400 to 599.")
        if kind is not None and kind not in kinds:
            raise Refused(f"A kind is one of {', '.join(kinds)}.")
        if (times is not None and times < 1) or (for_ is not None and for_ <= 0):
            raise Refused("How often and how long are above zero.")
        until = None if for_ is None else self.now() + timedelta(seconds=for_)
        left = 1 if times is None and until is None else times
        fault = Fault(status=status, kind=kind, match=match, left=left, until=until, retry_after=retry_after)
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Drop all failures still to come."""
        self.faults = []

    def expire_tokens(self) -> None:
        """Every access token given out so far has run out."""
        self.tokens.expire()

    def revoke(self) -> None:
        """The user withdraws consent: no access token is known any more and none is given out."""
        self.revoked = True
        self.tokens.forget()

    def grant(self) -> None:
        """The user consents again."""
        self.revoked = False

    def requests(self) -> list[Seen]:
        """What came in, oldest first, controls not counted."""
        return list(self.seen)

    def _control(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.removeprefix(_PREFIX)
        looks: dict[str, Control] = {"requests": self.requests, "state": self.state}
        known = looks if request.method == "GET" else self.controls() if request.method == "POST" else {}
        if name not in known:
            asked = f"There is no {request.method} {name}."
            return _json(404, {"error": asked, "controls": sorted(self.controls()), "looks": sorted(looks)})
        try:
            return _json(200, known[name](**_arguments(known[name], request.content)))
        except (Refused, msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _json(400, {"error": str(error)})


def form(request: httpx.Request) -> dict[str, str]:
    """The fields of a form; of a repeated one, the first value."""
    return {name: values[0] for name, values in parse_qs(request.content.decode("utf-8", "replace")).items()}


def spoilt(items: list[Wire], kind: str | None, key: str) -> list[Wire]:
    """The items of a listing after a LISTING failure; `key` is the field that stays readable in `one_bad`."""
    match kind:
        case "empty":
            return []
        case "wrong_types":
            return [{name: {"wrong": value} for name, value in item.items()} for item in items]
        case "one_bad" if items:
            bad = {name: value if name == key else {"wrong": value} for name, value in items[0].items()}
            return [bad, *items[1:]]
        case _:
            return items


def broken(response: httpx.Response, kind: str) -> httpx.Response:
    """The reply after one of the BROKEN failures, status and content type as they were."""
    content = response.content
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    match kind:
        case "html":
            return httpx.Response(200, html="<!doctype html><title>Maintenance</title><p>We will be back soon.</p>")
        case "truncated":
            return httpx.Response(response.status_code, headers=headers, content=content[: len(content) // 2])
        case "bom":
            return httpx.Response(response.status_code, headers=headers, content=b"\xef\xbb\xbf" + content)
        case "huge":
            return httpx.Response(response.status_code, headers=headers, stream=_Padded(content))
        case _:
            return response


class _Padded(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The same JSON behind 50 MB of blanks, never all in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        blanks = b" " * 65_536
        for _ in range(_HUGE // len(blanks) + 1):
            yield blanks
        yield self._content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def _masked(name: str, value: str) -> tuple[str, str]:
    return (name, "***") if any(word in name.lower() for word in _SECRET_NAMES) else (name, value)


def _arguments(control: Control, body: bytes) -> Wire:
    """A control's body checked against its signature. `id_` and `for_` are `id` and `for` in JSON."""
    hints = get_type_hints(control)
    fields = [
        (name, hints[name]) if parameter.default is parameter.empty else (name, hints[name], parameter.default)
        for name, parameter in signature(control).parameters.items()
    ]
    shape = msgspec.defstruct(
        "Body", fields, rename=lambda name: name.rstrip("_"), kw_only=True, forbid_unknown_fields=True
    )
    return msgspec.structs.asdict(msgspec.json.decode(body or b"{}", type=shape))


def _json(status: int, value: object) -> httpx.Response:
    return httpx.Response(status, json=msgspec.to_builtins(value))
