"""What is wrong, how bad that is, and what to do: in words for whoever looks at a page at night. Pure; times are Unix seconds."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from agent.commands.lines import counted
from agent.console.picture import Picture, RouteNow, TokenNow
from agent.console.shapes import Trouble
from connectors.base import Connector
from events.circuit import Position
from events.history import Outcome, quantile
from events.ledger import Head
from events.routes import Route
from schemas.changes import Scope
from schemas.facts import PollOutcome
from schemas.records import Account, AccountStatus

STALE_INTERVALS, STALE_SECONDS = 3, 60.0  # beyond so many intervals and seconds a resource is stale
SILENT = 45.0  # seconds after which an agent that said nothing is missed,
FORGOTTEN = 600.0  # and after which nobody asks for it any more
BEHIND = 600.0  # seconds: a route of whose events none was taken up in so long is behind,
LATE = 300.0  # and one that delivers them later than so many; as the alert VendorwireRouteLagging
NEARLY_FULL, FULL = 0.8, 0.95  # shares, as the alerts VendorwireStreamNearLimit and VendorwireStreamAlmostFull
MOST = 100  # troubles that are told one by one

SAID: Mapping[str, str] = {
    PollOutcome.THROTTLED: "the vendor asks for fewer requests",
    PollOutcome.UNAVAILABLE: "the vendor does not answer as it should",
    PollOutcome.UNAUTHORIZED: "the vendor refuses the credentials",
    PollOutcome.FORBIDDEN: "the vendor refuses what is asked for",
    PollOutcome.UNREADABLE: "what the vendor answers cannot be read",
    PollOutcome.CONFLICT: "two agents polled at the same time: the other one's poll counts",
}
DO: Mapping[str, str] = {
    PollOutcome.THROTTLED: "Nothing, if it passes. If it stays, poll less often (every) or allow fewer requests (budget).",
    PollOutcome.UNAVAILABLE: "It is tried again by itself. If it stays, ask the vendor.",
    PollOutcome.UNAUTHORIZED: "Check the credentials; where a person consented: vendorwire authorize {account}",
    PollOutcome.FORBIDDEN: "Check at the vendor what this account may read.",
    PollOutcome.UNREADABLE: "The vendor may have changed its format: vendorwire poll {account} {resource} --dry-run shows it.",
}


class Judged(msgspec.Struct, frozen=True):
    """An account as it is to be shown: the worst first. `rank` is 0 where all is well; `worst` is the sentence to show."""

    rank: int
    account: str
    worst: str = ""
    stale: bool = False
    degraded: bool = False
    troubles: tuple[Trouble, ...] = ()


def failing(outcome: Outcome | None, head: Head | None) -> Outcome | None:
    """The last poll's outcome, where it is known to have failed and nobody succeeded since."""
    if outcome is None or outcome.outcome not in SAID or outcome.outcome == PollOutcome.CONFLICT:
        return None
    succeeded = head.at.timestamp() if head is not None and head.at is not None else 0.0
    return outcome if outcome.at > succeeded else None


def is_stale(head: Head | None, interval: float, begun: float, now: float) -> bool:
    """Whether a resource is older than it may be. `begun`: when the oldest agent that lives started."""
    at = head.at.timestamp() if head is not None and head.at is not None else 0.0
    return now - max(at, begun if not at else 0.0) > STALE_INTERVALS * interval + STALE_SECONDS


def _age(
    connector: Connector, resource: str, picture: Picture, begun: float, now: float
) -> Literal["fresh", "underway", "stale"]:
    """Whether a resource was read to its end of late. Under way is one that somebody wants read whole, or whose head is written
    all the same: what is read is committed on the way, and who asks for an earlier time writes it too."""
    scope = Scope(connector.vendor, connector.name, resource)
    head, every = picture.heads.get(scope), interval(connector, resource, picture)
    if connector.name in picture.paused or not is_stale(head, every, begun, now):
        return "fresh"
    wanted = head is not None and any(part.anew for part in head.parts.values())
    lately = now - picture.written.get(scope, 0.0) <= STALE_INTERVALS * every + STALE_SECONDS
    polled = any(
        not each.gone and "poll" in each.roles and now - each.seen <= SILENT for each in picture.agents.values()
    )
    return "underway" if polled and (wanted or lately) else "stale"


def token_words(token: TokenNow | None, now: float) -> tuple[bool | None, str]:
    """Whether the credentials are healthy, and in words."""
    if token is None:
        return None, "no agent has signed in yet"
    if token.problem == "refused":
        return False, "the vendor refuses them"
    left = token.expires - now
    if token.problem == "failed":
        return left > 0, "could not be renewed; it is tried again"
    if left <= 0:
        return (None, "each agent signs in for itself") if not token.expires else (False, "have run out")
    return True, f"accepted, for {span(left)}"


