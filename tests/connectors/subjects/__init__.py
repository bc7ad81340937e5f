"""The vendors under the conformance suite, each in a module named by its tag."""

import importlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from connectors.base import Connector, Query
from connectors.sandbox.base import Sandbox
from tests.polled import NOON, Account, Clock


class Vendor(msgspec.Struct, kw_only=True):
    """How a vendor is faked.

    `connector` and `sandbox` make an account and its fake vendor, the same one at every read unless `noise`. `resource` is
    one with several pages of records, read from paths that hold `listing`; `sign_in` is in the path of signing in.
    `records` are the ids the vendor has, `remove` takes the first listed one away, unnoticed by its other records, and
    answers its id. `reads`: parts of the paths that only read, and every request asks for one of those.
    """

    connector: Callable[[], Connector]
    sandbox: Callable[[Callable[[], datetime], bool], Sandbox]
    resource: str
    listing: str
    sign_in: str
    records: Callable[[Any], set[str]]
    remove: Callable[[Any], str]
    secrets: tuple[str, ...]
    reads: tuple[str, ...]


def vendor_of(connector: type[Connector]) -> Vendor:
    """The row of a connector: `VENDOR` in `tests/connectors/subjects/<tag>.py`."""
    vendor: Vendor = importlib.import_module(f"{__name__}.{connector.__struct_config__.tag}").VENDOR
    return vendor


class Subject:
    """A vendor under test, and an account of it."""

    def __init__(self, vendor: Vendor, *, noise: bool = False) -> None:
        clock = Clock()
        self.of = vendor
        self.sandbox = vendor.sandbox(clock, noise)
        self.account = Account(vendor.connector(), self.sandbox, clock)

    async def read(self) -> list[str]:
        """The keys of everything a whole read of the resource gives, in order. Raises VendorError."""
        keys = []
        connector, api = self.account.connector, self.account.api
        for part in await connector.parts(api, self.of.resource):
            query = Query(resource=self.of.resource, part=part, since=None, whole=True, now=NOON)
            async for page in connector.read(api, query):
                keys += [page.key_of(raw) for raw in page.items]
        return keys

    def sign_ins(self) -> int:
        return sum(self.of.sign_in in seen.path for seen in self.sandbox.seen)

    async def poll(self) -> Any:
        return await self.account.sweep(self.of.resource)

    async def stored(self) -> set[str]:
        return set(await self.account.stored(self.of.resource))
