"""How to reach the bus and who we are there; turned into nats-py's arguments anew at each attempt to connect.

Secrets, credentials, seeds and certificates are therefore read again each time: rotation needs no restart.
"""

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec
import nkeys
from nats.aio.client import RawCredentials

from events.jetstream.errors import BusRefused
from schemas.settings import MissingReferenceError, Secret

_JWT = re.compile(r"BEGIN NATS USER JWT-*\n\S+")
_SEED = re.compile(r"BEGIN USER NKEY SEED-*\n(\S+)")


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM. Without `ca` the system's authorities are trusted; `cert` and `key` are our own certificate."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class BusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`credentials` is a creds file (JWT and seed), `nkey` a seed; times are in seconds.

    A silent server is noticed after three `ping_interval`: 12 s, below the 15 s we promise.
    """

    urls: list[str]
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    credentials: Path | None = None
    nkey: Secret | None = None
    tls: Tls | None = None
    name: str = "vendorwire"
    inbox_prefix: str = "_INBOX.vendorwire"
    ping_interval: int = 4
    connect_timeout: int = 3

    @property
    def where(self) -> str:
        """The servers' addresses, without the user and password a URL may hold."""
        return ", ".join(f"{url.scheme}://{url.netloc.rpartition('@')[2]}" for url in map(_split, self.urls))

    @property
    def tls_wanted(self) -> bool:
        """Whether a server that does not ask for TLS must be refused: nats-py would go on in clear text."""
        schemes = {_split(url).scheme for url in self.urls}
        return "tls" in schemes or (self.tls is not None and schemes <= {"nats", "tls"})

    def __repr__(self) -> str:
        return f"BusOptions({self.where})"

    def arguments(self) -> dict[str, Any]:
        """nats-py's keyword arguments. Raises BusRefused where a file or a variable cannot be used.

        One connection per client, tried at once at each server: coming back is `connection.Bus`'s work.
        """
        return {
            "servers": self.urls,
            "name": self.name,
            "inbox_prefix": self.inbox_prefix,
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,  # 0 and below mean: for ever
            "reconnect_time_wait": 0,
            "connect_timeout": self.connect_timeout,
            "ping_interval": self.ping_interval,
            "max_outstanding_pings": 2,
            "user": self.user,
            "password": _reveal(self.password),
            "token": _reveal(self.token),
            "user_credentials": _credentials(self.credentials) if self.credentials else None,
            "nkeys_seed_str": _seed(_reveal(self.nkey) or "", "bus.nkey") if self.nkey else None,
            "tls": _context(self.tls) if self.tls else None,
        }


def _split(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"nats://{url}")


def _reveal(secret: Secret | None) -> str | None:
    try:
        return secret.reveal() if secret else None
    except MissingReferenceError as error:
        raise BusRefused(f"the credentials of the bus cannot be read: {error}") from None


def _read(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BusRefused(f"{key}: cannot read {path}: {reason}") from None


def _credentials(path: Path) -> RawCredentials:
    """The text of a creds file, checked first: nats-py reads one without a JWT for ever."""
    text = _read(path, "bus.credentials")
    seed = _SEED.search(text)
    if not _JWT.search(text) or not seed:
        raise BusRefused(f"bus.credentials: {path} is not a creds file: it needs a user JWT and an NKEY seed")
    _seed(seed[1], "bus.credentials")
    return RawCredentials(text)


def _seed(text: str, key: str) -> str:
    try:
        nkeys.from_seed(bytearray(text.strip().encode())).wipe()
    except (ValueError, nkeys.NkeysError):
        raise BusRefused(f"{key}: it holds no usable NKEY seed") from None
    return text.strip()


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(path) for path in (tls.ca, tls.cert, tls.key) if path)
        raise BusRefused(f"bus.tls: cannot use {files}: {error.strerror or type(error).__name__}") from None
    return context