def interval(connector: Connector, resource: str, picture: Picture) -> float:
    """How often a resource is polled, in seconds: as configured, unless it was set by hand."""
    configured = connector.interval(resource).total_seconds()
    return picture.intervals.get(Scope(connector.vendor, connector.name, resource), configured)


def account(connector: Connector, picture: Picture, unread: Mapping[Scope, int], begun: float, now: float) -> Judged:
    """How one account does."""
    name = connector.name
    troubles: list[Trouble] = []
    rank, stale, told = 0, False, False
    for resource in connector.resources:
        scope = Scope(connector.vendor, name, resource)
        head = picture.heads.get(scope)
        ill = failing(picture.outcomes.get(scope), head)
        age = _age(connector, resource, picture, begun, now)
        old = age == "stale" or (age == "underway" and ill is not None)
        stale = stale or old
        told = told or old or ill is not None
        if age == "underway" and not old:
            troubles.append(_of_underway(scope, head, now))
            rank = max(rank, 1)
        if ill is not None or old or (head is not None and head.held) or unread.get(scope):
            troubles += _of_resource(scope, head, ill, unread.get(scope, 0), now, old=old)
            rank = max(rank, 3 if old else 2 if ill else 1)
    known = picture.accounts.get(name)
    degraded = known is not None and known.status is AccountStatus.DEGRADED
    healthy, words = token_words(picture.tokens.get(name), now)
    if healthy is False:
        troubles.insert(0, _of_token(connector.vendor, name, words))
    elif known is not None and degraded and not told:
        troubles.insert(0, _of_degraded(connector.vendor, known))
    if healthy is False or degraded:
        rank = 4
    worst = troubles[0].what if troubles else ""
    return Judged(rank, name, worst, stale, degraded, tuple(troubles))


def _of_underway(scope: Scope, head: Head | None, now: float) -> Trouble:
    what = "is being read, for the first time"
    if head is not None and head.at is not None:
        what = f"is being read; it was last read to its end {span(now - head.at.timestamp())} ago"
    do = "Nothing: much takes its time. If it stays so, see what the log of the agents that poll says of this account."
    where, link = f"{scope.account} {scope.resource}", f"#/accounts/{scope.account}"
    return Trouble(severity="warn", what=what, where=where, do=do, link=link)


def _of_resource(
    scope: Scope, head: Head | None, ill: Outcome | None, unread: int, now: float, *, old: bool
) -> Iterator[Trouble]:
    where, link = f"{scope.account} {scope.resource}", f"#/accounts/{scope.account}"
    at = head.at.timestamp() if head is not None and head.at is not None else None
    age = f"not read for {span(now - at)}" if at is not None else "has never been read to its end"
    if ill is not None:
        do = DO[ill.outcome].format(account=scope.account, resource=scope.resource)
        what = SAID[ill.outcome] + (f"; {age}" if old else "")
        yield Trouble(severity="bad" if old else "warn", what=what, where=where, do=do, link=link)
    elif old:
        do = "See that an agent runs with the role poll, and what its log says of this account."
        yield Trouble(severity="bad", what=age, where=where, do=do, link=link)
    if head is not None and head.held:
        what = f"{counted(head.held, 'delete')} held: too much was missing at once"
        do = "Look at the vendor whether they are gone, then approve them; if they are there, do nothing."
        yield Trouble(severity="warn", what=what, where=where, do=do, link="#/deletes")
    if unread:
        what = f"{counted(unread, 'record')} could not be read"
        do = "The others go on. Look at the place that is named; the vendor may have changed its format."
        yield Trouble(severity="warn", what=what, where=where, do=do, link="#/quarantine")


def _of_token(vendor: str, name: str, words: str) -> Trouble:
    do = f"Check the credentials of this account; where a person consented: vendorwire authorize {name}"
    link = f"#/accounts/{name}"
    return Trouble(severity="bad", what=f"the credentials: {words}", where=f"{vendor} {name}", do=do, link=link)


def _of_degraded(vendor: str, known: Account) -> Trouble:
    """What the account's own record says, where nothing else tells of it."""
    reason, resource = known.reason or "", next(iter(known.problems), "")
    do = DO.get(reason, "See what an agent's log says of this account.").format(account=known.id, resource=resource)
    where, link = f"{vendor} {known.id}", f"#/accounts/{known.id}"
    return Trouble(severity="bad", what=SAID.get(reason, reason or "in trouble"), where=where, do=do, link=link)


