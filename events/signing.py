"""Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`. https://www.standardwebhooks.com"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Sequence

from schemas.settings import Secret

_PREFIX = "whsec_"
_ID = re.compile(r"[A-Za-z0-9_-]+")  # a dot would let an id and a timestamp run into each other


class Signer:
    """Signs with each of a webhook's secrets, so that a receiver may hold the old or the new one while they change over.

    A secret is `whsec_` and the base64 of 24 to 64 bytes; it is read at each signing, so a rotated file needs no restart.
    Raises ValueError for one that cannot sign. No error shows a secret.
    """

    def __init__(self, secrets: Sequence[Secret]) -> None:
        if not secrets:
            raise ValueError("a webhook needs at least one secret")
        self._keys = tuple(_Key(secret) for secret in secrets)
        for key in self._keys:
            key.hmac()

    def headers(self, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The three headers for exactly these bytes. `timestamp` in Unix seconds: the time of this attempt."""
        if not _ID.fullmatch(event_id):
            raise ValueError("an event's id may hold letters, digits, _ and - only")
        signed = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join([_signature(key.hmac(), signed) for key in self._keys]),
        }


def generate() -> str:
    """A new secret of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


class _Key:
    """A secret and what HMAC makes of it before the first byte to sign, which is half of the work for a short text."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._text = ""
        self._begun: hmac.HMAC | None = None

    def hmac(self) -> hmac.HMAC:
        """An HMAC of the secret as it is now."""
        text = self._secret.reveal()
        if self._begun is None or text != self._text:
            self._begun = hmac.new(_decoded(text), digestmod="sha256")
            self._text = text
        return self._begun.copy()


def _decoded(text: str) -> bytes:
    if not text.startswith(_PREFIX):
        raise ValueError(f"a signing secret starts with {_PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {_PREFIX} in a signing secret must be base64") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a signing secret is 24 to 64 bytes, this one is {len(key)}")
    return key


def _signature(code: hmac.HMAC, signed: bytes) -> str:
    code.update(signed)
    return "v1," + binascii.b2a_base64(code.digest(), newline=False).decode()
