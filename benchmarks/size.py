"""What grows with the number of records: memory, the start of a new process, and the cost of an unchanged record.

One vendor and one agent for each size, all on one bus; the first sync of the largest, which takes longest, is made once.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from benchmarks.support import Child, Row, bus_server, child, emit, median, run
from benchmarks.vendor import Site, served
from benchmarks.worker import Told

PAGE = 1000
SIZES = (10_000, 100_000, 1_000_000)
LOADED_WITHIN = {100_000: 3.0, 1_000_000: 30.0}  # seconds
BYTES = 200  # a stored record
PATIENCE = 400.0  # seconds for one poll of a million
ROUNDS = 3
GROWTH = 0.25  # of the cost of a record; that it falls, as what each poll costs besides is shared by more, is no fault


class Agent(msgspec.Struct, frozen=True):
    """An agent's process and the vendor it reads."""

    site: Site
    process: Child

    async def do(self, what: str) -> Told:
        return msgspec.json.decode(await self.process.ask(what, PATIENCE), type=Told)


async def main(smoke: bool) -> None:
    sizes = (200, 400) if smoke else SIZES
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(bus_server())
        agents = []
        for records in sizes:
            site = await stack.enter_async_context(served(records))
            agent = await stack.enter_async_context(started(bus, site))
            agents.append(agent)
            rows = await memory(agent)
            if smoke or records in LOADED_WITHIN:  # a smaller size is there for the cost alone
                rows += await cold_start(bus, agent, LOADED_WITHIN.get(records, 3.0))
                for row in rows:
                    emit(row)
        for row in await cost(agents):
            emit(row)


@asynccontextmanager
async def started(bus: str, site: Site) -> AsyncIterator[Agent]:
    arguments = ("--bus", bus, "--vendor", site.url, "--records", str(site.records), "--page", str(PAGE))
    async with child("benchmarks.worker", *arguments) as process:
        yield Agent(site, process)


async def memory(agent: Agent) -> list[Row]:
    """Beyond the process at rest, which has connected and read nothing yet."""
    rest = (await agent.do("rest")).resident
    synced = await agent.do("poll")
    polled = await agent.do("poll")
    found = {
        "after the first sync": synced.resident,
        "after an unchanged poll": polled.resident,
        "at most meanwhile": polled.peak,
    }
    return [_memory(agent.site.records, when, resident - rest) for when, resident in found.items()]


def _memory(records: int, when: str, taken: int) -> Row:
    return Row(
        group="Memory",
        what=f"{records:,} records: bytes a record beyond the process at rest, {when}",
        figure=f"{taken / records:.0f} ({taken / 2**20:,.0f} MiB in all)",
        limit=f"required {BYTES}",
        ratio=taken / records,
        bound=BYTES,
        at="most",
    )


async def cold_start(bus: str, agent: Agent, within: float) -> list[Row]:
    """The index, loaded by a process that knows nothing; and again after another process has committed a little."""
    records = agent.site.records
    async with started(bus, agent.site) as fresh:
        load = await fresh.do("load")
        loaded = load.seconds
        await agent.site.change(max(10 / records, 1e-6), 0)
        await agent.do("poll")
        caught_up = (await fresh.do("load")).seconds
    return [
        Row(
            group="Cold start",
            what=f"{records:,} records: the index loaded by a new process",
            figure=f"{loaded:.2f} s ({load.processor:.2f} s of processor time)",
            limit=f"required {within:g} s",
            ratio=loaded,
            bound=within,
            at="most",
        ),
        Row(
            group="Cold start",
            what=f"{records:,} records: caught up with ten changes committed by another process",
            figure=f"{caught_up * 1e3:.1f} ms",
            limit=f"loading it all {loaded * 1e3:,.0f} ms",
            ratio=caught_up / loaded,
            bound=0.1,
            at="most",
        ),
    ]


async def cost(agents: Sequence[Agent]) -> list[Row]:
    """An unchanged poll at each size, in turns, against the smallest."""
    costs: list[list[float]] = [[] for _ in agents]
    for agent in agents:
        await agent.do("poll")
    for _ in range(ROUNDS):
        for agent, taken in zip(agents, costs, strict=True):
            for _ in range(min(agents[-1].site.records // agent.site.records, 10)):  # small ones vary more
                taken.append((await agent.do("poll")).processor / agent.site.records)
    smallest, *others = map(median, costs)
    return [
        Row(
            group="Cost against size",
            what=f"{agent.site.records:,} records, pages of {PAGE}: an unchanged poll, processor time a record",
            figure=f"{each * 1e6:.2f} µs",
            limit=f"with {agents[0].site.records:,} records {smallest * 1e6:.2f} µs, what each poll costs besides included",
            ratio=each / smallest,
            bound=1 + GROWTH,
            at="most",
        )
        for agent, each in zip(agents[1:], others, strict=True)
    ]


if __name__ == "__main__":
    run(main)
