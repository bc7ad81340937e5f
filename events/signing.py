"""Standard Webhooks signatures over `id.timestamp.body`: HMAC-SHA256 and ed25519. https://www.standardwebhooks.com"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.settings import Secret

_SHARED, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"
_SEED = 32  # bytes of an ed25519 private key; of its public key too
_ID = re.compile(r"[A-Za-z0-9_-]+")  # a dot would let an id and a timestamp run into each other

Sign = Callable[[bytes], str]


class Signer:
    """Signs with each of a webhook's secrets, so that a receiver may hold the old or the new one while they change over.

    A secret is `whsec_` and the base64 of 24 to 64 bytes, shared with the receiver and signing as `v1`; or `whsk_` and the
    base64 of an ed25519 private key, signing as `v1a`: its 32 bytes, or these and the 32 of its public key (64 in all, as
    libsodium and Svix write it). It is read at each signing, so a rotated file needs no restart.
    Raises ValueError for one that cannot sign. No error shows a secret.
    """

    def __init__(self, secrets: Sequence[Secret]) -> None:
        if not secrets:
            raise ValueError("a webhook needs at least one secret")
        self._keys = tuple(_Key(secret) for secret in secrets)
        for key in self._keys:
            key.signing()

    def headers(self, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The three headers for exactly these bytes. `timestamp` in Unix seconds: the time of this attempt."""
        if not _ID.fullmatch(event_id):
            raise ValueError("an event's id may hold letters, digits, _ and - only")
        signed = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join([key.signing()(signed) for key in self._keys]),
        }


class KeyPair(msgspec.Struct, frozen=True):
    """An ed25519 key in two texts: `private` (`whsk_…`) signs, `public` (`whpk_…`) is all that a receiver needs."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"KeyPair(private=***, public={self.public!r})"


def generate() -> str:
    """A new shared secret of 32 random bytes."""
    return _SHARED + _base64(secrets.token_bytes(32))


def generate_pair() -> KeyPair:
    """A new ed25519 key."""
    seed = secrets.token_bytes(_SEED)
    public = _public_of(Ed25519PrivateKey.from_private_bytes(seed))
    return KeyPair(_PRIVATE + _base64(seed + public), _PUBLIC + _base64(public))


class _Key:
    """A secret and what can be made of it before the first byte to sign: for HMAC half of the work for a short text."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._text: str | None = None
        self._sign: Sign

    def signing(self) -> Sign:
        """How to sign with the secret as it is now. Raises ValueError."""
        text = self._secret.reveal()
        if text != self._text:
            self._sign = _signing(text)
            self._text = text
        return self._sign


def _signing(text: str) -> Sign:
    if text.startswith(_SHARED):
        return partial(_v1, hmac.new(_shared_key(text), digestmod="sha256"))
    if text.startswith(_PRIVATE):
        return partial(_v1a, _private_key(text))
    if text.startswith(_PUBLIC):
        raise ValueError(
            f"{_PUBLIC} begins a public key, which is for the receiver: the private one begins with {_PRIVATE}"
        )
    raise ValueError(f"a signing secret starts with {_SHARED} or {_PRIVATE}")


def _shared_key(text: str) -> bytes:
    key = _decoded(text, _SHARED)
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a signing secret is 24 to 64 bytes, this one is {len(key)}")
    return key


def _private_key(text: str) -> Ed25519PrivateKey:
    both = _decoded(text, _PRIVATE)
    if len(both) not in {_SEED, 2 * _SEED}:
        raise ValueError(f"a private signing key is {_SEED} or {2 * _SEED} bytes, this one is {len(both)}")
    key = Ed25519PrivateKey.from_private_bytes(both[:_SEED])
    if not hmac.compare_digest(both[_SEED:] or _public_of(key), _public_of(key)):
        raise ValueError("the two halves of a private signing key do not belong together")
    return key


def _decoded(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {prefix} in a signing secret must be base64") from None


def _v1(begun: hmac.HMAC, signed: bytes) -> str:
    code = begun.copy()
    code.update(signed)
    return "v1," + _base64(code.digest())


def _v1a(key: Ed25519PrivateKey, signed: bytes) -> str:
    return "v1a," + _base64(key.sign(signed))


def _public_of(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _base64(content: bytes) -> str:
    return binascii.b2a_base64(content, newline=False).decode()
