"""The packed mapping against a dictionary."""

from hypothesis import given
from hypothesis import strategies as st

from events.packed import NO_ROW, Rows

keys = st.text(max_size=12)


@given(st.lists(keys, max_size=200), st.lists(keys, max_size=20))
def test_it_is_a_dictionary_of_first_appearances(added: list[str], asked: list[str]) -> None:
    rows, plain = Rows(), dict[str, int]()
    for key in added:
        assert rows.add(key) == plain.setdefault(key, len(plain))
    assert len(rows) == len(plain)
    assert list(rows.keys()) == list(plain)
    for key in (*added, *asked):
        assert (rows.get(key), key in rows) == (plain.get(key, NO_ROW), key in plain)


def test_it_grows_without_losing_any() -> None:
    rows = Rows()
    for number in range(5000):
        assert rows.add(f"key {number}") == number
    assert [rows.get(f"key {number}") for number in range(5001)] == [*range(5000), NO_ROW]
    assert list(rows.keys(4998)) == ["key 4998", "key 4999"]


def test_keys_may_be_empty_or_half_a_character() -> None:
    rows = Rows()
    assert [rows.add(key) for key in ("", "\ud800", "é", "")] == [0, 1, 2, 0]
    assert [rows.key(row) for row in range(3)] == ["", "\ud800", "é"]
