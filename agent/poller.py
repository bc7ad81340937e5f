"""Polls end here in one outcome each, whatever the vendor does: a sweep of a set of records, or a step along a feed."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from agent.feeding import Follow
from agent.known import Known
from agent.outcomes import Ended
from agent.sweeping import Sweep
from agent.watched import Task, Watched
from events.ledger import Conflict, Ledger, Poll
from schemas.changes import Scope
from schemas.facts import Fact, Polled, PollOutcome


class Poller:
    """Polls one resource of one account at a time; holds what is remembered between polls."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], tell: Callable[[Fact], None]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._tell = tell
        self._known: dict[Scope, Known] = {}
        self._turns: dict[Scope, int] = {}  # how often each was polled

    async def poll(self, watched: Watched, resource: str) -> Ended:
        """Poll and commit. Raises LedgerUnavailable when the bus is away; whatever the vendor does is an outcome."""
        started = time.monotonic()
        scope = watched.scope(resource)
        try:
            ended = await self._run(watched, resource).run()
        except Conflict:
            ended = Ended(outcome=PollOutcome.CONFLICT, detail="another agent polled this resource meanwhile")
        self._tell(
            Polled(
                scope=scope,
                outcome=ended.outcome,
                seconds=time.monotonic() - started,
                records=ended.records,
                detail=ended.detail,
            )
        )
        return ended

    async def try_ledger(self, scope: Scope) -> None:
        """Whether the ledger takes commits: its head is stored once more. Raises LedgerUnavailable, as a poll would."""
        state = await self._ledger.load(scope)
        with suppress(Conflict):  # somebody else's was taken
            await self._ledger.commit(state, [], state.head, Poll(state.head.poll_id, self._clock()))

    def _run(self, watched: Watched, resource: str) -> Sweep | Follow:
        scope = watched.scope(resource)
        turn = self._turns.get(scope, 0)
        self._turns[scope] = turn + 1
        task = Task(self._ledger, watched, resource, self._clock(), turn, self._tell)
        return Follow(task) if task.resource.feed else Sweep(task, self._known.setdefault(scope, Known()))
