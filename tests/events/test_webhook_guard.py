"""What a webhook may reach: attempts whose every dialling is noted, and that never dial anything but loopback."""

import ssl
from ipaddress import IPv4Address, IPv6Address

import pytest
import trustme

from events.webhook import WebhookSender
from tests.events.receiver import OK, Dialler, Names, answering, post, receiver, send, webhook

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status: int) -> None:
    dialler = Dialler()
    async with receiver(answering(OK)) as elsewhere:
        moved = b"HTTP/1.1 %d x\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n"
        async with receiver(answering(moved % (status, elsewhere.port))) as there:
            assert (await send(webhook(there.port), open_socket=dialler)).status == status
        assert elsewhere.connections == 0
    assert dialler.dialled == ["127.0.0.1"]


async def test_a_redirect_to_a_private_host_is_never_followed() -> None:
    dialler = Dialler()
    moved = b"HTTP/1.1 302 x\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
    async with receiver(answering(moved)) as there:
        assert (await send(webhook(there.port), open_socket=dialler)).status == 302
    assert dialler.dialled == ["127.0.0.1"]


async def test_a_proxy_in_the_environment_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(answering(OK)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for url in ("http://crm.example.com/", "https://crm.example.com/"):
            dialler = Dialler()
            answer = await send(webhook(1, url=url), resolver=Names(["192.168.7.7"]), open_socket=dialler)
            assert (answer.status, answer.error) == (None, "connection refused")
            assert dialler.dialled == ["192.168.7.7"]
    assert proxy.connections == 0


OFF = {"allow_private": False}
PUBLIC = "93.184.216.34"
PRIVATE_REFUSED = "address not allowed: it is private (allow_private is off)"


async def test_a_name_that_turns_private_after_it_was_public_is_not_dialled() -> None:
    names, dialler = Names([PUBLIC], ["127.0.0.1"]), Dialler()
    async with (
        receiver(answering(OK)) as there,
        WebhookSender(version="1", resolver=names, open_socket=dialler) as sender,
    ):
        # Two ports, since an answer is kept for a while for one name and port.
        first = await post(sender, webhook(1, url="http://crm.example.com:1/", **OFF))
        second = await post(sender, webhook(1, url=f"http://crm.example.com:{there.port}/", **OFF))
    assert (first.error, second.error) == ("connection refused", PRIVATE_REFUSED)
    assert names.asked == ["crm.example.com"] * 2
    assert dialler.dialled == [PUBLIC]
    assert there.connections == 0


async def test_what_was_checked_is_what_is_dialled() -> None:
    """A name is asked for once a connection: no second answer could differ from the one that was checked."""
    names, dialler = Names([PUBLIC], ["127.0.0.1"], [PUBLIC], ["127.0.0.1"]), Dialler()
    await send(webhook(1, url="http://crm.example.com/", **OFF), resolver=names, open_socket=dialler)
    assert (len(names.asked), dialler.dialled) == (1, [PUBLIC])


MIXED = ["10.0.0.1", PUBLIC, "::1", "169.254.169.254", "2a00:1450::1", "::ffff:127.0.0.1", "localhost", "fe80::1%1"]


async def test_of_mixed_answers_only_those_that_are_allowed_are_dialled() -> None:
    dialler = Dialler()
    answer = await send(webhook(1, url="http://crm.example.com/", **OFF), resolver=Names(MIXED), open_socket=dialler)
    assert (answer.status, answer.error) == (None, "connection refused")
    assert set(dialler.dialled) == {PUBLIC, "2a00:1450::1"}


async def test_with_allow_private_the_private_ones_are_dialled_and_the_rest_still_is_not() -> None:
    dialler = Dialler()
    async with receiver(answering(OK)) as there:
        answer = await send(
            webhook(1, url=f"http://crm.example.com:{there.port}/"),
            resolver=Names(["169.254.169.254", "0.0.0.0", "::", "127.0.0.1", "64:ff9b::a9fe:a9fe"]),
            open_socket=dialler,
        )
    assert (answer.status, dialler.dialled) == (200, ["127.0.0.1"])


@pytest.mark.parametrize(
    ("answers", "allowed", "error"),
    [
        (["127.0.0.1", "::1"], False, PRIVATE_REFUSED),
        (["169.254.169.254", "10.0.0.1"], False, PRIVATE_REFUSED),
        (["169.254.169.254", "::"], False, "address not allowed"),
        (["169.254.169.254", "::"], True, "address not allowed"),
        (["localhost"], True, "address not allowed"),
        ([], False, "host name not found"),
    ],
)
async def test_a_name_without_an_allowed_address_is_a_failure_that_names_none(
    answers: list[str], allowed: bool, error: str
) -> None:
    dialler = Dialler()
    target = webhook(1, url="http://crm.example.com/", allow_private=allowed)
    answer = await send(target, resolver=Names(answers), open_socket=dialler)
    assert (answer.status, answer.error) == (None, error)
    assert dialler.dialled == []


LOOPBACK = """
127.0.0.1 127.1 127.0.1 2130706433 0x7f.1 0x7f000001 0X7F.0.0.1 0177.0.0.1 017700000001 127.0.0.1. localhost LOCALHOST
[::1] [0:0:0:0:0:0:0:1] [::ffff:7f00:1] [::ffff:127.0.0.1]
"""


@pytest.mark.parametrize("host", LOOPBACK.split())
async def test_no_spelling_of_a_private_address_leads_there(host: str) -> None:
    dialler = Dialler()
    async with receiver(answering(OK)) as there:
        target = webhook(1, url=f"http://{host}:{there.port}/", **OFF)
        answer = await send(target, open_socket=dialler)
    assert answer.status is None
    assert answer.error in {PRIVATE_REFUSED, "address not allowed"}  # the latter: spelled as no address is
    assert (dialler.dialled, there.connections) == ([], 0)


NEVER = """
0 0.0.0.0 0x0 169.254.169.254 0xa9fea9fe 2852039166 169.254.43518 100.100.100.200 168.63.129.16 224.0.0.1 255.255.255.255
[::] [::ffff:0.0.0.0] [::ffff:a9fe:a9fe] [::169.254.169.254] [64:ff9b::a9fe:a9fe] [2002:a9fe:a9fe::] [fd00:ec2::254]
[fe80::a9fe:a9fe] [ff02::1]
"""


@pytest.mark.parametrize("host", NEVER.split())
@pytest.mark.parametrize("allowed", [False, True])
async def test_some_addresses_are_dialled_for_nobody(host: str, allowed: bool) -> None:
    dialler = Dialler()
    answer = await send(webhook(1, url=f"http://{host}:1/", allow_private=allowed), open_socket=dialler)
    assert (answer.status, answer.error) == (None, "address not allowed")
    assert dialler.dialled == []


async def test_a_literal_that_is_allowed_is_dialled_as_it_is() -> None:
    dialler = Dialler()
    for host in ("93.184.216.34", "[2a00:1450::1]", "[::ffff:93.184.216.34]"):
        answer = await send(webhook(1, url=f"http://{host}/", **OFF), open_socket=dialler)
        assert answer.error == "connection refused"
    assert [IPv6Address(each) if ":" in each else IPv4Address(each) for each in dialler.dialled] == [
        IPv4Address(PUBLIC),
        IPv6Address("2a00:1450::1"),
        IPv6Address(f"::ffff:{PUBLIC}"),
    ]


async def test_a_connection_opened_with_allow_private_serves_no_target_without_it() -> None:
    async with receiver(answering(OK)) as there, WebhookSender(version="1") as sender:
        answers = [await post(sender, webhook(there.port, allow_private=each)) for each in (True, False, True)]
    assert [(answer.status, answer.error) for answer in answers] == [(200, ""), (None, PRIVATE_REFUSED), (200, "")]
    assert (there.connections, len(there.requests)) == (1, 2)


async def test_the_resolver_is_closed_with_the_sender() -> None:
    names = Names([PUBLIC])
    async with WebhookSender(version="1", resolver=names):
        assert not names.closed
    assert names.closed


@pytest.mark.parametrize(
    ("issued_for", "status", "error"),
    [("crm.example.com", 200, ""), ("other.example.com", None, "TLS certificate refused")],
)
async def test_the_certificate_must_be_for_the_name_in_the_url_wherever_that_leads(
    monkeypatch: pytest.MonkeyPatch, issued_for: str, status: int | None, error: str
) -> None:
    authority, server, client = (
        trustme.CA(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert(issued_for).configure_cert(server)
    authority.configure_trust(client)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", client)
    async with receiver(answering(OK), server) as there:
        target = webhook(1, url=f"https://crm.example.com:{there.port}/")
        answer = await send(target, resolver=Names(["127.0.0.1"]))
    assert (answer.status, answer.error) == (status, error)
