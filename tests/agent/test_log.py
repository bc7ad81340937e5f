"""The log: no secrets, no forged lines, and a line only when something changed."""

import json
import logging
import re
import secrets
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.log import FactLog, escape, mask, setup
from schemas.changes import Scope
from schemas.facts import (
    BusState,
    Delivered,
    DeliveryOutcome,
    Fact,
    Polled,
    PollOutcome,
    Published,
    Quarantined,
    RouteState,
    RouteTurned,
    Scheduled,
    TokenState,
)
from schemas.settings import Secret

SCOPE = Scope("octorate", "hotel-roma", "booking")
CANARIES = [
    *(f"canary-{number}-6f1c9a" for number in range(14)),
    "canary with spaces & amp=1/2+3",
    "canary\"quoted\\and\\escaped'twice",
    "canàry-ünïcode-密碼",
    "-----BEGIN CANARY-----\ncanary-line-one-aaaa\ncanary-line-two-bbbb\n-----END CANARY-----",
    "canary\ttab\x1b[31m",
    "xq7z",
]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ \S+ .*")
HOSTILE = [
    "x\n2026-05-20T08:00:31Z INFO vendorwire all is well",
    "x\r\nSet-Cookie: a=b",
    "x\x00y",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe\u2066\u200f",
    "a\u2028b\u2029c\x85d",
    "\ud800",
    "v\x9b31m",
    'quoted" level=ERROR outcome="ok',
]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, talkative = logging.getLogger(), ("httpx", "httpcore", "nats", "aiohttp", "asyncio")
    handlers, level, known = root.handlers[:], root.level, set(Secret.known)
    levels = {name: logging.getLogger(name).level for name in talkative}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    Secret.known.clear()
    Secret.known.update(known)


@pytest.fixture
def canaries() -> list[str]:
    return [Secret(canary).reveal() for canary in CANARIES]


def traces_of(canary: str) -> set[str]:
    """What of a secret must not be found: itself, its lines, and how it is encoded."""
    forms = {canary, quote(canary, safe=""), quote_plus(canary), repr(canary)[1:-1], json.dumps(canary)[1:-1]}
    forms |= {line for line in canary.splitlines() if "line" in line}
    return forms


