"""What vendors write that is almost JSON."""

import msgspec
import pytest

from connectors.decoding import decode

_texts = msgspec.json.Decoder(list[str])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb'["a\ud83d"]', "a\ufffd"),
        (rb'["\ude00b"]', "\ufffdb"),
        (rb'["\ud83d\ude00"]', "\U0001f600"),
        (rb'["\ud83d\ude00\ud83d"]', "\U0001f600\ufffd"),
        (rb'["\ud83d\ud83d\ude00"]', "\ufffd\U0001f600"),
        (rb'["\\ud83d \ud83d"]', "\\ud83d \ufffd"),
    ],
)
def test_half_a_character_does_not_make_its_page_unreadable(written: bytes, read: str) -> None:
    assert decode(written, _texts, "GET /") == [read]
