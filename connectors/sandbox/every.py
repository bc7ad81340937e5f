"""Every fake vendor there is, each with an account that can read it."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from connectors.sandbox import carbontrack, ipro, octorate, powerpro
from connectors.sandbox.base import Sandbox

QUOTA = 100  # requests in 5 minutes, as Octorate allows
ENOUGH = 1_000_000  # it would be used up within two minutes of a demo


class Fake(msgspec.Struct, frozen=True, kw_only=True):
    """A fake vendor, how an account of it is configured (`base_url` is a path), and a control to try with its arguments."""

    sandbox: Sandbox
    account: dict[str, str]
    control: str
    body: dict[str, Any]


def _octorate(seed: int, *, lively: bool) -> Fake:
    sandbox = octorate.OctorateSandbox(seed=seed, limit=ENOUGH if lively else QUOTA)
    account = {
        "base_url": "/connect",
        "client_id": octorate.CLIENT_ID,
        "client_secret": octorate.CLIENT_SECRET,
        "refresh_token": octorate.REFRESH_TOKEN,
    }
    body = {"accommodation": next(iter(sandbox.accommodations))}
    return Fake(sandbox=sandbox, account=account, control="add", body=body)


def _ipro(seed: int, *, lively: bool) -> Fake:  # noqa: ARG001 it is lively as it is
    sandbox = ipro.IproSandbox(seed=seed)
    account = {"base_url": "", "client_id": ipro.CLIENT_ID, "client_secret": ipro.CLIENT_SECRET}
    return Fake(sandbox=sandbox, account=account, control="cancel", body={"id": min(sandbox.bookings)})


def _carbontrack(seed: int, *, lively: bool) -> Fake:
    reporting = timedelta(seconds=3) if lively else timedelta(minutes=5)
    sandbox = carbontrack.CarbontrackSandbox(seed=seed // 2 if lively else seed, reporting=reporting)
    account = {"base_url": "", "username": carbontrack.USERNAME, "password": carbontrack.PASSWORD}
    return Fake(sandbox=sandbox, account=account, control="silence", body={"id": min(sandbox.devices)})


def _powerpro(seed: int, *, lively: bool) -> Fake:
    sandbox = powerpro.PowerProSandbox(seed=seed, noise=lively)
    account = {"base_url": "", "api_key": powerpro.API_KEY}
    return Fake(sandbox=sandbox, account=account, control="withdraw", body={"id": min(sandbox.enrolments)})


FAKES: Mapping[str, Callable[..., Fake]] = MappingProxyType(
    {"octorate": _octorate, "ipro": _ipro, "carbontrack": _carbontrack, "powerpro": _powerpro}
)
"""Vendor → how to make it, from a seed. `lively`: for a demo, where a minute must show what else takes hours."""
