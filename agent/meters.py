"""What is counted of each resource and each account: their series, from their first declaration to their end."""

from collections.abc import Callable
from typing import TypeVar, assert_never, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from schemas.changes import ACCOUNT_CHANGES, CATALOGUE, Scope
from schemas.facts import (
    AccountPaused,
    Fresh,
    Hinted,
    Polled,
    PollOutcome,
    Published,
    Quarantined,
    Replanned,
    Scheduled,
    TokenState,
    VendorAnswered,
)

SCOPE = ("vendor", "account", "resource")
ACCOUNT = ("vendor", "account")
RENEWALS = ("renewed", "refused", "failed")
STATUSES = ("200", "401", "403", "429", "500", "503", "error")  # present at 0 from the start; others appear when seen
POLL_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300)
AGE_SECONDS = (1, 5, 15, 30, 60, 120, 300, 900, 3600, 21600, 86400)

ScopeFact = Polled | Scheduled | Fresh | Published | Quarantined | Replanned
AccountFact = VendorAnswered | TokenState | AccountPaused | Hinted
M = TypeVar("M", bound=MetricWrapperBase)


class Series:
    """Series by metric and labels, kept once they were looked up: upstream checks the labels and takes a lock each time."""

    def __init__(self) -> None:
        self._found: dict[tuple[MetricWrapperBase, tuple[str, ...]], MetricWrapperBase] = {}

    def of(self, metric: M, *labels: str) -> M:
        found = self._found.get((metric, labels))
        if found is None:
            found = self._found[metric, labels] = metric.labels(*labels)
        return cast("M", found)

    def forget(self) -> None:
        """Some series have ended: all are looked up anew."""
        self._found.clear()


