"""Prometheus metrics, made from facts. Names and labels are public (they are what people alert on): change none.

Labels come only from closed sets: what `declare` was told from the configuration, the catalogue of changes, outcomes, and
HTTP statuses. A fact about an account or a route that was not declared, or was forgotten, is passed over, so that nothing
that travels over the bus can grow the number of series.
"""

import time
from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    exposition,
)
from prometheus_client.openmetrics import exposition as openmetrics

from agent.busmeters import BusMeter, Routes
from agent.meters import Accounts, Scopes
from events.jetstream.streams import ROLES
from schemas.changes import Scope
from schemas.facts import (
    AccountPaused,
    BusState,
    Delivered,
    Fact,
    Fresh,
    Hinted,
    Polled,
    Published,
    Quarantined,
    Replanned,
    RouteState,
    RouteTurned,
    Scheduled,
    SignedIn,
    SignInOutcome,
    StorageState,
    StreamRemade,
    StreamState,
    TokenState,
    VendorAnswered,
)


class Metrics:
    """All metrics of one agent, in a registry of their own. `clock` gives the Unix time in seconds."""

    def __init__(self, version: str, clock: Callable[[], float] = time.time) -> None:
        # a switch of the whole process: there is none per registry
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it unannotated
        self._registry = CollectorRegistry()
        self._scopes = Scopes(self._registry, clock)
        self._accounts = Accounts(self._registry)
        self._routes = Routes(self._registry)
        self._bus = BusMeter(self._registry, ROLES)
        about = "Admin tokens given to the console by what became of them."
        self._sign_ins = Counter("vendorwire_console_sign_ins_total", about, ["outcome"], registry=self._registry)
        for outcome in SignInOutcome:
            self._sign_ins.labels(outcome.value)
        Info("vendorwire_build", "The running version.", registry=self._registry).info({"version": version})
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def declare(self, scopes: Iterable[Scope], routes: Iterable[str]) -> None:
        """Name what is configured: its counters exist at 0 before their first event. May be called again to add."""
        for scope in scopes:
            self._scopes.declare(scope)
            self._accounts.declare(scope.vendor, scope.account)
        for route in routes:
            self._routes.declare(route)

    def observe(self, fact: Fact) -> None:
        """Count a fact."""
        match fact:
            case Delivered() | RouteState() | RouteTurned():  # first, for there are most of them
                self._routes.observe(fact)
            case Polled() | Scheduled() | Fresh() | Published() | Quarantined() | Replanned():
                self._scopes.observe(fact)
            case VendorAnswered() | TokenState() | AccountPaused() | Hinted():
                self._accounts.observe(fact)
            case BusState() | StreamState() | StreamRemade() | StorageState():
                self._bus.observe(fact)
            case SignedIn(outcome=outcome):
                self._sign_ins.labels(outcome.value).inc()
            case _:
                raise TypeError(f"no metric is made of {type(fact).__name__}")

    def forget(self, scope: Scope) -> None:
        """A resource is no longer configured: its series end, and with its account's last resource the account's."""
        if self._scopes.forget(scope):
            self._accounts.forget(scope.vendor, scope.account)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body and its content type: OpenMetrics where the Accept header names it, else the text format.

        Takes about 10 µs a series and may be called from another thread.
        """
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # unannotated too
            return body, openmetrics.CONTENT_TYPE_LATEST
        return exposition.generate_latest(self._registry), exposition.CONTENT_TYPE_PLAIN_0_0_4
