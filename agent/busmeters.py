"""What is counted of the routes, and of what the bus holds for us."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.facts import (
    BusState,
    Delivered,
    DeliveryOutcome,
    RouteState,
    RouteTurned,
    StorageState,
    StreamRemade,
    StreamState,
)

DELIVERY_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
LAG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600, 21600, 86400)  # retries last for days

RouteFact = Delivered | RouteState | RouteTurned
BusFact = BusState | StreamState | StreamRemade | StorageState


class _Deliveries(NamedTuple):
    """One route's own series: to look them up by their labels would cost more than to count."""

    outcomes: Mapping[DeliveryOutcome, Counter]
    duration: Histogram
    lag: Histogram


class Routes:
    """What is told of each route."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: dict[str, _Deliveries] = {}

        def histogram(name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"vendorwire_{name}", about, ("route",), buckets=buckets, registry=registry)

        def gauge(name: str, about: str) -> Gauge:
            return Gauge(f"vendorwire_{name}", about, ("route",), registry=registry)

        self._deliveries = Counter(
            "vendorwire_deliveries_total", "Attempts by how they ended.", ("route", "outcome"), registry=registry
        )
        self._duration = histogram("delivery_duration_seconds", "How long attempts take.", DELIVERY_SECONDS)
        self._lag = histogram("delivery_lag_seconds", "From an event's commit to its delivery.", LAG_SECONDS)
        self._pending = gauge("route_pending", "Events not delivered yet.")
        self._in_flight = gauge("route_in_flight", "Of those pending: being delivered, or waiting for a retry.")
        self._open = gauge(
            "route_circuit_open", "1 while the route rests as its receiver keeps failing, or is stopped."
        )
        self._dead = gauge("dead_letters", "Events that could not be delivered.")

    def declare(self, route: str) -> None:
        outcomes = {outcome: self._deliveries.labels(route, outcome.value) for outcome in DeliveryOutcome}
        self._known[route] = _Deliveries(outcomes, self._duration.labels(route), self._lag.labels(route))

    def observe(self, fact: RouteFact) -> None:
        known = self._known.get(fact.route)
        if known is None:
            return
        match fact:
            case Delivered():
                known.outcomes[fact.outcome].inc()
                known.duration.observe(fact.seconds)
                if fact.lag is not None:
                    known.lag.observe(max(0.0, fact.lag))  # two machines' clocks
            case RouteTurned(route=route, circuit=circuit):
                self._open.labels(route).set(circuit != "closed")
            case RouteState(route=route):
                self._pending.labels(route).set(fact.pending)
                self._in_flight.labels(route).set(fact.in_flight)
                self._open.labels(route).set(fact.circuit_open)
                self._dead.labels(route).set(fact.dead)
            case _:
                assert_never(fact)


class BusMeter:
    """The connection, and what the bus stores for us; `streams` names what there is a stream for."""

    def __init__(self, registry: CollectorRegistry, streams: Iterable[str]) -> None:
        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"vendorwire_{name}", about, labels, registry=registry)

        self._registry = registry
        self._connected = gauge("bus_connected", "1 while connected to the bus.")
        self._size = gauge("stream_bytes", "What a stream holds.", "stream")
        self._limit = gauge("stream_limit_bytes", "What a stream may hold; absent where it has no limit.", "stream")
        self._made = gauge("stream_created_timestamp_seconds", "When a stream was made.", "stream")
        self._remade = Counter(
            "vendorwire_streams_remade_total",
            "Times that a stream was gone while the agent ran, and was made anew.",
            ("stream",),
            registry=registry,
        )
        self._used = gauge("bus_storage_bytes", "What our account stores on the server.")
        self._most = Gauge(
            "vendorwire_bus_storage_limit_bytes",
            "What our account may store on the server; absent where it has no limit.",
            registry=None,
        )
        self._is_limited = False
        self._known = {stream: self._remade.labels(stream) for stream in streams}

    def observe(self, fact: BusFact) -> None:
        match fact:
            case BusState(connected=connected):
                self._connected.set(connected)
            case StreamState():
                self._stream(fact)
            case StreamRemade(stream=stream):
                if stream in self._known:
                    self._known[stream].inc()
            case StorageState(used=used, limit=limit):
                self._used.set(used)
                self._allow(limit)
            case _:
                assert_never(fact)

    def _stream(self, fact: StreamState) -> None:
        if fact.stream not in self._known:
            return
        self._size.labels(fact.stream).set(fact.size)
        self._made.labels(fact.stream).set(fact.made_at)
        if fact.limit is None:
            self._limit.remove(fact.stream)
        else:
            self._limit.labels(fact.stream).set(fact.limit)

    def _allow(self, limit: int | None) -> None:
        """A limit that is not there must not look like a limit of 0."""
        if (limit is not None) is not self._is_limited:
            self._is_limited = limit is not None
            (self._registry.register if self._is_limited else self._registry.unregister)(self._most)
        self._most.set(limit or 0)
