"""The embedded NATS server: a child process on loopback with its own data folder, which ends with the agent.

Whoever holds the lock on the folder runs the server there; a second agent joins it and takes over when the first is
gone. The server is started through `guard.py`, so that it ends also when the agent is killed.
The folder holds `lock`, `server.json` (where it listens, and the password: loopback is open to every local user),
`server.conf`, `server.log` and the data itself in `jetstream/`.
"""

import fcntl
import logging
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import anyio
import msgspec
from anyio.abc import Process

from events.jetstream.connection import beside
from events.jetstream.errors import BusError
from schemas.settings import Secret

_GUARD = Path(__file__).with_name("guard.py")
_USER = "vendorwire"
_PORTS = range(20_000, 32_000)  # below the ephemeral ports: no outgoing connection takes one while the server is down
_LOOK = 0.25  # seconds between two looks at the lock
_PATIENCE = 2.0  # seconds for the guard to end: a little more than it gives the server
_STABLE = 10.0  # seconds after which a server that ends is a new incident

_CONF = """\
server_name: "{name}"
listen: "127.0.0.1:{port}"
authorization {{ user: "{user}", password: "{password}" }}
jetstream {{ store_dir: "jetstream", sync_interval: always }}
log_file: "server.log"
logfile_size_limit: 10MB
logfile_max_num: 3
"""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the embedded server listens, and who we are there."""

    url: str
    user: str
    password: Secret


class _Identity(msgspec.Struct, frozen=True):
    """What stays the same from one life of the server to the next."""

    name: str
    port: int
    password: str


_identity = msgspec.json.Decoder(_Identity)


@asynccontextmanager
async def embedded(data: Path, *, log: logging.Logger) -> AsyncIterator[Endpoint]:
    """A server while the body runs, started again when it dies. Raises BusError where it cannot be had at all."""
    server = _Server(data, log)
    try:
        async with beside(server.keep):
            identity = await server.answering()
            yield Endpoint(url=f"nats://127.0.0.1:{identity.port}", user=_USER, password=Secret(identity.password))
    finally:
        server.release()


class _Server:
    def __init__(self, folder: Path, log: logging.Logger) -> None:
        self._binary = _binary()
        self._folder = folder
        self._log = log
        self._told = False  # the address has been given out: it must not change any more
        self._failures = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(folder, error) from None

    def release(self) -> None:
        os.close(self._lock)

    async def keep(self) -> None:
        """Wait until the folder is ours, then run the server there, again and again."""
        while not self._locked():  # noqa: ASYNC110 - a file lock tells nobody that it is free
            await anyio.sleep(_LOOK)
        if self._told:
            self._log.info("the agent that ran the embedded NATS server is gone: it runs here now")
        while True:
            started = anyio.current_time()
            await self._run()
            if anyio.current_time() - started > _STABLE:
                self._failures = 0
            if not self._failures:
                self._log.warning("the embedded NATS server ended by itself: starting it again")
            await anyio.sleep(min(0.1 * 2**self._failures, 5.0))
            self._failures += 1

    async def answering(self) -> _Identity:
        """Wait until a server answers here: ours, or that of the agent we join."""
        while True:
            identity = self._read()
            if identity is not None and await _answers(identity):
                self._told = True
                return identity
            if self._failures >= 3:
                raise BusError(f"the embedded NATS server does not start: see {self._folder / 'server.log'}")
            await anyio.sleep(0.05)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def _run(self) -> None:
        """One life of the server, which has ended however this ends."""
        self._configure()
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb") as leash:
            with os.fdopen(read_end, "rb"):
                process = await self._start(read_end)
            try:
                await process.wait()
            finally:
                leash.close()
                await _ended(process)

    async def _start(self, pipe: int) -> Process:
        command = [sys.executable, "-I", str(_GUARD), str(pipe), str(self._lock), self._binary, "-c", "server.conf"]
        with self._open("server.log", os.O_APPEND) as errors:  # what it says before it has a log
            return await anyio.open_process(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C at the terminal is for the agent alone
                pass_fds=(pipe, self._lock),
            )

    def _configure(self) -> None:
        identity = self._read()
        if identity is None or not (self._told or _free(identity.port)):
            name, password = f"vendorwire-{secrets.token_hex(4)}", secrets.token_hex(24)
            identity = _Identity(name, next(filter(_free, random.sample(_PORTS, 100))), password)
        conf = _CONF.format(name=identity.name, port=identity.port, user=_USER, password=identity.password)
        try:
            with self._open("server.conf", os.O_TRUNC) as file:
                file.write(conf.encode())
            with self._open("server.json.new", os.O_TRUNC) as file:
                file.write(msgspec.json.encode(identity))
            (self._folder / "server.json.new").replace(self._folder / "server.json")  # a reader never sees half of it
        except OSError as error:
            raise _unusable(self._folder, error) from None

    def _read(self) -> _Identity | None:
        try:
            return _identity.decode((self._folder / "server.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _open(self, name: str, flags: int) -> BinaryIO:
        """A file only its owner can read."""
        return os.fdopen(os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb")


async def _ended(process: Process) -> None:
    """Wait for the guard's end, then make sure that the server did not outlive it."""
    with anyio.move_on_after(_PATIENCE, shield=True):
        await process.wait()
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    with anyio.CancelScope(shield=True):
        await process.wait()


async def _answers(identity: _Identity) -> bool:
    """Whether our server listens there, and not a stranger: it says its name before anything is asked."""
    with anyio.move_on_after(1), suppress(OSError, anyio.EndOfStream):
        async with await anyio.connect_tcp("127.0.0.1", identity.port) as stream:
            return identity.name.encode() in await stream.receive()
    return False


def _free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _binary() -> str:
    """The server installed with the agent, else the one on the PATH."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if found is None:
        raise BusError('there is no nats-server: install "vendorwire[embedded]", or set bus.url to a NATS server')
    return str(Path(found).absolute())


def _unusable(folder: Path, error: OSError) -> BusError:
    return BusError(f"bus.data: cannot use the folder {folder}: {error.strerror}")
