"""Dates, times, numbers, ids and money, however a vendor spells them."""

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Unreadable
from connectors.tolerant import a_day, a_number, a_whole_number, an_id, an_instant, currency, money, text
from schemas.records import Money

PERTH = ZoneInfo("Australia/Perth")
DIGITS = "9" * 5000

# Dates

DAYS = [
    ("2026-07-28", date(2026, 7, 28)),
    ("2024-9-20", date(2024, 9, 20)),
    ("2024-9-2", date(2024, 9, 2)),
    ("20/03/2026", date(2026, 3, 20)),
    ("2/3/2026", date(2026, 3, 2)),
    (" 2026-07-28 ", date(2026, 7, 28)),
    ("2026-07-28T23:59:59-11:00", date(2026, 7, 28)),
    ("2026-07-28 00:00:00", date(2026, 7, 28)),
    ("20/03/2026 10:15:00", date(2026, 3, 20)),
    ("2024-02-29", date(2024, 2, 29)),
]
NEVER = [
    "0001-01-01",
    "0001-01-01T00:00:00",
    "0000-00-00",
    "0000-00-00 00:00:00",
    "01/01/0001",
    "00/00/0000",
    "0001-1-1",
]


@pytest.mark.parametrize(("written", "day"), DAYS)
def test_a_day_is_read_however_it_is_written(written: str, day: date) -> None:
    assert a_day(written, "$.day") == day


@pytest.mark.parametrize("written", [None, "", "  ", *NEVER])
def test_no_day_and_never_are_none(written: str | None) -> None:
    assert a_day(written, "$.day") is None


@pytest.mark.parametrize(
    "written",
    ["2026-13-01", "2026-02-30", "2023-02-29", "03/20/2026", "2026/03/20", "20-03-2026", "28 July", "2026-7-281"],
)
def test_what_is_no_day_names_its_place_and_not_its_value(written: str) -> None:
    with pytest.raises(Unreadable, match=r"^\$\.day: it cannot be understood$"):
        a_day(written, "$.day")


@given(st.dates(min_value=date(2, 1, 1)))
def test_a_day_survives_all_three_ways_of_writing_it(day: date) -> None:
    spellings = (
        day.isoformat(),
        f"{day.year:04}-{day.month}-{day.day}",
        f"{day.day:02}/{day.month:02}/{day.year:04}",
    )
    assert {a_day(spelling, "$") for spelling in spellings} == {day}


# Times

TIMES = [
    ("2026-03-20T10:15:00Z", datetime(2026, 3, 20, 10, 15, tzinfo=UTC)),
    ("2026-03-20T10:15:00+08:00", datetime(2026, 3, 20, 2, 15, tzinfo=UTC)),
    ("2026-03-20T10:15:00.9230000Z", datetime(2026, 3, 20, 10, 15, 0, 923_000, tzinfo=UTC)),
    ("2026-03-20T10:15:00.1Z", datetime(2026, 3, 20, 10, 15, 0, 100_000, tzinfo=UTC)),
    ("2026-03-20T10:15:00.123456789Z", datetime(2026, 3, 20, 10, 15, 0, 123_456, tzinfo=UTC)),
    ("2026-03-20 10:15:00", datetime(2026, 3, 20, 2, 15, tzinfo=UTC)),
    ("2026-3-5 10:15:00", datetime(2026, 3, 5, 2, 15, tzinfo=UTC)),
    ("20/03/2026 10:15:00", datetime(2026, 3, 20, 2, 15, tzinfo=UTC)),
    ("20/03/2026 6:59:35 AM", datetime(2026, 3, 19, 22, 59, 35, tzinfo=UTC)),
    ("20/03/2026 12:00:00 am", datetime(2026, 3, 19, 16, tzinfo=UTC)),
    ("2026-03-20 12:05 PM", datetime(2026, 3, 20, 4, 5, tzinfo=UTC)),
    ("2026-03-20 6:59:35Z", datetime(2026, 3, 20, 6, 59, 35, tzinfo=UTC)),
    ("/Date(1774001700000)/", datetime(2026, 3, 20, 10, 15, tzinfo=UTC)),
    ("/Date(1774001700000+1100)/", datetime(2026, 3, 20, 10, 15, tzinfo=UTC)),
    ("2026-03-20", datetime(2026, 3, 19, 16, tzinfo=UTC)),
    ("2024-9-20", datetime(2024, 9, 19, 16, tzinfo=UTC)),
]


@pytest.mark.parametrize(("written", "time"), TIMES)
def test_a_time_is_read_however_it_is_written_and_is_in_the_given_zone_without_one(
    written: str, time: datetime
) -> None:
    found = an_instant(written, "$.at", PERTH)
    assert (found, found and found.tzinfo) == (time, UTC)


