"""The agent and its commands at work in the image as a hardened pod has them: an arbitrary user without home, without
capabilities, and with nothing anywhere that it may write to."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from connectors.sandbox.serve import serve
from tests.agent.harness import Process, hotel, octorate, ready, receiving, synced, until, webhook, write_config
from tests.helm.container import CONFIG, UID, Image
from tests.nats import NatsServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]  # the first of them waits for the image to be built

KEY = 92180827  # the sandbox's first booking
FREE_UID = 1_000_660_000  # some clusters give each namespace user ids of its own, which no /etc/passwd knows
TELLS = """
import errno, json, os
try:
    refused = open("/tmp/new", "w").close()
except OSError as error:
    refused = errno.errorcode[error.errno]
places = ("/", "/tmp", "/etc", "/etc/vendorwire", os.path.dirname(os.__file__))
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "writing to /tmp": refused,
    "read-only": sorted(place for place in places if os.statvfs(place).f_flag & os.ST_RDONLY) == sorted(places),
    "user": [os.getresuid(), os.getresgid(), os.getgroups()],
    "capabilities": sorted({status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}),
    "no new privileges": status["NoNewPrivs"],
    "environment": sorted(os.environ),
}))
"""


@pytest.mark.parametrize("uid", [UID, FREE_UID])
async def test_the_agent_polls_delivers_and_ends_well_where_it_may_write_nowhere(
    image: Image, nats: NatsServer, tmp_path: Path, uid: int
) -> None:
    sandbox = hotel()
    async with receiving() as receiver, serve(sandbox) as vendor:
        config(tmp_path, nats, vendor, routes=[webhook("crm", receiver.url)])
        async with confined(image, tmp_path, uid) as process:
            await ready(process)
            await synced(process)
            sandbox.cancel(KEY)
            await until(lambda: receiver.of(KEY) != [])
            assert owner_of(process) == uid
            assert (await process.end())[0] == 0, process.log
            assert "Traceback" not in process.log
    assert [each.event.type for each in receiver.of(KEY)] == ["booking.cancelled"]


async def test_what_an_operator_runs_in_a_pod_needs_nothing_writable_either(
    image: Image, nats: NatsServer, tmp_path: Path
) -> None:
    async with receiving() as receiver, serve(hotel()) as vendor:
        config(tmp_path, nats, vendor, routes=[webhook("crm", receiver.url)])
        async with confined(image, tmp_path, UID) as process:
            await ready(process)
            for words in ("check", "routes", "dead list", "deletes list"):
                told = partial(image.run, tmp_path / "etc", "--config", str(CONFIG), *words.split())
                done = await anyio.to_thread.run_sync(told)
                assert (done.returncode, done.stderr) == (0, ""), f"{words}\n{done.stdout}{done.stderr}"


async def test_an_agent_without_a_bus_says_what_is_missing(image: Image, tmp_path: Path) -> None:
    write_config(tmp_path / "etc", name=CONFIG.name, bus={}, accounts=[octorate("hotel", "http://127.0.0.1:9")])
    done = image.run(tmp_path / "etc", "--config", str(CONFIG), "run")
    assert done.returncode == 1
    assert "bus.url" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_confinement_holds(image: Image, tmp_path: Path) -> None:
    told = json.loads(image.run(tmp_path, "-c", TELLS, program="python").stdout)
    assert told == {
        "writing to /tmp": "EROFS",
        "read-only": True,
        "user": [[UID] * 3, [UID] * 3, []],
        "capabilities": ["0000000000000000"],
        "no new privileges": "1",
        "environment": sorted(image.environment),
    }


def config(folder: Path, nats: NatsServer, vendor: str, **rest: Any) -> None:
    write_config(folder / "etc", name=CONFIG.name, bus={"url": nats.url}, accounts=[octorate("hotel", vendor)], **rest)


@asynccontextmanager
async def confined(image: Image, folder: Path, uid: int) -> AsyncIterator[Process]:
    """The agent in the image, with the configuration in `folder`; killed at the end if it still runs."""
    process = Process(CONFIG, folder / "agent.log", command=image.confined(folder / "etc", uid=uid))
    try:
        yield process
    finally:
        process.kill()


def owner_of(process: Process) -> int:
    return Path(f"/proc/{process.pid}").stat().st_uid
