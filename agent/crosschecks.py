"""Checks that span sections of the configuration. They go by what could be read, so that one fault hides no other."""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from agent.faults import Faults, step
from agent.vault import VARIABLE
from agent.wording import listed, meant
from connectors.base import Connector, Resource
from events.addresses import objection
from events.routes import NO_EVENTS, Route, filters
from events.signing import Signer
from schemas.energy import Measurement
from schemas.settings import Duration

_NAME = re.compile(r"[a-z0-9-]{1,63}")
_SHORTEST = timedelta(seconds=1)
_GUESSABLE = 16  # characters: what is shorter could be guessed
_FILES = ("bus.credentials", "bus.tls.ca", "bus.tls.cert", "bus.tls.key")

Seen = Mapping[str, Any]


def check(seen: Seen, faults: Faults, connectors: Sequence[type[Connector]]) -> None:
    """Note the faults of `seen`: what could be read, by path."""
    accounts, routes = _items(faults, "accounts"), _items(faults, "routes")
    if "accounts" in seen and not accounts:
        faults.add("accounts", "needs at least one account")
    _check_bus(seen, faults)
    _check_length(seen, faults, "http.admin_token")
    _check_names(seen, faults, accounts)
    _check_names(seen, faults, routes)
    configured = {seen[f"{path}.vendor"] for path in accounts if f"{path}.vendor" in seen}
    for path in accounts:
        vendor = seen.get(f"{path}.vendor")
        _check_account(seen, faults, path, vendor)
        if vendor is not None:
            _check_redact(seen, faults, f"{path}.redact", {vendor}, {vendor})
    _check_redact(seen, faults, "defaults.redact", set(connectors), configured)
    for path in routes:
        _check_route(seen, faults, path, accounts)


def _items(faults: Faults, section: str) -> list[str]:
    """The paths of a list's items."""
    return [path for path in faults.lines if re.fullmatch(rf"{section}\[\d+\]", path)]


def _is_empty(seen: Seen, faults: Faults, path: str) -> bool:
    """Whether a list was written without items: of one whose items are all broken none is seen either."""
    return seen.get(path) == () and step(path, 0) not in faults.lines


def _check_bus(seen: Seen, faults: Faults) -> None:
    for path in _FILES:
        try:
            if seen.get(path) is not None:
                seen[path].open("rb").close()
        except OSError as error:
            faults.add(path, f"cannot read the file '{seen[path]}': {error.strerror}")
    nkey = seen.get("bus.nkey")
    if nkey is not None and not nkey.reveal().startswith("SU"):
        faults.add("bus.nkey", "must be a seed, which begins with SU: for one in a file write ${file:/path}")


def _check_length(seen: Seen, faults: Faults, path: str) -> None:
    """Of what anybody may try as often as he likes."""
    secret = seen.get(path)
    if secret is not None and len(secret.reveal()) < _GUESSABLE:
        faults.add(
            path, f"could be guessed: needs at least {_GUESSABLE} characters, such as `openssl rand -hex 24` makes"
        )


