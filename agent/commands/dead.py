"""`vendorwire dead`: the events that could not be delivered, until a person replays or drops them."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec

from agent.bus import names
from agent.commands import output
from agent.commands.failures import DONE, Failed, WrongUsage
from agent.commands.lines import counted
from agent.commands.reaching import Settings, finish, reached
from agent.config import Config
from events.jetstream.connection import Bus
from events.jetstream.outbox import DeadLetter, dead_count, dead_letters, drop, replay
from events.subjects import Names


class Shown(msgspec.Struct, frozen=True):
    """A dead letter as `--json` prints it. `event` is as it was to be delivered."""

    id: str
    route: str
    reason: str
    attempts: int
    status: str
    failed_at: datetime
    record: str
    event: msgspec.Raw


def main(settings: Settings, action: str, ids: Sequence[str], route: str | None, *, yes: bool) -> int:
    """Do one of the four with the letters meant: those named, else those of the route, else all."""
    config = settings.load()
    _check(action, ids, route, yes=yes)

    async def work() -> int:
        async with reached(config) as bus:
            letters = await _meant(bus, config, ids, route)
            match action:
                case "list":
                    _list(letters, settings)
                case "show":
                    _show(letters, settings)
                case "replay":
                    _check_configured(config, letters)
                    await _each(bus, config, letters, replay, "to be delivered again", settings)
                case _:
                    await _each(bus, config, letters, drop, "dropped", settings)
        return DONE

    return finish(work)


def _check(action: str, ids: Sequence[str], route: str | None, *, yes: bool) -> None:
    if action in {"replay", "drop"} and not ids and route is None:
        raise WrongUsage(f"name what to {action}: ids (`vendorwire dead list` shows them), or --route")
    if action == "drop" and not ids and not yes:
        raise WrongUsage(f"--yes is needed to drop all dead letters of the route {route}")


async def _meant(bus: Bus, config: Config, ids: Sequence[str], route: str | None) -> list[DeadLetter]:
    subjects = names(config.bus)
    known = {each.name for each in config.routes} | set(await dead_count(bus, subjects))
    if route is not None and route not in known:
        raise WrongUsage(f"no route is named {route!r}; there are: {', '.join(sorted(known)) or 'none'}")
    async with aclosing(dead_letters(bus, subjects, route)) as found:
        letters = [letter async for letter in found]
    if not ids:
        return letters
    wanted = {_whole(prefix, letters) for prefix in ids}
    return [letter for letter in letters if letter.event_id in wanted]


def _whole(prefix: str, letters: Sequence[DeadLetter]) -> str:
    found = {letter.event_id for letter in letters if letter.event_id.startswith(prefix)}
    if prefix in found:
        return prefix
    if not found:
        raise Failed(f"there is no dead letter {prefix!r}")
    if len(found) > 1:
        raise WrongUsage(f"{prefix!r} begins {len(found)} ids: give more of it")
    return found.pop()


def _check_configured(config: Config, letters: Sequence[DeadLetter]) -> None:
    """A replay waits for its route's worker: without one it would wait for ever."""
    gone = {letter.route for letter in letters} - {route.name for route in config.routes}
    if gone:
        raise Failed(f"not configured (any more), so nothing can be replayed to it: {', '.join(sorted(gone))}")


async def _each(
    bus: Bus,
    config: Config,
    letters: Sequence[DeadLetter],
    act: Callable[[Bus, Names, DeadLetter], Awaitable[None]],
    done: str,
    settings: Settings,
) -> None:
    for letter in letters:
        await act(bus, names(config.bus), letter)
        if settings.json:
            output.json({"id": letter.event_id, "route": letter.route})
    if not settings.json:
        output.line(f"{counted(len(letters), 'dead letter')} {done}")


def _list(letters: Sequence[DeadLetter], settings: Settings) -> None:
    if settings.json:
        for letter in letters:
            output.json(_shown(letter))
    elif not letters:
        output.line("there are no dead letters")
    else:
        rows = [
            (letter.event_id, letter.route, letter.record, letter.attempts, _local(letter), letter.reason)
            for letter in letters
        ]
        output.table(("id", "route", "record", "attempts", "last attempt", "reason"), rows)


def _show(letters: Sequence[DeadLetter], settings: Settings) -> None:
    if settings.json or not letters:
        _list(letters, settings)
        return
    for letter in letters:
        _describe(letter)


def _describe(letter: DeadLetter) -> None:
    rows: list[tuple[str, Any]] = [
        ("id", letter.event_id),
        ("route", letter.route),
        ("record", letter.record),
        ("reason", letter.reason),
        ("status", letter.status or "no answer"),
        ("attempts", letter.attempts),
        ("last attempt", _local(letter)),
    ]
    for name, value in rows:
        output.line(f"{name + ':':<14}{value}")
    output.pretty(_event(letter))


def _shown(letter: DeadLetter) -> Shown:
    return Shown(
        id=letter.event_id,
        route=letter.route,
        reason=letter.reason,
        attempts=letter.attempts,
        status=letter.status,
        failed_at=datetime.fromtimestamp(letter.failed_at, UTC),
        record=letter.record,
        event=_event(letter),
    )


def _event(letter: DeadLetter) -> msgspec.Raw:
    return msgspec.Raw(letter.event)


def _local(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.failed_at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
