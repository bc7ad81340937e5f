"""What one agent knows of an account's token, on its own monotonic clock. Pure: it asks nobody and stores nothing."""

import math
import random
from collections.abc import Callable

import msgspec

from agent.sharing import Shared
from connectors.auth import Token
from connectors.errors import AuthRefused, Misconfigured, Throttled, VendorError
from events.tokens import Entry
from schemas.settings import Secret

RENEW_AT = 0.8  # of a token's life
JITTER = 0.05
UNKNOWN_LIFETIME = 300.0  # seconds, where the vendor's figure is no lifetime at all
LONGEST_LIFETIME = 366 * 86400.0
REFUSED_QUIET = 60.0  # seconds between sign-ins while the credentials are refused
FAILED_QUIET = 5.0  # seconds after a failure of the token endpoint, doubled up to REFUSED_QUIET
REMEMBERED = (
    6  # texts of tokens that the log masks: the present one's, and those before it that may still be on their way
)


class Standing:
    """The token, when to renew it, and for how long the vendor is to be left alone."""

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._masked: list[str] = []
        self._refused = ""  # the access token that the vendor refused last
        self._trial_ends = -math.inf  # until then, a token that replaced a refused one brings no further sign-in
        self.token: Token | None = None
        self.entry = Entry()  # what the store holds, as stored at `revision`
        self.revision = 0
        self.due = math.inf  # when to renew; never, until there is a token
        self.expires = -math.inf
        self.foreign = False  # what is stored belongs to other credentials: their trouble is not ours, nor ours theirs
        self.doubted = False  # the vendor refused the token before its time
        self.quiet_until = -math.inf
        self.trouble: VendorError | None = None  # why it is quiet

    @property
    def serves(self) -> bool:
        """Whether the token is not known to be expired or refused."""
        return self.token is not None and self._clock() < self.expires

    @property
    def is_fresh(self) -> bool:
        """Whether it serves and is not due for renewal."""
        return self.serves and self._clock() < self.due

    @property
    def rests(self) -> bool:
        """Whether nothing is to be asked now."""
        return self._clock() < self.quiet_until

    @property
    def left(self) -> float:
        """Seconds the token still serves; none where it does not."""
        return max(self.expires - self._clock(), 0.0)

    @property
    def is_healthy(self) -> bool:
        """Whether there is a token that serves, and the vendor did not refuse the credentials when it was last asked."""
        return self.left > 0 and self.entry.problem != "refused" and not isinstance(self.trouble, AuthRefused)

    @property
    def on_trial(self) -> float:
        """Seconds in which a refusal brings no further sign-in."""
        return max(self._trial_ends - self._clock(), 0.0)

    def seed(self) -> Token | None:
        """What the next sign-in renews, with what is left of its life."""
        if self.token is None or self.entry.spent:
            return None
        return msgspec.structs.replace(self.token, lifetime=self.left)

    def refuse(self, access: str) -> None:
        """The vendor refuses this access token: it serves no more if it is ours."""
        if self.token is not None and self.token.access == access:
            self.due = self.expires = -math.inf
            self._refused, self.doubted = access, True

    def doubt(self) -> None:
        """The vendor refuses the token for one thing, and accepts it for others: it serves until there is a newer one."""
        self.due, self.doubted = -math.inf, True

    def be_quiet(self, seconds: float, trouble: VendorError | None = None) -> None:
        """Ask nothing for so long; callers without a token get the trouble meanwhile."""
        self.trouble, self.quiet_until = trouble, self._clock() + seconds

    def failed(self, error: VendorError, *, spent: bool) -> float:
        """A sign-in failed: for how long the vendor is left alone, in seconds."""
        failures = min(self.entry.failures + 1, 10)
        quiet = min(FAILED_QUIET * 2.0 ** (failures - 1), REFUSED_QUIET)
        if isinstance(error, AuthRefused | Misconfigured):
            quiet = REFUSED_QUIET
        elif isinstance(error, Throttled):
            quiet = error.retry_after or REFUSED_QUIET
        self.entry = msgspec.structs.replace(
            self.entry,
            left=self.left,
            trial=self.on_trial,
            spent=self.entry.spent or spent,
            problem="refused" if isinstance(error, AuthRefused) else "failed",
            failures=failures,
        )
        self.due = min(self.due, self._clock())
        self.be_quiet(quiet, error)
        return quiet

    def entry_of(self, token: Token, sealed: str, age: float) -> Entry:
        """The entry for a new token, received so many seconds ago."""
        lifetime = token.lifetime if 0 < token.lifetime <= LONGEST_LIFETIME else UNKNOWN_LIFETIME
        doubted = self.doubted or self.entry.problem == "refused"
        trial = REFUSED_QUIET if doubted else 0.0
        return Entry(sealed=sealed, lifetime=lifetime, left=lifetime - age, trial=max(trial - age, 0.0))

    def take_over(self, shared: Shared, *, keyless: bool) -> None:
        """What the store holds now. Without a key it tells of other agents' tokens, which serve only them."""
        self.revision = shared.revision
        self.foreign = bool(shared.entry.sealed) and shared.token is None
        if self.foreign:
            return
        self.entry = shared.entry
        if not shared.entry.problem:
            self.be_quiet(-math.inf)
        if shared.token is not None or (keyless and self.token is None):
            self.take(shared.token, shared.entry, shared.age)

    def take(self, token: Token | None, entry: Entry, age: float) -> None:
        """A token, and its entry as stored so many seconds ago. One that was refused here serves again only where
        the vendor has just given it again: on trial."""
        now = self._clock()
        self.foreign = False
        self.expires = now + entry.left - age
        self.due = self.expires - entry.lifetime * (1 - RENEW_AT + self._rng.uniform(-JITTER, JITTER))
        self._trial_ends = now + entry.trial - age if entry.trial > age else -math.inf
        self.token = token
        if token is None:
            self.due = math.inf
            return
        if token.access == self._refused and not self.on_trial:
            self.due = self.expires = -math.inf
        else:
            self.doubted = False
        self._mask(token)

    def _mask(self, token: Token) -> None:
        for text in (token.access, token.refresh):
            if text:  # to the end, also where it is there: it is still in use
                self._masked = [*(each for each in self._masked if each != text), text]
        Secret.known.difference_update(self._masked[:-REMEMBERED])
        del self._masked[:-REMEMBERED]
        Secret.known.update(self._masked)
