"""The configuration: good ones are read, bad ones are told all their faults, and nothing secret is told."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from agent.config import Bus, Config, Defaults, Http, Tls, UnknownAccountError
from agent.configfile import load
from agent.faults import ConfigError
from agent.starter import STARTER
from connectors.octorate import Octorate
from events.routes import Route, Webhook
from events.signing import generate
from schemas.settings import Budget, Deletes, Duration

SIGNING = generate()
ACCOUNT = "{vendor: octorate, name: hotel, client_id: id, client_secret: alpha, refresh_token: beta%s}"
GOOD = f"accounts:\n  - {ACCOUNT % ''}\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"OCTORATE_ID": "canary-id", "OCTORATE_SECRET": "canary-one", "OCTORATE_REFRESH": "canary-two"}
    values |= {"CRM_SECRET": SIGNING, "COPIES": "3", "WRONG": "canary-value", "EMPTY": "", "BLANK": " \t"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    for name in ("ABSENT", "VENDORWIRE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vendorwire.yaml"


def read(file: Path, text: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load(file)


def faults(file: Path, text: str) -> list[tuple[int | None, str, str]]:
    with pytest.raises(ConfigError) as caught:
        read(file, text)
    return [(fault.line, fault.path, fault.message) for fault in caught.value.faults]


def account(more: str) -> str:
    return f"accounts:\n  - {ACCOUNT % more}\n"


def route(text: str) -> str:
    return f"{GOOD}routes:\n  - {{name: crm, {text}}}\n"


def bus(text: str) -> str:
    return f"{GOOD}bus:\n  {text}\n"


def webhook(text: str) -> str:
    return route(
        f'events: ["booking.*"], webhook: {{url: "https://crm.example.com", secret: "${{CRM_SECRET}}", {text}}}'
    )


def to(url: str, more: str = "") -> str:
    return webhook(more).replace("https://crm.example.com", url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/", "http://localhost/", "http://[fd00::1]/", "http://10.0.0.1/"]
)
def test_a_private_receiver_is_taken_where_that_is_allowed(file: Path, url: str) -> None:
    (crm,) = read(file, to(url, "allow_private: true")).routes

    assert crm.webhook
    assert crm.webhook.url == url


def test_of_a_private_receiver_nothing_is_said_where_allow_private_cannot_be_read(file: Path) -> None:
    assert [path for _, path, _ in faults(file, to("http://127.0.0.1:9000/", "allow_private: maybe"))] == [
        "routes[0].webhook.allow_private"
    ]


def test_the_starter_is_valid_as_it_stands(file: Path) -> None:
    config = read(file, STARTER)

    (hotel,) = config.accounts
    assert isinstance(hotel, Octorate)
    assert hotel.client_id == "canary-id"
    assert hotel.client_secret.reveal() == "canary-one"
    assert [each.name for each in config.routes] == ["crm", "ops"]
    assert config.bus == Bus()


def test_the_starter_mentions_every_key_there_is() -> None:
    sections = [Config, Bus, Tls, Http, Defaults, Octorate, Budget, Deletes, Route, Webhook]
    keys = [key for section in sections for key in section.__struct_encode_fields__]

    assert [key for key in keys if f"{key}:" not in STARTER] == []


def test_the_starter_shows_the_defaults(file: Path) -> None:
    optional = (
        "base_url reconcile window_past window_ahead token_lifetime timeout concurrency retries format allow_private"
    )
    shown = rf"# ((?:{optional.replace(' ', '|')}): )"
    told = read(file, re.sub(shown, r"\1", STARTER))
    silent = read(file, STARTER)

    assert told == silent
    assert silent.grace == Config(accounts=()).grace


def test_an_account_falls_back_to_the_defaults(file: Path) -> None:
    own = "defaults: {first_sync: events, redact: [guest.email]}\naccounts:\n"
    own += f"  - {ACCOUNT % ', redact: [], deletes: {max_ratio: 0.5}'}\n"
    config = read(file, own)
    hotel = config.account("hotel")

    assert config.first_sync(hotel) == "events"
    assert config.deletes(hotel).max_ratio == 0.5
    assert config.redact(hotel) == ()
    with pytest.raises(UnknownAccountError, match="no account is named 'motel'; there are: hotel"):
        config.account("motel")


def test_numbers_and_durations_can_come_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFTEN", "2s")
    config = read(file, account(', every: {booking: "${OFTEN}"}') + "bus: {url: nats://h, replicas: '${COPIES}'}\n")

    assert config.bus.replicas == 3
    assert config.accounts[0].interval("booking") == timedelta(seconds=2)


def test_a_secret_in_a_file_is_read_when_it_is_used(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text("an old token, and long\n")
    config = read(file, GOOD + f'http: {{listen: "[::1]:0", admin_token: "${{file:{kept}}}"}}\n')
    kept.write_text("new\n")

    assert config.http.admin_token is not None
    assert config.http.admin_token.reveal() == "new"
    assert config.http.address == ("::1", 0)


def test_several_servers_several_secrets_and_a_byte_order_mark_are_fine(file: Path) -> None:
    several = "\ufeff" + webhook("timeout: 3s").replace('"${CRM_SECRET}"', '["${CRM_SECRET}", "${CRM_SECRET}"]')
    config = read(file, several + "bus: {url: [nats://a, 'tls://b:4443']}\n")

    hook = config.routes[0].webhook
    assert hook is not None
    assert len(hook.secret) == 2
    assert hook.timeout == Duration(seconds=3)
    assert config.bus.servers == ("nats://a", "tls://b:4443")


BAD = [
    # the file
    ("", 1, "", "is empty"),
    ("# nothing\n", 1, "", "is empty"),
    ("- a\n", 1, "", "must hold keys and values"),
    ("a: 1\n\tb: 2\n", 2, "", "a tab is not allowed"),
    ("a: [1, 2\nb: 3\n", 2, "", "a closing bracket is missing"),
    ("a: 'b\n", 2, "", "not closed"),
    ("[" * 5000, 1, "", "nested too deeply"),
    ("a: " + "[" * 50 + "]" * 50, 1, "a" + "[0]" * 20, "nested too deeply"),
    ('a: "\\UFFFFFFFF"\n', 1, "", "no character"),
    ("ok: 1\na: \x07\n", 2, "", "control character"),
    (GOOD + "---\na: 1\n", 3, "", "only one document"),
    (GOOD + "grace: 1s\ngrace: 2s\n", 4, "grace", "is given twice, first in line 3"),
    (GOOD + "grace: &a 1s\n", 3, "grace", "anchors and aliases are not supported"),
    (GOOD + "grace: &a [*a]\n", 3, "grace", "anchors and aliases are not supported"),
    (GOOD + "grace: *a\n", 3, "", "must be in quotes"),
    (GOOD + "grace: !!python/object:os.system 1s\n", 3, "grace", "tags are not supported"),
    (GOOD + "? [a]\n: 1\n", 3, "", "a key must be a text"),
    # kinds of values
    (GOOD + "grac: 1s\n", 3, "grac", "unknown key (did you mean grace?)"),
    (GOOD + "grace: 5 minutes\n", 3, "grace", "'5 minutes' is not a duration"),
    (GOOD + "grace: 5\n", 3, "grace", "5 is not a duration"),
    (GOOD + "grace: [1s]\n", 3, "grace", "expected a duration such as 30s, 15m, 2h or 30d, got a list"),
    (GOOD + "grace:\n", 3, "grace", "has no value"),
    (GOOD + "grace: 99999999999d\n", 3, "grace", "is too long: at most 3650d"),
    (GOOD + "grace: 3651d\n", 3, "grace", "'3651d' is too long: at most 3650d"),
    (GOOD + f"grace: {'9' * 400}d\n", 3, "grace", "is too long: at most 3650d"),
    (GOOD + "grace: ${ABSENT}\n", 3, "grace", "the environment variable ABSENT is not set"),
    (GOOD + "grace: ${file:/no/such/file}\n", 3, "grace", "cannot read the file /no/such/file"),
    ("bus: {prefix: wire}\n", 1, "accounts", "is missing"),
    ("accounts: []\n", 1, "accounts", "needs at least one account"),
    # the bus, HTTP, defaults
    (bus("url: nats://user:pw@h"), 4, "bus.url", "use the keys user and password"),
    (bus("url: [nats://a, http://b]"), 4, "bus.url[1]", "must be like nats://host:4222"),
    (bus("url: nats://h:99999"), 4, "bus.url", "must be like nats://host:4222"),
    (bus("token: abcdef"), 4, "bus.token", "needs a bus.url"),
    (bus("{url: nats://h, user: me}"), 4, "bus.user", "needs a password beside it"),
    (bus("{url: nats://h, token: abcdef, nkey: SUx}"), 4, "bus.nkey", "cannot go with token"),
    (bus("{url: nats://h, nkey: /seed}"), 4, "bus.nkey", "must be a seed"),
    (bus("{url: nats://h, credentials: /no/such}"), 4, "bus.credentials", "cannot read the file '/no/such'"),
    (bus("{url: nats://h, tls: {cert: /no/such}}"), 4, "bus.tls.cert", "needs a key beside it"),
    (bus("{url: nats://h, user: ' ', password: abcdef}"), 4, "bus.user", "must not be blank"),
    (bus("keep_events: 99999999999d"), 4, "bus.keep_events", "is too long"),
    (bus("replicas: 2"), 4, "bus.replicas", "must be 1, 3 or 5"),
    (bus("replicas: 3"), 4, "bus.replicas", "needs a bus.url"),
    (bus("replicas: true"), 4, "bus.replicas", "expected 1, 3 or 5, got true or false"),
    (bus("prefix: a.b"), 4, "bus.prefix", "one word of letters"),
    (bus("inbox_prefix: hotels.>"), 4, "bus.inbox_prefix", "must be _INBOX and words of letters"),
    (bus("max_bytes: 0"), 4, "bus.max_bytes", "at least 1"),
    (bus("max_bytes: lots"), 4, "bus.max_bytes", "expected a whole number, got a text"),
    (GOOD + "http: {listen: nowhere}\n", 3, "http.listen", "a host and a port"),
    (GOOD + "defaults: {deletes: {max_ratio: 2}}\n", 3, "defaults.deletes.max_ratio", "a share between 0 and 1"),
    (GOOD + "defaults: {first_sync: event}\n", 3, "defaults.first_sync", "baseline or events (did you mean events?)"),
    (GOOD + "defaults: {redact: [id]}\n", 3, "defaults.redact[0]", "'id' is needed in each"),
    (GOOD + "defaults: {redact: [guest.emial]}\n", 3, "defaults.redact[0]", "no record has a field 'guest.emial'"),
    (GOOD + "defaults: {redact: guest.email}\n", 3, "defaults.redact", "expected a list, got a text"),
    # accounts
    ("accounts:\n  - {name: a}\n", 2, "accounts[0].vendor", "is missing: known are octorate"),
    ("accounts:\n  - {vendor: octorat}\n", 2, "accounts[0].vendor", "(did you mean octorate?): known are octorate"),
    ("accounts:\n  - a\n", 2, "accounts[0]", "expected keys with values, got a text"),
    (account("").replace("client_id: id, ", ""), 2, "accounts[0].client_id", "is missing"),
    (account("").replace("hotel", "Hotel"), 2, "accounts[0].name", "'Hotel' is not an account's name"),
    (GOOD + f"  - {ACCOUNT % ''}\n", 3, "accounts[1].name", "the name 'hotel' is already that of accounts[0]"),
    (account(", accommodations: [112696]"), 2, "accounts[0].accommodations[0]", "got a number; put it in quotes"),
    (account(", every: {bookings: 1m}"), 2, "accounts[0].every.bookings", "must be booking or property"),
    (account(", every: {booking: 10ms}"), 2, "accounts[0].every.booking", "must be at least 1s"),
    (account(", base_url: 'http://a.example'"), 2, "accounts[0].base_url", "must be an https address"),
    (account(", timezone: Rome"), 2, "accounts[0].timezone", "'Rome' is not a time zone"),
    (account(", redact: guest.email"), 2, "accounts[0].redact", "expected a list, got a text"),
    (account(", window_ahead: 99999999999d"), 2, "accounts[0].window_ahead", "is too long"),
    (account(", reconcile: 99999999999d"), 2, "accounts[0].reconcile", "is too long"),
    (account(", budget: {requests: 1000001, per: 1m}"), 2, "accounts[0].budget.requests", "must be at most 1000000"),
    (account(", budget: {requests: 0, per: 1m}"), 2, "accounts[0].budget.requests", "must be at least 1"),
    (account(", budget: {requests: 1, per: 0s}"), 2, "accounts[0].budget.per", "must be longer than nothing"),
    (account(", redact: [guest.phone, arrival]"), 2, "accounts[0].redact[1]", "needed in each booking"),
    (account("").replace("alpha", '"${EMPTY}"'), 2, "accounts[0].client_secret", "${EMPTY} is empty"),
    (account("").replace("alpha", '""'), 2, "accounts[0].client_secret", "must not be blank"),
    (account("").replace("beta", '" "'), 2, "accounts[0].refresh_token", "must not be blank"),
    (account("").replace("beta", '"${BLANK}"'), 2, "accounts[0].refresh_token", "${BLANK} is empty"),
    (account("").replace("client_secret: ", "client_secret:"), 2, "accounts[0].client_secret…", "is a space missing"),
    # routes
    (route("events: [bookin.*], subject: a.b"), 4, "routes[0].events[0]", "no resource 'bookin'"),
    (route("events: [booking.*], subject: vendorwire.b"), 4, "routes[0].subject", "that would be a loop"),
    (route("events: [booking.*], subject: a.b, accounts: [motel]"), 4, "routes[0].accounts[0]", "mean hotel?"),
    (route("events: [booking.*], subject: a.b, vendors: [acme]"), 4, "routes[0].vendors[0]", "no vendor 'acme'"),
    (route("events: [], subject: a.b"), 4, "routes[0].events", "needs at least one event"),
    (route("events: [crm], subject: a.b"), 4, "routes[0].events[0]", "'crm' is not <resource>.<change>"),
    (route("events: [booking.*], subject: a.b, vendors: [crm]"), 4, "routes[0].vendors[0]", "no vendor 'crm'"),
    (route("events: [booking.*]"), 4, "routes[0]", "either a webhook or a subject"),
    (route("events: [booking.*], subject: a.b, from: then"), 4, "routes[0].from", "'then' is not where a"),
    (route("events: [booking.*], subject: a.b, from: 2026-05-20"), 4, "routes[0].from", "write now, all, or"),
    (route("events: [booking.*], subject: a.b, from: 5"), 4, "routes[0].from", "5 is not where a route can begin"),
    (route("events: [booking.*], subject: a.b, from: 2999-05-20T08:00:00Z"), 4, "routes[0].from", "lies ahead"),
    (route("events: [booking.*], subject: a.b, order: vendor"), 4, "routes[0].order", "must be record or none"),
    (webhook("headers: {Host: gamma}"), 4, "routes[0].webhook.headers.Host", "is ours to set"),
    (webhook("timeout: 99999999999d"), 4, "routes[0].webhook.timeout", "is too long"),
    (webhook("").replace('"${CRM_SECRET}"', '[" "]'), 4, "routes[0].webhook.secret[0]", "must not be blank"),
    (webhook("").replace('"${CRM_SECRET}"', "[]"), 4, "routes[0].webhook.secret", "needs at least one secret"),
    (webhook("retries: [1s, 2]"), 4, "routes[0].webhook.retries[1]", "2 is not a duration"),
    (webhook("").replace("${CRM_SECRET}", "abcdef"), 4, "routes[0].webhook.secret", "starts with whsec_"),
    (to("http://127.0.0.1:9000/"), 4, "routes[0].webhook.url", "set allow_private: true"),
    (to("http://[::ffff:10.0.0.1]/"), 4, "routes[0].webhook.url", "set allow_private: true"),
    (to("https://localhost/"), 4, "routes[0].webhook.url", "set allow_private: true"),
    (to("https://crm.localhost/", "allow_private: false"), 4, "routes[0].webhook.url", "set allow_private: true"),
    (to("http://169.254.169.254/"), 4, "routes[0].webhook.url", "no webhook may reach"),
    (to("http://[fe80::1]/", "allow_private: true"), 4, "routes[0].webhook.url", "no webhook may reach"),
    (to("http://127.1/", "allow_private: true"), 4, "routes[0].webhook.url", "odd spelling"),
    (to("http://2130706433/"), 4, "routes[0].webhook.url", "odd spelling"),
    (f'{GOOD}http: {{admin_token: "canary-is-short"}}\n', 3, "http.admin_token", "needs at least 16 characters"),
    (account(', hint_secret: "canary-is-short"'), 2, "accounts[0].hint_secret", "needs at least 16 characters"),
]


@pytest.mark.parametrize(("text", "line", "path", "message"), BAD)
def test_a_fault_is_told_with_its_line_and_path(file: Path, text: str, line: int, path: str, message: str) -> None:
    found = faults(file, text)

    assert [(at, where) for at, where, said in found if message in said] == [(line, path)], found


# An account cut short lacks more than its vendor; a certificate without a key is also a file that is not there.
ALONE = [
    text
    for text, *_ in BAD
    if not any(part in text for part in ("{name: a}", "{vendor: octorat}", "tls:", "a: [[[", "secret:a"))
]


@pytest.mark.parametrize("text", ALONE)
def test_one_fault_is_told_once_and_brings_no_others(file: Path, text: str) -> None:
    assert len(faults(file, text)) == 1


def test_a_file_with_a_dozen_faults_tells_the_dozen(file: Path) -> None:
    dozen = """\