def decoded(written: str) -> str:
    """Whatever in the log is base64, decoded."""
    runs = [run.replace("-", "+").replace("_", "/") for run in re.findall(r"[\w+/-]{8,}", written, re.ASCII)]
    return "\n".join(b64decode(run[: len(run) // 4 * 4]).decode(errors="replace") for run in runs)


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_reaches_the_log_in_any_form(
    capsys: pytest.CaptureFixture[str], canaries: list[str], as_json: bool
) -> None:
    setup("debug", json=as_json)
    log = logging.getLogger("agent.test")
    for canary in canaries:
        log.debug("plain %s", canary)
        log.debug("quoted %r in %s", canary, {"args": [canary]})
        log.debug("bytes %r", canary.encode())
        for line in canary.splitlines():
            log.debug("line of a key file: %s", line)
        log.debug("https://x.test/?key=%s&also=%s", quote(canary, safe=""), quote_plus(canary))
        for user in ("", "m", "me", "user", "client-id"):
            log.debug("Authorization: Basic %s", b64encode(f"{user}:{canary}".encode()).decode())
            log.debug("by RFC 6749: Basic %s", b64encode(f"{user}:{quote_plus(canary)}".encode()).decode())
        log.debug("urlsafe %s", urlsafe_b64encode(b"id:" + canary.encode()).decode())
        log.debug("extra", extra={"detail": canary, "body": json.dumps({"password": canary})})
        try:
            raise ValueError(f"refused {canary}") from KeyError(canary)
        except ValueError:
            log.exception("failed with %s", canary, stack_info=True)
        logging.getLogger(f"agent.{canary}").warning("named")
        for loud in ("httpx", "httpcore.http11", "nats.aio.client", "aiohttp.client", "asyncio"):
            logging.getLogger(loud).debug("headers %s", canary)
            logging.getLogger(loud).warning("headers %s", canary)
    written = capsys.readouterr().err
    assert written.count("plain ***") == len(canaries)
    assert [form for canary in canaries for form in traces_of(canary) if form in written] == []
    assert [canary for canary in canaries if canary in decoded(written)] == []
    assert "can" not in decoded(written)


def test_a_numeric_secret_is_masked_where_a_number_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    Secret("80417755").reveal()
    setup("info", json=True)
    logging.getLogger("agent").info("pin", extra={"pin": 80417755, "count": 3})
    line = json.loads(capsys.readouterr().err)
    assert (line["pin"], line["count"]) == ("***", 3)


def test_httpx_does_not_tell_its_requests_even_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    setup("debug", json=False)
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
        client.get("https://vendor.test/?access_token=not-even-known-as-secret")
    assert capsys.readouterr().err == ""


def test_talkative_libraries_are_not_louder_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    setup("error", json=False)
    logging.getLogger("nats.aio.client").warning("reconnecting")
    assert capsys.readouterr().err == ""


def test_a_secret_learned_later_is_masked_from_then_on() -> None:
    assert mask("rotated-9f3a") == "rotated-9f3a"
    Secret("rotated-9f3a").reveal()
    assert mask("token rotated-9f3a!") == "token ***!"


def test_one_more_secret_among_many_costs_little() -> None:
    Secret.known.update(secrets.token_urlsafe(1125) for _ in range(2000))
    took = []
    for number in range(2):
        Secret.known.add(f"one-more-{number}")
        began = time.perf_counter()
        mask("a line")
        took.append(time.perf_counter() - began)
    assert took[1] < took[0] / 4


def test_a_secret_that_is_forgotten_is_not_masked_any_more() -> None:
    Secret.known.update({"forgotten-9f3a", "kept-9f3a-kept"})
    assert mask("forgotten-9f3a kept-9f3a-kept") == "*** ***"
    Secret.known.discard("forgotten-9f3a")
    assert mask("forgotten-9f3a kept-9f3a-kept") == "forgotten-9f3a ***"


def test_a_record_that_cannot_be_formatted_shows_its_place_and_not_its_arguments(
    capsys: pytest.CaptureFixture[str], canaries: list[str]
) -> None:
    setup("info", json=False)
    logging.getLogger("agent").info("%d polls", canaries[0])
    assert re.fullmatch(r"a record could not be logged: test_log\.py:\d+\n", capsys.readouterr().err)


def test_a_line_reads_time_level_logger_message_and_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    setup("INFO", json=False)
    record = logging.makeLogRecord(
        {"name": "agent.poller", "levelno": 30, "levelname": "WARNING", "msg": "poll fails", "created": 1779264031.25}
    )
    record.__dict__ |= {"scope": "octorate/hotel-roma/booking", "detail": 'HTTP 503, "down"', "empty": ""}
    logging.getLogger().handle(record)
    assert capsys.readouterr().err == (
        "2026-05-20T08:00:31Z WARNING agent.poller poll fails"
        ' scope=octorate/hotel-roma/booking detail="HTTP 503, \\"down\\"" empty=""\n'
    )


def test_a_json_line_is_one_object_whose_own_fields_cannot_be_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", json=True)
    logging.getLogger("agent").info("hello", extra={"level": "critical", "seconds": 1.5, "nan": float("nan")})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "agent", "message": "hello", "seconds": 1.5, "nan": "nan"}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_within_its_line(capsys: pytest.CaptureFixture[str], text: str, as_json: bool) -> None:
    setup("info", json=as_json)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger(f"agent.{text}").exception("got %s", text, extra={"detail": text})
    written = capsys.readouterr().err
    assert written.endswith("\n")
    assert written[:-1].isprintable()
    assert as_json or LINE.fullmatch(written[:-1])


def test_a_hostile_value_cannot_pose_as_another_field(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", json=False)
    logging.getLogger("agent").info("read", extra={"detail": 'x" outcome="ok'})
    assert capsys.readouterr().err.endswith(' read detail="x\\" outcome=\\"ok"\n')


@given(st.text())
def test_whatever_is_escaped_is_printable_and_printable_text_is_left(text: str) -> None:
    assert escape(text).isprintable()
    assert not text.isprintable() or escape(text) == text


def test_a_text_of_a_megabyte_is_cut_and_hides_its_secret(
    capsys: pytest.CaptureFixture[str], canaries: list[str]
) -> None:
    setup("info", json=False)
    logging.getLogger("agent").info("name %s", "é" * 4090 + canaries[0] + "é" * 1_000_000)
    written = capsys.readouterr().err
    assert len(written) < 9_000
    assert "canary" not in written


def test_a_long_traceback_keeps_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", json=False)
    try:
        raise ValueError("a" * 20_000 + " the reason")
    except ValueError:
        logging.getLogger("agent").exception("failed")
    assert "the reason" in capsys.readouterr().err


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        setup("loud", json=False)


# --- facts ---


def lines(caplog: pytest.LogCaptureFixture, *facts: Fact) -> list[str]:
    """What a FactLog writes of these facts: level and message."""
    log = FactLog()
    caplog.set_level("DEBUG", logger="vendorwire")
    for fact in facts:
        log.observe(fact)
    return [f"{record.levelname} {record.message}" for record in caplog.records]


def polled(outcome: PollOutcome) -> Polled:
    return Polled(scope=SCOPE, outcome=outcome, seconds=1, detail="HTTP 503")


def delivered(outcome: DeliveryOutcome, event_id: str = "e1") -> Delivered:
    return Delivered(
        route="crm",
        outcome=outcome,
        event_id=event_id,
        kind="booking.cancelled",
        attempt=1,
        seconds=0.1,
        status="503",
    )


def test_a_healthy_agent_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    quiet: list[Fact] = [
        Scheduled(scope=SCOPE, interval=60),
        polled(PollOutcome.CHANGED),
        polled(PollOutcome.UNCHANGED),
        polled(PollOutcome.CONFLICT),
        Published(scope=SCOPE, change="created", key="1", event_id="e1"),
        TokenState(vendor="octorate", account="hotel-roma", healthy=True, renewal="renewed"),
        delivered(DeliveryOutcome.DELIVERED),
        RouteState(route="crm", pending=3, dead=0),
    ]
    assert lines(caplog, *quiet, *quiet) == []


def test_every_kind_of_fact_is_known_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TypeError, match="no log line is made of Fact"):
        lines(caplog, Fact())


def test_an_account_that_goes_down_and_comes_back_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    down, up = polled(PollOutcome.UNAVAILABLE), polled(PollOutcome.UNCHANGED)
    assert lines(caplog, up, down, down, down, polled(PollOutcome.CONFLICT), down, up, up) == [
        "WARNING poll fails",
        "INFO poll recovered",
    ]
    assert vars(caplog.records[0])["detail"] == "HTTP 503"
    assert vars(caplog.records[1])["was"] == "unavailable"


def test_a_first_poll_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert lines(caplog, polled(PollOutcome.UNAUTHORIZED)) == ["WARNING poll fails"]


def test_held_deletes_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    held = polled(PollOutcome.HELD)
    assert lines(caplog, held, held, polled(PollOutcome.CHANGED)) == [
        "WARNING deletes are held until a person approves them",
        "INFO poll recovered",
    ]


def test_an_unreadable_record_is_told_once_per_place(caplog: pytest.LogCaptureFixture) -> None:
    first, second = (Quarantined(scope=SCOPE, path=path) for path in ("$.checkin", "$.status"))
    assert lines(caplog, first, second, first, first) == ["WARNING record quarantined"] * 2


def test_refused_credentials_are_told_once_and_so_is_their_recovery(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = (TokenState(vendor="octorate", account="hotel-roma", healthy=healthy) for healthy in (False, True))
    assert lines(caplog, good, bad, bad, good, good) == [
        "WARNING credentials do not work",
        "INFO credentials accepted again",
    ]


def test_a_failing_route_is_one_line_however_many_attempts(caplog: pytest.LogCaptureFixture) -> None:
    retries = [delivered(DeliveryOutcome.RETRIED, f"e{number % 50}") for number in range(1000)]
    back = [delivered(DeliveryOutcome.DELIVERED, f"e{number}") for number in range(50)]
    assert lines(caplog, *retries, *back) == ["WARNING route fails", "INFO route recovered"]


def test_one_poisonous_event_among_good_ones_does_not_make_the_route_flap(caplog: pytest.LogCaptureFixture) -> None:
    poison, good = delivered(DeliveryOutcome.RETRIED, "poison"), delivered(DeliveryOutcome.DELIVERED, "good")
    dead = delivered(DeliveryOutcome.DEAD, "poison")
    assert lines(caplog, poison, good, poison, good, poison, good, dead, good, good) == [
        "WARNING route fails",
        "WARNING dead letter",
        "INFO route recovered",
    ]


def test_a_route_emptied_by_another_agent_tells_its_next_failure(caplog: pytest.LogCaptureFixture) -> None:
    retried = delivered(DeliveryOutcome.RETRIED)
    assert lines(caplog, retried, RouteState(route="crm", pending=0, dead=0), retried) == ["WARNING route fails"] * 2


def test_each_dead_letter_is_told(caplog: pytest.LogCaptureFixture) -> None:
    dead = [delivered(DeliveryOutcome.DEAD, event_id) for event_id in ("e1", "e2", "e3")]
    assert lines(caplog, *dead) == ["WARNING dead letter"] * 3


def test_a_receiver_that_refuses_is_told_once_until_it_takes_events_again(caplog: pytest.LogCaptureFixture) -> None:
    refused, taken = delivered(DeliveryOutcome.REFUSED), delivered(DeliveryOutcome.DELIVERED)
    assert lines(caplog, refused, refused, taken, refused) == [
        "WARNING delivery refused",
        "INFO route recovered",
        "WARNING delivery refused",
    ]


def test_a_circuit_is_told_when_it_opens_and_closes(caplog: pytest.LogCaptureFixture) -> None:
    opened, stopped, closed = (RouteTurned(route="crm", circuit=each) for each in ("open", "stopped", "closed"))
    assert lines(caplog, opened, closed, stopped) == [
        "WARNING route rests: its receiver keeps failing, and is tried now and then",
        "INFO route delivers again, and catches up",
        "ERROR route stopped: its receiver is gone for good; `vendorwire resume crm` starts it again",
    ]


def test_the_bus_is_told_when_it_comes_and_goes(caplog: pytest.LogCaptureFixture) -> None:
    up, down = BusState(connected=True), BusState(connected=False, detail="connection refused")
    assert lines(caplog, up, up, down, down, up) == ["INFO bus connected", "WARNING bus lost", "INFO bus connected"]
