"""The encryption of what is stored of tokens: Fernet (AES-128-CBC and HMAC-SHA256), with keys that can be changed."""

import os
import re

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from agent.faults import ConfigError, Fault
from schemas.settings import Secret

VARIABLE = "VENDORWIRE_KEY"
MAKE_ONE = "`openssl rand -base64 32` makes one"


class Unopenable(Exception):
    """No key opens it: it was sealed with another, or somebody has changed it."""


class Vault:
    """Seals with the first key, opens with any. Without keys (it is then false) it can do neither."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        fernets = [Fernet(key) for key in keys]
        self._first = fernets[0] if fernets else None
        self._all = MultiFernet(fernets) if fernets else None

    @classmethod
    def of(cls, text: str | None) -> "Vault":
        """The vault of the keys in a text (base64 of 32 bytes each), separated by commas or blanks. Raises ConfigError."""
        keys = tuple(key.translate(str.maketrans("+/", "-_")) for key in re.split(r"[,\s]+", text or "") if key)
        Secret.known.update(re.split(r"[,\s]+", text or ""), keys)
        Secret.known.discard("")
        try:
            return cls(keys)
        except ValueError:  # its words may quote the key
            pass
        message = f"each key is 32 bytes in base64, several are separated by commas: {MAKE_ONE}"
        raise ConfigError([Fault(VARIABLE, None, "", message)])

    @classmethod
    def from_environment(cls) -> "Vault":
        """The vault of the keys in VENDORWIRE_KEY, empty where it is not set. Raises ConfigError."""
        return cls.of(os.environ.get(VARIABLE))

    def __bool__(self) -> bool:
        return self._all is not None

    def __repr__(self) -> str:
        return f"Vault({'***' if self else ''})"

    def seal(self, content: bytes) -> str:
        """Nobody without a key can read or change it; empty where there is no key."""
        return self._first.encrypt(content).decode() if self._first else ""

    def open(self, sealed: str) -> bytes:
        """What was sealed. Raises Unopenable."""
        try:
            if self._all is not None:
                return self._all.decrypt(sealed)
        except (InvalidToken, ValueError):
            pass
        raise Unopenable

    def is_current(self, sealed: str) -> bool:
        """Whether it was sealed with the first key."""
        try:
            return self._first is not None and bool(self._first.decrypt(sealed))
        except (InvalidToken, ValueError):
            return False
