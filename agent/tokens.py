"""The one owner of an account's access token: it signs in, renews ahead of time and knows when to leave the vendor alone.

Tokens are in memory only; lifetimes count on the monotonic clock from receipt.
"""

import contextlib
import copy
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import httpx

from connectors.auth import SignIn, Token
from connectors.decoding import what_is_wrong
from connectors.errors import AuthRefused, Forbidden, Misconfigured, Throttled, Unreadable, VendorError
from connectors.http import told
from connectors.statuses import Refuses, by_status, said_by
from schemas.facts import TokenState
from schemas.settings import MissingReferenceError

RENEW_AT = 0.8  # of a token's life
JITTER = 0.05
UNKNOWN_LIFETIME = 300.0  # seconds, where the vendor's figure is no lifetime at all
LONGEST_LIFETIME = 366 * 86400.0
REFUSED_QUIET = 60.0  # seconds between sign-ins while the credentials are refused
FAILED_QUIET = 5.0  # seconds after a failure of the token endpoint, doubled up to REFUSED_QUIET
GLANCE = 5.0  # seconds; how often the background renewal looks whether a token has come


class SignsIn(Refuses, Protocol):
    """What signing in needs of a connector."""

    @property
    def vendor(self) -> str: ...

    @property
    def name(self) -> str: ...

    def sign_in(self, token: Token | None) -> SignIn: ...


