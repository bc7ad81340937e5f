"""What the server sends, taken apart: nats-py's parser with a short cut for messages, which are nearly all there is.

Upstream tries regular expressions on a buffer that it shortens after each step; for a message that costs four times as much.
"""

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

_END = b"\r\n"
_PLAIN = b"NATS/1.0\r\n"  # headers without a status


class MessageParser(Parser):
    """Hands messages to their subscriptions as upstream does; whatever is no message, or has a status, goes upstream."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._client = client
        self._upstream = Parser(client)

    def reset(self) -> None:
        super().reset()
        self._awaited = 0  # bytes without which the first message in the buffer is not whole

    async def parse(self, data: bytes = b"") -> None:
        """Take what has come; the rest of a message waits for more."""
        self.buf += data
        if len(self.buf) < self._awaited:
            return
        self._awaited = 0
        raw, at = bytes(self.buf), 0
        try:
            while (line_end := raw.find(_END, at)) >= 0:
                words = raw[at:line_end].split()
                start = line_end + 2
                if not words or words[0] not in {b"HMSG", b"MSG"}:
                    at, line = start, raw[at:start]
                    await self._upstream.parse(line)
                    continue
                size = int(words[-1])
                if len(raw) < start + size + 2:
                    self._awaited = start + size + 2 - at
                    break
                at = start + size + 2
                await self._message(words, raw[start : start + size])
        except (ValueError, IndexError):
            raise ProtocolError("nats: malformed MSG") from None
        finally:
            del self.buf[:at]

    async def _message(self, words: list[bytes], payload: bytes) -> None:
        """`HMSG subject sid [reply] header-size size` or `MSG subject sid [reply] size`."""
        subject, sid = words[1], int(words[2])
        headed = words[0] == b"HMSG"
        if len(words) - headed not in {4, 5}:
            raise ValueError(words)
        reply = words[3] if len(words) - headed == 5 else b""
        split = int(words[-2]) if headed else 0
        headers, data = payload[:split], payload[split:]
        sub = self._client._subs.get(sid)  # noqa: SLF001 - upstream has no other way in
        if sub is None or sub._max_msgs or not sub._cb or (headed and not headers.startswith(_PLAIN)):  # noqa: SLF001
            await self._client._process_msg(sid, subject, reply, data, headers)  # noqa: SLF001
            return
        sub._received += 1  # noqa: SLF001
        sub._pending_size += len(data)  # noqa: SLF001
        sub._pending_queue.put_nowait(  # noqa: SLF001
            Msg(self._client, subject.decode(), reply.decode(), data, _headers(headers) if headed else None)
        )


def _headers(block: bytes) -> dict[str, str] | None:
    found = {}
    for line in block[len(_PLAIN) :].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found or None
