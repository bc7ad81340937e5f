"""When a circuit opens, how it is probed, and how it catches up: by the clock of the test."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import circuit
from events.circuit import Circuit, Position, Standing, resumed

START = 1_000_000.0


def failing(times: int, every: float) -> tuple[Circuit, float]:
    """A circuit after so many failures in a row, and the time of the last."""
    made, now = Circuit("a"), START
    for number in range(times):
        now = START + number * every
        made.failed(now, now, "answered 500", None)
    return made, now


def opened() -> tuple[Circuit, float]:
    return failing(circuit.FAILURES, circuit.SUSTAINED / (circuit.FAILURES - 1) + 0.01)


def test_it_opens_after_failures_in_a_row_that_last() -> None:
    made, now = opened()
    assert (made.standing.position, made.standing.since) == (Position.OPEN, now)
    assert made.rests(now)
    assert (made.standing.last_error, made.standing.last_error_at) == ("answered 500", now)


@pytest.mark.parametrize(("times", "every"), [(circuit.FAILURES - 1, 60.0), (1000, circuit.SUSTAINED / 1001)])
def test_few_failures_or_a_moment_of_many_do_not_open_it(times: int, every: float) -> None:
    made, now = failing(times, every)
    assert made.standing.position is Position.CLOSED
    assert not made.rests(now)


def test_a_success_among_failures_begins_the_count_anew() -> None:
    made, now = failing(circuit.FAILURES - 1, 60.0)
    assert not made.succeeded(now, now)
    for _ in range(circuit.FAILURES - 1):
        assert not made.failed(now + 100, now + 100, "answered 500", None)
    assert made.standing.last_success == now


def test_probes_come_ever_later_but_at_least_every_minute() -> None:
    made, now = opened()
    waits = []
    for _ in range(12):
        waits.append(made.standing.probe_at - now)
        now = made.standing.probe_at
        assert made.rests(now - 0.001)
        assert not made.rests(now)
        assert made.failed(now + 1, now, "timed out", None)
        now += 1
    assert waits[0] == circuit.FIRST_PROBE
    assert waits == sorted(waits)
    assert waits[-1] == circuit.LONGEST_PROBE


def test_what_was_under_way_when_it_opened_is_no_probe() -> None:
    made, now = opened()
    before = made.standing
    assert not made.failed(now + 2, now - 1, "timed out", None)
    assert made.standing.probe_at == before.probe_at
    assert made.standing.last_error == "timed out"


@pytest.mark.parametrize(("asked", "wait"), [(1.0, circuit.FIRST_PROBE), (120.0, 120.0), (1e9, circuit.LONGEST_ASKED)])
def test_a_receiver_may_ask_for_a_longer_rest_within_bounds(asked: float, wait: float) -> None:
    made, _ = failing(circuit.FAILURES - 1, 60.0)
    now = START + 10_000
    assert made.failed(now, now, "answered 503", asked)
    assert made.standing.probe_at == now + wait


def test_a_delivery_closes_it_and_it_catches_up_at_a_rate_that_doubles() -> None:
    made, _ = opened()
    now = made.standing.probe_at
    assert made.succeeded(now, now)
    assert made.standing.position is Position.CLOSED
    rates = [made.rate(now + seconds) for seconds in (0, circuit.CATCH_UP_DOUBLES, 3600)]
    assert rates == [circuit.CATCH_UP_FROM, 2 * circuit.CATCH_UP_FROM, None]
    assert made.rate(now) is None  # for good
    assert not made.succeeded(now + 1, now)


def test_one_that_never_rested_has_no_limit() -> None:
    made = Circuit("a")
    made.succeeded(START, START)
    assert made.rate(START) is None


def test_a_stopped_one_stays_so_whatever_comes_in_until_it_is_resumed() -> None:
    made = Circuit("a")
    made.stop(START, "answered 410")
    assert not made.failed(START + 1, START - 1, "answered 500", None)
    assert not made.succeeded(START + 1, START - 1)
    assert made.rests(START + 1e9)
    made.restore(resumed(made.standing, START + 5))
    assert not made.rests(START + 5)
    assert made.standing.position is Position.OPEN
    assert made.failed(START + 6, START + 5, "answered 500", None)
    assert made.rests(START + 6)


def test_resuming_one_that_is_closed_changes_nothing() -> None:
    assert resumed(Standing(last_success=START), START + 1) == Standing(last_success=START)


def test_another_receiver_is_not_what_was_stopped() -> None:
    made = Circuit("a")
    made.succeeded(START, START)
    made.stop(START + 1, "answered 410")
    other = Circuit("b")
    other.restore(made.standing)
    assert other.standing == Standing(last_success=START, target="b")


def test_a_clock_that_is_set_back_does_not_keep_it_from_catching_up() -> None:
    made, _ = opened()
    now = made.standing.probe_at
    made.succeeded(now, now)
    assert made.rate(now - 7200) == circuit.CATCH_UP_FROM
    assert made.rate(now - 7200 + circuit.CATCH_UP_DOUBLES) == 2 * circuit.CATCH_UP_FROM


def test_a_clock_that_is_set_back_does_not_keep_a_route_at_rest() -> None:
    made, _ = opened()
    assert not made.rests(made.standing.probe_at - circuit.FIRST_PROBE - 1)


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["ok", "failed", "late", "stop"])), max_size=80))
def test_whatever_comes_it_never_rests_for_longer_than_it_may(steps: list[tuple[float, str]]) -> None:
    made, now = Circuit("a"), START
    for seconds, what in steps:
        now += seconds
        match what:
            case "ok":
                made.succeeded(now, now)
                assert not made.rests(now)
            case "failed" | "late":
                made.failed(now, now - (90 if what == "late" else 0), "answered 500", None)
            case _:
                made.stop(now, "answered 410")
        standing = made.standing
        assert made.rests(now + circuit.LONGEST_PROBE) == (standing.position is Position.STOPPED)
        assert msgspec.json.decode(msgspec.json.encode(standing), type=Standing) == standing