class TokenKeeper:
    """Implements `connectors.auth.Credentials` for one account.

    A token that still serves goes on serving while its renewal fails or is refused. Without one, the vendor is asked at
    most once a minute while it refuses the credentials, and callers get the failure at once meanwhile.

    `send` sends a request and returns its reply whatever its status, or raises VendorError (`connectors.api.Sender.send`).
    `clock` is monotonic, `wall` Unix time; it only dates the facts told to `on_state`.
    """

    def __init__(
        self,
        connector: SignsIn,
        send: Callable[[httpx.Request], Awaitable[httpx.Response]],
        on_state: Callable[[TokenState], None],
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._connector = connector
        self._send = send
        self._on_state = on_state
        self._rng = rng
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._lock = anyio.Lock()
        self._token: Token | None = None
        self._seed: Token | None = None  # what the next sign-in renews
        self._due = math.inf  # when to renew; never, until somebody has asked for a token
        self._expires = -math.inf
        self._doubted = False  # the vendor refused the last token before its time
        self._trial_ends = -math.inf  # until then, a token that replaced a refused one brings no further sign-in
        self._quiet_until = -math.inf
        self._trouble: VendorError | None = None  # why it is quiet
        self._failures = 0  # running

    def __repr__(self) -> str:
        return f"TokenKeeper({self._connector.vendor}/{self._connector.name})"

    async def token(self) -> Token:
        """A token that is not known to be expired or refused; signs in or renews where needed. Raises VendorError."""
        token, now = self._token, self._clock()
        if token is not None and now < self._due:
            return token
        if token is not None and now < self._expires and self._lock.locked():
            return token  # somebody is renewing it; until then it still serves
        async with self._lock:
            return await self._current()

    async def renew(self, refused: Token) -> Token:
        """A token newer than the one the vendor has just refused. Raises VendorError where there is none."""
        async with self._lock:
            if self._token is not None and self._token.access == refused.access:
                self._due = self._expires = -math.inf
                self._doubted = True
                if self._clock() < self._trial_ends:
                    self._be_quiet(AuthRefused("the vendor refuses a token that it has just given"), self._trial_ends)
            return await self._current()

    async def keep(self) -> None:
        """Renew ahead of time, for ever; the caller's task group owns it."""
        while True:
            wait = max(self._due, self._quiet_until) - self._clock()
            if wait <= 0:
                with contextlib.suppress(VendorError):  # told to on_state; the poll that needs the token raises it
                    await self.token()
            await self._sleep(min(max(wait, 1.0), GLANCE))

    async def _current(self) -> Token:
        """The token, renewed if it is due. The lock is held, so one of many waiters does it for all."""
        token, now = self._token, self._clock()
        usable = token is not None and now < self._expires
        if token is not None and usable and (now < self._due or now < self._quiet_until):
            return token
        if self._trouble is not None and now < self._quiet_until:
            raise copy.copy(self._trouble)  # a copy: many tasks raise it, each with its own traceback
        try:
            fresh = await self._signed_in()
        except VendorError as error:
            self._note_failure(error)
            if token is not None and usable and self._clock() < self._expires:
                return token
            raise
        self._store(fresh)
        return fresh

    def _store(self, token: Token) -> None:
        now = self._clock()
        lifetime = token.lifetime if 0 < token.lifetime <= LONGEST_LIFETIME else UNKNOWN_LIFETIME
        self._token = self._seed = token
        self._due = now + lifetime * (RENEW_AT + self._rng.uniform(-JITTER, JITTER))
        self._expires = now + lifetime
        self._trial_ends = now + REFUSED_QUIET if self._doubted else -math.inf
        self._doubted = False
        self._quiet_until = -math.inf
        self._trouble = None
        self._failures = 0
        self._tell("renewed")

    def _note_failure(self, error: VendorError) -> None:
        quiet = min(FAILED_QUIET * 2**self._failures, REFUSED_QUIET)
        if isinstance(error, AuthRefused | Misconfigured):
            quiet = REFUSED_QUIET
        elif isinstance(error, Throttled):
            quiet = error.retry_after or REFUSED_QUIET
        self._failures = min(self._failures + 1, 10)
        self._due = min(self._due, self._clock())
        self._be_quiet(error, self._clock() + quiet, "refused" if isinstance(error, AuthRefused) else "failed")

    def _be_quiet(self, trouble: VendorError, until: float, renewal: str = "") -> None:
        self._trouble, self._quiet_until = trouble, until
        self._tell(renewal)

    def _tell(self, renewal: str) -> None:
        left = self._expires - self._clock()
        self._on_state(
            TokenState(
                vendor=self._connector.vendor,
                account=self._connector.name,
                healthy=left > 0 and not isinstance(self._trouble, AuthRefused),
                expires_at=self._wall() + left if left > 0 else None,
                renewal=renewal,
            )
        )

    async def _signed_in(self) -> Token:
        """A new token: by renewal where there is one to renew, and all anew where the vendor refuses to renew it."""
        if self._seed is not None:
            with contextlib.suppress(AuthRefused):
                return await self._drive(self._connector.sign_in(self._seed))
            self._seed = None  # spent: from now on it would only be a second refused sign-in each time
        return await self._drive(self._connector.sign_in(None))

    async def _drive(self, steps: SignIn) -> Token:
        """Send each request of a sign-in and hand back its reply, until the token is there."""
        where = "signing in"
        reply: httpx.Response | None = None
        with contextlib.closing(steps):
            while True:
                try:
                    request = next(steps) if reply is None else steps.send(reply)
                except StopIteration as done:
                    token: Token = done.value
                    return token
                except MissingReferenceError as error:
                    raise Misconfigured(str(error)) from None
                except (ValueError, RecursionError) as error:
                    reason = what_is_wrong(error)
                    break
                where = told(request)
                reply = await self._send(request)
                self._raise_if_refused(reply)
        raise Unreadable(f"{where}: {reason}")

    def _raise_if_refused(self, reply: httpx.Response) -> None:
        """Signing in is not renewable, and needs no grant: a 400, 401 or 403 means the credentials, unless the vendor says
        something else.
        """
        said = said_by(self._connector, reply)
        if isinstance(said, AuthRefused):
            raise AuthRefused(str(said))
        if isinstance(said, Forbidden) or (said is None and reply.status_code in {400, 401, 403}):
            raise AuthRefused(f"{told(reply.request)}: the vendor refused the credentials ({reply.status_code})")
        failure = said or by_status(reply, self._wall())
        if failure is not None:
            raise failure
