"""A durable consumer, as the subscriber's guide shows: its code, a real server, a user who may do no more than it says."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client
from nats.js.api import DeliverPolicy
from nats.js.errors import ServiceUnavailableError

from tests.helm import users
from tests.nats import NatsServer
from tests.papers import SUBSCRIBERS, module
from tests.reader import GOES_ON, PALACE, SHOWN, WHARF, Hotel, client, committing, name_in, served, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with served(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def ledger(server: NatsServer) -> AsyncIterator[Hotel]:
    async with committing(server) as hotel:
        yield hotel


class Service:
    """A subscriber's service: it notes what it handles, and fails where it is told to."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.ids: list[str] = []
        self.failing: dict[str, int] = {}  # name → how often yet
        self.hanging: set[str] = set()
        self.deadly: set[str] = set()  # it is handled, and the process dies
        self.known: dict[str, int] = {}  # versions that need no handling

    async def handle(self, event: Any) -> None:
        name = name_in(event)
        if event.version <= self.known.get(event.subject, 0):
            return
        if name in self.hanging:
            await asyncio.Event().wait()
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            raise ValueError(name)
        self.handled.append(name)
        self.ids.append(event.id)
        if name in self.deadly:
            raise asyncio.CancelledError


class Everything:
    """The start that the guide names in a comment."""

    NEW = DeliverPolicy.ALL


