"""`vendorwire audit`: what was done by hand, with the console or on the command line, and by whom."""

from datetime import datetime

from agent.bus import names
from agent.commands import output
from agent.commands.failures import DONE
from agent.commands.reaching import Settings, finish, reached
from events.jetstream import audit

MOST = 100  # acts, where no time is given


def main(settings: Settings, since: datetime | None) -> int:
    """The last acts, or all since a time; the oldest first, as they happened."""
    config = settings.load()

    async def work() -> int:
        async with reached(config) as bus:
            limit = MOST if since is None else audit.MOST
            acts = list(reversed(await audit.acts(bus, names(config.bus), limit=limit, since=since)))
        if settings.json:
            for act in acts:
                output.json(act)
        elif acts:
            columns = ("at", "who", "from", "act", "target", "outcome", "detail")
            rows = [(_local(act.at), act.who, act.where, act.act, act.target, act.outcome, act.detail) for act in acts]
            output.table(columns, rows)
        else:
            output.line("nothing was done by hand" if since is None else "nothing was done by hand since then")
        return DONE

    return finish(work)


def _local(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
