"""Shapes of records that subscribers may still read by, though no new event has them.

When a record's `contract` goes up, its struct as it was stays here, under a name of its own and with its old number, until
the day that was announced: docs/compatibility.md.
"""

from datetime import date

import msgspec

from schemas.records import Record


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A record's former shape, the changes it was told with, and the day until which its schemas stay published."""

    record: type[Record]
    changes: tuple[str, ...]
    until: date
    told: type[msgspec.Struct] | None = None


PAST: tuple[Past, ...] = ()
