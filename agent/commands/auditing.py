"""What is done on the command line, noted for all to read: who, when, what, and how it ended."""

import getpass
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from agent import config as configured
from agent.bus import names
from agent.commands.failures import IN_DOUBT, Failed, leaves_in_doubt, say
from agent.log import clean, mask
from events.jetstream import audit
from events.jetstream.audit import Outcome
from events.jetstream.connection import Bus
from events.jetstream.errors import BusError

WHERE = "command line"
WITHIN = 3.0  # seconds to note what was done, also of a command that was interrupted


class Act:
    """What is under way: `detail` is the sentence to keep of it."""

    def __init__(self) -> None:
        self.detail = ""


@asynccontextmanager
async def audited(bus: Bus, settings: configured.Bus, act: str, target: str) -> AsyncIterator[Act]:
    """Do something by hand in this block, and note it, however it ends. Raises Failed where that is not known."""
    doing = Act()
    try:
        yield doing
    except BaseException as error:
        failed = clean(str(error)) or "interrupted"
        unknown = leaves_in_doubt(error)
        told = f"{IN_DOUBT} ({failed})" if unknown else failed
        detail = f"{doing.detail}; {told}" if doing.detail else told
        await _note(bus, settings, act, target, detail, "unknown" if unknown else "failed")
        if unknown:
            raise Failed(told) from None
        raise
    await _note(bus, settings, act, target, doing.detail, "done")


async def _note(bus: Bus, settings: configured.Bus, act: str, target: str, detail: str, outcome: Outcome) -> None:
    """What was done is done: where it cannot be noted, the person who did it hears of that."""
    problem = "the bus does not answer"
    with anyio.move_on_after(WITHIN, shield=True):
        try:
            await audit.record(
                bus,
                names(settings),
                who=operator(),
                where=WHERE,
                act=act,
                target=target,
                detail=mask(detail),
                outcome=outcome,
                replicas=settings.replicas,
            )
            return
        except BusError as error:
            problem = str(error)
    say(f"the audit does not have it: {problem}")


def operator() -> str:
    """Who types: user@host. In a container the user may have no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