class TestDurableConsumer:
    @pytest.fixture
    def shown(self, tmp_path: Path) -> ModuleType:
        made = module(SUBSCRIBERS, "async def work(", tmp_path)
        assert made.WAITS == (1, 10, 60)
        made.WAITS, made.LONGEST = (0.1, 0.1, 0.3), 1  # type: ignore[attr-defined] # for a test to see it all
        return made

    @pytest.fixture
    def service(self) -> Service:
        return Service()

    async def test_events_are_handed_over_in_order(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        async with working(server, shown, service):
            for name in ("One", "Two", "Three"):
                await ledger.change(PALACE, name)
            await ledger.change(WHARF, "Other")
            await until(lambda: len(service.handled) == 4)
        assert service.handled == ["One", "Two", "Three", "Other"]

    async def test_what_fails_is_tried_again_after_a_wait_and_its_records_next_event_waits(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        service.failing["One"] = 2
        async with working(server, shown, service) as bus:
            await ledger.change(PALACE, "One")
            await ledger.change(PALACE, "Two")
            await until(lambda: len(service.handled) == 2)
            assert await letters(bus) == []
        assert service.handled == ["One", "Two"]

    async def test_nothing_is_lost_or_has_two_ids_over_restarts(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        async with working(server, shown, service) as bus:
            await ledger.change(PALACE, "One")
            await acknowledged(bus)
        await ledger.change(PALACE, "Two")
        server.stop()
        server.start()
        await ledger_is_back(ledger)
        async with working(server, shown, service):
            await until(lambda: "Three" in service.handled)
        assert once(service.handled) == ["One", "Two", "Three"]
        assert len(set(service.ids)) == 3

    async def test_order_and_attempts_outlive_a_death_in_the_midst(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        service.hanging.add("One")
        shown.LONGEST = 2  # type: ignore[attr-defined]
        async with working(server, shown, service):
            await ledger.change(PALACE, "One")
            await ledger.change(PALACE, "Two")
            await asyncio.sleep(0.5)  # it is in hand
        service.hanging.clear()
        async with working(server, shown, service):
            await until(lambda: len(service.handled) == 2)
        assert service.handled == ["One", "Two"]

    async def test_an_acknowledgement_that_is_lost_brings_the_same_event_again(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        service.deadly.add("One")
        async with working(server, shown, service):
            await ledger.change(PALACE, "One")
            await until(lambda: bool(service.handled))
        service.deadly.clear()
        async with working(server, shown, service):
            await until(lambda: len(service.handled) == 2)
        assert service.handled == ["One", "One"]
        assert len(set(service.ids)) == 1

    async def test_an_event_that_kills_the_process_each_time_is_a_dead_letter_too(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        shown.WAITS, shown.LONGEST = (0.1,), 0.5  # type: ignore[attr-defined]
        service.deadly.add("One")
        await ledger.change(PALACE, "One")
        shown.DeliverPolicy = Everything  # type: ignore[attr-defined]
        for death in (1, 2):
            async with working(server, shown, service):
                await until(lambda: len(service.handled) == death)  # noqa: B023 it is asked at once
        await ledger.change(PALACE, "Two")
        async with working(server, shown, service) as bus:
            await until(lambda: "Two" in service.handled)
            assert await letters(bus) == [("One", "RuntimeError")]
        assert service.handled == ["One", "One", "Two"]

    async def test_a_consumer_that_is_gone_is_an_error(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        async with client(server) as bus:
            with pytest.raises(ServiceUnavailableError):
                await shown.work(bus, "crm", service.handle)

    async def test_two_copies_share_the_work_and_keep_the_order(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        async with working(server, shown, service), working(server, shown, service):
            names = [str(number) for number in range(20)]
            for name in names:
                await ledger.change(PALACE, name)
            await until(lambda: len(service.handled) == 20)
            await asyncio.sleep(GOES_ON)
        assert service.handled == names

    async def test_what_fails_to_the_end_is_a_dead_letter_and_can_be_revived(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        service.failing["One"] = 4
        async with working(server, shown, service) as bus:
            await ledger.change(PALACE, "One")
            await ledger.change(PALACE, "Two")
            await until(lambda: service.handled == ["Two"])
            assert await letters(bus) == [("One", "ValueError")]

            service.failing["One"] = 1
            with pytest.raises(ValueError, match="One"):
                await shown.revive(bus, service.handle)
            assert await letters(bus) == [("One", "ValueError")]
            await shown.revive(bus, service.handle)
            assert await letters(bus) == []
            await shown.revive(bus, service.handle)
        assert service.handled == ["Two", "One"]

    async def test_what_takes_too_long_is_a_failure(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        shown.LONGEST = 0.5  # type: ignore[attr-defined]
        service.hanging.add("One")
        async with working(server, shown, service) as bus:
            await ledger.change(PALACE, "One")
            await ledger.change(PALACE, "Two")
            await until(lambda: service.handled == ["Two"])
            assert await letters(bus) == [("One", "TimeoutError")]

    async def test_what_is_no_event_is_a_dead_letter_at_once(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        async with working(server, shown, service) as bus:
            async with users.signed_in(server, "agent") as stranger:
                await stranger.jetstream().publish(f"vendorwire.event.{SHOWN}.created", b"{")
            await ledger.change(PALACE, "One")
            await until(lambda: service.handled == ["One"])
            info = await bus.jetstream().stream_info(shown.DEAD)
            assert info.state.messages == 1

    async def test_beginning_with_the_state_leaves_nothing_out(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service, tmp_path: Path
    ) -> None:
        state = module(SUBSCRIBERS, "def state_then_events(", tmp_path).state
        await ledger.change(PALACE, "One")
        async with client(server) as bus:
            await shown.subscribe(bus, "crm", SHOWN)
            await ledger.change(PALACE, "Two")  # in the consumer, and in the state as well
            service.known = {key: version async for key, version, _ in state(bus, SHOWN)}
        assert service.known == {PALACE: 2}
        await ledger.change(PALACE, "Three")
        await ledger.change(WHARF, "New")
        async with working(server, shown, service):
            await until(lambda: len(service.handled) == 2)
        assert service.handled == ["Three", "New"]

    async def test_it_works_on_when_the_server_was_away(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        async with working(server, shown, service) as bus:
            await ledger.change(PALACE, "One")
            await acknowledged(bus)
            server.stop()
            server.start()
            await ledger_is_back(ledger)
            await until(lambda: "Three" in service.handled)
        assert once(service.handled) == ["One", "Three"]

    async def test_when_the_server_is_killed_what_it_had_not_noted_comes_again_in_order(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType, service: Service
    ) -> None:
        async with working(server, shown, service) as bus:
            await ledger.change(PALACE, "One")
            await ledger.change(PALACE, "Two")
            await acknowledged(bus)
            server.kill()
            server.start()
            await ledger_is_back(ledger)
            await until(lambda: "Three" in service.handled)
        assert list(dict.fromkeys(service.handled)) == ["One", "Two", "Three"]
        again = service.handled[2:]
        assert again in (["Three"], ["Two", "Three"], ["One", "Two", "Three"])


async def ledger_is_back(ledger: Hotel) -> None:
    """Commit once the bus has come back."""
    for _ in range(100):
        with suppress(Exception):
            await ledger.change(PALACE, "Three")
            return
        await asyncio.sleep(0.1)


def once(handled: Sequence[str]) -> list[str]:
    """In the order of their first time: a server that ends may forget what was acknowledged last, and hands it out again."""
    return list(dict.fromkeys(handled))


async def acknowledged(bus: Client) -> None:
    """Wait until the consumer has handed out all there is, and knows it done."""
    async with asyncio.timeout(20):
        while True:
            info = await bus.jetstream().consumer_info("VENDORWIRE", "crm")
            if not info.num_pending and not info.num_ack_pending and info.ack_floor and info.ack_floor.consumer_seq:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def working(server: NatsServer, shown: ModuleType, service: Service) -> AsyncIterator[Client]:
    """The service at work, as whatever runs it would: connected anew and started again when it ends with an error.

    Gives a connection of the test's own.
    """
    stopping = asyncio.Event()

    async def run() -> None:
        while not stopping.is_set():
            with suppress(nats.errors.Error, OSError):
                async with client(server) as bus:
                    await shown.work(bus, "crm", service.handle)
            await asyncio.sleep(0.05)

    async with client(server) as bus:
        await shown.subscribe(bus, "crm", SHOWN)
        task = asyncio.create_task(run())
        try:
            yield bus
        finally:
            stopping.set()
            while not task.done():  # once is not enough: asyncio.wait_for of Python 3.11 may lose a cancellation
                task.cancel()
                await asyncio.wait([task], timeout=0.5)


async def letters(bus: Client) -> list[tuple[str, str]]:
    """Name and reason of each dead letter."""
    stream, found = bus.jetstream(), []
    last = (await stream.stream_info("CRM_DEAD")).state.last_seq
    for sequence in range(1, last + 1):
        with suppress(nats.js.errors.NotFoundError):
            letter = await stream.get_msg("CRM_DEAD", sequence)
            assert letter.data is not None
            assert letter.headers is not None
            found.append((name_in(msgspec.json.decode(letter.data)), letter.headers["Reason"]))
    return found
