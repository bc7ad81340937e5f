"""The subscriber's guide, read as a stranger reads it: its catalogue is whole, and its verifiers take what we send."""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import msgspec
import pytest
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from events import circuit
from events.routes import RETRIES, Secrets, Webhook
from events.signing import Signer, generate, generate_pair
from events.webhook import WebhookSender
from schemas.changes import ACCOUNT_CHANGES, CATALOGUE, COMMON, Scope
from schemas.envelope import CONTENT_TYPE, CloudEvent, decode, event_id
from schemas.records import Booking
from schemas.settings import Duration, Secret
from tests.papers import SUBSCRIBERS, block, blocks, module

GUIDE = SUBSCRIBERS.read_text(encoding="utf-8")
EVENT_ID = "76a4858b-0f4d-5a7b-9369-e8c731080d84"
BODY = b'{"record": {"guest": "No\xc3\xa9"},\n "a": 1}'
OLD, NEW, OTHER = generate(), generate(), generate()
PAIR, OTHER_PAIR = generate_pair(), generate_pair()

Verdict = Callable[[bytes, Mapping[str, str], str, float], bool]
"""Body, headers, key and time in Unix seconds: whether a verifier takes the request."""


def rows(start: str) -> list[list[str]]:
    """The cells of the table whose heading begins so."""
    table = GUIDE[GUIDE.index(start) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]


def test_the_contents_name_every_chapter() -> None:
    chapters = re.findall(r"^## (.+)$", GUIDE, re.MULTILINE)
    listed = re.findall(r"^- \[([^]]+)\]", GUIDE.partition("\n## ")[0], re.MULTILINE)
    assert listed == chapters


def test_the_catalogue_is_ours_vendor_by_vendor() -> None:
    told: dict[str, dict[str, set[str]]] = {}
    for vendor, resource, _, changes in rows("| vendor | resource |"):
        own = set(re.findall(r"`(\w+)`", changes))
        whole = own if "*only*" in changes else own | set(COMMON)
        told.setdefault(vendor.strip("`"), {})[resource.strip("`")] = whole
    ours = {vendor: {name: set(changes) for name, changes in of.items()} for vendor, of in CATALOGUE.items()}
    assert told == {**ours, "any": {"account": set(ACCOUNT_CHANGES)}}


def test_every_event_with_a_name_of_its_own_is_explained() -> None:
    explained = {name for events, _ in rows("| event | when |") for name in re.findall(r"`([\w.]+)`", events)}
    named = {f"{name}.{change}" for of in CATALOGUE.values() for name, changes in of.items() for change in changes}
    named |= {f"account.{change}" for change in ACCOUNT_CHANGES}
    assert explained == {name for name in named if name.partition(".")[2] not in COMMON}


def test_every_field_of_an_event_is_explained() -> None:
    explained = {
        name.partition(".")[0] for fields, _ in rows("| field |") for name in re.findall(r"`([\w.]+)`", fields)
    }
    assert explained == {field.encode_name for field in msgspec.structs.fields(CloudEvent)}


def test_what_is_said_about_waits_is_so() -> None:
    waits = ", ".join(re.sub(r"(\d)([a-z])", r"\1 \2", spelled(each)) for each in RETRIES)
    assert f"Waits between attempts: {waits}, each give or take a fifth" in GUIDE
    days = sum(each.total_seconds() for each in RETRIES) / 86_400
    assert "close to three\ndays" in GUIDE
    assert 2.75 < days < 3.25
    told = " ".join(GUIDE.split())
    assert f"After {circuit.FAILURES} failures in a row, over {circuit.SUSTAINED:g} seconds or more" in told
    assert f"is tried after {circuit.FIRST_PROBE:g} seconds" in told
    assert f"at last every {circuit.LONGEST_PROBE:g} seconds" in told
    assert circuit.LONGEST_ASKED == 3600
    assert f"at {circuit.CATCH_UP_FROM:g} events a second" in told
    assert f"twice as many every {circuit.CATCH_UP_DOUBLES:g} seconds" in told


def spelled(wait: Duration) -> str:
    """`30 s`, `2 m`, `24 h`."""
    seconds = int(wait.total_seconds())
    return f"{seconds // 3600}h" if seconds >= 3600 else f"{seconds // 60}m" if seconds >= 60 else f"{seconds}s"


def test_the_example_event_is_one_of_ours() -> None:
    (text,) = blocks(SUBSCRIBERS, "json")
    event = decode(text.encode())
    assert event.id == event_id(Scope("octorate", "hotel-roma", "booking"), event.subject, event.version)
    assert msgspec.convert(event.data["record"], Booking).id == event.subject


def test_the_example_event_is_a_cloudevent_to_others() -> None:
    (text,) = blocks(SUBSCRIBERS, "json")
    event = from_structured_event(HTTPMessage({"content-type": CONTENT_TYPE}, text.encode()), JSONFormat())
    assert (event.get_type(), event.get_subject()) == ("booking.confirmed", "92180839")


