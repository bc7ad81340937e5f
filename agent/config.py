"""The configuration, typed. Each struct checks itself: a ValueError that begins with a field's name is about that field.

`agent.configfile` reads it from a file and reports every fault at once.
"""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from connectors.base import Connector, FirstSync
from events.routes import Route
from schemas.settings import Deletes, Duration, Secret

_SCHEMES = {"nats", "tls", "ws", "wss"}
_PREFIX = re.compile(r"[A-Za-z0-9_-]+")
_INBOX = re.compile(r"_INBOX(\.[A-Za-z0-9_-]+)+")


def _check_server(server: str) -> None:
    parts = _split(server)
    if parts is None or parts.scheme not in _SCHEMES or not parts.hostname or _port(parts, 4222) is None:
        raise ValueError("url must be like nats://host:4222 (or tls://, ws://, wss://)")
    if "@" in parts.netloc:
        raise ValueError("url must not hold a password or token: use the keys user and password, or token")
    if parts.query or parts.fragment:
        raise ValueError("url must end after host, port and path")


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # its own words would quote the address
        return None


def _port(parts: SplitResult, default: int | None = None) -> int | None:
    try:
        return default if parts.port is None else parts.port
    except ValueError:
        return None


class UnknownAccountError(LookupError):
    """No account has this name."""


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PEM files: `ca` to trust beyond the system's own, `cert` and `key` to show to the server."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert needs a key beside it" if self.cert else "key needs a cert beside it")


class Bus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The NATS server: at `url`, or without it an embedded one with its files in `data`.

    At most one way to sign in: `credentials` (a .creds file), `user` and `password`, `token`, or `nkey` (a seed). Answers
    come to subjects below `inbox_prefix`: one of its own for each user of the server keeps them from reading each other's.
    """

    url: str | tuple[str, ...] | None = None
    credentials: Path | None = None
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    nkey: Secret | None = None
    tls: Tls | None = None
    inbox_prefix: str = "_INBOX.vendorwire"
    data: Path = Path("vendorwire-data")
    replicas: Literal[1, 3, 5] = 1
    keep_events: Duration = Duration(days=30)
    prefix: str = "vendorwire"
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        self._check_servers()
        if (self.user is None) != (self.password is None):
            raise ValueError("user needs a password beside it" if self.user else "password needs a user beside it")
        if self.user is not None and not self.user.strip():
            raise ValueError("user must not be blank")
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError("prefix must be one word of letters, digits, - and _")
        if not _INBOX.fullmatch(self.inbox_prefix):
            raise ValueError(
                "inbox_prefix must be _INBOX and words of letters, digits, - and _, such as _INBOX.vendorwire"
            )
        if self.keep_events < Duration(seconds=1):
            raise ValueError("keep_events must be at least 1s")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError("max_bytes must be at least 1; leave it out for no limit")

    def _check_servers(self) -> None:
        for server in self.servers:
            _check_server(server)
        if self.url is not None and not self.servers:
            raise ValueError("url is an empty list: name a server, or leave it out for the embedded one")
        sign_in = [name for name in ("credentials", "user", "token", "nkey") if getattr(self, name) is not None]
        if len(sign_in) > 1:
            raise ValueError(f"{sign_in[1]} cannot go with {sign_in[0]}: choose one way to sign in")
        remote = [*sign_in, *(["tls"] if self.tls else []), *(["replicas"] if self.replicas > 1 else [])]
        if self.url is None and remote:
            raise ValueError(f"{remote[0]} needs a bus.url: the embedded server has no use for it")

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers' URLs; none for the embedded server."""
        if self.url is None:
            return ()
        return (self.url,) if isinstance(self.url, str) else self.url


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the agent listens; `admin_token` is asked for by whatever changes something, and without it refused."""

    listen: str = "127.0.0.1:8787"
    admin_token: Secret | None = None

    def __post_init__(self) -> None:
        parts = _split(f"//{self.listen}")
        if not parts or not parts.hostname or _port(parts) is None or parts.netloc != self.listen or "@" in self.listen:
            raise ValueError("listen must be a host and a port, such as 127.0.0.1:8787 or [::]:8787")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(f"//{self.listen}")
        return parts.hostname or "", parts.port or 0


class Defaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for each account that does not say otherwise."""

    first_sync: FirstSync = "baseline"
    deletes: Deletes = Deletes()
    redact: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that an agent is told. `grace`: how long it may take to shut down, shorter than the pod's own.

    With the nearly 3 seconds a hung bus takes to be left, the default stays within 10.
    """

    bus: Bus = Bus()
    http: Http = Http()
    defaults: Defaults = Defaults()
    accounts: tuple[Connector, ...]
    routes: tuple[Route, ...] = ()
    grace: Duration = Duration(seconds=6)

    def account(self, name: str) -> Connector:
        """The account of this name. Raises UnknownAccountError, which lists those there are."""
        for account in self.accounts:
            if account.name == name:
                return account
        known = ", ".join(account.name for account in self.accounts)
        raise UnknownAccountError(f"no account is named {name!r}; there are: {known}")

    def first_sync(self, account: Connector) -> FirstSync:
        """Whether an account's first sweep is silent (`baseline`) or publishes each record (`events`)."""
        return account.first_sync or self.defaults.first_sync

    def deletes(self, account: Connector) -> Deletes:
        """How many records of an account may vanish at once."""
        return account.deletes or self.defaults.deletes

    def redact(self, account: Connector) -> tuple[str, ...]:
        """The paths of the record fields of an account that are neither stored nor published."""
        return self.defaults.redact if account.redact is None else account.redact
