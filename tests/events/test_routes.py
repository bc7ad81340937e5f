"""Routes as configured, and the filters made from them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from events.routes import ANY, Begin, Route, Secrets, Webhook, decode_hook, filters
from schemas.changes import ACCOUNT_CHANGES, CATALOGUE, changes_of, resources
from schemas.settings import Secret

ACCOUNTS = {f"{vendor}-{number}": vendor for vendor in CATALOGUE for number in (1, 2)}
EVERY_EVENT = [
    (vendor, account, resource, change)
    for account, vendor in ACCOUNTS.items()
    for resource, changes in (*CATALOGUE[vendor].items(), ("account", ACCOUNT_CHANGES))
    for change in changes
]


def webhook(**fields: Any) -> Webhook:
    return msgspec.convert(
        {"url": "https://crm.example.com/hooks", "secret": "s", **fields}, Webhook, dec_hook=decode_hook
    )


def route(*events: str, **fields: Any) -> Route:
    return Route(name="crm", events=events, subject="ops.alerts", **fields)


def matches(subject_filter: str, subject: str) -> bool:
    """As NATS matches, for filters without >."""
    pairs = list(zip(subject_filter.split("."), subject.split("."), strict=True))
    return all(pattern in (ANY, token) for pattern, token in pairs)


def overlap(one: str, other: str) -> bool:
    return all(a == b or ANY in (a, b) for a, b in zip(one.split("."), other.split("."), strict=True))


def test_a_route_is_read_from_the_configuration_as_written() -> None:
    read = msgspec.convert(
        {
            "name": "crm",
            "events": ["booking.*"],
            "webhook": {
                "url": "https://crm.example.com/hooks",
                "secret": ["a", "b"],
                "timeout": "3s",
                "retries": ["1s", "2m"],
            },
        },
        Route,
        dec_hook=decode_hook,
    )
    assert read.webhook is not None
    assert read.webhook.secret == (Secret("a"), Secret("b"))
    assert read.webhook.timeout.total_seconds() == 3
    assert [wait.total_seconds() for wait in read.webhook.retries] == [1, 120]


def test_what_a_webhook_need_not_say_has_its_default() -> None:
    plain = webhook()
    assert plain.secret == Secrets((Secret("s"),))
    assert (plain.timeout.total_seconds(), plain.concurrency, plain.rate) == (15, 16, None)
    assert (plain.format, plain.allow_private, plain.headers) == ("cloudevents", False, {})
    assert [int(wait.total_seconds()) for wait in plain.retries] == [
        5,
        30,
        120,
        600,
        1800,
        7200,
        21600,
        43200,
        86400,
        86400,
    ]


def begins(text: object) -> Route:
    told = {"name": "crm", "events": ["booking.*"], "subject": "ops.alerts", "from": text}
    return msgspec.convert(told, Route, dec_hook=decode_hook)


def test_a_route_begins_now_unless_it_says_all_or_a_time() -> None:
    assert route("booking.*").from_ == Begin("now")
    assert [begins(text).from_.since for text in ("now", "all")] == [None, None]
    assert begins("2026-05-20T08:00:00.5+02:00").from_.since == datetime(2026, 5, 20, 6, 0, 0, 500_000, UTC)


@pytest.mark.parametrize("text", ["", "then", "2026-05-20", "2026-05-20T08:00:00", "1h", "2026-02-30T08:00:00Z", 5])
def test_a_route_that_begins_at_no_time_is_refused(text: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"is not where a route can begin: .* - at `\$\.from`"):
        begins(text)


def test_a_route_cannot_begin_in_the_future() -> None:
    now = datetime(2026, 5, 20, 8, tzinfo=UTC)
    assert Begin.parse("2026-05-20T08:00:00Z", now).since == now
    with pytest.raises(ValueError, match="lies ahead"):
        Begin.parse("2026-05-20T08:00:01Z", now)


def test_a_routes_order_is_that_of_its_records_or_none() -> None:
    assert route("booking.*").order == "record"
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'vendor'"):
        msgspec.convert({"name": "a", "events": ["*.*"], "subject": "a", "order": "vendor"}, Route)


def test_a_narrowed_route_has_only_what_both_say() -> None:
    whole = route("booking.*", "*.deleted", accounts=("rome",))
    narrowed = whole.narrowed(["*.cancelled", "property.*"])
    assert narrowed.events == ("booking.cancelled", "property.deleted")
    assert narrowed.accounts == ("rome",)
    with pytest.raises(ValueError, match=r"the route crm has none of these; it has booking\.\*, \*\.deleted"):
        whole.narrowed(["property.created"])
    with pytest.raises(ValueError, match="no change 'canceled'"):
        whole.narrowed(["booking.canceled"])


def test_an_unknown_key_is_refused_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `secrets`"):
        webhook(secrets="s")


def test_a_fault_names_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"from 1 to 1000 - at `\$\.webhook`"):
        msgspec.convert(
            {"name": "a", "events": ["*.*"], "webhook": {"url": "https://a", "secret": "s", "concurrency": 0}},
            Route,
            dec_hook=decode_hook,
        )


def test_a_webhooks_repr_shows_neither_secret_nor_path_nor_header() -> None:
    shown = repr(webhook(url="https://crm.example.com/canary?k=canary", secret="canary", headers={"x-key": "canary"}))
    assert shown == "Webhook(crm.example.com)"


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example.com",
        "http://localhost:8080/a%20b?c=d&e=%2B",
        "http://127.0.0.1:1/",
        "https://[::1]:8443/x",
        "https://xn--bcher-kva.example/",
        "http://my_service.ns.svc.cluster.local./",
    ],
)
def test_a_plain_http_address_is_taken(url: str) -> None:
    assert webhook(url=url).url == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://a/b", "http or https"),
        ("//a/b", "http or https"),
        ("crm.example.com/hooks", "http or https"),
        ("unix:///run/x.sock", "http or https"),
        ("https://", "needs a host"),
        ("https:///path", "needs a host"),
        ("https://:443/", "needs a host"),
        ("https://a:0/", "needs a host"),
        ("https://-a/", "needs a host"),
        ("https://a..b/", "needs a host"),
        (f"https://{'a' * 64}.example/", "needs a host"),
        (f"https://{'a.' * 127}example/", "needs a host"),
        ("https://a%2eb/", "needs a host"),
        ("https://[::1%25eth0]/", "needs a host"),
        ("https://[v1.x]/", "needs a host"),
        ("https://[::1/", "Invalid IPv6"),
        ("https://a:99999/", "Port out of range"),
        ("https://a:b/", "Port could not be cast"),
        ("https://user@a/", "no user"),
        ("https://user:pass@a/", "no user"),
        ("https://@a/", "no user"),
        ("https://a/#x", "fragment"),
        ("https://a/#", "fragment"),
        ("https://a\\@b/", "ASCII"),
        ("https://a\tb/", "ASCII"),
        ("https://a/\n", "ASCII"),
        (" https://a/", "ASCII"),
        ("https://bücher.example/", "ASCII"),
        ("https://127。0。0。1/", "ASCII"),
        ("", "ASCII"),
    ],
)
def test_an_address_that_can_be_read_two_ways_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=sentence):
        webhook(url=url)


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({"Webhook-Signature": "x"}, "ours"),
        ({"vendorwire-attempt": "x"}, "ours"),
        ({"Content-Type": "x"}, "ours"),
        ({"HOST": "x"}, "ours"),
        ({"Transfer-Encoding": "chunked"}, "ours"),
        ({"Expect": "100-continue"}, "ours"),
        ({"x y": "x"}, "not a header's name"),
        ({"x\r\ny": "x"}, "not a header's name"),
        ({"x-a": "1\r\nx-b: 2"}, "one line"),
        ({"x-a": "1\nhunter2"}, "one line"),
        ({"x-a": "é"}, "one line"),
        ({"x-a": 1}, "put it in quotes"),
    ],
)
def test_headers_cannot_override_ours_nor_break_the_line(headers: dict[str, Any], sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=sentence) as caught:
        webhook(headers=headers)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"timeout": "0s"}, "longer than nothing"),
        ({"concurrency": 0}, "from 1 to 1000"),
        ({"concurrency": 1001}, "from 1 to 1000"),
        ({"rate": 0}, "above 0"),
        ({"rate": float("nan")}, "above 0"),
        ({"secret": []}, "at least one secret"),
        ({"secret": " "}, "not be blank"),
        ({"secret": 5}, "put it in quotes"),
        ({"format": "xml"}, "Invalid enum value 'xml'"),
    ],
)
def test_a_webhook_that_could_not_work_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=sentence):
        webhook(**fields)


def test_a_route_has_either_a_webhook_or_a_subject() -> None:
    with pytest.raises(ValueError, match="either a webhook or a subject"):
        Route(name="a", events=("*.*",))
    with pytest.raises(ValueError, match="either a webhook or a subject"):
        Route(name="a", events=("*.*",), webhook=webhook(), subject="a")


@pytest.mark.parametrize("name", ["", "CRM", "a.b", "a b", "a_b", "a*", "a\n", "é"])
def test_a_routes_name_is_lower_case_letters_digits_and_dashes(name: str) -> None:
    with pytest.raises(ValueError, match="not a route's name"):
        Route(name=name, events=("*.*",), subject="ops")


def test_a_subject_that_the_server_would_not_read_is_refused() -> None:
    assert Route(name="a", events=("*.*",), subject="a" * 256).subject
    with pytest.raises(ValueError, match="it is 257 characters long, and may have 256"):
        Route(name="a", events=("*.*",), subject="a" * 257)


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "a\n", "$JS.API.x", "a\x00"])
def test_a_subject_that_cannot_be_published_to_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="not a subject"):
        Route(name="a", events=("*.*",), subject=subject)


def test_a_subject_under_the_buss_own_prefix_is_a_loop() -> None:
    looped = Route(name="a", events=("*.*",), subject="vendorwire.event.a.b.c.d")
    with pytest.raises(ValueError, match="loop"):
        filters(looped, "vendorwire", {})
    assert filters(looped, "other", {}) == ["other.event.*.*.*.*"]


def test_an_unknown_resource_change_or_vendor_is_told_what_exists() -> None:
    with pytest.raises(ValueError, match=r"no resource 'bookings'; there are account, .*booking"):
        route("bookings.*")
    with pytest.raises(ValueError, match=r"no change 'canceled'; booking has .*cancelled"):
        route("booking.canceled")
    with pytest.raises(ValueError, match=r"no change 'canceled'; there are .*cancelled"):
        route("*.canceled")
    with pytest.raises(ValueError, match=r"no vendor 'acme'; there are .*octorate"):
        route("*.*", vendors=("acme",))


@pytest.mark.parametrize("pattern", ["", "booking", "*", ".", "booking.", ".created", "booking.created.x", ">"])
def test_a_pattern_is_a_resource_and_a_change(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"not <resource>|no change"):
        route(pattern)


def test_a_route_without_events_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        route()


def test_one_pattern_is_one_filter() -> None:
    assert filters(route("booking.*"), "vendorwire", {}) == ["vendorwire.event.*.*.booking.*"]
    assert filters(route("account.*"), "vendorwire", {}) == ["vendorwire.event.*.*.account.*"]
    assert filters(route("*.created"), "vendorwire", {}) == ["vendorwire.event.*.*.*.created"]


def test_accounts_and_vendors_become_tokens() -> None:
    accounts = {"rome": "octorate", "milan": "octorate"}
    assert filters(route("booking.*", accounts=("rome",)), "vw", accounts) == ["vw.event.octorate.rome.booking.*"]
    assert filters(route("booking.*", vendors=("octorate",)), "vw", accounts) == ["vw.event.octorate.*.booking.*"]


def test_a_wider_pattern_swallows_a_narrower_one() -> None:
    assert filters(route("booking.*", "booking.created", "booking.*"), "vw", {}) == ["vw.event.*.*.booking.*"]
    assert filters(route("*.*", "booking.created", "*.deleted"), "vw", {}) == ["vw.event.*.*.*.*"]


def test_crossing_wildcards_are_spelled_out() -> None:
    crossed = filters(route("booking.*", "*.created"), "vw", {})
    assert "vw.event.*.*.booking.*" in crossed
    assert "vw.event.*.*.property.created" in crossed
    assert "vw.event.*.*.booking.created" not in crossed
    assert not any(".*.created" in each for each in crossed)


def test_an_unknown_account_is_told_what_exists() -> None:
    with pytest.raises(ValueError, match="no account 'paris'; there are milan, rome"):
        filters(route("*.*", accounts=("paris",)), "vw", {"rome": "octorate", "milan": "octorate"})


def test_a_route_nothing_can_match_is_refused_because_no_filter_would_mean_everything() -> None:
    with pytest.raises(ValueError, match="no event can ever match the route crm"):
        filters(route("booking.*", accounts=("pool",)), "vw", {"pool": "a-vendor-without-bookings"})


words = st.sampled_from([*sorted(resources())])
patterns = words.flatmap(
    lambda resource: st.tuples(
        st.sampled_from([resource, ANY]), st.sampled_from([*sorted(changes_of(resource)), ANY])
    ).map(".".join)
)


@given(
    st.lists(patterns, min_size=1, max_size=6),
    st.lists(st.sampled_from(sorted(ACCOUNTS)), max_size=3),
    st.lists(st.sampled_from(sorted(CATALOGUE)), max_size=2),
)
def test_filters_never_overlap_and_say_exactly_what_the_patterns_say(
    events: list[str], accounts: list[str], vendors: list[str]
) -> None:
    wanted = {
        f"vw.event.{vendor}.{account}.{resource}.{change}"
        for vendor, account, resource, change in EVERY_EVENT
        if any(matches(pattern, f"{resource}.{change}") for pattern in events)
        and (not accounts or account in accounts)
        and (not vendors or vendor in vendors)
    }
    assume(wanted)
    made = filters(route(*events, accounts=tuple(accounts), vendors=tuple(vendors)), "vw", ACCOUNTS)
    everything = {f"vw.event.{vendor}.{account}.{what}.{change}" for vendor, account, what, change in EVERY_EVENT}
    assert {subject for subject in everything if any(matches(each, subject) for each in made)} == wanted
    assert not [(a, b) for place, a in enumerate(made) for b in made[place + 1 :] if overlap(a, b)]


@given(st.lists(patterns, min_size=1, max_size=4), st.lists(patterns, min_size=1, max_size=4))
def test_a_narrowed_route_matches_what_both_match(events: list[str], others: list[str]) -> None:
    kinds = {f"{resource}.{change}" for _, _, resource, change in EVERY_EVENT}

    def matched(some: Sequence[str]) -> set[str]:
        return {kind for kind in kinds if any(matches(pattern, kind) for pattern in some)}

    wanted = matched(events) & matched(others)
    assume(wanted)
    assert matched(route(*events).narrowed(others).events) == wanted
