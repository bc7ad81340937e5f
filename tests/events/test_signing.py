"""Signatures, checked against the independent `standardwebhooks` package, and against `cryptography` where it has none."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from events.signing import Signer, generate, generate_pair
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


TIMES = st.integers(min_value=0, max_value=4_102_444_800)  # until the year 2100


@settings(max_examples=10_000, deadline=None)
@given(st.text(), st.binary(min_size=24, max_size=64), TIMES)
def test_any_body_at_any_time_is_signed_as_the_reference_library_does(body: str, key: bytes, at: int) -> None:
    text = "whsec_" + base64.b64encode(key).decode()
    headers = Signer([Secret(text)]).headers("e-1", at, body.encode())
    assert headers["webhook-timestamp"] == str(at)
    assert headers["webhook-signature"] == Verifier(text).sign("e-1", datetime.fromtimestamp(at, UTC), body)


@settings(max_examples=10_000, deadline=None)
@given(st.binary(), st.binary(min_size=32, max_size=32), TIMES)
def test_any_body_at_any_time_is_signed_with_an_ed25519_key(body: bytes, seed: bytes, at: int) -> None:
    headers = Signer([Secret("whsk_" + base64.b64encode(seed).decode())]).headers("e-1", at, body)
    version, _, signature = headers["webhook-signature"].partition(",")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert version == "v1a"
    public.verify(base64.b64decode(signature, validate=True), f"e-1.{at}.".encode() + body)


def ed25519(seed: bytes, public: bytes | None = None) -> str:
    return "whsk_" + base64.b64encode(seed + (public or b"")).decode()


def public_of(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def test_a_private_key_may_be_written_with_its_public_half_and_without() -> None:
    seed = bytes(range(32))
    alone, whole = ed25519(seed), ed25519(seed, public_of(seed))
    first, second = (Signer([Secret(text)]).headers("e-1", 1, b"{}") for text in (alone, whole))
    assert first == second


def test_a_generated_pair_belongs_together() -> None:
    pair = generate_pair()
    headers = Signer([Secret(pair.private)]).headers("e-1", 1, b"{}")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(pair.public.removeprefix("whpk_")))
    signature = base64.b64decode(headers["webhook-signature"].removeprefix("v1a,"))
    public.verify(signature, b"e-1.1.{}")
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"e-1.2.{}")
    assert pair != generate_pair()
    assert pair.private not in repr(pair)


def test_shared_and_private_keys_sign_side_by_side_in_their_order() -> None:
    shared, pair = generate(), generate_pair()
    headers = Signer([Secret(pair.private), Secret(shared)]).headers("e-1", now(), b"{}")
    assert [each.partition(",")[0] for each in headers["webhook-signature"].split(" ")] == ["v1a", "v1"]
    assert Verifier(shared).verify("{}", headers) == {}


def test_each_of_several_secrets_verifies_alone_while_they_change_over() -> None:
    old, new, other = generate(), generate(), generate()
    headers = Signer([Secret(old), Secret(new)]).headers("e-1", now(), b"{}")
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Verifier(old).verify("{}", headers) == {}
    assert Verifier(new).verify("{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Verifier(other).verify("{}", headers)


def test_a_secret_that_was_taken_out_verifies_no_more() -> None:
    oldest, old, new = generate(), generate(), generate()
    during = Signer([Secret(new), Secret(old), Secret(oldest)]).headers("e-1", now(), b"{}")
    assert [Verifier(each).verify("{}", during) for each in (oldest, old, new)] == [{}, {}, {}]
    after = Signer([Secret(new)]).headers("e-1", now(), b"{}")
    assert Verifier(new).verify("{}", after) == {}
    for expired in (oldest, old):
        with pytest.raises(WebhookVerificationError):
            Verifier(expired).verify("{}", after)


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
    file.write_text(generate_pair().private + "\n")
    assert signer.headers("e-1", now(), b"{}")["webhook-signature"].startswith("v1a,")


def test_a_file_that_no_longer_holds_a_secret_signs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(generate())
    signer = Signer([Secret(f"${{file:{file}}}")])
    file.write_text("whsec_hunter2")
    for _ in range(2):
        with pytest.raises(ValueError, match="must be base64"):
            signer.headers("e-1", now(), b"{}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hunter2-hunter2-hunter2", "starts with whsec_"),
        ("whsec_not*base64*hunter2", "must be base64"),
        ("whsec_huntér2", "must be base64"),
        ("whsec_" + "A" * 33, "must be base64"),
        (secret(23), "24 to 64 bytes, this one is 23"),
        (secret(65), "24 to 64 bytes, this one is 65"),
        ("whpk_" + "A" * 43 + "=", "whpk_ begins a public key, which is for the receiver"),
        ("whsk_not*base64*hunter2", "follows whsk_ in a signing secret must be base64"),
        ("WHSEC_" + "A" * 32, "starts with whsec_ or whsk_"),
        (" " + secret(), "starts with whsec_ or whsk_"),
        *((ed25519(bytes(size)), f"32 or 64 bytes, this one is {size}") for size in (0, 31, 33, 63, 65)),
        (ed25519(bytes(32), bytes(32)), "the two halves of a private signing key do not belong together"),
    ],
)
def test_a_secret_that_cannot_sign_is_refused_without_being_shown(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        Signer([Secret(text)])
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert text not in str(caught.value)
    assert "hunt" not in str(caught.value)


@settings(max_examples=10_000, deadline=None)
@given(
    st.sampled_from(["", "whsec_", "whsk_", "whpk_"]),
    st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()),
)
def test_whatever_is_configured_signs_or_is_refused_with_a_sentence(prefix: str, rest: str) -> None:
    said, signatures = "", "v1,"
    try:
        signatures = Signer([Secret(prefix + rest.replace("${", "$"))]).headers("e-1", 1, b"")["webhook-signature"]
    except ValueError as refused:
        said = str(refused)
    assert signatures.partition(",")[0] in {"v1", "v1a"}
    assert len(rest) < 8 or rest not in said


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
