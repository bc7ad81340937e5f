"""Names on the bus: whatever a vendor calls a record, its subject is harmless and leads back to it."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.subjects import HEAD, LONGEST, Names, fits, key_of, token
from schemas.changes import Scope

SCOPE = Scope("octorate", "hotel-roma", "booking")
any_text = st.text(st.characters(), min_size=1)  # lone surrogates and all


@given(any_text)
@example("a\x00b\r\n.*> ")
@example("\ud800")
@example("\ud83d\ude00")
@example("%2E")
def test_a_key_survives_its_token(key: str) -> None:
    assert key_of(token(key)) == key


@given(any_text)
def test_a_token_holds_only_what_a_subject_may_hold(key: str) -> None:
    assert re.fullmatch(r"([A-Za-z0-9-]|%[0-9A-F]{2})+", token(key))


@given(any_text, any_text)
def test_two_keys_never_share_a_token(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)


@given(any_text)
def test_no_key_is_mistaken_for_the_head(key: str) -> None:
    assert Names().snapshot(SCOPE, key) != Names().head(SCOPE)
    assert Names().snapshot(SCOPE, key).count(".") == 5


def test_an_underscore_is_encoded_so_that_the_head_stands_apart() -> None:
    assert token(HEAD) == "%5Fhead"


@pytest.mark.parametrize(
    ("key", "expected"),
    [("92180827", "92180827"), ("a.b", "a%2Eb"), ("ü", "%C3%BC"), ("a b*>", "a%20b%2A%3E"), ("\r\n\x00", "%0D%0A%00")],
)
def test_every_byte_outside_letters_digits_and_hyphen_is_percent_encoded(key: str, expected: str) -> None:
    assert token(key) == expected


def test_a_key_fits_up_to_the_longest_token() -> None:
    assert fits("x" * LONGEST)
    assert fits("." * (LONGEST // 3))
    assert not fits("." * (LONGEST // 3 + 1))
    assert not fits("x" * (LONGEST + 1))
    assert not fits("")
    assert not fits("x" * 2**20)


@given(any_text)
def test_a_key_fits_exactly_where_its_token_does(key: str) -> None:
    assert fits(key) == (len(token(key)) <= LONGEST)


def test_the_names_are_those_of_the_contract() -> None:
    names = Names()
    assert names.event(SCOPE, "cancelled") == "vendorwire.event.octorate.hotel-roma.booking.cancelled"
    assert names.snapshot(SCOPE, "92180827") == "vendorwire.snapshot.octorate.hotel-roma.booking.92180827"
    assert names.schedule(SCOPE) == "vendorwire.schedule.octorate.hotel-roma.booking"
    assert names.poll(SCOPE) == "vendorwire.poll.octorate.hotel-roma.booking"
    assert names.dead_letter("crm") == "vendorwire.dead.crm"
    assert (names.ledger, names.polls, names.dead) == ("VENDORWIRE", "VENDORWIRE_POLLS", "VENDORWIRE_DEAD")


def test_a_prefix_stands_before_everything_in_its_own_case() -> None:
    names = Names("acme")
    assert names.head(SCOPE) == "acme.snapshot.octorate.hotel-roma.booking._head"
    assert (names.ledger, names.events) == ("ACME", "acme.event.>")


def test_a_subject_tells_its_scope() -> None:
    names = Names("acme")
    for subject in (names.poll(SCOPE), names.schedule(SCOPE), names.snapshot(SCOPE, "a.b"), names.event(SCOPE, "x")):
        assert names.scope_of(subject) == SCOPE
