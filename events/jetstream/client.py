"""nats-py's client, used for one connection only, with what it lacks for that."""

import asyncio
from collections.abc import Mapping
from typing import Any

import anyio
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport

from events.jetstream.wire import MessageParser


class OneConnection(Client):
    """A client that tells its loss first and then ends without waiting for the server.

    Every way a connection can end leads through `_close`, which upstream would try to write out what is pending: with a
    hung server that waits for minutes, with a dead one it raises in a task nobody awaits.
    """

    def __init__(self, *, tls_wanted: bool) -> None:
        super().__init__()
        self._ps = MessageParser(self)
        self.lost = anyio.Event()
        self._asked = 0
        self._tls_wanted = tls_wanted

    @property
    def server_name(self) -> str:
        """As the server calls itself; one that was given no name calls itself by its id."""
        name = str(self._server_info.get("server_name", ""))
        return "" if name == self._server_info.get("server_id") else name

    @property
    def server_version(self) -> str:
        """Such as `2.15.1`."""
        return str(self._server_info.get("version", ""))

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002 - upstream's signature
        self.lost.set()
        self._pending = []
        self._pending_data_size = 0
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer:  # noqa: SLF001 - no public abort
            self._transport._io_writer.transport.abort()  # noqa: SLF001
        await super()._close(status, do_cbs)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002
        if initial_connection and self._tls_wanted and not info.get("tls_required"):
            raise errors.SecureConnWantedError  # before the credentials are sent
        await super()._process_info(info, initial_connection)

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].cancelled():  # who asked waits no more; upstream's read loop would end on it
            self._pongs[0] = asyncio.Future()
        await super()._process_pong()

    async def write(self, lines: bytes) -> None:
        """Send whole protocol lines as they are, and wait until there is room for more. What nats-py has pending may come
        later. Raises ConnectionClosedError, or OSError, where the connection is lost."""
        if not self.is_connected or self._transport is None or self._has_died():
            raise errors.ConnectionClosedError
        self._transport.write(lines)
        await self._transport.drain()  # type: ignore[no-untyped-call] # nats-py gives this one no types

    async def _flush_pending(self, force_flush: bool = False) -> Any:  # noqa: FBT001, FBT002 - upstream's signature
        if self._has_died():  # uvloop ends a write to such a connection with a RuntimeError
            raise errors.ConnectionClosedError
        return await super()._flush_pending(force_flush)

    def _has_died(self) -> bool:
        """Whether the connection is gone and upstream, which learns of it by reading, does not know yet."""
        if self.lost.is_set():
            return False
        writer = self._transport._io_writer if isinstance(self._transport, TcpTransport) else None  # noqa: SLF001
        return writer is not None and writer.is_closing()

    def write_with_next(self, lines: bytes) -> None:
        """Send protocol lines as they are, together with whatever is sent next."""
        self._pending.append(lines)
        self._pending_data_size += len(lines)

    @property
    def has_room(self) -> bool:
        """Whether a message can be sent without waiting for those before it."""
        return self._flush_queue is None or not self._flush_queue.full()

    async def room(self) -> None:
        """Wait until what was sent is written."""
        if self._flush_queue is not None:
            await self._flush_pending(force_flush=True)

    async def ask(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None, answer: asyncio.Future[Msg]
    ) -> Msg:
        """Send a message and wait for what becomes of `answer`: the first reply is its result.

        Upstream's `request` makes an inbox name of random letters, a task's time-out and a callback for each.
        """
        if not self._resp_sub_prefix:
            await self._init_request_sub()
        self._asked += 1
        token = f"{self._asked:x}"
        self._resp_map[token] = answer
        try:
            reply = f"{bytes(self._resp_sub_prefix or b'').decode()}{token}"
            await self.publish(subject, data, reply=reply, headers=dict(headers) if headers else None)
            return await answer
        finally:
            self._resp_map.pop(token, None)

    async def end(self) -> None:
        """Write out what is pending, acks above all, and close. Takes 2 s at most, also when cancelled."""
        with anyio.move_on_after(2, shield=True):
            try:
                if self.is_connected:
                    await self.flush(timeout=1)
            except (errors.Error, OSError):
                pass  # it was lost meanwhile: nothing is left to write
            finally:
                if self._flush_queue is not None:  # otherwise connect() ended before it began, and close() would fail
                    await self.close()
