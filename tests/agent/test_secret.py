"""`vendorwire secret`: what it prints is what a route signs with, and what a receiver verifies with."""

import base64
import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from agent.config import Config
from agent.configfile import load
from agent.faults import ConfigError
from events.signing import Signer
from tests.agent.command import here, vendorwire

ACCOUNT = "{vendor: octorate, name: hotel, client_id: a, client_secret: canary-secret, refresh_token: canary-token}"


def configured(folder: Path, *texts: str) -> Config:
    """A configuration whose route reads its secrets from files that hold these texts."""
    for number, text in enumerate(texts):
        (folder / f"secret-{number}").write_text(text)
    named = ", ".join(f'"${{file:{folder / f"secret-{number}"}}}"' for number in range(len(texts)))
    file = folder / "vendorwire.yaml"
    file.write_text(
        f"""\
accounts:
  - {ACCOUNT}
routes:
  - name: crm
    events: ["booking.*"]
    webhook: {{url: "https://crm.example.com", secret: [{named}]}}
"""
    )
    return load(file)


def signed(config: Config, body: bytes) -> dict[str, str]:
    webhook = config.routes[0].webhook
    assert webhook is not None
    return Signer(webhook.secret).headers("e-1", int(time.time()), body)


def test_a_shared_secret_is_alone_on_stdout_and_signs(tmp_path: Path) -> None:
    ran = vendorwire("secret", cwd=tmp_path)
    assert (ran.status, ran.out.count("\n")) == (0, 1)
    text = ran.out.strip()
    assert len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) == 32
    assert Webhook(text).verify("{}", signed(configured(tmp_path, ran.out), b"{}")) == {}
    assert "same secret for both sides" in ran.err
    assert text not in ran.err


def test_of_a_pair_the_private_half_signs_and_the_public_one_verifies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = here(capsys, "secret", "--ed25519")
    parts = dict(line.split() for line in ran.out.splitlines())
    assert (ran.status, list(parts)) == (0, ["private", "public"])
    headers = signed(configured(tmp_path, parts["private"]), b"{}")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(parts["public"].removeprefix("whpk_")))
    signature = base64.b64decode(headers["webhook-signature"].removeprefix("v1a,"))
    public.verify(signature, f"e-1.{headers['webhook-timestamp']}.{{}}".encode())
    assert "private: for the configuration only" in ran.err
    assert "public: for the receiver" in ran.err


def test_for_a_program_each_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    shared, pair = here(capsys, "secret", "--json"), here(capsys, "--json", "secret", "--ed25519")
    assert (shared.err, pair.err) == ("", "")
    assert json.loads(shared.out).keys() == {"secret"}
    told = json.loads(pair.out)
    assert (told["private"][:5], told["public"][:5]) == ("whsk_", "whpk_")
    assert base64.b64decode(told["private"][5:])[32:] == base64.b64decode(told["public"][5:])


def test_every_secret_is_a_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {here(capsys, "secret", *more).out for more in ((), (), ("--ed25519",), ("--ed25519",))}
    assert len(texts) == 4


def test_it_needs_no_configuration_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ran = vendorwire("secret", "--config", "absent.yaml", cwd=tmp_path)
    assert ran.status == 0
    assert list(tmp_path.iterdir()) == []


def test_its_help_says_what_goes_where(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "secret", "--help")
    assert ran.status == 0
    assert "A new secret to sign a route's webhooks with." in ran.out
    assert "--ed25519" in ran.out
    assert "a key pair: whsk_… signs here, whpk_… verifies there" in " ".join(ran.out.split())


def test_shared_and_private_secrets_may_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = json.loads(here(capsys, "secret", "--json").out)["secret"]
    private = json.loads(here(capsys, "secret", "--ed25519", "--json").out)["private"]
    versions = [each[:3] for each in signed(configured(tmp_path, shared, private), b"")["webhook-signature"].split(" ")]
    assert versions == ["v1,", "v1a"]


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("public", "whpk_ begins a public key, which is for the receiver: the private one begins with whsk_"),
        ("cut", "what follows whsk_ in a signing secret must be base64"),
        ("mixed", "the two halves of a private signing key do not belong together"),
    ],
)
def test_what_cannot_sign_is_a_fault_with_its_place_and_without_the_secret(
    part: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, other = (json.loads(here(capsys, "secret", "--ed25519", "--json").out) for _ in range(2))
    mixed = (
        "whsk_"
        + base64.b64encode(base64.b64decode(good["private"][5:])[:32] + base64.b64decode(other["public"][5:])).decode()
    )
    text = {"public": good["public"], "cut": good["private"][:-3], "mixed": mixed}[part]
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, good["private"], text)
    (fault,) = caught.value.faults
    assert (fault.path, fault.message) == ("routes[0].webhook.secret[1]", sentence)
    assert text[5:] not in str(caught.value)
