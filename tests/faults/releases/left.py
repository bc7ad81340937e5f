"""What the release before left: on a bus, at the vendors, and its code. Both releases can go on with it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec

from events.jetstream.connection import Bus
from events.jetstream.ledger import SCHEMA
from events.jetstream.read import held
from schemas.changes import Scope
from schemas.envelope import CloudEvent
from schemas.facts import PollOutcome
from tests.agent.command import vendorwire
from tests.agent.harness import NAMES, Process, Receiver, Wire, agent, events_on, reading, receiving, until
from tests.faults.releases import HERE, bus, unpack
from tests.faults.releases.record import running
from tests.faults.releases.scene import RESOURCES, RETRIES, Scene, configure, served
from tests.nats import NatsServer

BEFORE = "9b3ac31"  # the release before this one
SIGN_IN = ("token", "login", "identity")  # in the paths of vendors' sign-ins


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A bus as the release before left it, the vendors as it last saw them, and receivers at which all is well."""

    bus: Bus
    scene: Scene
    all: Receiver
    slow: Receiver
    broken: Receiver
    config: Path
    config_before: Path
    code_before: Path

    def today(self, log: str = "today.log") -> AbstractAsyncContextManager[Process]:
        """This release at work."""
        return agent(self.config, log)

    def before(self, log: str = "before.log") -> AbstractAsyncContextManager[Process]:
        """The release before at work."""
        return agent(self.config_before, log, env=running(self.code_before))

    async def events(self) -> list[CloudEvent]:
        """Every event in the ledger, in order."""
        return await events_on(self.bus)

    def signed_in(self) -> list[str]:
        """Where the vendors were asked for tokens."""
        asked = [seen.path for sandbox in self.scene.vendors.values() for seen in sandbox.seen]
        return [path for path in asked if any(word in path for word in SIGN_IN)]

    def change(self, number: int) -> dict[str, tuple[str, object]]:
        """Change one record at each vendor; the record → the field that has changed, and its new value."""
        scene = self.scene
        booking, lettings = min(scene.octorate.reservations) + 1, min(scene.ipro.bookings)
        device, course = next(iter(scene.carbontrack.devices)), min(scene.powerpro.courses)
        scene.do("octorate", "change", id_=booking, fields={"totalGuest": number})
        scene.do("ipro", "change", id_=lettings, fields={"GuestNotes": f"Note {number}"})
        scene.do("carbontrack", "change_device", id_=device, fields={"DeviceName": f"Name {number}"})
        scene.do("powerpro", "change_course", id_=course, fields={"name": f"Name {number}"})
        bookings = {str(booking): ("guests", number), str(lettings): ("notes", f"Note {number}")}
        return {**bookings, device: ("name", f"Name {number}"), str(course): ("name", f"Name {number}")}


@asynccontextmanager
async def left(
    nats: NatsServer, folder: Path, *, retries: tuple[str, ...] = RETRIES, reconcile: str = "24h", at_home: bool = False
) -> AsyncIterator[Left]:
    """What the release before left, on a server of the test's own. `at_home`: see `served`."""
    scene = Scene.load(HERE / BEFORE / "scene.json")
    async with reading(nats.url) as there, served(scene, at_home=at_home) as vendors:
        await bus.load(there, bus.read(HERE / BEFORE / "bus.jsonl"))
        async with receiving() as good, receiving() as slow, receiving() as broken:
            how: Wire = {"retries": retries, "reconcile": reconcile}
            hooks = {"all": good.url, "slow": slow.url, "broken": broken.url}
            yield Left(
                bus=there,
                scene=scene,
                all=good,
                slow=slow,
                broken=broken,
                config=configure(folder / "today", nats.url, vendors, hooks, order="record", **how),
                config_before=configure(folder / "before", nats.url, vendors, hooks, **how),
                code_before=unpack(BEFORE, folder / "code"),
            )


async def polled(process: Process, times: int = 2) -> None:
    """Wait until this agent has read every resource so often, changed or not."""
    wanted = sum(len(names) for names in RESOURCES.values())

    async def done() -> bool:
        assert process.ended is None, process.log
        counts = list(polls((await process.get("/metrics"))[1]).values())
        return len(counts) == wanted and min(counts) >= times

    await until(done, 75)  # what an agent has left in the moment of its end comes when its lease of 30 s has run out


def polls(metrics: str) -> dict[str, float]:
    """Account and resource → polls that succeeded."""
    counts: dict[str, float] = {}
    for line in metrics.splitlines():
        name, _, rest = line.partition("{")
        if name == "vendorwire_polls_total" and any(f'outcome="{each}"' in rest for each in well()):
            scope = "/".join(part for part in rest.split(",") if part.startswith(("account=", "resource=")))
            counts[scope] = counts.get(scope, 0) + float(line.rpartition(" ")[2])
    return counts


def well() -> Iterator[PollOutcome]:
    return (outcome for outcome in PollOutcome if outcome.succeeded)


async def change_is_told(then: Left, process: Process, number: int) -> None:
    """All is read and no event made of it; one change at each vendor is delivered."""
    before = await then.events()
    await polled(process)
    assert await then.events() == before
    delivered = len(then.all.got)
    then.change(number)
    await until(lambda: len(then.all.got) >= delivered + 4, 75)


def command(then: Left, *words: str) -> str:
    """What one of our commands prints."""
    ran = vendorwire(*words, cwd=then.config.parent, env={"VENDORWIRE_CONFIG": str(then.config)})
    assert ran.status == 0, ran
    return ran.out


class Kept(msgspec.Struct, frozen=True):
    """A stored record, and the version of its shape."""

    schema: int
    record: Wire


async def bookings(then: Left) -> dict[str, Kept]:
    """What is stored of Octorate's bookings."""
    scope = Scope("octorate", "octorate-account", "booking")
    return {
        message.subject.rpartition(".")[2]: Kept(int(message.headers[SCHEMA]), msgspec.json.decode(message.data))
        async for message in held(then.bus, NAMES.ledger, [NAMES.snapshots(scope)])
        if SCHEMA in message.headers
    }
