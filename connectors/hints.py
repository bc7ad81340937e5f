"""Vendors that call a webhook when something changed. What they say is a hint that it is time to read, and never data."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from connectors.api import Api
from schemas.settings import Secret


@runtime_checkable
class Hints(Protocol):
    """A vendor that can be subscribed to. `hinted`: the resources to read when it calls."""

    hinted: ClassVar[tuple[str, ...]]

    @property
    def hint_secret(self) -> Secret | None:
        """The last part of the address the vendor calls; None where it is not to call."""
        ...

    async def subscribe(self, api: Api, address: str, secret: str) -> Sequence[str]:
        """Have the vendor call the address, which ends in the secret, at each change; what was not subscribed before.

        Raises VendorError; Misconfigured where it calls somebody else's address.
        """
        ...
