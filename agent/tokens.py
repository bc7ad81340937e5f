"""The one owner of an account's access token: it signs in, renews ahead of time and knows when to leave the vendor alone.

All agents share one token per account through a store: whoever holds the claim signs in, stores what it got and only then
uses it; the others take that over. Without a key the tokens stay in memory, each agent signs in for itself, and only their
health is shared. Lifetimes count on the monotonic clock from receipt.
"""

import contextlib
import copy
import random
import time
from collections.abc import Awaitable, Callable

import anyio

from agent.sharing import Shared, Sharing, Unsaved, error_of
from agent.signin import LAST_WORD, Send, SignsIn, Spent, signed_in, to_the_end
from agent.standing import REFUSED_QUIET, Standing
from agent.telling import Telling
from agent.vault import Vault
from connectors.auth import Token
from connectors.errors import AuthRefused, Misconfigured, Unavailable, VendorError
from events import failpoints
from events.ledger import LedgerUnavailable
from events.tokens import Held, MemoryTokenStore, Moved, Taken, TokenStore
from schemas.facts import TokenState

GLANCE = 5.0  # seconds; how often the background renewal looks whether a token has come
GLANCE_AT_FRESH = 60.0  # the same, while there is one that is not due: only another with a shorter life is due earlier
LOOK_AGAIN = 0.2  # seconds between two looks whether the agent that signs in is done
PATIENCE = 40.0  # seconds of such looks: longer than any claim lasts
BUS_PAUSE = 1.0  # seconds until the store is asked again while the token still serves without it


