"""What an answer means, and when to come again."""

import random
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.retry import Delivered, Retry, Stop, classify, wait
from events.routes import RETRIES

NOW = 1_779_264_000.0  # 2026-05-20T08:00:00Z
DAY = 86400.0


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert classify(status, None, NOW) == Delivered()


def test_410_stops_the_route() -> None:
    assert classify(410, "5", NOW) == Stop()


@pytest.mark.parametrize(
    "status", [None, 101, 199, 300, 301, 302, 304, 307, 400, 401, 404, 408, 409, 418, 500, 502, 504, 599, 999]
)
def test_everything_else_is_tried_again_by_the_schedule(status: int | None) -> None:
    assert classify(status, "120", NOW) == Retry()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("Wed, 20 May 2026 08:02:00 GMT", 120.0),
        ("Wed, 20 May 2026 10:02:00 +0200", 120.0),
        ("Wed, 20 May 2026 08:02:00 -0000", 120.0),
        ("Wed, 20 May 2026 07:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("soon", None),
        ("Wed, 20 May 2026 99:99:99 GMT", None),
    ],
)
def test_429_and_503_say_how_long_to_wait(status: int, header: str | None, after: float | None) -> None:
    assert classify(status, header, NOW) == Retry(after)


def test_a_date_without_a_zone_is_in_utc_wherever_the_agent_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as far_away:
        far_away.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        answer = classify(503, "Wed, 20 May 2026 08:02:00 -0000", NOW)
    time.tzset()
    assert answer == Retry(120.0)


@given(st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,9} \d+:\d+:\d+ [+-]\d{1,9}")))
def test_no_retry_after_whatever_breaks_us(header: str) -> None:
    answer = classify(503, header, NOW)
    assert isinstance(answer, Retry)
    planned = wait(RETRIES, 1, random.Random(0), answer.after)
    assert planned is not None
    assert 4 <= planned <= DAY


def test_the_default_schedule_lasts_nearly_three_days() -> None:
    assert len(RETRIES) == 10
    assert sum(RETRIES, timedelta()) == timedelta(hours=68, minutes=42, seconds=35)


@given(st.integers(1, 10), st.randoms(use_true_random=False))
def test_each_wait_is_the_schedules_within_a_fifth(attempt: int, rng: random.Random) -> None:
    planned = wait(RETRIES, attempt, rng, None)
    assert planned is not None
    assert 0.8 <= planned / RETRIES[attempt - 1].total_seconds() <= 1.2


def test_waits_are_spread() -> None:
    rng = random.Random(1)
    assert len({wait(RETRIES, 3, rng, None) for _ in range(100)}) == 100


def test_what_is_asked_for_is_spread_by_a_fifth_upwards() -> None:
    rng = random.Random(1)
    waits = [wait(RETRIES, 1, rng, 3600.0) or 0.0 for _ in range(200)]
    assert min(waits) >= 3600
    assert 4200 < max(waits) <= 4320


def test_after_the_last_wait_there_is_none() -> None:
    rng = random.Random(1)
    assert wait(RETRIES, 10, rng, None) is not None
    assert wait(RETRIES, 11, rng, None) is None
    assert wait(RETRIES, 11, rng, 60.0) is None
    assert wait((), 1, rng, None) is None


@given(st.floats(0, 1e12), st.integers(1, 10), st.randoms(use_true_random=False))
def test_what_is_asked_for_lengthens_the_wait_up_to_a_day(asked: float, attempt: int, rng: random.Random) -> None:
    planned = wait(RETRIES, attempt, rng, asked)
    assert planned is not None
    assert planned >= min(asked, DAY)
    assert planned >= 0.8 * RETRIES[attempt - 1].total_seconds()
    assert planned <= max(DAY, 1.2 * RETRIES[attempt - 1].total_seconds())
