"""Failures of a vendor, named by what to do next.

    VendorError
    ├── AuthRefused    the vendor refused our credentials: renew once, then a person must look
    ├── Throttled      too many requests: wait `retry_after` seconds
    ├── Unavailable    the vendor or the way to it is down: back off and come again
    ├── Forbidden      this resource is not granted: leave it, go on with the others
    ├── Unreadable     the vendor changed or broke: quarantine, name the place
    ├── NothingThere   asked for by name and not there: an empty listing, or a record that is gone
    └── Misconfigured  our request or set-up is wrong: no retry helps

No message holds a secret, a header, a query or a body: they are built from fixed words, paths and statuses.
"""


class VendorError(Exception):
    """A vendor could not be read."""


class AuthRefused(VendorError):
    """The vendor refused our credentials. `renewable` when a new access token may help (it has only expired)."""

    def __init__(self, message: str, *, renewable: bool = False) -> None:
        super().__init__(message)
        self.renewable = renewable


class Throttled(VendorError):
    """The vendor asks for patience. `retry_after` in seconds, None where it does not say."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(VendorError):
    """The vendor, or the way to it, is down."""


class Forbidden(VendorError):
    """This resource (or this part of it) is not granted to our credentials."""


class Unreadable(VendorError):
    """What the vendor sent cannot be read. The message names the path in the reply."""


class NothingThere(VendorError):
    """What was asked for by name is not there: an empty listing, or a record that is gone."""


class Misconfigured(VendorError):
    """The vendor says our request is wrong: a person must change the configuration or the connector."""