def test_the_test_vectors_are_what_we_sign_and_what_the_specification_asks_for() -> None:
    vector = {name: text.strip("`") for name, text in rows("| | |\n|---|---|\n| id |")[:-1]}
    vector["its public signature"] = rows("| | |\n|---|---|\n| id |")[-1][1].strip("`")
    body, at = vector["body"].encode(), int(vector["timestamp"])
    signer = Signer([Secret(vector["shared key"]), Secret(vector["private key"])])
    both = f"{vector['its signature']} {vector['its public signature']}"
    assert signer.headers(vector["id"], at, body)["webhook-signature"] == both

    key = bytes(range(32))
    signed = f"{vector['id']}.{at}.".encode() + body
    code = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert (vector["shared key"], vector["its signature"]) == (f"whsec_{base64.b64encode(key).decode()}", f"v1,{code}")
    private = Ed25519PrivateKey.from_private_bytes(key)
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    assert vector["public key"] == f"whpk_{public}"
    assert vector["its public signature"] == f"v1a,{base64.b64encode(private.sign(signed)).decode()}"
    assert f"The body is {len(body)}\nbytes" in GUIDE


def tool(name: str) -> str:
    """Where a program is. Where checks must be whole a missing one is a failure."""
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("CI"), f"{name} is missing"
        pytest.skip(f"{name} is not on this machine")
    return found


def by_library(folder: Path) -> Verdict:
    event_in = module(SUBSCRIBERS, "def event_in(", folder).event_in
    return lambda body, headers, key, _: event_in(body, headers, key) is not None


def by_hand(folder: Path) -> Verdict:
    return module(SUBSCRIBERS, "def is_from_vendorwire(", folder).is_from_vendorwire  # type: ignore[no-any-return]


def by_public_key(folder: Path) -> Verdict:
    return module(SUBSCRIBERS, "def is_signed_by_vendorwire(", folder).is_signed_by_vendorwire  # type: ignore[no-any-return]


def by_javascript(folder: Path) -> Verdict:
    node = tool("node")
    (shown,) = blocks(SUBSCRIBERS, "js")
    asking = """
import { readFileSync } from "node:fs";
const [body, headers, key, now] = JSON.parse(readFileSync(0, "utf8"));
process.exit(isFromVendorwire(Buffer.from(body, "base64"), headers, key, now) === true ? 0 : 9);
"""
    file = folder / "verify.mjs"
    file.write_text(shown + asking, encoding="utf-8")

    def verdict(body: bytes, headers: Mapping[str, str], key: str, now: float) -> bool:
        asked = json.dumps([base64.b64encode(body).decode(), dict(headers), key, now]).encode()
        done = subprocess.run([node, str(file)], input=asked, capture_output=True, timeout=30, check=False)
        assert done.returncode in {0, 9}, done.stderr.decode()
        return done.returncode == 0

    return verdict