@pytest.mark.parametrize(
    "written", [None, "", " ", "0001-01-01T00:00:00Z", "0000-00-00 00:00:00", "01/01/0001 00:00:00"]
)
def test_no_time_and_never_are_none(written: str | None) -> None:
    assert an_instant(written, "$.at") is None


@pytest.mark.parametrize(
    "written",
    [
        "soon",
        "20/03/2026 13:00 PM",
        "20/03/2026 0:00 AM",
        "/Date(999999999999999)/",
        "2026-03-20T25:00:00Z",
        "9999-12-31T23:59:59-11:00",
        "2026-03-20T" + DIGITS,
    ],
)
def test_what_is_no_time_is_unreadable(written: str) -> None:
    with pytest.raises(Unreadable, match=r"^\$\.at: it (cannot be understood|is too long for a time)$"):
        an_instant(written, "$.at")


@given(st.datetimes(min_value=datetime(2, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001 - zone-less on purpose
def test_a_time_survives_being_written(naive: datetime) -> None:
    utc, local = naive.replace(tzinfo=UTC), naive.replace(tzinfo=PERTH)
    assert an_instant(utc.isoformat(), "$") == utc
    assert an_instant(naive.isoformat(" "), "$") == utc
    assert an_instant(naive.isoformat(), "$", PERTH) == local
    assert an_instant(f"{naive:%d/%m}/{naive.year:04} {naive.time().isoformat()}", "$", PERTH) == local


# Numbers

NUMBERS: list[tuple[str | float, float]] = [
    (3, 3.0),
    (2.5, 2.5),
    ("3", 3.0),
    ("-2.50", -2.5),
    ("+7", 7.0),
    ("1,000.00", 1000.0),
    ("12,345,678", 12_345_678.0),
    (".5", 0.5),
    ("5.", 5.0),
    ("1e3", 1000.0),
    (" 4 ", 4.0),
]


@pytest.mark.parametrize(("written", "number"), NUMBERS)
def test_a_number_is_read_however_it_is_written(written: str | float, number: float) -> None:
    assert a_number(written, "$.n") == number


NO_NUMBERS: list[str | float] = [
    *(math.nan, math.inf, -math.inf, 1e301, 10**400, True),
    *("NaN", "inf", "-Infinity", "1e400", DIGITS, "e5", ".e5", ".", "+", "-.", "1,00", "1.000,00", ",100", "1,0000"),
    *("0x10", "1_000", "٣", "１", "1 000", "abc", "1e", "--1", "\ud800"),
]


@pytest.mark.parametrize("written", NO_NUMBERS, ids=lambda value: ascii(value)[:12])
def test_what_is_no_number_is_unreadable(written: str | float) -> None:
    for read in (a_number, a_whole_number):
        with pytest.raises(Unreadable, match=r"^\$\.n: not a (whole )?number( of ordinary size)?$"):
            read(written, "$.n")


def test_nothing_is_no_number() -> None:
    assert [a_number(written, "$") for written in (None, "", "  ")] == [None] * 3
    assert a_whole_number("", "$") is None


def test_there_is_one_zero() -> None:
    assert {repr(a_number(written, "$")) for written in (0, 0.0, -0.0, "-0", "0.00")} == {"0.0"}


@given(st.floats(-1e300, 1e300, allow_nan=False))
def test_a_number_survives_being_written(number: float) -> None:
    assert a_number(repr(number), "$") == number
    assert a_number(number, "$") == number


@given(st.integers(-(10**12), 10**12))
def test_thousands_may_be_set_off(number: int) -> None:
    assert a_number(f"{number:,}", "$") == number
    assert a_whole_number(f"{number:,}.00", "$") == number


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_is_exact_in_every_spelling(number: int) -> None:
    assert {a_whole_number(written, "$") for written in (number, float(number), str(number), f"{number}.0")} == {number}


@pytest.mark.parametrize("written", [2.5, "2.5", 2**53, 2**53 + 1, str(2**53 + 1), 1e20, "1e-3"])
def test_what_is_not_whole_or_not_exact_is_no_whole_number(written: str | float) -> None:
    with pytest.raises(Unreadable, match="not a whole number"):
        a_whole_number(written, "$")


# Ids and text


@pytest.mark.parametrize("written", [3, 3.0, "3", " 3 "])
def test_an_id_is_the_same_however_it_is_written(written: str | float) -> None:
    assert an_id(written) == "3"


@given(st.integers(-(2**63), 2**64 - 1))
def test_no_two_whole_numbers_are_the_same_id(number: int) -> None:
    assert an_id(number) == str(number)


@pytest.mark.parametrize("written", [None, "", "  ", 2.5, math.nan, math.inf, 1e30, 10**400, True])
def test_what_is_no_id_is_unreadable(written: str | float | None) -> None:
    with pytest.raises(Unreadable, match=r"^\$\.id: "):
        an_id(written)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        (" a b ", "a b"),
        (3, "3"),
        (3.0, "3"),
        (3.5, "3.5"),
        (0, "0"),
        ("0", "0"),
    ],
)
def test_text_is_without_the_blanks_around_it(value: object, expected: str | None) -> None:
    assert text(value) == expected


# Money


@pytest.mark.parametrize(
    ("named", "known", "code"),
    [
        ("eur", None, "EUR"),
        (" GBP ", "EUR", "GBP"),
        ("£", None, "GBP"),
        ("zł", None, "PLN"),
        ("€", "GBP", "GBP"),
        ("$", None, None),
        ("$", "AUD", "AUD"),
        (None, "AUD", "AUD"),
        (None, None, None),
        ("12€", None, None),
        ("ééé", None, None),
    ],
)
def test_a_currency_is_read_from_code_or_symbol(named: str | None, known: str | None, code: str | None) -> None:
    assert currency(named, known) == code


AMOUNTS: list[tuple[Decimal | str | float | None, str, str]] = [
    ("1,234.50", "GBP", "1234.50"),
    (1234.5, "EUR", "1234.50"),
    (5, "EUR", "5.00"),
    ("1000", "JPY", "1000"),
    (Decimal("1.2345"), "BHD", "1.234"),
    (0.1, "EUR", "0.10"),
    (-0.0, "EUR", "0.00"),
]


@pytest.mark.parametrize(("amount", "code", "expected"), AMOUNTS)
def test_an_amount_has_the_decimals_of_its_currency(amount: Decimal | str | float, code: str, expected: str) -> None:
    found = money(amount, code, "$.total")
    assert found is not None
    assert (str(found.amount), found.currency) == (expected, code)


def test_no_amount_is_no_money_whatever_its_currency() -> None:
    assert [money(amount, None, "$") for amount in (None, "", " ")] == [None] * 3


@pytest.mark.parametrize(
    "amount", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1e400"), 1e15, "1e400"]
)
def test_an_amount_out_of_the_ordinary_is_unreadable(amount: Decimal | str | float) -> None:
    with pytest.raises(Unreadable, match=r"^\$\.total"):
        money(amount, "EUR", "$.total")


@pytest.mark.parametrize("code", [None, "", "$", "EURO", "12A"])
def test_an_amount_without_a_currency_cannot_be_told(code: str | None) -> None:
    with pytest.raises(Unreadable, match=r"^\$\.total or its currency: it cannot be understood$"):
        money(5, code, "$.total")


@given(st.decimals(-(10**12), 10**12, places=2), st.sampled_from(["EUR", "GBP", "AUD", "PLN"]))
def test_money_is_the_same_however_it_is_written(amount: Decimal, code: str) -> None:
    spellings: tuple[Decimal | str | float, ...] = (amount, str(amount), f"{amount:,}", float(amount))
    assert {money(spelling, code, "$") for spelling in spellings} == {Money(amount, code)}


# Whatever a vendor writes

anything = (
    st.text(max_size=60)
    | st.from_regex(r"[0-9+\-/:.,eETZ ]{0,45}", fullmatch=True)
    | st.from_regex(r"[0-9]{1,4}[-/][0-9]{1,2}[-/][0-9]{1,4}.{0,30}", fullmatch=True)
    | st.floats()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.just(DIGITS)
    | st.none()
)
READERS: list[Callable[[Any], object]] = [
    lambda value: a_number(value, "$"),
    lambda value: a_whole_number(value, "$"),
    lambda value: an_id(value, "$"),
    lambda value: money(value, "EUR", "$"),
    lambda value: money(5, str(value), "$"),
    lambda value: a_day(str(value), "$"),
    lambda value: an_instant(str(value), "$", PERTH),
]


@given(anything, st.sampled_from(READERS))
def test_nothing_but_unreadable_ever_escapes(value: object, read: Callable[[Any], object]) -> None:
    with suppress(Unreadable):
        read(value)


@given(st.text(max_size=60) | st.floats() | st.integers(-(2**63), 2**64) | st.none())
def test_text_and_currency_read_anything(value: object) -> None:
    found = text(value)
    assert found is None or found == found.strip() != ""
    assert currency(found, None) is None or len(currency(found) or "") == 3


@given(st.text("0123456789/-", min_size=6, max_size=10))
def test_a_day_that_is_read_is_the_one_that_was_written(written: str) -> None:
    try:
        day = a_day(written, "$")
    except Unreadable:
        return
    if day is not None:
        numbers = [int(part) for part in written.replace("/", "-").split("-")]
        assert sorted(numbers) == sorted([day.year, day.month, day.day])
        assert day + timedelta(0) == a_day(day.isoformat(), "$")
