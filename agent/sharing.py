"""One account's token as all agents share it: sealed before it leaves this process, opened when it comes in."""

import hashlib
import math
import secrets
from collections.abc import Mapping

import msgspec

from agent.vault import VARIABLE, Unopenable, Vault
from connectors.auth import Token
from connectors.errors import (
    AuthRefused,
    Forbidden,
    Misconfigured,
    Throttled,
    Unavailable,
    Unreadable,
    VendorError,
)
from events.tokens import Entry, Held, Taken, TokenStore, Trouble
from schemas.settings import MissingReferenceError, Secret

CLAIM = 25.0  # seconds a claim lasts by itself: a sign-in's deadline, and the bus's own time-outs around it
WHOSE = ("base_url", "client_id", "username", "api_key")  # the settings that say whose token it is
_KINDS: Mapping[str, type[VendorError]] = {
    kind.__name__: kind for kind in (AuthRefused, Forbidden, Misconfigured, Unavailable, Unreadable)
}


class _Sealed(msgspec.Struct, frozen=True):
    """What is inside. `whose` and `consent` tell whether the configuration still means this token."""

    access: str
    refresh: str | None
    whose: str
    consent: str


class Shared(msgspec.Struct, frozen=True):
    """An entry, opened. `token` is None where there is none for this configuration, or its agent keeps it to itself."""

    entry: Entry
    token: Token | None
    revision: int
    age: float


class Unsaved(msgspec.Struct, frozen=True):
    """A new token that the store has not got yet, when it was received, and what was known when it was asked for."""

    token: Token
    received: float
    before: Token | None
    after: int


class Sharing:
    """The place an account has in the store. Every call raises LedgerUnavailable, LedgerRefused."""

    def __init__(self, store: TokenStore, vault: Vault, account: str, connector: object) -> None:
        self._store = store
        self._vault = vault
        self._account = account
        self._connector = connector
        self._holder = secrets.token_hex(8)
        self._meant = ""  # the digest of the refresh token that was configured when ours was last sealed or opened

    @property
    def has_key(self) -> bool:
        """Whether tokens are shared; without a key only their health is."""
        return bool(self._vault)

    def sealed(self, token: Token) -> str:
        """A token for an entry."""
        self._meant = _digest(self.consent())
        inside = _Sealed(token.access, token.refresh, self._whose(), self._meant)
        return self._vault.seal(msgspec.json.encode(inside))

    def opened(self, held: Held) -> Shared:
        """An entry with its token. Raises Misconfigured where no key opens it: that is not the same as none."""
        if not held.entry.sealed:
            return Shared(held.entry, None, held.revision, held.age)
        try:
            inside = msgspec.json.decode(self._vault.open(held.entry.sealed), type=_Sealed)
        except (Unopenable, msgspec.MsgspecError):
            raise Misconfigured(self.closed()) from None
        token = None
        consent = self.consent()
        if inside.whose == self._whose() and (not consent or inside.consent == _digest(consent)):
            token = Token(access=inside.access, refresh=inside.refresh, lifetime=held.entry.lifetime)
            self._meant = _digest(consent)
        return Shared(held.entry, token, held.revision, held.age)

    def closed(self) -> str:
        """Why a stored token cannot be opened, and what to do."""
        which = f"the stored token of the account {self._account}"
        if not self._vault:
            return f"{which} is encrypted, and {VARIABLE} is not set: set the key it was stored with"
        return (
            f"{which} cannot be opened with {VARIABLE}: add the key it was stored with, after a comma, "
            f"or replace it with `vendorwire authorize {self._account} --forget`"
        )

    def consent(self) -> str:
        """The configured refresh token: a new one there replaces what is stored."""
        return _text(getattr(self._connector, "refresh_token", None))

    def is_replaced(self) -> bool:
        """Whether another refresh token is configured than when our token was last sealed or opened."""
        consent = self.consent()
        return bool(self._meant and consent) and _digest(consent) != self._meant

    async def read(self) -> Held | None:
        """What is stored."""
        return await self._store.read(self._account)

    async def write(self, entry: Entry, after: int) -> int:
        """Store an entry; its revision. Raises Moved."""
        return await self._store.write(self._account, entry, after)

    async def claim(self) -> int | Taken:
        """The right to sign in, for a while, or who has it."""
        return await self._store.claim(self._account, self._holder, CLAIM)

    async def release(self, claim: int) -> None:
        """Others may sign in."""
        await self._store.release(self._account, claim)

    async def rest(self, claim: int, error: VendorError, seconds: float) -> None:
        """Nobody is to sign in for so long."""
        await self._store.rest(self._account, claim, Trouble(type(error).__name__, str(error)), seconds)

    async def reseal(self) -> Held | None:
        """What is stored, brought under the first key. Raises Misconfigured where it cannot be opened, Moved."""
        held = await self._store.read(self._account)
        if held is None or not held.entry.sealed:
            return held
        self.opened(held)
        if self._vault.is_current(held.entry.sealed):
            return held
        sealed = self._vault.seal(self._vault.open(held.entry.sealed))
        entry = msgspec.structs.replace(aged(held.entry, held.age), sealed=sealed)
        return Held(entry, await self._store.write(self._account, entry, held.revision), 0.0)

    def _whose(self) -> str:
        return _digest(*(str(_text(getattr(self._connector, name, None))) for name in WHOSE), self._account)


def aged(entry: Entry, age: float) -> Entry:
    """The same entry, to be stored so many seconds later."""
    return msgspec.structs.replace(entry, left=max(entry.left - age, 0.0), trial=max(entry.trial - age, 0.0))


def error_of(taken: Taken) -> VendorError | None:
    """The failure that another agent met, under its own name; None where it is still signing in."""
    if taken.trouble is None:
        return None
    if taken.trouble.kind == Throttled.__name__:
        return Throttled(taken.trouble.message, retry_after=math.ceil(taken.left))
    return _KINDS.get(taken.trouble.kind, Unavailable)(taken.trouble.message)


def _digest(*parts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _text(setting: object) -> str:
    if isinstance(setting, Secret):
        try:
            return setting.reveal()
        except MissingReferenceError:  # whoever needs it says so
            return ""
    return "" if setting is None else str(setting)
