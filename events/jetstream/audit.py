"""What people did, with the console or on the command line: who, from where, when, on what, and how it ended."""

from collections import deque
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Literal

import msgspec

from events.jetstream import streams
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, NobodyListens
from events.jetstream.read import held
from events.jetstream.streams import STREAM_NOT_FOUND
from events.subjects import Names

Outcome = Literal["done", "failed", "unknown"]
LONGEST = 500  # characters of a text
MOST = 5_000  # acts that are read at once
FIRST_STEP = 200


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One act. `who` names the way somebody signed in, or the user of a machine; `where` the address, or that machine.

    `act` is what was asked for, `target` on what, `detail` how it ended, as a sentence. `outcome` is `unknown` where the bus did
    not answer: it may be in force.
    """

    at: datetime
    who: str
    where: str
    act: str
    target: str
    detail: str = ""
    outcome: Outcome = "done"


_decoder = msgspec.json.Decoder(Act)


async def record(
    bus: Bus,
    names: Names,
    *,
    who: str,
    where: str,
    act: str,
    target: str,
    detail: str = "",
    outcome: Outcome = "done",
    replicas: int = 1,
) -> None:
    """Note an act; the stream is made where there is none, with so many `replicas`. Raises BusError."""
    noted = Act(
        at=datetime.fromtimestamp(bus.now(), UTC),
        who=_cut(who),
        where=_cut(where),
        act=_cut(act),
        target=_cut(target),
        detail=_cut(detail),
        outcome=outcome,
    )
    body = msgspec.json.encode(noted)
    try:
        await bus.publish(names.audited, body)
    except NobodyListens:
        await streams.ensure_one(bus, "audit", streams.audit(names, replicas))
        await bus.publish(names.audited, body)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


async def acts(bus: Bus, names: Names, *, limit: int = MOST, since: datetime | None = None) -> list[Act]:
    """What was done, the newest first; `since` a time, where one is given. Raises BusError."""
    try:
        newest = int((await bus.api(f"STREAM.INFO.{names.audit}"))["state"]["last_seq"])
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:  # nobody has done anything yet
            raise
        return []
    found: deque[Act] = deque(maxlen=limit)
    after = 0 if since is not None else max(newest - limit, 0)
    given = held(bus, names.audit, [names.audited], every=True, after=after, since=since)
    async with aclosing(given) as messages:
        async for message in messages:
            try:
                found.append(_decoder.decode(message.data))
            except (ValueError, RecursionError):  # a stranger's; msgspec's errors are ValueErrors
                continue
    return list(reversed(found))
