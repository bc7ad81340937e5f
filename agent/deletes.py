"""Approving held deletes: what too many records missing at once made the poller wait with is published after all."""

import secrets
from collections.abc import Callable
from datetime import datetime

import msgspec

from agent.known import Known
from agent.reading import Reading, Rules
from connectors.base import Resource
from events.ledger import Conflict, Head, Ledger, Poll, State
from schemas.changes import Scope
from schemas.envelope import CloudEvent

ATTEMPTS = 5


class NothingHeld(Exception):
    """No deletes of this resource are held (any more)."""


class Approved(msgspec.Struct, frozen=True):
    """How many deletes were published, and how many are held so far that only the next sweep can name them."""

    published: int
    left: int


def missing(head: Head) -> list[str]:
    """The keys whose deletes are held. What is merely missing once, in another part, is not among them."""
    return sorted({key for part in head.parts.values() if part.held for key in part.missing})


async def approve(
    ledger: Ledger, scope: Scope, resource: Resource, redact: tuple[str, ...], clock: Callable[[], datetime]
) -> Approved:
    """Publish the held deletes at once, under the fence. Raises NothingHeld, Conflict (polls kept coming between)."""
    published: list[CloudEvent] = []
    rules = Rules(resource=resource, first_sync="baseline", redact=redact)
    for attempt in range(ATTEMPTS):
        state = await ledger.load(scope)
        if not state.head.held:
            break
        try:
            return await _commit(ledger, state, rules, clock(), published)
        except Conflict:  # somebody polled meanwhile: perhaps the records are back
            if attempt == ATTEMPTS - 1:
                raise
    if published:
        return Approved(len(published), 0)
    raise NothingHeld(f"no deletes of {scope} are held")


async def _commit(ledger: Ledger, state: State, rules: Rules, now: datetime, published: list[CloudEvent]) -> Approved:
    head, keys = state.head, missing(state.head)
    poll = Poll(secrets.token_hex(8), now)
    reading = Reading(ledger, state, Known(), rules, poll, published.append, _nothing_is_read)
    await reading.gone(keys)
    parts = {
        name: msgspec.structs.replace(part, missing=(), held=0) if part.held else part
        for name, part in head.parts.items()
    }
    changed = msgspec.structs.replace(head, poll_id=poll.id, records=reading.alive(), parts=parts)
    await reading.flush(changed)
    return Approved(len(published), max(head.held - len(keys), 0))


def _nothing_is_read(_: str, path: str) -> None:
    raise AssertionError(f"{path}: an approval reads nothing from the vendor")