def by_shell(folder: Path) -> Verdict:
    tool("openssl")
    file = folder / "verify.sh"
    file.write_text(block(SUBSCRIBERS, "sh", "# sh verify.sh"), encoding="utf-8")

    def verdict(body: bytes, headers: Mapping[str, str], key: str, now: float) -> bool:
        parts = [headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
        asked = ["sh", str(file), key, *parts]
        environment = {**os.environ, "TMPDIR": str(folder)}
        done = subprocess.run(asked, input=body, capture_output=True, env=environment, timeout=30, check=False)
        assert (done.returncode in {0, 1}, done.stderr, done.stdout) == (True, b"", b"")
        assert list(folder.iterdir()) == [file]
        return done.returncode == 0

    return verdict


SHARED = (by_library, by_hand, by_javascript, by_shell)
PUBLIC = (by_public_key, by_javascript, by_shell)
TIMED = (by_hand, by_public_key, by_javascript)  # told what time it is; the shell looks at none


async def as_sent(*secrets: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request as a receiver gets it from the real sender."""
    got: list[tuple[bytes, dict[str, str]]] = []

    async def take(request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        got.append((await request.read(), headers))
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(take, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
        kept = Secrets(Secret(each) for each in secrets)
        target = Webhook(url=url, secret=kept, allow_private=True)
        async with WebhookSender(version="1") as sender:
            answer = await sender.send(
                target, Signer(kept), BODY, event_id=EVENT_ID, attempt=1, timestamp=int(time.time())
            )
        assert answer.status == 204, answer
    finally:
        await runner.cleanup()
    return got[0]


Make = Callable[[Path], Verdict]


def named(make: Make) -> str:
    return make.__name__.removeprefix("by_")


@pytest.mark.parametrize("make", SHARED, ids=named)
def test_what_we_send_is_verified_with_a_shared_key(make: Make, tmp_path: Path) -> None:
    verified = make(tmp_path)
    body, headers = anyio.run(as_sent, PAIR.private, OLD, NEW)
    assert verified(body, headers, OLD, time.time())
    assert verified(body, headers, NEW, time.time())
    assert not verified(body, headers, OTHER, time.time())


@pytest.mark.parametrize("make", PUBLIC, ids=named)
def test_what_we_send_is_verified_with_a_public_key(make: Make, tmp_path: Path) -> None:
    verified = make(tmp_path)
    body, headers = anyio.run(as_sent, OTHER_PAIR.private, OLD, PAIR.private)
    assert verified(body, headers, PAIR.public, time.time())
    assert not verified(body, headers, generate_pair().public, time.time())


def tampered(headers: dict[str, str]) -> list[tuple[bytes, dict[str, str]]]:
    """The same request in every way in which it is no longer ours."""
    first = headers["webhook-signature"]
    changed = [
        {**headers, "webhook-id": EVENT_ID.replace("7", "8", 1)},
        {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)},
        {**headers, "webhook-signature": first.replace("v1", "v2")},
        {**headers, "webhook-signature": first.replace(",", "")},
        {**headers, "webhook-signature": first[:-8]},
        {**headers, "webhook-signature": ""},
        *({name: value for name, value in headers.items() if name != gone} for gone in headers),
    ]
    return [(BODY.replace(b"1", b"2"), headers), (BODY + b"\n", headers), *((BODY, each) for each in changed)]


def keys(make: Make) -> list[tuple[str, str]]:
    """What signs, and what verifies it, of each kind a verifier knows."""
    return [(OLD, OLD)] * (make in SHARED) + [(PAIR.private, PAIR.public)] * (make in PUBLIC)


@pytest.mark.parametrize("make", dict.fromkeys((*SHARED, *PUBLIC)), ids=named)
def test_what_was_tampered_with_is_refused(make: Make, tmp_path: Path) -> None:
    verified, now = make(tmp_path), int(time.time())
    for private, public in keys(make):
        headers = Signer([Secret(private)]).headers(EVENT_ID, now, BODY)
        assert verified(BODY, headers, public, now)
        assert [each for each in tampered(headers) if verified(*each, public, now)] == []


@pytest.mark.parametrize("make", TIMED, ids=named)
def test_five_minutes_are_tolerated_in_either_direction_and_no_more(make: Make, tmp_path: Path) -> None:
    verified, at = make(tmp_path), 1_780_000_000
    for private, public in keys(make):
        headers = Signer([Secret(private)]).headers(EVENT_ID, at, BODY)
        taken = [away for away in (-301, -300, 0, 300, 301) if verified(BODY, headers, public, at + away)]
        assert taken == [-300, 0, 300]


def test_the_library_tolerates_five_minutes_too(tmp_path: Path) -> None:
    verified, now = by_library(tmp_path), int(time.time())
    signed = {away: Signer([Secret(OLD)]).headers(EVENT_ID, now + away, BODY) for away in (-310, -290, 290, 310)}
    assert [away for away, headers in signed.items() if verified(BODY, headers, OLD, now)] == [-290, 290]


@pytest.mark.parametrize("make", dict.fromkeys((*SHARED, *PUBLIC)), ids=named)
def test_unknown_versions_are_passed_over(make: Make, tmp_path: Path) -> None:
    verified, now = make(tmp_path), int(time.time())
    for private, public in keys(make):
        headers = Signer([Secret(private)]).headers(EVENT_ID, now, BODY)
        headers["webhook-signature"] = "v1,bm9wZQ== v2,x v1a,bm9wZQ== " + headers["webhook-signature"]
        assert verified(BODY, headers, public, now)


ANYTHING = st.one_of(
    st.text(max_size=200), st.sampled_from(["9" * 5000, "-1", "１７８", "nan", "\udcff", "v1", "v1a,é"])
)


@pytest.fixture(scope="module")
def of_python(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Verdict, str]]:
    """The verifiers that can be asked ten thousand times, each with a key."""
    folder = tmp_path_factory.mktemp("python")
    made = [(by_library, OLD), (by_hand, OLD), (by_public_key, PAIR.public)]
    return [(make(folder), key) for make, key in made]


@settings(max_examples=10_000, deadline=None)
@given(body=st.binary(max_size=50), event=ANYTHING, sent=ANYTHING, signature=ANYTHING, whole=st.booleans())
def test_garbage_is_refused_and_never_an_error(
    of_python: list[tuple[Verdict, str]], body: bytes, event: str, sent: str, signature: str, *, whole: bool
) -> None:
    headers = {"webhook-id": event, "webhook-timestamp": sent, "webhook-signature": signature}
    if whole:  # so that garbage gets as far as the signature
        headers |= {"webhook-id": EVENT_ID, "webhook-timestamp": str(int(time.time()))}
    assert [key for verified, key in of_python if verified(body, headers, key, time.time())] == []


def test_javascript_refuses_garbage_too(tmp_path: Path) -> None:
    verified, now = by_javascript(tmp_path), int(time.time())
    sent = {"webhook-id": EVENT_ID, "webhook-timestamp": str(now)}
    for garbage in ("", ",", "v1", "v1,", "v1,*", "v1a,", "v1a,bm9wZQ==", " , ,", "é,ü"):
        for key in (OLD, PAIR.public):
            assert not verified(BODY, {**sent, "webhook-signature": garbage}, key, now)
