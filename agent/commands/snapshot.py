"""`vendorwire snapshot`: the records as they are stored."""

from collections.abc import AsyncIterator

import msgspec

from agent import vendors
from agent.bus import names
from agent.commands import lines, output
from agent.commands.failures import DONE, Failed
from agent.commands.reaching import Settings, account, finish, reached, stored
from events.diff import CANNOT_BE_READ, Stored
from events.jetstream.ledger import JetStreamLedger
from schemas.records import Record


class Shown(msgspec.Struct, frozen=True):
    """A stored record as `--json` prints it."""

    key: str
    version: int
    record: Record


def main(settings: Settings, name: str, resource: str, key: str | None) -> int:
    """A table, or one record. Raises Failed for a key that is not there."""
    config = settings.load()
    connector = account(config, name)
    kind = stored(connector, resource)
    scope = vendors.scope(connector, resource)

    async def work() -> int:
        async with reached(config) as bus:
            ledger = JetStreamLedger(bus, names(config.bus), config.bus.keep_events)
            if key is None:
                await _list(ledger.snapshots(scope, kind), kind, settings)
                return DONE
            found = (await ledger.stored(scope, [key], kind)).get(key)
            if found is not None and found.unreadable:
                raise Failed(f"{scope}/{key}: {CANNOT_BE_READ}")
            if found is None or found.record is None:
                raise Failed(f"{scope} has no record {key!r}")
            if settings.json:
                output.json(Shown(key, found.version, found.record))
            else:
                output.pretty(found.record)
        return DONE

    return finish(work)


async def _list(records: AsyncIterator[tuple[str, Stored]], kind: type[Record], settings: Settings) -> None:
    names_of = lines.telling(kind)
    rows: list[tuple[str, ...]] = []
    unreadable: list[str] = []
    async for key, found in records:
        if found.unreadable:
            unreadable.append(key)
        if found.record is None:
            continue
        if settings.json:
            output.json(Shown(key, found.version, found.record))
            continue
        fields = msgspec.to_builtins(found.record)
        rows.append((key, str(found.version), *(lines.short(fields.get(name)) for name in names_of)))
    if rows:
        output.table(("key", "version", *names_of), sorted(rows))
    elif not settings.json and not unreadable:
        output.line("nothing is stored")
    if unreadable:
        raise Failed(f"{', '.join(unreadable)}: {CANNOT_BE_READ}")
