"""A second look at records that are in doubt, at what is stored of them: by their own resource, or by another."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from connectors.base import Page
from connectors.errors import Unreadable
from events.diff import CANNOT_BE_READ, Stored
from events.ledger import Ledger
from schemas.changes import Scope
from schemas.records import Record

NOTHING = Stored(0, 0, None)
LATE = timedelta(seconds=5)  # that a poll may be late


class Vouch(msgspec.Struct, frozen=True, kw_only=True):
    """Whose stored records tell more (`by`, of a `kind`), how often those are read, and for how long silence tells nothing."""

    by: Scope
    kind: type[Record]
    every: timedelta
    patience: timedelta | None

    async def stored(self, ledger: Ledger, keys: Sequence[str]) -> Mapping[str, Stored]:
        """What is stored of these keys."""
        return await ledger.stored(self.by, keys, self.kind)

    async def overdue(self, ledger: Ledger, now: datetime) -> datetime | None:
        """When the other resource was last read, where that is too long ago to say of what it was alive in that it is silent."""
        at = (await ledger.load(self.by)).head.at if self.patience is not None else None
        return at if at is not None and now - at > 2 * self.every + LATE else None

    def knows(self, other: Record | None, overdue: datetime | None) -> bool:
        """Whether it can be told now. Not of what was alive when the other resource was last read, and that is long ago."""
        if overdue is None or other is None or other.heard_at is None or self.patience is None:
            return True
        return other.heard_at < overdue - self.patience


async def vouched(
    vouch: Vouch,
    ledger: Ledger,
    page: Page,
    records: Sequence[tuple[str, Record]],
    now: datetime,
    quarantined: Callable[[str, Unreadable], None],
) -> list[Record | None]:
    """Each record in doubt (of a key) after the second look; None where nothing can be told now: it stays as it is stored."""
    if page.vouched is None:
        return [record for _, record in records]
    overdue = await vouch.overdue(ledger, now)
    known = await vouch.stored(ledger, list({key for key, _ in records}))
    kept: list[Record | None] = []
    for key, record in records:
        stored, seen = known.get(key, NOTHING), None
        other = stored.record
        try:
            if stored.unreadable:
                raise Unreadable(CANNOT_BE_READ)
            if vouch.knows(other, overdue):
                seen = page.vouched(record, other)
        except Unreadable as error:
            quarantined(key, error)
        kept.append(seen)
    return kept
