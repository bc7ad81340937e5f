"""What an agent with 100 accounts costs while nothing changes.

25 accounts of each vendor, about 100 records each, at the intervals a new configuration has (60 s for what matters most),
and a webhook route. Measurements are left out: they are news by nature. The processor time of the real agent process over
a window, as a share of one core.
"""

import tempfile
from pathlib import Path

import anyio
import psutil

from benchmarks.fleet import account, fleet
from benchmarks.support import Row, bus_server, emit, process_cpu, run
from tests.agent.harness import agent, ready, webhook, write_config

SIZES = {"octorate": 100, "ipro": 100, "powerpro": 20, "carbontrack": 100}
STILL = {"measurement": "24h"}
MOST = 2.0  # per cent of one core
WARM_UP = 68.0  # seconds: every poll has been made twice, and the second asks otherwise than the first
WINDOW = 60.0  # seconds: so every poll of 60 s falls into it once


async def main(smoke: bool) -> None:
    each, warm_up, window = (2, 4.0, 3.0) if smoke else (25, WARM_UP, WINDOW)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        async with bus_server() as bus, fleet(SIZES) as urls:
            accounts = [
                account(vendor, f"{vendor}-{n}", url, **({"every": STILL} if vendor == "carbontrack" else {}))
                for vendor, url in urls.items()
                for n in range(each)
            ]
            routes = [{**webhook("crm", "http://127.0.0.1:9/"), "events": ["*.*"]}]
            file = write_config(Path(folder), bus={"url": bus}, accounts=accounts, routes=routes, grace="1s")
            async with agent(file) as process:
                await ready(process)
                server = _server(bus)
                await anyio.sleep(warm_up)
                before, beside = process_cpu(process.pid), process_cpu(server)
                await anyio.sleep(window)
                ours, theirs = process_cpu(process.pid) - before, process_cpu(server) - beside
    share = 100 * ours / window
    emit(
        Row(
            group="Idle",
            what=f"{4 * each} accounts of four vendors at their usual intervals, nothing changes: processor time",
            figure=f"{share:.2f} % of a core, nats-server beside it {100 * theirs / window:.2f} %",
            limit=f"{MOST:g} % of a core",
            ratio=round(share, 2),
            bound=MOST,
            at="most",
        )
    )


def _server(url: str) -> int:
    """The id of the process that listens there."""
    port = int(url.rpartition(":")[2])
    for process in psutil.Process().children():
        if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in process.net_connections()):
            return process.pid
    raise LookupError(url)


if __name__ == "__main__":
    run(main)
