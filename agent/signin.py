"""One sign-in, driven: each request of a connector's generator is sent, each reply handed back, until the token is there."""

import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import anyio
import httpx
import msgspec

from connectors.auth import SignIn, Token
from connectors.decoding import decode, what_is_wrong
from connectors.errors import AuthRefused, Forbidden, Misconfigured, Throttled, Unavailable, Unreadable, VendorError
from connectors.http import UNSENDABLE, told
from connectors.statuses import Refuses, by_status, said_by
from schemas.settings import MissingReferenceError

DEADLINE = 10.0  # seconds for a whole sign-in, a refused renewal before it included
LAST_WORD = 3.0  # seconds to come to an end in when the task is cancelled
CARRIED = re.compile("[!-~]+")  # what a header can carry of a token

_fields = msgspec.json.Decoder(dict[str, Any])  # any case, any type: every vendor's own

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]
T = TypeVar("T")


class SignsIn(Refuses, Protocol):
    """What signing in needs of a connector."""

    @property
    def vendor(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def signs_in_anew(self) -> bool: ...

    def sign_in(self, token: Token | None) -> SignIn: ...


class Spent(Exception):
    """The vendor refused to renew the token, and signing in anew, which uses nothing up, failed too: `why`."""

    def __init__(self, why: VendorError) -> None:
        super().__init__(str(why))
        self.why = why


async def signed_in(connector: SignsIn, send: Send, seed: Token | None, wall: Callable[[], float]) -> Token:
    """A new token: by renewal of `seed`, whose lifetime is what is left of it, else all anew. Raises VendorError, Spent.

    Anew where the vendor refuses to renew; where renewing fails otherwise, only once there is nothing left of the old token.
    Never anew where that would use something up, or would send what has just failed.
    """
    with anyio.move_on_after(DEADLINE):
        try:
            return await drive(connector.sign_in(seed), connector, send, wall)
        except Throttled:
            raise
        except VendorError as error:
            refused = isinstance(error, AuthRefused)
            if seed is None or (not refused and seed.lifetime > 0):
                raise
            if refused and not connector.signs_in_anew:
                raise _in_need_of_consent(error, connector) from None
            if not connector.signs_in_anew or _begin_alike(connector, seed):
                raise
        try:
            return await drive(connector.sign_in(None), connector, send, wall)
        except VendorError as error:
            if refused:
                raise Spent(error) from None
            raise
    raise Unavailable(f"signing in was not done within {DEADLINE:g} s")


async def drive(steps: SignIn, connector: Refuses, send: Send, wall: Callable[[], float]) -> Token:
    """The token a generator comes to. Raises VendorError."""
    where = "signing in"
    kind: type[VendorError] = Unreadable
    reply: httpx.Response | None = None
    with contextlib.closing(steps):
        while True:
            try:
                request = next(steps) if reply is None else steps.send(reply)
            except StopIteration as done:
                token: Token = done.value
                if CARRIED.fullmatch(token.access):
                    return token
                reason = "the access token is empty, or no header can carry it"
                break
            except MissingReferenceError as error:
                raise Misconfigured(str(error)) from None
            except UnicodeEncodeError:
                kind, reason = Misconfigured, UNSENDABLE
                break
            except httpx.InvalidURL:
                kind, reason = Misconfigured, "base_url and the path after it are no address"
                break
            except (ValueError, RecursionError) as error:
                reason = what_is_wrong(error)
                break
            where = told(request)
            reply = await send(request)
            _raise_if_refused(connector, reply, wall())
    # Raised here so that it does not carry the first error along, which may quote a secret.
    raise kind(f"{where}: {reason}")


def _raise_if_refused(connector: Refuses, reply: httpx.Response, now: float) -> None:
    """Signing in is not renewable, and needs no grant: a 400, 401 or 403 means the credentials, unless the vendor says
    something else.
    """
    said = said_by(connector, reply)
    if isinstance(said, AuthRefused):
        raise AuthRefused(str(said))
    if isinstance(said, Forbidden) or (said is None and reply.status_code in {400, 401, 403}):
        raise AuthRefused(f"{told(reply.request)}: the vendor refused the credentials ({reply.status_code})")
    failure = said or by_status(reply, now)
    if failure is not None:
        raise failure
    if _tells_an_error(reply):
        raise AuthRefused(
            f"{told(reply.request)}: the vendor refused the credentials (an error inside a {reply.status_code})"
        )


def _tells_an_error(reply: httpx.Response) -> bool:
    """Whether a reply that should bring a token brings an error instead, as some servers do under a 200 (RFC 6749, 5.2)."""
    try:
        fields = {name.lower(): value for name, value in decode(reply.content, _fields, "").items()}
    except Unreadable:  # the generator says what is wrong with it
        return False
    error = fields.get("error")
    said = bool(error) and str(error).lower() not in {"0", "false"}
    return said and not fields.get("access_token")


def _begin_alike(connector: SignsIn, seed: Token) -> bool:
    """Whether renewing and signing in anew send the same first request."""
    return _first(connector.sign_in(seed)) == _first(connector.sign_in(None))


def _first(steps: SignIn) -> tuple[object, ...]:
    with contextlib.closing(steps), contextlib.suppress(VendorError, ValueError, httpx.InvalidURL, StopIteration):
        request = next(steps)
        return request.method, request.url, request.headers, request.content
    return ()


def _in_need_of_consent(error: VendorError, connector: SignsIn) -> AuthRefused:
    return AuthRefused(f"{error}; if that lasts, a new consent is needed: run `vendorwire authorize {connector.name}`")


async def to_the_end(work: Callable[[], Awaitable[T]], last_word: float = LAST_WORD) -> T:
    """Do work that must not be lost half-way: a cancellation lets it go on for `last_word` seconds first."""
    results: list[T] = []
    failures: list[Exception] = []
    ended = anyio.Event()
    scope = anyio.CancelScope(shield=True)

    async def run() -> None:
        with scope:
            try:
                results.append(await work())
            except Exception as error:  # noqa: BLE001 - raised again below, bare and not in a group
                failures.append(error)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        try:
            await ended.wait()
        finally:
            scope.deadline = anyio.current_time() + last_word
    if failures:
        raise failures[0]
    return results[0]
