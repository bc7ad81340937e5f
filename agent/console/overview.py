"""The picture as the console shows it: counts over all, troubles first, and a page of the accounts, the worst first."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from agent.bus import names
from agent.commands.lines import counted
from agent.config import Config
from agent.console import judging
from agent.console.judging import Judged
from agent.console.picture import Picture
from agent.console.questions import Place
from agent.console.shapes import (
    AccountView,
    AgentView,
    BusView,
    Counts,
    Overview,
    ResourceView,
    RouteView,
    TokenView,
    Trouble,
)
from connectors.base import Connector
from events.circuit import Standing
from events.history import quantile
from events.routes import Route
from schemas.changes import Scope

JUDGED_FOR = 1.5  # seconds in which nobody judges all accounts anew
SOONEST = 0.2


class Next(msgspec.Struct, frozen=True):
    """When a resource is polled next, or that it is being polled."""

    at: datetime | None
    polling: bool


class Overviews:
    """Makes overviews for one agent's configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._connectors = {connector.name: connector for connector in config.accounts}
        known = names(config.bus)
        self._rolling = {known.attempts, known.history}
        self._judged: list[Judged] = []
        self._judged_at = (-1, 0.0)

    def page(self, picture: Picture, place: Place, now: float) -> tuple[int, list[Connector]]:
        """How many accounts fit, and those on the page."""
        fit = [each for each in self._all(picture, now) if self._fits(each, place, picture)]
        offset, limit = place.page
        return len(fit), [self._connectors[each.account] for each in fit[offset : offset + limit]]

    def make(self, picture: Picture, place: Place, nexts: Mapping[Scope, Next], bus: BusView, now: float) -> Overview:
        """The document. `nexts` has the resources of the page."""
        judged = self._all(picture, now)
        by_name = {each.account: each for each in judged}
        total, connectors = self.page(picture, place, now)
        unread = _unread(picture)
        return Overview(
            at=_instant(now),
            as_of=_instant(min(picture.heard, now)),
            counts=Counts(
                accounts=len(judged),
                degraded=sum(each.rank >= 2 for each in judged),
                stale=sum(each.stale for each in judged),
                paused=len(picture.paused),
                routes=len(self._config.routes),
                events_last_hour=picture.hour.changes,
                records=sum(head.records for head in picture.heads.values()),
                held=sum(head.held for head in picture.heads.values()),
                quarantined=len(picture.unread),
                pending=sum(route.waiting + route.in_hand for route in picture.routes.values()),
                dead=sum(route.dead for route in picture.routes.values()),
            ),
            troubles=self._troubles(picture, judged, bus, now),
            accounts_total=total,
            accounts=[_account(each, by_name[each.name], picture, nexts, unread, now) for each in connectors],
            routes=[_route(each, picture) for each in self._config.routes],
            bus=bus,
            agents=_agents(picture, now),
        )

    def _all(self, picture: Picture, now: float) -> list[Judged]:
        """Every account, the worst first; looked at anew when something has come, and not too often."""
        version, at = self._judged_at
        if not self._judged or now > at + JUDGED_FOR or (version != picture.version and now > at + SOONEST):
            begun = min((each.since for each in picture.agents.values() if not each.gone), default=now)
            unread = _unread(picture)
            judged = [judging.account(each, picture, unread, begun, now) for each in self._connectors.values()]
            self._judged = sorted(judged, key=lambda each: (-each.rank, each.account))
            self._judged_at = (picture.version, now)
        return self._judged

    def _fits(self, each: Judged, place: Place, picture: Picture) -> bool:
        if place.state == "bad" and not each.rank:
            return False
        if place.state == "paused" and each.account not in picture.paused:
            return False
        vendor = self._connectors[each.account].vendor
        return place.q.casefold() in f"{vendor}/{each.account}".casefold()

    def _troubles(self, picture: Picture, judged: list[Judged], bus: BusView, now: float) -> list[Trouble]:
        troubles = []
        if not bus.connected:
            do = "See that the NATS server runs and can be reached. The agents go on by themselves when it is back."
            what = f"not connected: {bus.why or 'no answer'}"
            troubles.append(Trouble(severity="bad", what=what, where="the bus", do=do, link="#/"))
        # while the bus is away all are silent, this one too: that is no news of theirs
        troubles += judging.of_agents(picture, now if bus.connected else min(picture.heard, now))
        troubles += judging.of_bus(picture, self._rolling)
        troubles += judging.of_routes(self._config.routes, picture, now)
        of_accounts = [trouble for each in judged if each.rank for trouble in each.troubles]
        troubles += of_accounts[: judging.MOST]
        if (more := len(of_accounts) - judging.MOST) > 0:
            do = "The accounts below are sorted: the worst come first."
            what = f"{counted(more, 'more trouble')}"
            troubles.append(Trouble(severity="bad", what=what, where="other accounts", do=do, link="#/"))
        return sorted(troubles, key=lambda each: each.severity != "bad")


