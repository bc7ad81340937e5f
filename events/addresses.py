"""Which addresses a webhook may reach: judged by the address that is dialled, whatever name or spelling led to it.

The networks are listed here, after IANA's registries of special-purpose addresses: the flags of `ipaddress` say something
else with each patch release of Python.
"""

import re
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

REFUSED = "address not allowed"
REFUSED_PRIVATE = f"{REFUSED}: it is private (allow_private is off)"

_ODD = "is an address in an odd spelling: write it as four numbers from 0 to 255 with dots between them"
_NEVER = "is an address that no webhook may reach, with or without allow_private: name the receiver's own"
_PRIVATE = "is a private address: where the receiver is meant to be in this network, set allow_private: true beside it"

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as the last label of a host, it makes an address of the whole


class Reach(Enum):
    """Who may dial an address: every route, only those with `allow_private`, or none."""

    PUBLIC = "public"
    PRIVATE = "private"
    NEVER = "never"


_PRIVATE_4 = tuple(
    IPv4Network(net) for net in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_NEVER_4 = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this host
        "100.100.100.200/32",  # metadata: Alibaba
        "168.63.129.16/32",  # metadata: Azure
        "169.254.0.0/16",  # link-local, and nearly everybody's metadata
        "192.0.0.0/24",  # protocol assignments; metadata: Oracle
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")  # all of IPv6 that is given out; beyond it only what is named here can be reached
_PRIVATE_6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
_NEVER_6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "fd00:42::42/128",  # metadata: Scaleway
        "fd00:100::100:200/128",  # metadata: Alibaba
        "fd00:c1::a9fe:a9fe/128",  # metadata: Oracle
        "fd00:ec2::/32",  # metadata, credentials and resolver: AWS
        "fd20:ce::254/128",  # metadata: Google
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")  # IPv4, in the clothes of IPv6
_NAT64 = IPv6Network("64:ff9b::/96")  # IPv4 behind a translator in this network


def reach(address: IPv4Address | IPv6Address) -> Reach:
    """Who may dial an address. One that holds an IPv4 address is judged by that too."""
    if isinstance(address, IPv4Address):
        if any(address in network for network in _NEVER_4):
            return Reach.NEVER
        return Reach.PRIVATE if any(address in network for network in _PRIVATE_4) else Reach.PUBLIC
    if address in _MAPPED:
        return reach(_inner(address))
    if address in _NAT64:
        return Reach.NEVER if reach(_inner(address)) is Reach.NEVER else Reach.PRIVATE
    if any(address in network for network in _NEVER_6):
        return Reach.NEVER
    if any(address in network for network in _PRIVATE_6):
        return Reach.PRIVATE
    return Reach.PUBLIC if address in _GLOBAL_6 else Reach.NEVER


def refusal(address: str, *, allow_private: bool) -> str:
    """Why an address must not be dialled, in words that do not name it; empty if it may be.

    `address` is what `connect()` gets. What is not plainly an address, or has a zone, is refused: it could be read anew.
    """
    try:
        reached = Reach.NEVER if "%" in address else reach(ip_address(address))
    except ValueError:
        reached = Reach.NEVER
    if reached is Reach.NEVER:
        return REFUSED
    return REFUSED_PRIVATE if reached is Reach.PRIVATE and not allow_private else ""


def objection(host: str, *, allow_private: bool) -> str:
    """What is wrong with the host of a configured URL, and what to do about it; empty where nothing is.

    Only what it says by itself is judged: an address, or the name of this machine. Other names are judged when dialled.
    """
    name = host.lower().removesuffix(".")
    last = name.rpartition(".")[2]
    if last == "localhost":
        return "" if allow_private else _PRIVATE
    if ":" not in host and not _NUMBER.fullmatch(last):
        return ""
    try:
        address = ip_address(host)
    except ValueError:
        return _ODD
    return {"": "", REFUSED: _NEVER, REFUSED_PRIVATE: _PRIVATE}[refusal(str(address), allow_private=allow_private)]


def _inner(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)