bus:
  urls: nats://h
  replicas: 2
http: {listen: nowhere}
accounts:
  - vendor: octorate
    name: hotel
    client_id: 7
    client_secret: ${ABSENT}
    every: {booking: 5 minutes}
    timezone: Rome
routes:
  - name: crm
    events: [booking.nope]
    webhook: {url: "ftp://h", secret: whsec_x, timeout: 0s}
"""
    found = [(line, path) for line, path, _ in faults(file, dozen)]

    assert found == [
        (2, "bus.urls"),
        (3, "bus.replicas"),
        (4, "http.listen"),
        (6, "accounts[0].refresh_token"),
        (8, "accounts[0].client_id"),
        (9, "accounts[0].client_secret"),
        (10, "accounts[0].every.booking"),
        (11, "accounts[0].timezone"),
        (14, "routes[0].events[0]"),
        (15, "routes[0].webhook.url"),
        (15, "routes[0].webhook.timeout"),
        (15, "routes[0].webhook.secret"),
    ]


def test_names_that_nobody_has_are_told_each_at_its_place(file: Path) -> None:
    found = faults(file, route("events: [booking.*], subject: a.b, accounts: [nobody], vendors: [nobody, nobody]"))

    assert [(path, re.split("[:;]", said)[0]) for _, path, said in found] == [
        ("routes[0].vendors[0]", "there is no vendor 'nobody'"),
        ("routes[0].vendors[1]", "there is no vendor 'nobody'"),
        ("routes[0].accounts[0]", "there is no account 'nobody'"),
    ]


@pytest.mark.parametrize(
    "more",
    [
        "",
        ", subject: '*'",
        ", webhook: {url: 'ftp://h', secret: '${CRM_SECRET}'}",
        ", subject: vendorwire.b",
        ", subject: a.b, accounts: [nobody]",
        ", subject: a.b, vendors: [nobody]",
        ", subject: a.b, colour: red",
    ],
)
def test_a_route_without_events_is_told_beside_what_else_is_wrong_with_it(file: Path, more: str) -> None:
    found = faults(file, route(f"events: []{more}") + "grace: soon\n")

    assert len(found) == 3
    assert (4, "routes[0].events", "needs at least one event, such as booking.* or device.offline") in found


def test_all_faults_print_one_a_line_beginning_with_the_place(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(file, GOOD + "grace: 5 minutes\nhttp: {listen: nowhere}\n")

    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{file}:3: grace: '5 minutes' is not a duration: write")
    assert second.startswith(f"{file}:4: http.listen: must be a host and a port")
