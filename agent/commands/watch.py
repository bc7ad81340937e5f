"""`vendorwire watch`: events as they are published. A lost bus interrupts it; nothing is left out or told twice."""

import logging
import shutil
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import anyio
import msgspec

from agent.bus import names
from agent.commands import lines, output
from agent.commands.failures import DONE, WrongUsage
from agent.commands.reaching import Settings, finish, reached
from agent.config import Config
from events.jetstream.connection import Bus
from events.jetstream.errors import ApiError, BusUnavailable
from events.jetstream.pull import ConsumerGone, Message
from events.jetstream.read import follow
from events.routes import Route, filters
from schemas import envelope

AGAIN = 0.5  # seconds

log = logging.getLogger("vendorwire.watch")


def main(settings: Settings, patterns: Sequence[str], since: timedelta | None) -> int:
    """Print events until Ctrl-C or SIGTERM."""
    config = settings.load()
    subjects = _subjects(config, patterns)
    begin = None if since is None else datetime.now(UTC) - since

    async def work() -> int:
        async with reached(config) as bus, aclosing(_events(bus, names(config.bus).ledger, subjects, begin)) as events:
            async for message in events:
                _print(message.data, json=settings.json)
        return DONE

    try:
        return finish(work)
    except KeyboardInterrupt:
        return DONE


def _subjects(config: Config, patterns: Sequence[str]) -> list[str]:
    if not patterns:
        return [names(config.bus).events]
    try:
        return filters(Route(name="watch", events=tuple(patterns), subject="_watch"), config.bus.prefix, {})
    except ValueError as error:
        raise WrongUsage(str(error)) from None


async def _events(
    bus: Bus, stream: str, subjects: Sequence[str], since: datetime | None
) -> AsyncGenerator[Message, None]:
    """From `since`, else from now; after a loss from the last event that was seen."""
    after = None if since is not None else await _newest(bus, stream)
    while True:
        try:
            await bus.ready()
            if after is not None and await _newest(bus, stream) < after:
                log.warning("the stream %s was made anew: it is read from its start", stream)
                after = 0
            async with aclosing(follow(bus, stream, subjects, since=since, after=after)) as messages:
                async for message in messages:
                    if message is not None:
                        yield message
                        after = message.sequence
        except (BusUnavailable, ApiError, ConsumerGone) as lost:
            log.info("the events are followed again when the bus is back: %s", lost)
            await anyio.sleep(AGAIN)


async def _newest(bus: Bus, stream: str) -> int:
    info = await bus.api(f"STREAM.INFO.{stream}")
    return int(info["state"]["last_seq"])


def _print(event: bytes, *, json: bool) -> None:
    if json:
        output.json_bytes(event)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    try:
        output.line(lines.line(envelope.decode(event), width=width))
    except msgspec.DecodeError:
        log.warning("an event is not one of ours: its %d bytes are left out", len(event))
