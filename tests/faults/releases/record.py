"""Keeps what a release writes: runs it, against four vendors that change, and writes down what is then on the bus.

.venv/bin/python -m tests.faults.releases.record COMMIT
"""

import lzma
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
from aiohttp import web

from connectors.sandbox.base import utc_now
from tests.agent.harness import ROOT, Process, Receiver, agent, events_on, reading, receiving, until
from tests.faults.releases import HERE, KEY, bus, unpack
from tests.faults.releases.later import FLOORS
from tests.faults.releases.scene import RESOURCES, Scene, configure, served
from tests.nats import start_nats

NO_SANDBOX = ":!connectors/sandbox"  # the vendors are ours


async def record(release: str) -> None:
    """Into a folder of its own beside this file."""
    kept = HERE / release
    kept.mkdir(exist_ok=True)
    code = subprocess.run(
        ["git", "archive", release, *FLOORS, NO_SANDBOX], cwd=ROOT, capture_output=True, check=True
    ).stdout
    (kept / "code.tar.xz").write_bytes(lzma.compress(code, preset=9 | lzma.PRESET_EXTREME))
    with tempfile.TemporaryDirectory() as folder, start_nats(Path(folder) / "nats") as nats:
        scene = Scene(utc_now().replace(microsecond=0))
        code_of = unpack(release, Path(folder) / "code")
        async with (
            served(scene, at_home=True) as vendors,
            receiving() as good,
            receiving() as slow,
            receiving() as broken,
        ):
            slow.answer = lambda got: web.Response(status=503 if got.key == _waiting(scene) else 200)
            broken.answer = lambda _: web.Response(status=500, text="out of order")
            hooks = {"all": good.url, "slow": slow.url, "broken": broken.url}
            file = configure(Path(folder), nats.url, vendors, hooks)
            async with agent(file, env={**running(code_of), "VENDORWIRE_KEY": KEY}) as process:
                await happen(scene, process, good, slow, broken)
                status, _ = await process.end()
                if status:
                    raise RuntimeError(process.log)
            async with reading(nats.url) as there:
                await bus.dump(there, kept / "bus.jsonl")
                print(len(await events_on(there)), "events")
        scene.save(kept / "scene.json")


def running(code: Path) -> dict[str, str]:
    """What makes a Python process run the code in a folder and not that in its working directory."""
    return {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}


def _waiting(scene: Scene) -> str:
    """The record whose first change waits for its retry when the release ends."""
    return str(min(scene.octorate.reservations))


async def happen(scene: Scene, process: Process, good: Receiver, slow: Receiver, broken: Receiver) -> None:
    """What a release lives through before its bus is kept."""
    await until(lambda: read_all(process))
    first, second, *_ = sorted(scene.octorate.reservations)
    device, removed = list(scene.carbontrack.devices)[:2]
    scene.do("octorate", "change", id_=second, fields={"totalGuest": 7})
    scene.do("ipro", "change", id_=min(scene.ipro.bookings), fields={"Adults": 7})
    scene.do("carbontrack", "change_device", id_=device, fields={"DeviceName": "Renamed"})
    scene.do("carbontrack", "upload", id_=device, minutes_late=1)
    scene.do("carbontrack", "remove_device", id_=removed)
    scene.do("powerpro", "change_course", id_=min(scene.powerpro.courses), fields={"name": "Renamed"})
    for enrolment in sorted(scene.powerpro.enrolments)[:12]:
        scene.do("powerpro", "remove", kind="enrolments", id_=enrolment)
    await until(lambda: told(good) >= {str(second), device, removed, "deleted", "batch"})
    await until(lambda: {got.attempt for got in broken.got} >= {1, 2})
    scene.do("octorate", "change", id_=first, fields={"totalGuest": 7})
    await until(lambda: len(slow.of(first)) >= 1)
    scene.do("octorate", "change", id_=first, fields={"totalGuest": 8})
    await until(lambda: len(good.of(first)) >= 2)
    await anyio.sleep(2)


def told(receiver: Receiver) -> set[str]:
    """The records of which it heard, and the changes."""
    return {got.key for got in receiver.got} | {got.event.type.partition(".")[2] for got in receiver.got}


async def read_all(process: Process) -> bool:
    """Whether every resource of every account has been read to the end."""
    text = (await process.get("/metrics"))[1]
    read = [
        line
        for line in text.splitlines()
        if line.startswith("vendorwire_poll_last_success_timestamp_seconds{") and not line.endswith(" 0.0")
    ]
    return len(read) == sum(len(names) for names in RESOURCES.values())


if __name__ == "__main__":
    os.umask(0o022)
    anyio.run(record, sys.argv[1])