def _check_names(seen: Seen, faults: Faults, items: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for path in items:
        name = seen.get(f"{path}.name")
        if name is None:
            continue
        if path.startswith("accounts") and not _NAME.fullmatch(name):
            faults.add(f"{path}.name", f"{name!r} is not an account's name: use lower-case letters, digits and -")
        elif name in first:
            faults.add(f"{path}.name", f"the name {name!r} is already that of {first[name]}")
        first.setdefault(name, path)


def _check_account(seen: Seen, faults: Faults, path: str, vendor: type[Connector] | None) -> None:
    for resource, interval in (seen.get(f"{path}.every") or {}).items():
        place = step(f"{path}.every", resource)
        if vendor is not None and resource not in vendor.resources:
            known = listed(list(vendor.resources))
            faults.add(place, f"unknown resource{meant(resource, vendor.resources)}: must be {known}")
        if interval < _SHORTEST:
            faults.add(place, "must be at least 1s")
    unwritten = f"{path}.refresh_token" not in faults.lines
    if vendor is not None and hasattr(vendor, "needs_consent") and unwritten and not os.environ.get(VARIABLE):
        name = seen.get(f"{path}.name", "ACCOUNT")
        ways = f"set it, or set {VARIABLE} and run `vendorwire authorize {name}`, which stores one"
        faults.add(f"{path}.refresh_token", f"is missing: {ways}")
    _check_length(seen, faults, f"{path}.hint_secret")
    reconcile: Duration | None = seen.get(f"{path}.reconcile")
    if reconcile is not None and reconcile < _SHORTEST:
        faults.add(f"{path}.reconcile", "must be at least 1s")


def _check_redact(
    seen: Seen, faults: Faults, path: str, vendors: set[type[Connector]], strict: set[type[Connector]]
) -> None:
    """Each path names a field of some record of `vendors`, and in no record of `strict` one that must be there."""
    kinds = {_published(resource): name for vendor in vendors for name, resource in vendor.resources.items()}
    must = {_published(resource): name for vendor in strict for name, resource in vendor.resources.items()}
    for index, field in enumerate(seen.get(path) or ()):
        found = {kind: _required(kind, field.split(".")) for kind in {**kinds, **must}}
        demanding = sorted(name for kind, name in must.items() if found[kind])
        if demanding:
            faults.add(step(path, index), f"{field!r} is needed in each {listed(demanding)}: it cannot be left out")
        elif all(required is None for required in found.values()):
            faults.add(step(path, index), f"no record has a field {field!r}: name one such as guest.email")


def _published(resource: Resource) -> type[msgspec.Struct]:
    return Measurement if resource.feed else resource.record


def _required(kind: Any, names: Sequence[str]) -> bool | None:
    """Whether the field a path leads to is required; None where there is no such field."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    for option in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if not (isinstance(option, type) and issubclass(option, msgspec.Struct)):
            continue
        for field in msgspec.structs.fields(option):
            if field.encode_name == names[0]:
                return _required(field.type, names[1:]) if names[1:] else field.required
    return None


def _check_route(seen: Seen, faults: Faults, path: str, accounts: Sequence[str]) -> None:
    named = {
        seen[f"{account}.name"]: seen.get(f"{account}.vendor") for account in accounts if f"{account}.name" in seen
    }
    _check_secrets(seen, faults, f"{path}.webhook.secret")
    _check_reach(seen, faults, f"{path}.webhook")
    if _is_empty(seen, faults, f"{path}.events"):  # the route itself says so only where nothing else is wrong with it
        faults.add(f"{path}.events", NO_EVENTS)
    strangers = set(seen.get(f"{path}.accounts") or ()) - named.keys()
    if len(named) == len(accounts):  # else it may be the one whose name cannot be read
        for index, name in enumerate(seen.get(f"{path}.accounts") or ()):
            if name in strangers:
                there = f"there is no account {name!r}{meant(name, named)}: there are {', '.join(named)}"
                faults.add(step(f"{path}.accounts", index), there)
    prefix, subject = seen.get("bus.prefix", "vendorwire"), seen.get(f"{path}.subject")
    if subject is not None and subject.split(".")[0] == prefix:
        faults.add(f"{path}.subject", f"must not begin with {prefix!r}, the bus's own prefix: that would be a loop")
    elif isinstance(seen.get(path), Route) and not strangers and None not in named.values():
        try:
            filters(seen[path], prefix, {name: str(kind.__struct_config__.tag) for name, kind in named.items() if kind})
        except ValueError as error:
            faults.add(f"{path}.events", str(error))


def _check_reach(seen: Seen, faults: Faults, path: str) -> None:
    allowed = f"{path}.allow_private"
    try:
        host = urlsplit(seen.get(f"{path}.url", "")).hostname or ""
    except ValueError:  # the webhook itself says what is wrong with it
        return
    if wrong := objection(host, allow_private=seen.get(allowed, allowed in faults.lines)):  # benefit of the doubt
        faults.add(f"{path}.url", wrong)


def _check_secrets(seen: Seen, faults: Faults, path: str) -> None:
    if _is_empty(seen, faults, path):
        faults.add(path, "needs at least one secret")
    for index, secret in enumerate(seen.get(path) or ()):
        try:
            Signer([secret])
        except ValueError as error:
            faults.add(step(path, index) if step(path, index) in seen else path, str(error))
