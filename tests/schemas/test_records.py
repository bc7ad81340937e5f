"""Money and instants: one spelling for one value."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Money, instant

MONEY = [
    ("552.5", "EUR", b'{"amount":"552.50","currency":"EUR"}'),
    ("5.525e2", "eur", b'{"amount":"552.50","currency":"EUR"}'),
    ("0", "EUR", b'{"amount":"0.00","currency":"EUR"}'),
    ("-0.001", "EUR", b'{"amount":"0.00","currency":"EUR"}'),
    ("-12.345", "EUR", b'{"amount":"-12.34","currency":"EUR"}'),
    ("1500", "JPY", b'{"amount":"1500","currency":"JPY"}'),
    ("1.5", "KWD", b'{"amount":"1.500","currency":"KWD"}'),
    ("1e14", "EUR", b'{"amount":"100000000000000.00","currency":"EUR"}'),
    ("1e-400", "EUR", b'{"amount":"0.00","currency":"EUR"}'),
]


@pytest.mark.parametrize(("amount", "currency", "written"), MONEY)
def test_money_has_the_decimals_of_its_currency(amount: str, currency: str, written: bytes) -> None:
    assert msgspec.json.encode(Money.of(Decimal(amount), currency)) == written


def test_no_amount_is_no_money() -> None:
    assert Money.of(None, None) is None


@pytest.mark.parametrize("currency", [None, "", "EURO", "E1R", "€€€", "ЕУР"])
def test_an_amount_needs_a_currency(currency: str | None) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        Money.of(Decimal(1), currency)


@pytest.mark.parametrize("amount", ["1e15", "-1e400", "Infinity", "NaN", "1" * 5000])
def test_an_amount_of_no_ordinary_size_is_none_of_ours(amount: str) -> None:
    with pytest.raises(ValueError, match="ordinary size"):
        Money.of(Decimal(amount), "EUR")


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_any_number_is_money_or_a_value_error(amount: Decimal) -> None:
    try:
        money = Money.of(amount, "EUR")
    except (ValueError, ArithmeticError):
        return
    assert money is not None
    assert msgspec.json.decode(msgspec.json.encode(money), type=Money) == money


def test_an_instant_is_in_utc_and_one_without_a_zone_is_taken_to_be() -> None:
    noon = datetime(2026, 5, 20, 12, tzinfo=UTC)
    assert instant(datetime(2026, 5, 20, 12)) == noon  # noqa: DTZ001 the very case
    assert instant(noon.astimezone(timezone(timedelta(hours=2)))).isoformat() == "2026-05-20T12:00:00+00:00"
