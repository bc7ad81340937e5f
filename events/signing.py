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
        self._secrets = tuple(secrets)
        for secret in self._secrets:
            _key(secret)

    def headers(self, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The three headers for exactly these bytes. `timestamp` in Unix seconds: the time of this attempt."""
        if not _ID.fullmatch(event_id):
            raise ValueError("an event's id may hold letters, digits, _ and - only")
        signed = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(_signature(_key(secret), signed) for secret in self._secrets),
        }


def generate() -> str:
    """A new secret of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _key(secret: Secret) -> bytes:
    text = secret.reveal()
    if not text.startswith(_PREFIX):
        raise ValueError(f"a signing secret starts with {_PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {_PREFIX} in a signing secret must be base64") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a signing secret is 24 to 64 bytes, this one is {len(key)}")
    return key


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
