"""`vendorwire routes`: how much each route has to deliver."""

from agent.bus import names
from agent.commands import output
from agent.commands.failures import DONE
from agent.commands.lines import NOTHING
from agent.commands.reaching import Settings, finish, reached
from events.jetstream.errors import ApiError
from events.jetstream.outbox import CONSUMER_NOT_FOUND, Backlog, RouteQueue, dead_count


def main(settings: Settings) -> int:
    """A table of the configured routes."""
    config = settings.load()

    async def work() -> int:
        async with reached(config) as bus:
            dead = await dead_count(bus, names(config.bus))
            found = [
                (route.name, await _backlog(RouteQueue(bus, names(config.bus), route.name, (), 0)))
                for route in config.routes
            ]
        if settings.json:
            for name, backlog in found:
                pending = backlog and backlog.waiting
                in_hand = backlog and backlog.in_hand
                output.json({"route": name, "pending": pending, "in_hand": in_hand, "dead": dead.get(name, 0)})
        elif found:
            output.table(("route", "pending", "in hand", "dead"), [_row(*each, dead) for each in found])
        else:
            output.line("no routes are configured")
        return DONE

    return finish(work)


def _row(name: str, backlog: Backlog | None, dead: dict[str, int]) -> tuple[object, ...]:
    counts = (NOTHING, NOTHING) if backlog is None else (backlog.waiting, backlog.in_hand)
    return (name, *counts, dead.get(name, 0))


async def _backlog(queue: RouteQueue) -> Backlog | None:
    """None for a route no agent has worked yet."""
    try:
        return await queue.backlog()
    except ApiError as error:
        if error.err_code != CONSUMER_NOT_FOUND:
            raise
        return None
