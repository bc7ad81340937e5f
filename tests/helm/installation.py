"""An installation as Prometheus sees it, minute by minute: the metrics of real agents' registries, fed with facts."""

from collections.abc import Mapping
from datetime import UTC, datetime

from prometheus_client import parser

from agent.metrics import Metrics
from events.jetstream.streams import ROLES
from schemas.changes import Scope
from schemas.facts import (
    BusState,
    Delivered,
    DeliveryOutcome,
    Fact,
    Fresh,
    Polled,
    PollOutcome,
    RouteState,
    Scheduled,
    StorageState,
    StreamState,
    TokenState,
)

BOOKINGS = Scope("octorate", "roma", "booking")
PROPERTIES = Scope("ipro", "coast", "property")
SCOPES = (BOOKINGS, PROPERTIES)
EVERY = 60.0  # seconds: of each resource, and between two scrapes
TOKEN_LIVES = 3600.0


class Installation:
    """Agents that come and go, all with one configuration. A minute passes with `minute`; each is one scrape."""

    def __init__(self) -> None:
        self._now = -EVERY
        self._agents: dict[str, Metrics] = {}
        self._ended: set[str] = set()
        self._scrapes: list[dict[str, float]] = []
        self._seen: dict[str, set[int]] = {}  # series → scrapes with it
        self._read: dict[Scope, float] = {}  # when each was last read to the end
        self._expires = 0.0

    def start(self, agent: str) -> None:
        """Its first scrape comes before it has reached the bus."""
        metrics = self._agents[agent] = Metrics("1.2.3", clock=lambda: self._now)
        metrics.declare(SCOPES, ["crm"])
        for scope in SCOPES:
            metrics.observe(Scheduled(scope=scope, interval=EVERY))

    def end(self, agent: str) -> None:
        del self._agents[agent]
        self._ended.add(agent)

    def minute(self, *polled: Scope, connected: bool = True) -> None:
        """A minute in which agents came to the end of these polls; each in turn does the work, and all tell what all know."""
        self._now += EVERY
        agents = list(self._agents.values())
        known = [metrics for metrics in agents if self._has_been_scraped(metrics)] if connected else []
        self._work(known, polled)
        for metrics in known:
            self._tell(metrics)
        self._scrape()

    def series(self) -> list[dict[str, str]]:
        """All that was scraped, as promtool takes it."""
        told = []
        for name, seen in sorted(self._seen.items()):
            values = [self._value(name, number, seen) for number in range(len(self._scrapes))]
            told.append({"series": name, "values": " ".join(values)})
        return told

    def _has_been_scraped(self, metrics: Metrics) -> bool:
        agent = next(name for name, each in self._agents.items() if each is metrics)
        return any(f'instance="{agent}"' in name for name in self._scrapes[-1]) if self._scrapes else False

    def _work(self, agents: list[Metrics], polled: tuple[Scope, ...]) -> None:
        if not agents:
            return
        worker = agents[int(self._now / EVERY) % len(agents)]
        for scope in polled:
            self._read[scope] = self._now
            worker.observe(Polled(scope=scope, outcome=PollOutcome.UNCHANGED, seconds=1, records=40))
        if self._now > self._expires - TOKEN_LIVES / 5:
            self._expires = self._now + TOKEN_LIVES
            for scope in SCOPES:
                worker.observe(_token(scope, self._expires, "renewed"))
        for number in range(20):
            worker.observe(_delivered(DeliveryOutcome.DELIVERED, number))

    def _tell(self, metrics: Metrics) -> None:
        facts: list[Fact] = [BusState(connected=True), RouteState(route="crm", pending=0, dead=0)]
        facts += [StreamState(stream=role, size=700, limit=1000, made_at=60) for role in ROLES]
        facts += [StorageState(used=5600, limit=10_000)]
        facts += [_token(scope, self._expires, "") for scope in SCOPES]
        facts += [
            Fresh(scope=scope, at=datetime.fromtimestamp(at, UTC), records=40, held=0)
            for scope, at in self._read.items()
        ]
        for fact in facts:
            metrics.observe(fact)

    def _scrape(self) -> None:
        number = len(self._scrapes)
        scraped = {}
        for agent, metrics in self._agents.items():
            for family in parser.text_string_to_metric_families(metrics.render("")[0].decode()):
                for sample in family.samples:
                    if sample.name.startswith("vendorwire_"):
                        scraped[_named(sample.name, {**sample.labels, "job": "vw", "instance": agent})] = sample.value
        for name in scraped:
            self._seen.setdefault(name, set()).add(number)
        self._scrapes.append(scraped)

    def _value(self, name: str, number: int, seen: set[int]) -> str:
        if number in seen:
            return f"{self._scrapes[number][name]:.17g}"
        return "stale" if number - 1 in seen else "_"


def _named(name: str, labels: Mapping[str, str]) -> str:
    told = [f'{label}="{value}"' for label, value in sorted(labels.items())]
    return f"{name}{{{','.join(told)}}}"


def _token(scope: Scope, expires: float, renewal: str) -> TokenState:
    return TokenState(vendor=scope.vendor, account=scope.account, healthy=True, expires_at=expires, renewal=renewal)


def _delivered(outcome: DeliveryOutcome, number: int) -> Delivered:
    event = f"event-{number}"
    return Delivered(
        route="crm", outcome=outcome, event_id=event, kind="booking.cancelled", attempt=1, seconds=0.1, lag=0.2
    )
