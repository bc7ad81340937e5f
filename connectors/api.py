"""A vendor's API over HTTP: one request at a time, each with a slot, a token, a deadline, a cap and a named outcome.

`Api` is what connectors read with.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import httpx
import msgspec

from connectors.auth import Credentials, Token
from connectors.budget import Pacer
from connectors.decoding import decode
from connectors.errors import AuthRefused, Forbidden, Misconfigured, NothingThere, Throttled, VendorError
from connectors.grants import Grants
from connectors.http import DEADLINE, MAX_BYTES, UNSENDABLE, Sender, told
from connectors.statuses import Refuses, by_status, said_by
from schemas.settings import MissingReferenceError

T = TypeVar("T")

REMEMBERED = 600.0  # seconds


class Vendor(Refuses, Protocol):
    """What reading needs of a connector."""

    @property
    def base_url(self) -> str: ...

    def authorize(self, request: httpx.Request, token: Token) -> None: ...


class Api:
    """Reads one vendor account.

    `on_answer` hears of every request sent: its HTTP status (`error` where no whole reply came) and the requests left in
    the budget.
    """

    def __init__(
        self,
        vendor: Vendor,
        credentials: Credentials,
        http: httpx.AsyncClient,
        pacer: Pacer,
        on_answer: Callable[[str, float | None], None],
        *,
        deadline: float = DEADLINE,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._vendor = vendor
        self._credentials = credentials
        self._sender = Sender(http, deadline=deadline, max_bytes=max_bytes)
        self._pacer = pacer
        self._on_answer = on_answer
        self._clock = clock
        self._wall = wall
        self._remembered: dict[str, tuple[float, Any]] = {}
        self._grants = Grants(clock)

    async def get(
        self,
        path: str,
        decoder: msgspec.json.Decoder[T],
        params: Sequence[tuple[str, str]] = (),
        *,
        absent: T | None = None,
        forbidden: T | None = None,
    ) -> T:
        """GET a path under the base URL and decode the reply. Raises VendorError.

        `absent` is the answer where the vendor says that nothing is there; without it NothingThere is raised. `forbidden` is
        the answer where the vendor does not grant it: for what is only good to know.
        """
        try:
            reply = await self._ask(lambda: httpx.Request("GET", self._url(path, params)))
        except NothingThere:
            if absent is None:
                raise
            return absent
        except Forbidden:
            if forbidden is None:
                raise
            return forbidden
        return decode(reply.content, decoder, told(reply.request))

    async def post(
        self,
        path: str,
        decoder: msgspec.json.Decoder[T],
        *,
        json: object = None,
        form: Mapping[str, str] | None = None,
    ) -> T:
        """POST a JSON body or a form, for vendors that read that way, and decode the reply. Raises VendorError."""
        reply = await self._ask(lambda: self._post(path, json, form))
        return decode(reply.content, decoder, told(reply.request))

    async def remember(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` answered in the last ten minutes, else what it answers now."""
        now = self._clock()
        until, answer = self._remembered.get(key, (now, None))
        if now >= until:
            answer = await ask()
            self._remembered[key] = (now + REMEMBERED, answer)
        return cast("T", answer)

    def _post(self, path: str, json: object, form: Mapping[str, str] | None) -> httpx.Request:
        url = self._url(path)
        if form is not None:
            return httpx.Request("POST", url, data=form)
        headers = {"Content-Type": "application/json"}
        return httpx.Request("POST", url, content=msgspec.json.encode(json), headers=headers)

    def _url(self, path: str, params: Sequence[tuple[str, str]] = ()) -> httpx.URL:
        """The path always starts with a slash, so that it cannot continue the host."""
        try:
            url = httpx.URL(f"{self._vendor.base_url.rstrip('/')}/{path.lstrip('/')}")
        except httpx.InvalidURL:
            raise Misconfigured("a path with characters that no address can have was to be read") from None
        return url.copy_merge_params(list(params)) if params else url

    async def _ask(self, make: Callable[[], httpx.Request]) -> httpx.Response:
        """Send; where the vendor says that the token has run out, renew it once and send again.

        Where it accepts the token for something else, that is no matter of the token: Forbidden.
        """
        await self._pacer.acquire()
        token = await self._credentials.token()
        request = make()
        what = told(request)
        try:
            return await self._attempt(request, token)
        except AuthRefused as refused:
            if not refused.renewable:
                raise
            doubt = self._grants.refused(what, token.access)
            not_granted = Forbidden(f"{refused}, with a token that it accepts elsewhere")
        if doubt.is_settled:
            raise not_granted
        try:
            token = await self._credentials.renew(token, elsewhere=doubt.elsewhere)
        except AuthRefused:
            if doubt.is_accepted:
                raise not_granted from None
            raise
        await self._pacer.acquire()
        try:
            return await self._attempt(make(), token)
        except AuthRefused as refused:
            if self._grants.refused_again(what, token.access):
                raise not_granted from None
            refused.renewable = False  # it was renewed, and that did not help
            raise

    def _authorize(self, request: httpx.Request, token: Token) -> None:
        try:
            self._vendor.authorize(request, token)
            return
        except MissingReferenceError as error:
            failure = str(error)
        except UnicodeEncodeError:
            failure = f"{told(request)}: {UNSENDABLE}"
        raise Misconfigured(failure)  # here, so that it does not carry the first error along, which may quote a secret

    async def _attempt(self, request: httpx.Request, token: Token) -> httpx.Response:
        self._authorize(request, token)
        try:
            reply = await self._sender.send(request)
        except VendorError:
            self._on_answer("error", self._pacer.left())
            raise
        counter = reply.headers.get("X-RateLimit-Remaining", "")
        if re.fullmatch(r"[0-9]{1,9}", counter):
            self._pacer.remaining(int(counter))
        failure = said_by(self._vendor, reply) or by_status(reply, self._wall())
        if isinstance(failure, Throttled) and failure.retry_after:
            self._pacer.hold(failure.retry_after)
        self._on_answer(str(reply.status_code), self._pacer.left())
        if failure is not None:
            raise failure
        self._grants.accepted(told(request), token.access)
        return reply
