"""The health of accounts: `account.degraded` when reading one fails in a way that lasts, `account.recovered` after it."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from agent.outcomes import VENDOR_STALE, Ended
from agent.watched import Watched
from events.diff import Stored
from events.ledger import Conflict, Head, Ledger, Poll
from schemas.changes import DEGRADED, RECOVERED, Change, Scope
from schemas.facts import Fact, PollOutcome, Published
from schemas.records import Account, AccountStatus

AT_ONCE = frozenset({PollOutcome.UNAUTHORIZED, PollOutcome.FORBIDDEN})
PATIENCE = 3  # polls in a row that may fail otherwise before the account counts as degraded
_WORST_FIRST = (
    str(PollOutcome.UNAUTHORIZED),
    str(PollOutcome.FORBIDDEN),
    VENDOR_STALE,
    str(PollOutcome.UNREADABLE),
    str(PollOutcome.THROTTLED),
    str(PollOutcome.UNAVAILABLE),
)


class Health:
    """Keeps each account's record in the ledger: what all agents together know of its resources' troubles."""

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], tell: Callable[[Fact], None]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._tell = tell

    async def note(self, watched: Watched, resource: str, ended: Ended, failures: int) -> bool:
        """Take note of a poll's end; publishes where the account's status changes. Raises LedgerUnavailable.

        Whether it is known now that the account's record holds nothing against the resource.
        """
        at_once = ended.outcome in AT_ONCE or bool(ended.reason)
        if ended.outcome is PollOutcome.CONFLICT or (0 < failures < PATIENCE and not at_once):
            return False
        trouble = None if ended.outcome.succeeded else ended.reason or str(ended.outcome)
        with suppress(Conflict):  # another note was taken meanwhile: the next poll looks again
            await self._record(watched, resource, trouble)
            return trouble is None
        return False

    async def _record(self, watched: Watched, resource: str, trouble: str | None) -> None:
        name = watched.connector.name
        scope = Scope(watched.connector.vendor, name, Account.resource)
        state = await self._ledger.load(scope)
        if not trouble and not state.entries:
            return
        stored = (await self._ledger.stored(scope, [name], Account)).get(name)
        before = stored.record if stored and isinstance(stored.record, Account) else None
        problems = {**(before.problems if before else {}), **({resource: trouble} if trouble else {})}
        if not trouble:
            problems.pop(resource, None)
        if problems == (before.problems if before else {}):
            return
        now = self._clock()
        change = _change(name, stored, before, problems, now)
        poll = Poll(secrets.token_hex(8), now)
        head = Head(poll_id=poll.id, at=now, records=1)
        for event in await self._ledger.commit(state, [change], head, poll):
            self._tell(Published(scope=scope, change=str(change.verb), key=name, event_id=event.id))


def _change(
    name: str, stored: Stored | None, before: Account | None, problems: dict[str, str], now: datetime
) -> Change:
    status = AccountStatus.DEGRADED if problems else AccountStatus.OK
    turned = status is not (before.status if before else AccountStatus.OK)
    worst = next((reason for reason in _WORST_FIRST if reason in problems.values()), None)
    after = Account(
        id=name,
        status=status,
        reason=worst,
        problems=problems,
        since=now if turned or before is None else before.since,
    )
    verb = (DEGRADED if problems else RECOVERED) if turned else None
    fields = ("status",) if turned and before else ()
    return Change(
        key=name, version=stored.version + 1 if stored else 1, verb=verb, before=before, after=after, fields=fields
    )
