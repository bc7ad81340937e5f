"""`vendorwire routes` and `vendorwire resume`: how each route does, and a route that stopped started again."""

import time
from datetime import UTC, datetime

import msgspec

from agent.bus import names
from agent.commands import output
from agent.commands.auditing import audited
from agent.commands.failures import DONE, WrongUsage
from agent.commands.lines import NOTHING
from agent.commands.reaching import Settings, finish, reached
from agent.config import Config
from events.circuit import Position, Standing, resumed
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError
from events.jetstream.outbox import CONSUMER_NOT_FOUND, OUTSTANDING, Backlog, RouteQueue, dead_count
from events.jetstream.standings import Standings
from events.subjects import Names


class Shown(msgspec.Struct, frozen=True):
    """A route as `--json` prints it. `pending` and `in_flight` are null for one that no agent has worked yet.

    `circuit` is closed, open (it is tried with one event at `probe_at`) or stopped (until it is resumed), `since` then.
    """

    route: str
    circuit: Position
    since: datetime | None
    probe_at: datetime | None
    pending: int | None
    in_flight: int | None
    dead: int
    last_success: datetime | None
    last_error: str
    last_error_at: datetime | None


def main(settings: Settings) -> int:
    """A table of the configured routes."""
    config = settings.load()

    async def work() -> int:
        async with reached(config) as bus:
            found = await _all(bus, config)
        if settings.json:
            for each in found:
                output.json(each)
        elif found:
            columns = ("route", "circuit", "pending", "in flight", "dead", "last success", "last error")
            output.table(columns, [_row(each) for each in found])
        else:
            output.line("no routes are configured")
        return DONE

    return finish(work)


def resume(settings: Settings, route: str) -> int:
    """Have a route tried again that rests or is stopped."""
    config = settings.load()
    known = [each.name for each in config.routes]
    if route not in known:
        raise WrongUsage(f"no route is named {route!r}; there are: {', '.join(known) or 'none'}")

    async def work() -> int:
        async with reached(config) as bus, audited(bus, config.bus, "resume", route) as doing:
            standings = Standings(bus, names(config.bus))
            standing = await standings.read(route) or Standing()
            rests = standing.position is not Position.CLOSED
            if rests:
                await standings.write(route, resumed(standing, time.time()))
            doing.detail = "the route is tried again with one event" if rests else "the route did not rest"
        if settings.json:
            output.json({"route": route, "resumed": rests})
        elif rests:
            output.line(f"{route} is tried again with one event, and goes on once that is delivered")
        else:
            output.line(f"{route} does not rest: there is nothing to resume")
        return DONE

    return finish(work)


async def _all(bus: Bus, config: Config) -> list[Shown]:
    subjects = names(config.bus)
    dead = await dead_count(bus, subjects)
    return [await _one(bus, subjects, route.name, dead.get(route.name, 0)) for route in config.routes]


async def _one(bus: Bus, subjects: Names, route: str, dead: int) -> Shown:
    standing = await Standings(bus, subjects).read(route) or Standing()
    backlog = await _backlog(RouteQueue(bus, subjects, route, (), 0))
    return Shown(
        route=route,
        circuit=standing.position,
        since=_time(standing.since),
        probe_at=_time(standing.probe_at),
        pending=backlog.waiting if backlog else None,
        in_flight=backlog.in_hand if backlog else None,
        dead=dead,
        last_success=_time(standing.last_success),
        last_error=standing.last_error,
        last_error_at=_time(standing.last_error_at),
    )


def _row(shown: Shown) -> tuple[object, ...]:
    error = f"{_local(shown.last_error_at)} {shown.last_error}" if shown.last_error else NOTHING
    pending, in_flight = (NOTHING if count is None else str(count) for count in (shown.pending, shown.in_flight))
    if (shown.in_flight or 0) >= OUTSTANDING:
        in_flight += " (full)"
    return (shown.route, _circuit(shown), pending, in_flight, shown.dead, _local(shown.last_success), error)


def _circuit(shown: Shown) -> str:
    match shown.circuit:
        case Position.OPEN:
            seconds = max((shown.probe_at.timestamp() if shown.probe_at else 0.0) - time.time(), 0.0)
            return f"open, tried in {seconds:.0f} s" if seconds >= 1 else "open, tried now"
        case Position.STOPPED:
            return f"stopped: vendorwire resume {shown.route}"
        case Position.CLOSED:
            return "closed"


async def _backlog(queue: RouteQueue) -> Backlog | None:
    """None for a route no agent has worked yet."""
    try:
        return await queue.backlog()
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        return None


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _local(at: datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else NOTHING
