"""An account ready to be polled, and one poll of one of its resources: what every kind of poll starts from and tells."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from connectors.api import Api
from connectors.base import Connector, Resource
from connectors.errors import Forbidden, VendorError
from events.ledger import Ledger, Part, Poll
from schemas.changes import Scope
from schemas.envelope import CloudEvent
from schemas.facts import Fact, Published, Quarantined


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """An account ready to be polled: its connector, its way to the vendor, and its settings with the defaults filled in."""

    connector: Connector
    api: Api
    first_sync: str
    max_ratio: float
    redact: tuple[str, ...]

    def scope(self, resource: str) -> Scope:
        return Scope(self.connector.vendor, self.connector.name, resource)


class Task:
    """One poll. `turn` counts the polls of this resource before it; `failures` is what went wrong so far."""

    def __init__(
        self, ledger: Ledger, watched: Watched, name: str, now: datetime, turn: int, tell: Callable[[Fact], None]
    ) -> None:
        self.ledger = ledger
        self.watched = watched
        self.api = watched.api
        self.connector = watched.connector
        self.name = name
        self.resource: Resource = watched.connector.resources[name]
        self.scope = watched.scope(name)
        self.now = now
        self.poll = Poll(secrets.token_hex(8), now)
        self.tell = tell
        self.failures: list[VendorError] = []
        self._turn = turn

    async def parts(self, known: Mapping[str, Part]) -> tuple[list[str], dict[str, Part]]:
        """Each part to read once, and what is known of the parts. Raises VendorError.

        The first is another at each poll: one that the vendor throttles must not starve the others. What is no longer asked
        for is forgotten. What the vendor no longer lists is a failure: its records would grow old unseen.
        """
        parts = list(dict.fromkeys(await self.connector.parts(self.api, self.name)))
        kept = dict(known)
        lost = [part for part in known if part not in parts]
        if not self.connector.lists_parts(self.name):
            kept = {part: state for part, state in known.items() if part in parts}
        elif lost or not parts:
            what = f"{len(lost)} of what was read before" if lost else "anything"
            self.failures.append(Forbidden(f"the vendor does not list {what} as ours to read (any more)"))
        first = self._turn % len(parts) if parts else 0
        return parts[first:] + parts[:first], kept

    def published(self, event: CloudEvent) -> None:
        """Tell of an event that was committed."""
        age = (event.observedat - event.time).total_seconds() if event.time != event.observedat else None
        change = event.type.rpartition(".")[2]
        self.tell(Published(scope=self.scope, change=change, key=event.subject, event_id=event.id, age=age))

    def quarantined(self, key: str, path: str) -> None:
        """Tell of a record that cannot be read."""
        self.tell(Quarantined(scope=self.scope, key=key, path=path))
