"""Which addresses may be dialled: one by one, and as whole networks."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.addresses import REFUSED, REFUSED_PRIVATE, Reach, objection, reach, refusal

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17
169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
2000:: 2001:200:: 2001:db7:ffff:: 2001:db9:: 2001:4860:4860::8888 2003:: 2606:4700:4700::1111 2a00:1450::1 3ffe:ffff::
3fff:1000:: ::ffff:8.8.8.8 ::ffff:808:808
"""
PRIVATE = """
10.0.0.0 10.1.2.3 10.255.255.255 100.64.0.0 100.100.100.199 100.100.100.201 100.127.255.255 127.0.0.0 127.0.0.1
127.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.1.1 192.168.255.255 ::1 fc00:: fc00::1 fd00:ec1::254
fd12:3456::1 fdff:ffff:: ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:c0a8:101 64:ff9b::8.8.8.8 64:ff9b::7f00:1
64:ff9b::10.0.0.1
"""
NEVER = """
0.0.0.0 0.0.0.1 0.255.255.255 100.100.100.200 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 169.254.169.123
169.254.42.42 169.254.255.255 192.0.0.0 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.0 198.19.255.255
198.51.100.1 203.0.113.255 224.0.0.1 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255
:: ::2 ::7f00:1 ::8.8.8.8 ::169.254.169.254 ::fffe:1.2.3.4 ::ffff:0.0.0.0 ::ffff:a9fe:a9fe ::ffff:100.100.100.200
::ffff:168.63.129.16 ::ffff:224.0.0.1 ::ffff:0:8.8.8.8 ::ffff:0:127.0.0.1 ::1:0:0:1 64:ff9a:: 64:ff9b::a9fe:a9fe
64:ff9b::100.100.100.200 64:ff9b::0.0.0.0 64:ff9b::1:0:0 64:ff9b:1::1 64:ff9b:1::808:808 100::1 1fff:ffff:: 2001::1
2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:: 2002:7f00:1:: 2002:808:808::1
2002:a9fe:a9fe:: 3fff::1 3fff:fff:: 4000:: 5f00::1 8000::1 fbff:: fd00:42::42 fd00:100::100:200 fd00:c1::a9fe:a9fe
fd00:ec2:: fd00:ec2::23 fd00:ec2::123 fd00:ec2::253 fd00:ec2::254 fd20:ce::254 fe00::1 fe80:: fe80::1 fe80::a9fe:a9fe
febf:ffff:: fec0::1 feff:: ff00:: ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""
TABLE = [
    *((each, Reach.PUBLIC) for each in PUBLIC.split()),
    *((each, Reach.PRIVATE) for each in PRIVATE.split()),
    *((each, Reach.NEVER) for each in NEVER.split()),
]


@pytest.mark.parametrize(("address", "reached"), TABLE)
def test_each_address_is_of_one_kind(address: str, reached: Reach) -> None:
    assert reach(ip_address(address)) is reached


def test_who_may_dial_what() -> None:
    assert [refusal("8.8.8.8", allow_private=each) for each in (False, True)] == ["", ""]
    assert [refusal("10.0.0.1", allow_private=each) for each in (False, True)] == [REFUSED_PRIVATE, ""]
    assert [refusal("169.254.169.254", allow_private=each) for each in (False, True)] == [REFUSED, REFUSED]


def test_the_attempt_of_a_delivery_says_why_it_was_not_made() -> None:
    assert refusal("169.254.169.254", allow_private=True) == "address not allowed"
    assert refusal("10.0.0.1", allow_private=False) == "address not allowed: it is private (allow_private is off)"


NEVER_NETS = [
    *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "100.100.100.200/32"),
    *("::/128", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16"),
    *("fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128"),
]
PRIVATE_NETS = [
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *("::/96", "64:ff9b::/96", "fc00::/7", "::1/128"),
]
NESTS = ["::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "2002::", "::", "::ffff:0:0:0"]  # forms that hold an IPv4 address


def inside(*names: str) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Addresses of these networks; those of IPv4 also in the forms that IPv6 has for them."""
    return st.sampled_from([ip_network(name) for name in names]).flatmap(_any_of)


def _any_of(network: IPv4Network | IPv6Network) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    low, high = int(network.network_address), int(network.broadcast_address)
    numbers = st.sampled_from([low, high]) | st.integers(low, high)
    if isinstance(network, IPv6Network):
        return numbers.map(IPv6Address)
    return numbers.map(IPv4Address) | st.builds(_nested, numbers, st.sampled_from(NESTS)).filter(_holds_one)