def of_bus(picture: Picture, rolling: Collection[str]) -> Iterator[Trouble]:
    """What is nearly full. The oldest goes first in the streams that are `rolling`: they may be full."""
    places = [
        (f"stream {each.stream}", each.bytes, each.limit) for each in picture.streams if each.stream not in rolling
    ]
    for where, used, limit in (*places, ("the NATS account", *picture.storage)):
        if not limit or used <= NEARLY_FULL * limit:
            continue
        full = used > FULL * limit
        what = f"{min(used / limit, 1):.0%} full: {'polling stands still, or is about to' if full else 'it fills up'}"
        do = "Make room or raise its limit: bus.max_bytes, or what the NATS account may store. Nothing is forgotten meanwhile."
        yield Trouble(severity="bad" if full else "warn", what=what, where=where, do=do, link="#/")


def of_routes(routes: Sequence[Route], picture: Picture, now: float) -> Iterator[Trouble]:
    """What is wrong with the routes."""
    for route in routes:
        there = picture.routes.get(route.name)
        if there is not None:
            yield from _of_route(route.name, there, now)
            if there.standing.position is Position.CLOSED and not there.paused:
                yield from _of_backlog(route.name, there, picture, now)


def _of_backlog(name: str, there: RouteNow, picture: Picture, now: float) -> Iterator[Trouble]:
    """Events wait, and are delivered late or not at all. What waits for a retry is no backlog."""
    if there.untouched_since is None:
        return
    lag = quantile(picture.hour.delivered(name, now - BEHIND).lags, 0.5)
    untouched = now - there.untouched_since
    if lag is not None and lag > LATE:
        how = f"half of them come more than {span(lag)} late"
        do = "The receiver is slower than events come: see how long it takes, its rate and its concurrency."
    elif lag is None and untouched > BEHIND:
        how = f"none was taken up for {span(untouched)}"
        do = "See that an agent runs with the role route, and what its log says of this route."
    else:
        return
    what = f"behind: {counted(there.waiting, 'event')} {'waits' if there.waiting == 1 else 'wait'}, {how}"
    yield Trouble(severity="bad", what=what, where=f"route {name}", do=do, link=f"#/routes/{name}")


def _of_route(name: str, there: RouteNow, now: float) -> Iterator[Trouble]:
    standing, link = there.standing, f"#/routes/{name}"
    if standing.position is Position.STOPPED:
        do = "When the receiver is there again, resume the route."
        what = f"stopped: {standing.last_error}"
        yield Trouble(severity="bad", what=what, where=f"route {name}", do=do, link=link)
    elif standing.position is Position.OPEN:
        do = "Look at the receiver. The route finds it again by itself; resuming it only tries at once."
        what = f"rests since {span(now - standing.since)}: {standing.last_error}"
        yield Trouble(severity="bad", what=what, where=f"route {name}", do=do, link=link)
    if there.paused:
        do = f"On the server: nats consumer resume, of the consumer route-{name}."
        what = "somebody has paused its consumer on the server"
        yield Trouble(severity="bad", what=what, where=f"route {name}", do=do, link=link)
    if there.dead:
        do = "Look at the reasons; when the receiver is well, replay them, or drop what nobody needs."
        what = f"{counted(there.dead, 'dead letter')}: given up after the last attempt"
        yield Trouble(severity="warn", what=what, where=f"route {name}", do=do, link=f"#/dead?route={name}")


def of_agents(picture: Picture, now: float) -> Iterator[Trouble]:
    """Agents that fell silent without having said that they end; and polls that nobody makes."""
    lost = [each for each in picture.agents.values() if not each.gone and SILENT < now - each.seen < FORGOTTEN]
    for each in lost:
        what = f"silent for {span(now - each.seen)}"
        do = "See whether it was killed, hangs, or cannot reach the bus. The others do its work meanwhile."
        yield Trouble(severity="warn", what=what, where=f"agent {each.agent} on {each.host}", do=do, link="#/")
    alive = [each for each in picture.agents.values() if not each.gone and now - each.seen <= SILENT]
    for role, lacks in (("poll", "nobody polls"), ("route", "nobody delivers")):
        if alive and not any(role in each.roles for each in alive):
            do = f"Start an agent with the role {role}."
            yield Trouble(severity="bad", what=lacks, where="the agents", do=do, link="#/")
    if picture.ticks_paused:
        do = "On the server: nats consumer resume, of the consumer agents."
        yield Trouble(severity="bad", what="nobody polls: their consumer is paused", where="the bus", do=do, link="#/")


def span(seconds: float) -> str:
    """A length of time in one number, whole, for a sentence."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{max(seconds, 0) / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
