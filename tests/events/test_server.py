"""The embedded server: a real child process, which must end with its agent however the agent ends."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from events.jetstream.connection import Bus, connect
from events.jetstream.errors import BusError
from events.jetstream.options import BusOptions
from events.jetstream.server import Endpoint, embedded
from schemas.settings import Secret
from tests.nats import DEADLINE

pytestmark = pytest.mark.anyio

LOG = logging.getLogger("test.embedded")
STREAM = {"name": "S", "subjects": ["s.>"]}
AGENT = """
import logging, sys
from pathlib import Path
import anyio
from events.jetstream.server import embedded

async def main():
    async with embedded(Path(sys.argv[1]), log=logging.getLogger()) as endpoint:
        print(endpoint.url, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@contextmanager
def agent(data: Path) -> Iterator[subprocess.Popen[str]]:
    """Another agent process that embeds the server of `data`; it has printed its address."""
    with subprocess.Popen([sys.executable, "-c", AGENT, str(data)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("nats://127.0.0.1:")
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def bus_of(endpoint: Endpoint) -> AsyncIterator[Bus]:
    options = BusOptions(urls=[endpoint.url], user=endpoint.user, password=endpoint.password)
    async with connect(options, lambda _: None) as bus:
        with anyio.fail_after(DEADLINE):
            await bus.ready()
        yield bus


async def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - a deadline above, and no event to wait for
            await anyio.sleep(0.02)


def servers(data: Path) -> list[psutil.Process]:
    """The processes that serve this folder: their working directory is there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(data):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def nats_server(data: Path) -> psutil.Process:
    return next(process for process in servers(data) if process.name() == "nats-server")


async def test_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with embedded(tmp_path, log=LOG) as endpoint:
        async with bus_of(endpoint) as bus:
            await bus.api("STREAM.CREATE.S", STREAM)
            assert await bus.publish("s.a", b"one") == 1
        assert len(servers(tmp_path)) == 2  # the guard and the server
    assert servers(tmp_path) == []
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


async def test_keeps_address_password_and_data_for_the_next_run(tmp_path: Path) -> None:
    async with embedded(tmp_path, log=LOG) as first, bus_of(first) as bus:
        await bus.api("STREAM.CREATE.S", STREAM)
        await bus.publish("s.a", b"one")
    async with embedded(tmp_path, log=LOG) as second, bus_of(second) as bus:
        assert second.url == first.url
        assert second.password.reveal() == first.password.reveal()
        assert await bus.publish("s.a", b"two") == 2


async def test_only_the_owner_reads_the_password(tmp_path: Path) -> None:
    async with embedded(tmp_path / "data", log=LOG) as endpoint:
        password = endpoint.password.reveal()
        assert password not in repr(endpoint) + str(endpoint)
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        for file in (tmp_path / "data").iterdir():
            if file.is_file() and password in file.read_text():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for process in servers(tmp_path / "data"):
            assert password not in " ".join(process.cmdline())


async def test_refuses_other_local_users(tmp_path: Path) -> None:
    async with embedded(tmp_path, log=LOG) as endpoint:
        stranger = BusOptions(urls=[endpoint.url], user=endpoint.user, password=Secret("guess"))
        async with connect(stranger, lambda _: None) as bus:
            with anyio.fail_after(DEADLINE), pytest.raises(BusError, match="refused the credentials"):
                await bus.ready()


async def test_takes_another_port_when_its_own_was_taken_meanwhile(tmp_path: Path) -> None:
    async with embedded(tmp_path, log=LOG) as first:
        pass
    port = int(first.url.rpartition(":")[2])
    taken = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with taken, embedded(tmp_path, log=LOG) as second, bus_of(second):
        assert second.url != first.url


async def test_ends_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    with agent(tmp_path) as process:
        assert len(servers(tmp_path)) == 2
        process.send_signal(signal.SIGKILL)
        await until(lambda: not servers(tmp_path), 3)


async def test_a_signal_to_the_whole_terminal_reaches_only_the_agent(tmp_path: Path) -> None:
    with agent(tmp_path) as process:
        groups = {os.getpgid(server.pid) for server in servers(tmp_path)}
        assert len(groups) == 1
        assert os.getpgid(process.pid) not in groups


async def test_the_guard_survives_what_only_the_agent_should_hear(tmp_path: Path) -> None:
    with agent(tmp_path) as process:
        guard = next(server for server in servers(tmp_path) if server.name() != "nats-server")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            guard.send_signal(number)
        process.kill()
        await until(lambda: not servers(tmp_path), 3)


async def test_a_second_agent_joins_the_first_ones_server(tmp_path: Path) -> None:
    with agent(tmp_path):
        async with embedded(tmp_path, log=LOG) as endpoint, bus_of(endpoint):
            assert len(servers(tmp_path)) == 2


async def test_the_second_agent_takes_over_when_the_first_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with agent(tmp_path) as first:
        async with embedded(tmp_path, log=LOG) as endpoint, bus_of(endpoint) as bus:
            await bus.api("STREAM.CREATE.S", STREAM)
            await bus.publish("s.a", b"one")
            first.kill()
            await until(lambda: not bus.connected)
            with anyio.fail_after(3):
                await bus.ready()
            assert await bus.publish("s.a", b"two") == 2
    assert servers(tmp_path) == []
    assert caplog.messages == ["the agent that ran the embedded NATS server is gone: it runs here now"]


async def test_a_killed_server_is_back_on_its_port_with_its_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with embedded(tmp_path, log=LOG) as endpoint, bus_of(endpoint) as bus:
        await bus.api("STREAM.CREATE.S", STREAM)
        await bus.publish("s.a", b"one")
        nats_server(tmp_path).kill()
        await until(lambda: not bus.connected)
        with anyio.fail_after(5):
            await bus.ready()
        assert await bus.publish("s.a", b"two") == 2
    assert caplog.messages == ["the embedded NATS server ended by itself: starting it again"]


async def test_a_killed_guard_leaves_no_second_server(tmp_path: Path) -> None:
    async with embedded(tmp_path, log=LOG) as endpoint, bus_of(endpoint) as bus:
        before = nats_server(tmp_path)
        next(server for server in servers(tmp_path) if server.name() != "nats-server").kill()
        await until(lambda: not before.is_running())
        await until(lambda: len(servers(tmp_path)) == 2)
        with anyio.fail_after(5):
            await bus.ready()


async def test_a_hung_server_is_ended_too(tmp_path: Path) -> None:
    async with embedded(tmp_path, log=LOG):
        nats_server(tmp_path).suspend()
        ending = anyio.current_time()
    assert anyio.current_time() - ending < 2.5
    assert servers(tmp_path) == []


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError) as refused:
        async with embedded(tmp_path / "file" / "data", log=LOG):
            pass
    assert str(refused.value) == f"bus.data: cannot use the folder {tmp_path}/file/data: Not a directory"


async def test_a_server_that_cannot_start_is_said_with_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "jetstream").write_text("in the way")
    with pytest.raises(BusError) as failed:
        async with embedded(tmp_path, log=LOG):
            pass
    assert str(failed.value) == f"the embedded NATS server does not start: see {tmp_path}/server.log"


async def test_a_damaged_identity_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("{")
    async with embedded(tmp_path, log=LOG) as endpoint, bus_of(endpoint):
        assert json.loads((tmp_path / "server.json").read_text())["password"] == endpoint.password.reveal()
