"""A vendor's API over HTTP: one request at a time, each with a slot, a token, a deadline, a cap and a named outcome.

`Api` is what connectors read with.
"""

import copy
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlencode

import httpx
import msgspec

from connectors.auth import Credentials, Token
from connectors.budget import Pacer
from connectors.decoding import decode
from connectors.errors import AuthRefused, Forbidden, Misconfigured, NothingThere, Throttled, VendorError
from connectors.grants import Grants
from connectors.http import DEADLINE, KNOWN, MAX_BYTES, UNSENDABLE, IsKnown, Pieces, Sender, nothing_is_known, told
from connectors.listing import Keys, Listed, Listing, Memory, NoMemory
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
        http: httpx.AsyncBaseTransport,
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
        self._memory: Memory = NoMemory()

    def remembering(self, memory: Memory) -> "Api":
        """The same way to the vendor, for listings whose pages are remembered there."""
        other = copy.copy(self)
        other._memory = memory  # noqa: SLF001  # it is one of us
        return other

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

    async def listing(self, listing: Listing[T], params: Sequence[tuple[str, str]] = ()) -> Listed:
        """GET a page of a listing. Raises VendorError.

        One whose bytes are remembered is neither decoded nor looked at for failures again: a failure is never remembered.
        """
        pieces: Pieces = ()
        fingerprint = b""

        def ask() -> httpx.Request:
            nonlocal fingerprint
            fingerprint = b""  # of the reply to this request, not to the one before the token was renewed
            return httpx.Request("GET", self._url(listing.path, params))

        def is_known(found: Pieces) -> bool:
            nonlocal pieces, fingerprint
            fingerprint = listing.fingerprint(found)
            known = self._memory.knows(fingerprint)
            pieces = found if known else ()
            return known

        try:
            reply = await self._ask(ask, is_known)
        except NothingThere:
            if listing.absent is None:
                raise
            return listing.absent
        except Forbidden:
            if listing.forbidden is None:
                raise
            return listing.forbidden

        def read() -> Listed:
            content = b"".join(pieces) if KNOWN in reply.extensions else reply.content
            return listing.page(decode(content, listing.decoder, told(reply.request)))

        return self._memory.listed(fingerprint, read, listing.key_of, listing.context)

    def keys(self) -> Keys:
        """A set of keys with nothing in it, for the paging of a listing."""
        return self._memory.keys()

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

    async def put(self, path: str, decoder: msgspec.json.Decoder[T], params: Sequence[tuple[str, str]]) -> T:
        """PUT what the query says, and decode the reply. Raises VendorError."""
        reply = await self._ask(lambda: httpx.Request("PUT", self._url(path, params)))
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
            return _address(self._vendor.base_url, path, tuple(params))
        except httpx.InvalidURL:
            raise Misconfigured("a path with characters that no address can have was to be read") from None

    async def _ask(self, make: Callable[[], httpx.Request], is_known: IsKnown = nothing_is_known) -> httpx.Response:
        """Send; where the vendor says that the token has run out, renew it once and send again.

        Where it accepts the token for something else, that is no matter of the token: Forbidden.
        """
        await self._pacer.acquire()
        token = await self._credentials.token()
        request = make()
        what = told(request)
        try:
            return await self._attempt(request, token, is_known)
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
            return await self._attempt(make(), token, is_known)
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

    async def _attempt(self, request: httpx.Request, token: Token, is_known: IsKnown) -> httpx.Response:
        self._authorize(request, token)
        try:
            reply = await self._sender.send(request, is_known)
        except VendorError:
            self._on_answer("error", self._pacer.left())
            raise
        counter = reply.headers.get("X-RateLimit-Remaining", "")
        if re.fullmatch(r"[0-9]{1,9}", counter):
            self._pacer.remaining(int(counter))
        failure = None
        if KNOWN not in reply.extensions:
            failure = said_by(self._vendor, reply) or by_status(reply, self._wall())
        if isinstance(failure, Throttled) and failure.retry_after:
            self._pacer.hold(failure.retry_after)
        self._on_answer(str(reply.status_code), self._pacer.left())
        if failure is not None:
            raise failure
        self._grants.accepted(told(request), token.access)
        return reply


@lru_cache(maxsize=2048)
def _address(base_url: str, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
    """To read one costs as much as all else that is done for a request; the same pages are asked for again and again."""
    query = f"{'&' if '?' in path else '?'}{urlencode(params)}" if params else ""
    return httpx.URL(f"{base_url.rstrip('/')}/{path.lstrip('/')}{query}")
