"""Failures of the bus, named by what to do next.

    BusError
    ├── BusRefused         the server refuses us, or we refuse it: a person must act; at start, exit 1
    ├── BusUnavailable     it is down or silent: wait until it is back; what was under way is unknown, not failed
    │   └── NobodyListens  it answered that nothing takes this subject: no such stream, no leader, no JetStream
    └── ApiError           JetStream refused this one request; `err_code` says why

No message holds a secret, a header or a body.
"""

_WRONG_LAST_SEQUENCE = (10071, 10164)  # the second of messages that a cluster is still writing to its replicas


class BusError(Exception):
    """The bus cannot do what it was asked."""


class BusRefused(BusError):
    """Credentials, permissions, version or set-up are wrong: no retry helps. The message says what to change."""


class BusUnavailable(BusError):
    """There is no connection, or no answer came. Whether a request was carried out is unknown."""


class NobodyListens(BusUnavailable):
    """The server says that nothing takes this subject at present."""


class ApiError(BusError):
    """JetStream's refusal: `code` as in HTTP, `err_code` the server's own number."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description

    @property
    def is_conflict(self) -> bool:
        """Whether the stream holds, or is about to store, another message than the expected one on a subject."""
        return self.err_code in _WRONG_LAST_SEQUENCE
