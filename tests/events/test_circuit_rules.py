"""The figures and the standings of a circuit, in plain numbers: what operators and other agents read of it."""

import msgspec
import pytest

from events.circuit import Circuit, Position, Standing, resumed

START = 1_000_000.0
OPENS = START + 20


def opened() -> Circuit:
    """A circuit whose receiver has failed ten times in twenty seconds."""
    made = Circuit("a")
    for seconds in (0, 1, 2, 3, 4, 5, 6, 7, 8):
        assert made.failed(START + seconds, START + seconds, "answered 500", None) is False
    assert made.failed(OPENS, OPENS, "answered 502", None) is True
    return made


def test_the_tenth_failure_opens_it_twenty_seconds_after_the_first() -> None:
    assert opened().standing == Standing(
        position=Position.OPEN,
        since=OPENS,
        probe_at=OPENS + 5,
        wait=5.0,
        last_error="answered 502",
        last_error_at=OPENS,
        target="a",
    )


def test_ten_failures_in_less_than_twenty_seconds_do_not_open_it() -> None:
    made = Circuit("a")
    for tenth in range(10):
        made.failed(START + 2.2 * tenth, START + 2.2 * tenth, "answered 500", None)
    assert made.standing.position is Position.CLOSED


def test_the_seconds_count_from_when_the_first_failed_attempt_began() -> None:
    made = Circuit("a")
    for _ in range(9):
        made.failed(START + 15, START, "timed out", None)
    assert made.failed(OPENS, OPENS, "timed out", None)


def test_the_wait_for_a_probe_grows_by_half_up_to_a_minute() -> None:
    made = opened()
    waits = [made.standing.wait]
    for _ in range(8):
        made.failed(made.standing.probe_at, made.standing.probe_at, "answered 500", None)
        waits.append(made.standing.wait)
    assert waits == [5.0, 7.5, 11.25, 16.875, 25.3125, 37.96875, 56.953125, 60.0, 60.0]
    assert made.standing.since == OPENS


def test_a_receiver_may_ask_for_an_hour_and_no_more() -> None:
    made = opened()
    made.failed(made.standing.probe_at, made.standing.probe_at, "answered 503", 3599.0)
    assert made.standing.wait == 3599.0
    made.failed(made.standing.probe_at, made.standing.probe_at, "answered 503", 3601.0)
    assert made.standing.wait == 3600.0


def test_what_comes_out_of_a_rest_says_since_when_its_receiver_is_well() -> None:
    made = opened()
    assert made.succeeded(START + 30, START + 29)
    assert made.standing == Standing(
        since=START + 30,
        well_since=START + 30,
        last_success=START + 30,
        last_error="answered 502",
        last_error_at=OPENS,
        target="a",
    )


def test_what_stops_keeps_its_last_error() -> None:
    made = Circuit("a")
    made.succeeded(START, START)
    made.stop(START + 1, "answered 410")
    assert made.standing == Standing(
        position=Position.STOPPED,
        since=START + 1,
        last_success=START,
        last_error="answered 410",
        last_error_at=START + 1,
        target="a",
    )


@pytest.mark.parametrize(("began", "closes"), [(START - 1, False), (START, True), (START + 1, True)])
def test_a_stopped_one_closes_by_a_delivery_that_began_no_earlier(began: float, closes: bool) -> None:
    made = Circuit("a")
    made.stop(START, "answered 410")
    assert made.succeeded(START + 2, began) is closes


def test_what_is_resumed_is_tried_at_once_with_the_shortest_wait_to_come() -> None:
    made = Circuit("a")
    made.stop(START, "answered 410")
    made.restore(resumed(made.standing, START + 9))
    assert made.standing == Standing(
        position=Position.OPEN,
        since=START + 9,
        probe_at=START + 9,
        well_since=START + 9,
        last_error="answered 410",
        last_error_at=START,
        target="a",
    )
    made.failed(START + 9, START + 9, "answered 500", None)
    assert made.standing.wait == 5.0


def test_an_agent_that_takes_over_counts_failures_from_none() -> None:
    made = Circuit("a")
    for _ in range(5):
        made.failed(START, START, "answered 500", None)
    made.restore(Standing(target="a"))
    for _ in range(9):
        made.failed(START + 60, START + 30, "answered 500", None)
    assert made.standing.position is Position.CLOSED
    assert made.failed(START + 60, START + 60, "answered 500", None)


def test_after_a_rest_it_begins_with_twenty_a_second_and_doubles_every_two_seconds_until_two_thousand() -> None:
    made = opened()
    made.succeeded(START, START)
    rates = [made.rate(START + seconds) for seconds in (0, 1, 2, 4, 6, 8, 10, 12)]
    assert rates[0] == 20
    assert rates[2:] == [40, 80, 160, 320, 640, 1280]
    assert made.rate(START + 13.287) == pytest.approx(1999.5, abs=0.1)
    assert made.rate(START + 13.288) is None


def test_one_that_need_not_catch_up_has_no_limit_whatever_the_clock_says() -> None:
    assert Circuit("a").rate(5.0) is None
    made = opened()
    made.succeeded(START, START)
    assert made.rate(START + 60) is None
    assert made.rate(5.0) is None


def test_a_standing_is_stored_under_the_names_that_other_agents_read() -> None:
    assert msgspec.json.encode(Standing()) == b"{}"
    assert msgspec.json.decode(b"{}", type=Standing) == Standing(Position.CLOSED, 0, 0, 0, 0, 0, "", 0, "")
    made = opened()
    assert msgspec.json.decode(msgspec.json.encode(made.standing)) == {
        "position": "open",
        "since": OPENS,
        "probe_at": OPENS + 5,
        "wait": 5.0,
        "last_error": "answered 502",
        "last_error_at": OPENS,
        "target": "a",
    }
    made.stop(OPENS, "answered 410")
    assert b'"position":"stopped"' in msgspec.json.encode(made.standing)
    assert msgspec.json.decode(b'{"position":"closed"}', type=Standing) == Standing()
