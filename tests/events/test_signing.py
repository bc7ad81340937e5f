"""Signatures, checked against the independent `standardwebhooks` package."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from events.signing import Signer, generate
from schemas.settings import Secret


def secret(size: int = 32) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def test_the_signature_is_that_of_the_specifications_example() -> None:
    signer = Signer([Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")])
    headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.text(), st.binary(min_size=24, max_size=64))
def test_any_body_verifies_with_the_reference_library(body: str, key: bytes) -> None:
    text = "whsec_" + base64.b64encode(key).decode()
    headers = Signer([Secret(text)]).headers("e-1", now(), body.encode())
    stamp = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert headers["webhook-signature"] == Verifier(text).sign("e-1", stamp, body)


def test_each_of_several_secrets_verifies_alone_while_they_change_over() -> None:
    old, new, other = generate(), generate(), generate()
    headers = Signer([Secret(old), Secret(new)]).headers("e-1", now(), b"{}")
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Verifier(old).verify("{}", headers) == {}
    assert Verifier(new).verify("{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Verifier(other).verify("{}", headers)


@pytest.mark.parametrize("what", ["webhook-id", "webhook-timestamp", "body"])
def test_a_change_of_the_id_the_time_or_the_body_breaks_the_signature(what: str) -> None:
    text = generate()
    headers = Signer([Secret(text)]).headers("e-1", now(), b"{}")
    changed = {"webhook-id": "e-2", "webhook-timestamp": str(now() - 1)}
    with pytest.raises(WebhookVerificationError):
        Verifier(text).verify(
            "[]" if what == "body" else "{}", headers | {k: v for k, v in changed.items() if k == what}
        )


def test_a_rotated_file_signs_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(generate() + "\n")
    signer = Signer([Secret(f"${{file:{file}}}")])
    text = generate()
    file.write_text(text + "\n")
    assert Verifier(text).verify("{}", signer.headers("e-1", now(), b"{}")) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hunter2-hunter2-hunter2", "starts with whsec_"),
        ("whsec_not*base64*hunter2", "must be base64"),
        ("whsec_huntér2", "must be base64"),
        ("whsec_" + "A" * 33, "must be base64"),
        (secret(23), "24 to 64 bytes, this one is 23"),
        (secret(65), "24 to 64 bytes, this one is 65"),
    ],
)
def test_a_secret_that_cannot_sign_is_refused_without_being_shown(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        Signer([Secret(text)])
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert text not in str(caught.value)
    assert "hunt" not in str(caught.value)


@pytest.mark.parametrize("size", [24, 64])
def test_the_shortest_and_the_longest_secret_sign(size: int) -> None:
    assert Signer([Secret(secret(size))]).headers("e-1", 1, b"")["webhook-signature"].startswith("v1,")


def test_no_secret_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Signer([])


@pytest.mark.parametrize("event_id", ["", "a.b", "a b", "é", "a\n"])
def test_an_id_that_could_be_read_two_ways_is_refused(event_id: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        Signer([Secret(secret())]).headers(event_id, 1, b"")


def test_a_generated_secret_holds_32_bytes_and_no_two_are_the_same() -> None:
    first, second = generate(), generate()
    assert first != second
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32


def test_a_signers_repr_shows_no_secret() -> None:
    text = generate()
    assert text[6:] not in repr(Signer([Secret(text)]))