def _account(
    connector: Connector,
    judged: Judged,
    picture: Picture,
    nexts: Mapping[Scope, Next],
    unread: Mapping[Scope, int],
    now: float,
) -> AccountView:
    known = picture.accounts.get(connector.name)
    token = picture.tokens.get(connector.name)
    healthy, words = judging.token_words(token, now)
    return AccountView(
        vendor=connector.vendor,
        account=connector.name,
        status="degraded" if judged.degraded else "ok",
        reason=known.reason if known is not None and judged.degraded else None,
        worst=judged.worst,
        stale=judged.stale,
        paused=picture.paused.get(connector.name),
        token=TokenView(
            healthy=healthy, in_words=words, expires_at=_instant(token.expires) if token and token.expires else None
        ),
        resources=[_resource(connector, each, picture, nexts, unread, now) for each in connector.resources],
    )


def _resource(
    connector: Connector,
    resource: str,
    picture: Picture,
    nexts: Mapping[Scope, Next],
    unread: Mapping[Scope, int],
    now: float,
) -> ResourceView:
    scope = Scope(connector.vendor, connector.name, resource)
    head = picture.heads.get(scope)
    told = judging.failing(picture.outcomes.get(scope), head)
    spark, failed, changes = picture.hour.spark(scope, now)
    at = head.at if head is not None else None
    following = nexts.get(scope, Next(None, polling=False))
    outcome, said = _said(told.outcome, told.detail) if told else _read(at, head.records if head else 0, changes)
    return ResourceView(
        resource=resource,
        interval=judging.interval(connector, resource, picture),
        last_success=at,
        age=round(max(now - at.timestamp(), 0.0), 1) if at is not None else None,
        outcome=outcome,
        said=said,
        since=_instant(told.since or told.at) if told else None,
        next_poll=following.at,
        polling=following.polling,
        records=head.records if head is not None else 0,
        held=head.held if head is not None else 0,
        quarantined=unread.get(scope, 0),
        changes_last_hour=changes,
        spark=spark,
        spark_failed=failed,
    )


def _said(outcome: str, detail: str) -> tuple[str, str]:
    words = judging.SAID.get(outcome, outcome)
    return outcome, f"{words}: {detail}" if detail else words


def _read(at: datetime | None, records: int, changes: int) -> tuple[str | None, str]:
    if at is None:
        return None, "not read yet"
    if changes:
        return "changed", f"read {counted(records, 'record')}; {counted(changes, 'change')} in the last hour"
    return "unchanged", f"read {counted(records, 'record')}; no change in the last hour"


def _route(route: Route, picture: Picture) -> RouteView:
    there = picture.routes.get(route.name)
    standing = there.standing if there is not None else Standing()
    told = picture.hour.delivered(route.name)
    tried = sum(told.outcomes.values())
    p50, p99 = quantile(told.lags, 0.5), quantile(told.lags, 0.99)
    return RouteView(
        route=route.name,
        to=receiver(route),
        pending=there.waiting + there.in_hand if there is not None else 0,
        in_flight=there.in_hand if there is not None else 0,
        circuit=standing.position.value,
        dead=there.dead if there is not None else 0,
        lag_p50=p50,
        lag_p99=p99,
        success_rate=round(told.outcomes.get("delivered", 0) / tried, 4) if tried else None,
        since=_instant(standing.since) if standing.since else None,
        last_success=_instant(standing.last_success) if standing.last_success else None,
        last_error=standing.last_error or None,
    )


def receiver(route: Route) -> str:
    """Where a route leads, without what may be as good as a password."""
    if route.webhook is None:
        return f"subject {route.subject}"
    return urlsplit(route.webhook.url).hostname or ""


def _agents(picture: Picture, now: float) -> list[AgentView]:
    alive = [each for each in picture.agents.values() if not each.gone and now - each.seen < judging.FORGOTTEN]
    return [
        AgentView(
            agent=each.agent,
            host=each.host,
            version=each.version,
            roles=list(each.roles),
            since=_instant(each.since),
            seen=_instant(each.seen),
        )
        for each in sorted(alive, key=lambda each: each.since)
    ]


def _unread(picture: Picture) -> Counter[Scope]:
    return Counter(scope for scope, _ in picture.unread)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(max(seconds, 0.0), UTC)