def _nested(number: int, nest: str) -> IPv6Address:
    return IPv6Address(int(IPv6Address(nest)) | (number << 80 if nest == "2002::" else number))


def _holds_one(address: IPv6Address) -> bool:
    return address != IPv6Address("::1")  # this machine, although it looks like 0.0.0.1 inside of ::/96


@given(inside(*NEVER_NETS, *PRIVATE_NETS))
def test_without_allow_private_no_address_of_these_networks_may_be_dialled(address: IPv4Address | IPv6Address) -> None:
    assert refusal(str(address), allow_private=False)
    assert refusal(address.exploded, allow_private=False)


@given(inside(*NEVER_NETS))
def test_some_networks_are_refused_to_everybody(address: IPv4Address | IPv6Address) -> None:
    assert refusal(str(address), allow_private=True) == REFUSED


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_no_clothes_make_an_ipv4_address_more_reachable(address: IPv4Address) -> None:
    for allowed in (False, True):
        bare = refusal(str(address), allow_private=allowed)
        assert refusal(f"::ffff:{address}", allow_private=allowed) == bare
        for clothed in filter(_holds_one, (_nested(int(address), nest) for nest in NESTS[1:])):
            assert not bare or refusal(str(clothed), allow_private=allowed)


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_of_ipv6_only_what_is_given_out_is_public(address: IPv6Address) -> None:
    if reach(address) is Reach.PUBLIC:
        assert address in IPv6Network("2000::/3") or (
            address.ipv4_mapped and reach(address.ipv4_mapped) is Reach.PUBLIC
        )


NO_ADDRESSES = """
127.1 2130706433 0x7f.1 0x7f000001 0177.0.0.1 017700000001 0 1 127.0.0.1. 127.0.0.01 1.1.1 1.1.1.1.1 256.1.1.1 localhost
example.com [::1] ::1%lo fe80::1%eth0 2606:4700:4700::1111%1 ::ffff:127.1 :::1 /run/a.sock 8.8.8.8/32 127。0。0。1 １.1.1.1
"""


@pytest.mark.parametrize("text", ["", " 8.8.8.8", "8.8.8.8\n", "\0", *NO_ADDRESSES.split()])
def test_what_is_not_plainly_an_address_is_never_dialled(text: str) -> None:
    assert refusal(text, allow_private=True) == REFUSED


@given(st.text())
@example("8.8.8.8")
def test_whatever_may_be_dialled_is_an_address_and_nothing_else(text: str) -> None:
    if not refusal(text, allow_private=True):
        ip_address(text)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "localhost.", "a.localhost", "127.0.0.1", "10.0.0.1", "::1", "::ffff:7f00:1"]
)
def test_a_private_host_is_objected_to_unless_that_is_allowed(host: str) -> None:
    assert "set allow_private: true" in objection(host, allow_private=False)
    assert objection(host, allow_private=True) == ""


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "::", "fe80::1", "::ffff:a9fe:a9fe", "fd00:ec2::254"])
def test_a_host_that_nobody_may_reach_is_objected_to_in_any_case(host: str) -> None:
    assert "with or without allow_private" in objection(host, allow_private=False)
    assert "with or without allow_private" in objection(host, allow_private=True)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.1",
            "2130706433",
            "0x7f.1",
            "0X7F.0.0.0X1",
            "0x",
            "0177.0.0.1",
            "0",
            "127.0.0.1.",
            "8.8.8.8.",
            "134744072",
        ),
        *("1.2.3.256", "a.1", "example.0x7f"),
    ],
)
@pytest.mark.parametrize("allowed", [False, True])
def test_an_odd_spelling_of_an_address_is_objected_to(host: str, allowed: bool) -> None:
    assert "odd spelling" in objection(host, allow_private=allowed)


@pytest.mark.parametrize(
    "host", ["crm.example.com", "localhost.example.com", "1.2.3.4.example", "8.8.8.8", "2a00::1", ""]
)
def test_of_other_hosts_nothing_is_said_until_they_are_dialled(host: str) -> None:
    assert objection(host, allow_private=False) == ""


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("127.1", "in an odd spelling: write it as four numbers from 0 to 255 with dots between them"),
        ("0.0.0.0", "that no webhook may reach, with or without allow_private: name the receiver's own"),
    ],
)
def test_what_to_write_instead_of_an_address_that_will_not_do(host: str, sentence: str) -> None:
    assert objection(host, allow_private=True) == f"is an address {sentence}"


def test_what_to_set_for_a_receiver_in_this_network() -> None:
    assert objection("10.0.0.1", allow_private=False) == (
        "is a private address: where the receiver is meant to be in this network, set allow_private: true beside it"
    )
