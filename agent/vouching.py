"""A second look at records that are in doubt, at what is stored of them: by their own resource, or by another."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from connectors.base import Page
from connectors.errors import Unreadable
from events.ledger import Ledger
from schemas.changes import Scope
from schemas.records import Record

LATE = timedelta(seconds=5)  # that a poll may be late


class Vouch(msgspec.Struct, frozen=True, kw_only=True):
    """Whose stored records tell more (`by`, of a `kind`), how often those are read, and for how long silence tells nothing."""

    by: Scope
    kind: type[Record]
    every: timedelta
    patience: timedelta | None

    async def stored(self, ledger: Ledger, keys: Sequence[str]) -> dict[str, Record]:
        """What is stored of these keys."""
        found = await ledger.stored(self.by, keys, self.kind)
        return {key: each.record for key, each in found.items() if each.record is not None}

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
        other, seen = known.get(key), None
        try:
            if vouch.knows(other, overdue):
                seen = page.vouched(record, other)
        except Unreadable as error:
            quarantined(key, error)
        kept.append(seen)
    return kept
