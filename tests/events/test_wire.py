"""What the server sends, taken apart: the same as nats-py's own parser finds, however the bytes come in."""

import asyncio

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from events.jetstream.client import OneConnection
from events.jetstream.wire import MessageParser

Told = list[tuple[str, str, bytes, dict[str, str] | None]]

names = st.text("abcXYZ$.-_0", min_size=1, max_size=20)
values = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=20)
headers = st.none() | st.dictionaries(st.text("ABc-", min_size=1, max_size=8), values, max_size=4)
statuses = st.sampled_from(
    [b"NATS/1.0 100 Idle Heartbeat\r\n\r\n", b"NATS/1.0 408 Timed Out\r\nNats-Pending: 3\r\n\r\n"]
)


def message(subject: str, reply: str, data: bytes, told: dict[str, str] | None) -> bytes:
    to = " ".join([subject, "1", *([reply] if reply else [])])
    if told is None:
        return f"MSG {to} {len(data)}\r\n".encode() + data + b"\r\n"
    block = ("NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items()) + "\r\n").encode()
    return f"HMSG {to} {len(block)} {len(block) + len(data)}\r\n".encode() + block + data + b"\r\n"


def status(block: bytes) -> bytes:
    return b"HMSG inbox 1 %d %d\r\n%b\r\n" % (len(block), len(block), block)


lines = st.one_of(
    st.builds(message, names, st.just("") | names, st.binary(max_size=60), headers),
    st.builds(status, statuses),
    st.just(b"+OK\r\n"),
)


async def parsed(client: Client, parser: Parser, chunks: list[bytes]) -> Told:
    """What reaches a subscription."""

    async def tell(_: Msg) -> None: ...

    subscription = Subscription(client, 1, "x", "", cb=tell, pending_msgs_limit=0, pending_bytes_limit=0)
    subscription._pending_queue = asyncio.Queue()
    client._subs[1] = subscription
    for chunk in chunks:
        await parser.parse(chunk)
    got: list[Msg] = [subscription._pending_queue.get_nowait() for _ in range(subscription._pending_queue.qsize())]
    return [(each.subject, each.reply, each.data, each.headers) for each in got]


@given(st.lists(lines, max_size=8), st.lists(st.integers(1, 40), max_size=30))
def test_the_same_messages_are_found_as_upstream_finds(sent: list[bytes], sizes: list[int]) -> None:
    raw, chunks = b"".join(sent), []
    for size in sizes:
        chunks.append(raw[:size])
        raw = raw[size:]

    async def compare() -> None:
        theirs, ours = Client(), OneConnection(tls_wanted=False)
        assert isinstance(ours._ps, MessageParser)
        expected = await parsed(theirs, Parser(theirs), [b"".join(sent)])
        assert await parsed(ours, ours._ps, [*chunks, raw]) == expected

    anyio.run(compare)


@pytest.mark.parametrize("line", [b"MSG\r\n", b"MSG a b c\r\n", b"MSG a 1 x\r\n", b"HMSG a 1 5\r\n", b"nonsense\r\n"])
def test_what_is_no_line_of_the_protocol_ends_the_connection(line: bytes) -> None:
    async def parse() -> None:
        await OneConnection(tls_wanted=False)._ps.parse(line + b"hello\r\n")

    with pytest.raises(ProtocolError):
        anyio.run(parse)
