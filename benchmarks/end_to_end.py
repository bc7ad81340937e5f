"""From the vendor's change to the receiver's 2xx, at an interval of one second.

Four vendors with 20,000 records, the real agent process, a real nats-server, a real receiver. One record after the other is
changed at its vendor, at times that know nothing of the polls; the clock starts before the vendor is asked to change it and
stops when the receiver has the webhook in hand.
"""

import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec

from benchmarks.fleet import account, fleet
from benchmarks.support import Row, bus_server, emit, run
from tests.agent.harness import Process, Receiver, agent, ready, receiving, webhook, write_config

SIZES = {"octorate": 7000, "ipro": 5000, "powerpro": 800, "carbontrack": 2000}
RESOURCES = {
    "octorate": ("booking",),
    "ipro": ("booking",),
    "powerpro": ("course", "enrolment"),
    "carbontrack": ("device",),
}
EVENTS = ["booking.modified", "course.modified", "device.control_changed"]
MEDIAN, SLOWEST = 0.7, 1.3  # seconds
SAMPLES = 300
EVERY = 0.12  # seconds between two changes, on average
PATIENCE = 30.0


async def main(smoke: bool) -> None:
    sizes = {vendor: size // 50 for vendor, size in SIZES.items()} if smoke else SIZES
    samples = 12 if smoke else SAMPLES
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        async with bus_server() as bus, fleet(sizes) as urls, receiving() as receiver:
            accounts = [
                account(vendor, vendor, url, every=dict.fromkeys(RESOURCES[vendor], "1s"))
                for vendor, url in urls.items()
            ]
            routes = [{**webhook("crm", receiver.url), "events": EVENTS}]
            file = write_config(Path(folder), bus={"url": bus}, accounts=accounts, routes=routes, grace="1s")
            async with agent(file) as process:
                await ready(process)
                records = await _synced(process)
                took = await _measured(urls, receiver, samples)
    for what, figure, bound in (
        ("p50", took[len(took) // 2], MEDIAN),
        ("p99", took[int(len(took) * 0.99)], SLOWEST),
    ):
        emit(
            Row(
                group="End to end",
                what=f"four vendors, {records:,} records, interval 1 s: a change to its receiver's 2xx, {what}",
                figure=f"{figure:.2f} s",
                limit=f"{bound:g} s",
                ratio=round(figure, 3),
                bound=bound,
                at="most",
            )
        )


async def _synced(process: Process) -> int:
    """Wait until all that is polled each second has been read twice; the records there are then."""
    polled = {(vendor, resource) for vendor, resources in RESOURCES.items() for resource in resources}
    with anyio.fail_after(PATIENCE):
        while True:
            lines = [line.rpartition(" ") for line in (await process.get("/metrics"))[1].splitlines()]
            unchanged = {
                (vendor, resource)
                for vendor, resource in polled
                for name, _, value in lines
                if name.startswith("vendorwire_polls_total{")
                and f'vendor="{vendor}"' in name
                and f'resource="{resource}"' in name
                and 'outcome="unchanged"' in name
                and float(value) > 0
            }
            if unchanged == polled:
                return sum(
                    int(float(value)) for name, _, value in lines if name.startswith("vendorwire_snapshot_records{")
                )
            await anyio.sleep(0.5)


class _Change(msgspec.Struct, frozen=True):
    """A record that is changed once, and how its vendor is asked for that."""

    vendor: str
    key: str
    control: str
    body: dict[str, Any]


async def _measured(urls: Mapping[str, str], receiver: Receiver, samples: int) -> list[float]:
    """Seconds from each change to its webhook, ascending."""
    rng = random.Random(7)
    began: dict[tuple[str, str], float] = {}
    async with aiohttp.ClientSession() as http:
        changes = [
            change for vendor, url in urls.items() for change in await _possible(http, vendor, url, rng, samples)
        ]
        for change in rng.sample(changes, samples):
            await anyio.sleep(rng.uniform(0, 2 * EVERY))
            began[change.vendor, change.key] = time.monotonic()
            async with http.post(f"{urls[change.vendor]}/_sandbox/{change.control}", json=change.body) as reply:
                assert reply.status == 200, await reply.text()
    with anyio.move_on_after(PATIENCE):
        while len({got.id for got in receiver.got}) < len(began):  # noqa: ASYNC110 - a receiver tells nobody
            await anyio.sleep(0.1)
    arrived = {(got.event.vendor, got.key): got.at for got in reversed(receiver.got)}
    return sorted(arrived[which] - at for which, at in began.items())


async def _possible(http: aiohttp.ClientSession, vendor: str, url: str, rng: random.Random, most: int) -> list[_Change]:
    """Changes of records of one vendor, each of which is told. Octorate does not list what changes in a cancelled booking."""
    async with http.get(f"{url}/_sandbox/state") as reply:
        state = await reply.json()
    match vendor:
        case "octorate":
            control, fields, ids = (
                "change",
                {"totalGuest": 9},
                [each["id"] for each in state["reservations"] if each["status"] != "CANCELLED"],
            )
        case "ipro":
            control, fields, ids = "change", {"Adults": 9}, [each["BookingId"] for each in state["bookings"]]
        case "powerpro":
            control, fields, ids = "change_course", {"capacity": 99}, [each["id"] for each in state["courses"]]
        case _:
            switched = [each["DeviceID"] for each in state["devices"] if each["Controls"]]
            return [
                _Change(vendor, id_, "switch", {"id": id_}) for id_ in rng.sample(switched, min(most, len(switched)))
            ]
    chosen = rng.sample(ids, min(most, len(ids)))
    return [_Change(vendor, str(id_), control, {"id": id_, "fields": fields}) for id_ in chosen]


if __name__ == "__main__":
    run(main)