class TokenKeeper:
    """Implements `connectors.auth.Credentials` for one account.

    A token that still serves goes on serving while its renewal fails or is refused. Without one, the vendor is asked at
    most once a minute while it refuses the credentials, and callers get the failure at once meanwhile.

    `send` sends a request and returns its reply whatever its status, or raises VendorError (`connectors.http.Sender.send`).
    `store` and `vault` are what the agents share; left out, this process is alone. `clock` is monotonic, `wall` Unix time; it
    only dates the facts told to `on_state`. A cancelled sign-in still has `last_word` seconds to end and be stored.
    """

    def __init__(
        self,
        connector: SignsIn,
        send: Send,
        on_state: Callable[[TokenState], None],
        *,
        rng: random.Random,
        store: TokenStore | None = None,
        vault: Vault | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        last_word: float = LAST_WORD,
    ) -> None:
        self._connector = connector
        self._send = send
        self._telling = Telling(connector, on_state, wall)
        self._sharing = Sharing(store or MemoryTokenStore(clock), vault or Vault(), connector.name, connector)
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._last_word = last_word
        self._lock = anyio.Lock()
        self._standing = Standing(clock, rng)
        self._unsaved: Unsaved | None = None
        self._follows_anew = False

    def __repr__(self) -> str:
        return f"TokenKeeper({self._connector.vendor}/{self._connector.name})"

    async def token(self) -> Token:
        """A token that is not known to be expired or refused; signs in or renews where needed.

        Raises VendorError, and LedgerUnavailable where the store that all agents share cannot be reached.
        """
        standing = self._standing
        if standing.token is not None and (standing.is_fresh or (standing.serves and self._lock.locked())):
            return standing.token  # while somebody renews it, it still serves
        async with self._lock:
            return await self._current()

    async def renew(self, refused: Token, *, elsewhere: bool = False) -> Token:
        """A token newer than the one the vendor has just refused, for this or (`elsewhere`) for all. Raises as `token` does."""
        standing = self._standing
        async with self._lock:
            if elsewhere and standing.token is not None and standing.token.access == refused.access:
                return await self._another(standing.token)
            standing.refuse(refused.access)
            if not standing.serves and standing.on_trial:
                await self._give_up(AuthRefused("the vendor refuses a token that it has just given"))
            return await self._current()

    async def prepare(self) -> None:
        """Take over what is stored, and bring it under the first key. Raises Misconfigured where no key opens it, as `token`."""
        with contextlib.suppress(Moved):  # another agent has just done it
            held = await self._sharing.reseal()
            if held is not None:
                self.learn(held)

    async def keep(self) -> None:
        """Renew ahead of time, for ever, whatever becomes of it; the caller's task group owns it."""
        while True:
            wait = max(self._standing.due, self._standing.quiet_until) - self._clock()
            if wait <= 0:
                try:
                    with contextlib.suppress(VendorError, LedgerUnavailable):  # the poll that needs the token raises it
                        await self.token()
                except Exception as error:  # noqa: BLE001 - it must not end the agent, and all its other accounts
                    self._telling.stumbled(error)
                    self._standing.be_quiet(REFUSED_QUIET, Unavailable("an unforeseen failure: see the log"))
            await self._sleep(min(max(wait, 1.0), GLANCE_AT_FRESH if self._standing.is_fresh else GLANCE))

    def learn(self, held: Held) -> None:
        """What some agent, this one or another, has stored; passed over where it is older than what is known."""
        known, self._follows_anew = 0 if self._follows_anew else self._standing.revision, False
        if held.revision > known and held.revision != self._standing.revision:
            with contextlib.suppress(Misconfigured):  # the trouble is told
                self._take_over(self._opened(held))
            self._telling.learnt(self._standing)

    def follow(self) -> None:
        """What is learnt next is what the store holds, however old its revision: the store may have been made anew."""
        self._follows_anew = True

    def notice(self) -> None:
        """Time has passed: tell of a token that has run out meanwhile."""
        self._telling.notice(self._standing)

    async def _current(self) -> Token:
        """The token, renewed if it is due. The lock is held, so one of many waiters does it for all."""
        standing = self._standing
        if standing.token is not None and standing.serves and (standing.rests or standing.is_fresh):
            return standing.token
        if standing.trouble is not None and standing.rests:
            raise copy.copy(standing.trouble)  # a copy: many tasks raise it, each with its own traceback
        try:
            await self._refresh()
        except (VendorError, LedgerUnavailable) as error:
            if standing.token is None or not standing.serves:
                raise
            if isinstance(error, LedgerUnavailable):
                standing.be_quiet(BUS_PAUSE)
        if standing.token is None or not standing.serves:
            raise Unavailable("the token ran out while it was on its way")
        return standing.token

    async def _another(self, present: Token) -> Token:
        """A newer token for what the present one is refused for. It serves on, and may be all that there is."""
        standing = self._standing
        if not standing.on_trial:
            standing.doubt()
            token = await self._current()
            if token is not present:  # it may be the same text, given again
                return token
            if isinstance(standing.trouble, AuthRefused):  # the credentials are refused as well: no doubt is left
                standing.refuse(present.access)
                raise copy.copy(standing.trouble)
        raise AuthRefused("the vendor refuses a token for this alone, and there is no other")

    async def _refresh(self) -> None:
        """Take over a fresh token, or sign in while all others wait; while another agent does, the present one serves on."""
        for _ in range(int(PATIENCE / LOOK_AGAIN)):
            if await self._look():
                return
            taken = await to_the_end(self._claimed, self._last_word)
            if taken is None:
                return
            trouble = error_of(taken)
            if trouble is not None:
                self._standing.be_quiet(max(taken.left, LOOK_AGAIN), trouble)
                self._tell()
                raise trouble
            if self._standing.serves:
                self._standing.be_quiet(LOOK_AGAIN)
                return
            await anyio.sleep(LOOK_AGAIN)
        raise Unavailable(f"another agent has been signing in for {PATIENCE:g} s")

    async def _look(self) -> bool:
        """Whether the token serves and is not due, after a look at the store."""
        if self._unsaved is not None:
            await self._save(self._unsaved)
        held = await self._sharing.read()
        if held is None:
            self._standing.revision, self._standing.foreign = 0, False
        elif held.revision != self._standing.revision:
            self._take_over(self._opened(held))
            self._tell()
        return self._standing.is_fresh

    async def _claimed(self) -> Taken | None:
        """Sign in under the claim; who has it, where it is another's."""
        claim = await self._sharing.claim()
        if isinstance(claim, Taken):
            return claim
        rests = False
        try:
            if not await self._look() and (failure := await self._sign_in()) is not None:
                error, quiet = failure
                rests = await self._leave_alone(claim, error, quiet)
                raise error
        finally:
            if not rests and self._unsaved is None:  # else another agent would renew with what is spent
                with anyio.move_on_after(1, shield=True), contextlib.suppress(LedgerUnavailable):
                    await self._sharing.release(claim)
        return None

    async def _sign_in(self) -> tuple[VendorError, float] | None:
        """Nothing, when the new token is stored and in use; else what failed, and for how long to leave the vendor alone."""
        standing = self._standing
        before, after = standing.token, standing.revision
        seed = None if self._sharing.is_replaced() else standing.seed()
        try:
            token = await signed_in(self._connector, self._send, seed, self._wall)
        except (Spent, VendorError) as error:
            if standing.revision != after and standing.is_fresh:
                return None  # another token was stored meanwhile: a person has consented
            why = error.why if isinstance(error, Spent) else error
            return why, standing.failed(why, spent=isinstance(error, Spent))
        self._unsaved = Unsaved(token, self._clock(), before, after)
        failpoints.reached("token.given", self._connector.vendor)
        asked_with = seed.refresh if seed else self._sharing.consent()
        if not (self._sharing.has_key or self._connector.signs_in_anew or token.refresh == asked_with):
            self._telling.replaced()
        await self._save(self._unsaved)
        self._tell("renewed")
        return None

    async def _give_up(self, error: AuthRefused) -> None:
        """Another sign-in would bring nothing but another such token: wait, all agents."""
        pause = self._standing.on_trial
        self._standing.failed(error, spent=False)
        self._standing.be_quiet(pause, error)
        self._tell()
        if self._standing.foreign:
            return  # whoever uses what is stored has no such trouble
        await self._note()
        with contextlib.suppress(LedgerUnavailable):
            claim = await self._sharing.claim()
            if not isinstance(claim, Taken):
                await self._sharing.rest(claim, error, pause)

    async def _leave_alone(self, claim: int, error: VendorError, quiet: float) -> bool:
        """Tell all agents that use these credentials; whether the claim now keeps them from asking."""
        self._tell("refused" if isinstance(error, AuthRefused) else "failed")
        if not self._standing.foreign:
            await self._note()
            with contextlib.suppress(LedgerUnavailable):
                await self._sharing.rest(claim, error, quiet)
                return True
        return False

    async def _save(self, new: Unsaved) -> None:
        """Store a new token, then use it. What another agent stored meanwhile is taken over, unless it is the one before."""
        standing, sharing, after = self._standing, self._sharing, new.after
        known = {new.token.access, new.before.access if new.before else ""}
        sealed = sharing.sealed(new.token)
        for _ in range(3):
            entry = standing.entry_of(new.token, sealed, self._clock() - new.received)
            try:
                standing.revision = await sharing.write(entry, after)
                failpoints.reached("token.stored", self._connector.vendor)
            except Moved:
                held = await sharing.read()
                there = self._opened(held) if held else None
                after = held.revision if held else 0
                if there is not None and there.token is not None and there.token.access not in known:
                    self._unsaved = None
                    self._take_over(there)
                    return
                continue
            except LedgerUnavailable:
                if sharing.has_key:
                    raise
            self._unsaved, standing.entry = None, entry
            standing.be_quiet(float("-inf"))
            standing.take(new.token, entry, 0.0)
            return
        raise LedgerUnavailable("the token could not be stored: others kept storing theirs")

    async def _note(self) -> None:
        """Store what is known to be wrong. That it cannot be stored is no further trouble."""
        with contextlib.suppress(Moved, LedgerUnavailable):
            self._standing.revision = await self._sharing.write(self._standing.entry, self._standing.revision)

    def _opened(self, held: Held) -> Shared:
        try:
            return self._sharing.opened(held)
        except Misconfigured as error:
            self._standing.be_quiet(GLANCE, error)
            self._tell()
            raise

    def _take_over(self, shared: Shared) -> None:
        self._standing.take_over(shared, keyless=not self._sharing.has_key)

    def _tell(self, renewal: str = "") -> None:
        self._telling.tell(self._standing, renewal)
