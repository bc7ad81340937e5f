"""The past in charts: what the agents noted minute by minute, added up for what is asked."""

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import anyio

from agent.console import questions, shapes
from agent.console.watching import read_roll
from events.history import LAGS, SLOT, Minute, Roll, minute_in, quantile
from events.jetstream.connection import Bus
from events.jetstream.history import MINUTE, noted
from events.subjects import Names
from schemas.facts import DeliveryOutcome

FRESH = 4.0  # seconds for which a chart is given again as it is
REMEMBERED = 64
NAMES = {
    "polls": ("succeeded", "failed"),
    "changes": ("changes",),
    "requests": ("requests", "failed"),
    "deliveries": tuple(str(outcome) for outcome in DeliveryOutcome),
    "lag": ("p50", "p99"),
}


class Charts:
    """Those of one agent; one is made at a time, and given to all who ask for it soon after."""

    def __init__(self, names: Names, roll: Roll) -> None:
        self._names = names
        self._rolls: dict[str, Roll | None] = {roll.digest: roll}
        self._turn = anyio.Lock()
        self._made: dict[questions.Past, tuple[float, shapes.HistoryView]] = {}

    async def chart(self, bus: Bus, past: questions.Past) -> shapes.HistoryView:
        """Raises BusError."""
        async with self._turn:
            now = bus.now()
            found = self._made.get(past)
            if found is None or now > found[0] + FRESH:
                if len(self._made) >= REMEMBERED:
                    self._made.clear()
                found = self._made[past] = (now, await self._make(bus, past, now))
            return found[1]

    async def _make(self, bus: Bus, past: questions.Past, now: float) -> shapes.HistoryView:
        slots = past.hours * 3600 // SLOT
        first = int(now) // SLOT - slots + 1
        width = len(LAGS) + 1 if past.of == "lag" else len(NAMES[past.of])
        counted = [[0] * width for _ in range(slots)]
        known = slots  # the first slot of which anything is known
        since = datetime.fromtimestamp(first * SLOT, UTC)
        async with aclosing(noted(bus, self._names, MINUTE, since - timedelta(seconds=SLOT))) as messages:
            async for message in messages:
                try:
                    minute = minute_in(message.data)
                except (ValueError, RecursionError):  # a stranger's
                    continue
                slot = minute.at // SLOT - first
                if 0 <= slot < slots:
                    known = min(known, slot)
                    await self._add(bus, past, minute, counted[slot])
                await anyio.lowlevel.checkpoint()
        values = [_values(past, each) if slot >= known else None for slot, each in enumerate(counted)]
        return shapes.HistoryView(
            slot=SLOT,
            from_=since,
            series=[
                shapes.Series(name, [None if value is None else value[at] for value in values])
                for at, name in enumerate(NAMES[past.of])
            ],
        )

    async def _add(self, bus: Bus, past: questions.Past, minute: Minute, row: list[int]) -> None:
        if minute.roll not in self._rolls:
            if len(self._rolls) >= REMEMBERED:
                return
            self._rolls[minute.roll] = await read_roll(bus, self._names, minute.roll)
        for counts in _rows(past, minute, self._rolls[minute.roll]):
            for at, count in enumerate(counts[: len(row)]):
                row[at] += count


def _values(past: questions.Past, row: Sequence[int]) -> list[float | None]:
    if past.of == "lag":
        return [quantile(row, 0.5), quantile(row, 0.99)]
    return [float(count) for count in row]


def _rows(past: questions.Past, minute: Minute, roll: Roll | None) -> Iterator[Sequence[int]]:
    """What a minute tells of what is asked."""
    if past.of in {"deliveries", "lag"}:
        for route, told in minute.routes.items():
            if past.route in {"", route}:
                outcomes = [told.outcomes.get(name, 0) for name in NAMES["deliveries"]]
                yield told.lags if past.of == "lag" else outcomes
        return
    columns = minute.accounts if past.of == "requests" else minute.resources
    if not past.account and not past.resource:
        totals = [sum(column) for column in columns.counts]
        yield totals[2:] if past.of == "changes" else totals
        return
    wanted = _wanted(past, roll)
    for place, *counts in columns.rows():
        if place in wanted:
            yield counts[2:] if past.of == "changes" else counts


def _wanted(past: questions.Past, roll: Roll | None) -> frozenset[int]:
    if roll is None:
        return frozenset()
    if past.of == "requests":
        return frozenset(place for place, (_, account) in enumerate(roll.accounts) if account == past.account)
    return frozenset(
        place
        for place, scope in enumerate(roll.scopes)
        if past.account in {"", scope.account} and past.resource in {"", scope.resource}
    )