class Scopes:
    """What is told of each resource of each account."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._known: set[Scope] = set()
        self._series = Series()
        self._clock = clock

        def counter(name: str, about: str, *more: str) -> Counter:
            return Counter(f"vendorwire_{name}", about, (*SCOPE, *more), registry=registry)

        def gauge(name: str, about: str) -> Gauge:
            return Gauge(f"vendorwire_{name}", about, SCOPE, registry=registry)

        self._polls = counter("polls_total", "Polls by how they ended.", "outcome")
        self._read = counter("records_read_total", "Records read from the vendor.")
        self._quarantined = counter("records_quarantined_total", "Records that could not be read.")
        self._published = counter("events_published_total", "Events committed to the bus.", "change")
        self._replanned = counter("polls_replanned_total", "Polls whose plan was lost or overdue, planned anew.")
        self._success = gauge(
            "poll_last_success_timestamp_seconds", "When records were last read to the end; 0: never."
        )
        self._interval = gauge("poll_interval_seconds", "The time between polls.")
        self._records = gauge("snapshot_records", "Records in the snapshot.")
        self._held = gauge("deletes_held", "Deletes that wait for a person's approval.")
        self._duration = Histogram(
            "vendorwire_poll_duration_seconds", "How long polls take.", SCOPE, buckets=POLL_SECONDS, registry=registry
        )
        self._age = Histogram(
            "vendorwire_event_age_seconds",
            "From the vendor's own time of a change to its event.",
            ("vendor",),
            buckets=AGE_SECONDS,
            registry=registry,
        )
        counters = (self._polls, self._read, self._quarantined, self._replanned, self._published)
        gauges = (self._success, self._interval, self._records, self._held)
        self._by_account: tuple[MetricWrapperBase, ...] = (*counters, *gauges, self._duration)

    def declare(self, scope: Scope) -> None:
        labels = (scope.vendor, scope.account, scope.resource)
        whole = Scope(scope.vendor, scope.account, "account")  # account.degraded and account.recovered
        self._known |= {scope, whole}
        for outcome in PollOutcome:
            self._polls.labels(*labels, outcome.value)
        for change in CATALOGUE.get(scope.vendor, {}).get(scope.resource, ()):
            self._published.labels(*labels, change)
        for change in ACCOUNT_CHANGES:
            self._published.labels(scope.vendor, scope.account, whole.resource, change)
        for metric in (self._read, self._quarantined, self._replanned, self._success, self._duration):
            metric.labels(
                *labels
            )  # of the gauges only this one: an account that never succeeded must not look like none
        self._age.labels(scope.vendor)

    def observe(self, fact: ScopeFact) -> None:
        if fact.scope not in self._known:
            return
        labels = (fact.scope.vendor, fact.scope.account, fact.scope.resource)
        match fact:
            case Polled():
                self._polled(fact, labels)
            case Scheduled(interval=interval):
                self._series.of(self._interval, *labels).set(interval)
            case Fresh():
                self._series.of(self._success, *labels).set(fact.at.timestamp())
                self._series.of(self._records, *labels).set(fact.records)
                self._series.of(self._held, *labels).set(fact.held)
            case Published(change=change, age=age):
                self._series.of(self._published, *labels, change).inc()
                if age is not None:
                    waited = max(0.0, age)  # the vendor's clock may be ahead
                    self._series.of(self._age, fact.scope.vendor).observe(waited)
            case Quarantined():
                self._series.of(self._quarantined, *labels).inc()
            case Replanned():
                self._series.of(self._replanned, *labels).inc()
            case _:
                assert_never(fact)

    def _polled(self, fact: Polled, labels: tuple[str, str, str]) -> None:
        self._series.of(self._polls, *labels, fact.outcome.value).inc()
        self._series.of(self._duration, *labels).observe(fact.seconds)
        self._series.of(self._read, *labels).inc(fact.records)
        if fact.outcome.succeeded:
            self._series.of(self._success, *labels).set(self._clock())

    def forget(self, scope: Scope) -> bool:
        """Whether this was the last resource of its account."""
        self._known.discard(scope)
        self._series.forget()
        labels = {"vendor": scope.vendor, "account": scope.account}
        left = {known for known in self._known if (known.vendor, known.account) == (scope.vendor, scope.account)}
        last = all(known.resource == "account" for known in left)
        if last:
            self._known -= left
        else:
            labels["resource"] = scope.resource
        for metric in self._by_account:
            metric.remove_by_labels(labels)
        if not any(known.vendor == scope.vendor for known in self._known):
            self._age.remove(scope.vendor)
        return last


class Accounts:
    """What is told of each account's requests and credentials."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: set[tuple[str, str]] = set()
        self._series = Series()

        def counter(name: str, about: str, *more: str) -> Counter:
            return Counter(f"vendorwire_{name}", about, (*ACCOUNT, *more), registry=registry)

        def gauge(name: str, about: str) -> Gauge:
            return Gauge(f"vendorwire_{name}", about, ACCOUNT, registry=registry)

        self._requests = counter("vendor_requests_total", "Requests to the vendor by HTTP status, or error.", "status")
        self._renewals = counter("token_renewals_total", "Renewals of the token by how they ended.", "outcome")
        self._remaining = gauge("vendor_budget_remaining", "Requests left in the budget.")
        self._expires = gauge("token_expires_timestamp_seconds", "When the token expires; absent where it does not.")
        self._healthy = gauge("token_healthy", "1 while the vendor accepts the credentials.")
        self._paused = gauge("account_paused", "1 while somebody has paused the account.")
        self._hints = counter("hints_total", "Calls of the vendor's webhooks by what became of them.", "outcome")

    def declare(self, *account: str) -> None:
        self._known.add((account[0], account[1]))
        self._paused.labels(*account).set(0)
        for status in STATUSES:
            self._requests.labels(*account, status)
        for outcome in RENEWALS:
            self._renewals.labels(*account, outcome)

    def observe(self, fact: AccountFact) -> None:
        account = (fact.vendor, fact.account)
        if account not in self._known and fact.account:
            return
        match fact:
            case AccountPaused(paused=paused):
                self._paused.labels(*account).set(paused)
            case Hinted(outcome=outcome, hints=hints):
                self._series.of(self._hints, *account, outcome.value).inc(hints)
            case VendorAnswered(status=status, remaining=remaining):
                self._series.of(self._requests, *account, status if _is_http_status(status) else "error").inc()
                if remaining is not None:
                    self._series.of(self._remaining, *account).set(remaining)
            case TokenState():
                self._token(fact)
            case _:
                assert_never(fact)

    def _token(self, fact: TokenState) -> None:
        account = (fact.vendor, fact.account)
        self._healthy.labels(*account).set(fact.healthy)
        if fact.expires_at is None:
            self._expires.remove(*account)  # an expiry long past would go on alarming
        else:
            self._expires.labels(*account).set(fact.expires_at)
        if fact.renewal in RENEWALS:
            self._renewals.labels(*account, fact.renewal).inc()

    def forget(self, *account: str) -> None:
        self._series.forget()
        self._known.discard((account[0], account[1]))
        own = (self._requests, self._renewals, self._remaining, self._expires, self._healthy, self._paused, self._hints)
        for metric in own:
            metric.remove_by_labels(dict(zip(ACCOUNT, account, strict=True)))


def _is_http_status(status: str) -> bool:
    """A vendor may write any three digits; these are the ones that mean something."""
    return status.isascii() and status.isdigit() and len(status) == 3 and 100 <= int(status) <= 599
