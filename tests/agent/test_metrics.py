"""The metrics: public names, labels from closed sets, and counters that exist before their first event."""

import re
from datetime import UTC, datetime

import pytest
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from agent.metrics import Metrics
from events.jetstream.streams import ROLES
from schemas.changes import Scope
from schemas.facts import (
    AccountPaused,
    BusState,
    Delivered,
    DeliveryOutcome,
    Fact,
    Fresh,
    Hinted,
    HintOutcome,
    Polled,
    PollOutcome,
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

NOW = 1_780_000_000.0
SCOPE = Scope("octorate", "hotel-roma", "booking")
WHERE = {"vendor": "octorate", "account": "hotel-roma", "resource": "booking"}
WHOSE = {"vendor": "octorate", "account": "hotel-roma"}
CRM = {"route": "crm"}

ONE_OF_EACH: list[Fact] = [
    Polled(scope=SCOPE, outcome=PollOutcome.CHANGED, seconds=0.7, records=40),
    Scheduled(scope=SCOPE, interval=60),
    Fresh(scope=SCOPE, at=datetime.fromtimestamp(NOW, UTC), records=812, held=3),
    Published(scope=SCOPE, change="cancelled", key="1", event_id="e1", age=12.0),
    Quarantined(scope=SCOPE, path="$.checkin"),
    Replanned(scope=SCOPE),
    VendorAnswered(vendor="octorate", account="hotel-roma", status="200", remaining=88),
    TokenState(vendor="octorate", account="hotel-roma", healthy=True, expires_at=NOW + 600, renewal="renewed"),
    Delivered(
        route="crm",
        outcome=DeliveryOutcome.DELIVERED,
        event_id="e1",
        kind="booking.cancelled",
        attempt=1,
        seconds=0.2,
        lag=0.4,
    ),
    RouteState(route="crm", pending=7, dead=2, in_flight=5, circuit_open=True),
    RouteTurned(route="crm", circuit="open", error="answered 500"),
    BusState(connected=True),
    StreamState(stream="ledger", size=900, limit=1000, made_at=NOW),
    StreamRemade(stream="ledger", name="VENDORWIRE"),
    StorageState(used=2000, limit=4000),
    AccountPaused(vendor="octorate", account="hotel-roma", paused=True, by="me"),
    Hinted(vendor="octorate", account="hotel-roma", outcome=HintOutcome.ABSORBED, hints=3),
    SignedIn(outcome=SignInOutcome.ADMITTED),
]

# CONTRACT: name → labels. `le` of histograms aside.
PUBLIC = {
    "vendorwire_polls_total": {"vendor", "account", "resource", "outcome"},
    "vendorwire_poll_duration_seconds_count": {"vendor", "account", "resource"},
    "vendorwire_poll_last_success_timestamp_seconds": {"vendor", "account", "resource"},
    "vendorwire_poll_interval_seconds": {"vendor", "account", "resource"},
    "vendorwire_records_read_total": {"vendor", "account", "resource"},
    "vendorwire_snapshot_records": {"vendor", "account", "resource"},
    "vendorwire_records_quarantined_total": {"vendor", "account", "resource"},
    "vendorwire_deletes_held": {"vendor", "account", "resource"},
    "vendorwire_polls_replanned_total": {"vendor", "account", "resource"},
    "vendorwire_vendor_requests_total": {"vendor", "account", "status"},
    "vendorwire_vendor_budget_remaining": {"vendor", "account"},
    "vendorwire_events_published_total": {"vendor", "account", "resource", "change"},
    "vendorwire_event_age_seconds_count": {"vendor"},
    "vendorwire_token_expires_timestamp_seconds": {"vendor", "account"},
    "vendorwire_token_healthy": {"vendor", "account"},
    "vendorwire_token_renewals_total": {"vendor", "account", "outcome"},
    "vendorwire_account_paused": {"vendor", "account"},
    "vendorwire_hints_total": {"vendor", "account", "outcome"},
    "vendorwire_console_sign_ins_total": {"outcome"},
    "vendorwire_deliveries_total": {"route", "outcome"},
    "vendorwire_delivery_duration_seconds_count": {"route"},
    "vendorwire_delivery_lag_seconds_count": {"route"},
    "vendorwire_route_pending": {"route"},
    "vendorwire_route_in_flight": {"route"},
    "vendorwire_route_circuit_open": {"route"},
    "vendorwire_dead_letters": {"route"},
    "vendorwire_bus_connected": set(),
    "vendorwire_stream_bytes": {"stream"},
    "vendorwire_stream_limit_bytes": {"stream"},
    "vendorwire_stream_created_timestamp_seconds": {"stream"},
    "vendorwire_streams_remade_total": {"stream"},
    "vendorwire_bus_storage_bytes": set(),
    "vendorwire_bus_storage_limit_bytes": set(),
    "vendorwire_build_info": {"version"},
}


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics("1.2.3", clock=lambda: NOW)
    made.declare([SCOPE], ["crm"])
    return made


def series(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.render("")[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return series(metrics).get((f"vendorwire_{name}", frozenset(labels.items())))


def test_every_public_metric_has_its_exact_name_and_labels(metrics: Metrics) -> None:
    for fact in ONE_OF_EACH:
        metrics.observe(fact)
    shown = {name: {label for label, _ in labels} for name, labels in series(metrics)}
    ours = {name for name in shown if name.startswith("vendorwire_") and not name.endswith(("_bucket", "_sum"))}
    assert {name: shown[name] for name in ours} == PUBLIC


def test_every_kind_of_fact_is_counted() -> None:
    assert {type(fact) for fact in ONE_OF_EACH} == {
        kind for kind in Fact.__subclasses__() if kind.__module__ == Fact.__module__
    }


def test_a_fact_nobody_thought_of_is_an_error(metrics: Metrics) -> None:
    with pytest.raises(TypeError, match="no metric is made of Fact"):
        metrics.observe(Fact())


@pytest.mark.parametrize("outcome", PollOutcome)
def test_every_poll_outcome_exists_at_zero_and_counts(metrics: Metrics, outcome: PollOutcome) -> None:
    assert value(metrics, "polls_total", **WHERE, outcome=outcome.value) == 0
    metrics.observe(Polled(scope=SCOPE, outcome=outcome, seconds=1))
    assert value(metrics, "polls_total", **WHERE, outcome=outcome.value) == 1


def test_other_counters_exist_at_zero_before_their_first_event(metrics: Metrics) -> None:
    assert {value(metrics, "deliveries_total", **CRM, outcome=each.value) for each in DeliveryOutcome} == {0}
    assert {value(metrics, "token_renewals_total", **WHOSE, outcome=each) for each in ("renewed", "failed")} == {0}
    assert value(metrics, "vendor_requests_total", **WHOSE, status="error") == 0
    assert value(metrics, "events_published_total", **WHERE, change="no_show") == 0
    assert value(metrics, "events_published_total", **(WHERE | {"resource": "account"}), change="degraded") == 0
    assert value(metrics, "records_quarantined_total", **WHERE) == 0
    assert value(metrics, "delivery_lag_seconds_count", **CRM) == 0
    assert value(metrics, "event_age_seconds_count", vendor="octorate") == 0
    assert value(metrics, "polls_replanned_total", **WHERE) == 0
    assert value(metrics, "bus_connected") == 0
    assert {value(metrics, "console_sign_ins_total", outcome=each.value) for each in SignInOutcome} == {0}
    assert {value(metrics, "streams_remade_total", stream=each) for each in ROLES} == {0}


def test_an_account_that_never_succeeded_shows_zero_and_not_nothing(metrics: Metrics) -> None:
    assert value(metrics, "poll_last_success_timestamp_seconds", **WHERE) == 0


def test_only_a_poll_that_read_to_the_end_is_a_success(metrics: Metrics) -> None:
    metrics.observe(Polled(scope=SCOPE, outcome=PollOutcome.UNAVAILABLE, seconds=30))
    assert value(metrics, "poll_last_success_timestamp_seconds", **WHERE) == 0
    metrics.observe(Polled(scope=SCOPE, outcome=PollOutcome.HELD, seconds=2))
    assert value(metrics, "poll_last_success_timestamp_seconds", **WHERE) == NOW


def test_freshness_learned_from_another_agent_is_shown(metrics: Metrics) -> None:
    metrics.observe(Fresh(scope=SCOPE, at=datetime(2026, 5, 20, 8, tzinfo=UTC), records=812, held=3))
    assert value(metrics, "poll_last_success_timestamp_seconds", **WHERE) == 1_779_264_000
    assert value(metrics, "snapshot_records", **WHERE) == 812
    assert value(metrics, "deletes_held", **WHERE) == 3


def test_a_vendor_whose_clock_is_ahead_does_not_turn_a_sum_back(metrics: Metrics) -> None:
    metrics.observe(Published(scope=SCOPE, change="created", key="1", event_id="e", age=-30.0))
    assert value(metrics, "event_age_seconds_sum", vendor="octorate") == 0
    assert value(metrics, "event_age_seconds_count", vendor="octorate") == 1


def test_a_token_without_expiry_shows_none(metrics: Metrics) -> None:
    metrics.observe(TokenState(vendor="octorate", account="hotel-roma", healthy=True, expires_at=NOW))
    metrics.observe(TokenState(vendor="octorate", account="hotel-roma", healthy=False))
    assert value(metrics, "token_expires_timestamp_seconds", **WHOSE) is None
    assert value(metrics, "token_healthy", **WHOSE) == 0


def test_what_has_no_limit_shows_none_and_a_limit_that_is_lifted_goes(metrics: Metrics) -> None:
    for limit, shown in ((None, None), (1000, 1000), (None, None)):
        metrics.observe(StreamState(stream="ledger", size=900, limit=limit, made_at=NOW))
        metrics.observe(StorageState(used=2000, limit=limit))
        assert value(metrics, "stream_limit_bytes", stream="ledger") == shown
        assert value(metrics, "bus_storage_limit_bytes") == shown
    assert value(metrics, "stream_bytes", stream="ledger") == 900
    assert value(metrics, "stream_created_timestamp_seconds", stream="ledger") == NOW
    assert value(metrics, "bus_storage_bytes") == 2000


def test_what_waits_for_a_route_is_told_apart_from_what_is_on_its_way(metrics: Metrics) -> None:
    metrics.observe(RouteState(route="crm", pending=7, dead=2, in_flight=5))
    assert (value(metrics, "route_pending", **CRM), value(metrics, "route_in_flight", **CRM)) == (7, 5)


@pytest.mark.parametrize("status", ["\u0662\u0660\u0660", "200\n", "999", "https://x/?token=1", "", "-12"])
def test_a_status_that_is_none_becomes_error(metrics: Metrics, status: str) -> None:
    metrics.observe(VendorAnswered(vendor="octorate", account="hotel-roma", status=status))
    assert value(metrics, "vendor_requests_total", **WHOSE, status="error") == 1


def test_what_was_not_declared_makes_no_series(metrics: Metrics) -> None:
    before = set(series(metrics))
    stranger = Scope("octorate", "stranger", "booking")
    metrics.observe(Fresh(scope=stranger, at=datetime.fromtimestamp(NOW, UTC), records=1, held=0))
    metrics.observe(TokenState(vendor="octorate", account="stranger", healthy=False))
    metrics.observe(RouteState(route="stranger", pending=1, dead=0))
    metrics.observe(Replanned(scope=stranger))
    metrics.observe(StreamState(stream="stranger", size=1, limit=2, made_at=NOW))
    metrics.observe(StreamRemade(stream="stranger", name="STRANGER"))
    assert set(series(metrics)) == before


def test_a_forgotten_resource_ends_while_its_account_stays(metrics: Metrics) -> None:
    other = Scope("octorate", "hotel-roma", "property")
    metrics.declare([other], [])
    metrics.forget(other)
    metrics.observe(Fresh(scope=other, at=datetime.fromtimestamp(NOW, UTC), records=1, held=0))
    left = {dict(labels).get("resource") for _, labels in series(metrics)}
    assert left == {None, "booking", "account"}
    assert value(metrics, "vendor_requests_total", **WHOSE, status="200") == 0


def test_a_forgotten_account_leaves_nothing(metrics: Metrics) -> None:
    for fact in ONE_OF_EACH:
        metrics.observe(fact)
    metrics.forget(SCOPE)
    assert not [labels for _, labels in series(metrics) if "vendor" in dict(labels)]
    assert value(metrics, "route_pending", **CRM) == 7


def test_openmetrics_is_given_where_asked_for_and_is_valid(metrics: Metrics) -> None:
    for fact in ONE_OF_EACH:
        metrics.observe(fact)
    asked = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"
    body, kind = metrics.render(asked)
    parsed = openmetrics_parser.text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]  # theirs
    families = {family.name: family for family in parsed}  # it refuses what the format does not allow
    assert kind == openmetrics.exposition.CONTENT_TYPE_LATEST
    assert families["vendorwire_polls"].type == "counter"
    assert families["vendorwire_build"].samples[0].labels == {"version": "1.2.3"}


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=x", "\x00", "application/json"])
def test_anything_else_gets_the_text_format(metrics: Metrics, accept: str) -> None:
    assert metrics.render(accept)[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_there_are_no_created_series_and_every_metric_says_what_it_is(metrics: Metrics) -> None:
    for accept in ("", "application/openmetrics-text"):
        assert not re.search(r"_created[{ ]", metrics.render(accept)[0].decode())
    families = list(parser.text_string_to_metric_families(metrics.render("")[0].decode()))
    assert [family.name for family in families if not family.documentation] == []


def test_the_process_tells_its_memory_and_descriptors(metrics: Metrics) -> None:
    names = {name for name, _ in series(metrics)}
    assert {"process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"} <= names


def test_two_agents_in_one_process_do_not_share_series(metrics: Metrics) -> None:
    other = Metrics("9.9.9")
    metrics.observe(BusState(connected=True))
    assert value(other, "bus_connected") == 0
