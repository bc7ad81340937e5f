"""What tells one page of a listing from another."""

import re
from collections.abc import Sequence

import msgspec
import pytest

from connectors.listing import EDGE, Listed, Listing, PlainKeys, fingerprint

ID = re.compile(rb'"request_id":"[^"]*"')
LONG = b"x" * (3 * EDGE)


def listing(varying: re.Pattern[bytes] | None = None) -> Listing[list[msgspec.Raw]]:
    return Listing(
        path="/things",
        decoder=msgspec.json.Decoder(list[msgspec.Raw]),
        page=lambda items: Listed(items=items),
        key_of=lambda raw: bytes(raw).decode(),
        varying=varying,
    )


def pieces(content: bytes, size: int) -> Sequence[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_a_reply_is_known_however_it_came(size: int) -> None:
    assert listing().fingerprint(pieces(LONG + b"y", size)) == listing().fingerprint([LONG + b"y"])
    assert listing().fingerprint(pieces(LONG + b"y", size)) != listing().fingerprint([LONG + b"z"])


@pytest.mark.parametrize("body", [b"", b"short", LONG])
@pytest.mark.parametrize("form", [b'{%s,"data":"%s"}', b'{"data":"%s"}%s'])
def test_what_varies_at_either_end_says_nothing(form: bytes, body: bytes) -> None:
    def reply(number: int, data: bytes) -> list[bytes]:
        id_ = b'"request_id":"%d"' % number
        return [form % ((id_, data) if form.startswith(b"{%s") else (data, id_))]

    one = listing(ID).fingerprint(reply(1, body))
    assert one == listing(ID).fingerprint(reply(2, body))
    assert one != listing(ID).fingerprint(reply(1, body + b"!"))
    assert listing().fingerprint(reply(1, body)) != listing().fingerprint(reply(2, body))


def test_a_reply_of_nothing_has_a_fingerprint_too() -> None:
    assert listing(ID).fingerprint([]) == listing(ID).fingerprint([b""])


def test_items_are_the_same_in_the_same_order() -> None:
    one, other = msgspec.Raw(b"1"), msgspec.Raw(b"2")
    assert fingerprint([one, other]) == fingerprint([one, other]) != fingerprint([other, one])


def test_keys_are_counted_once() -> None:
    keys = PlainKeys()
    items = [msgspec.Raw(b"1"), msgspec.Raw(b"2"), msgspec.Raw(b"1")]
    assert (keys.add_items(items, listing().key_of), keys.add_items(items, listing().key_of), len(keys)) == (2, 0, 2)
