"""State, then events, as the subscriber's guide shows: its code, a real server, a user who may do no more than it says."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import APIError

from tests.nats import NatsServer
from tests.papers import SUBSCRIBERS, module
from tests.reader import GOES_ON, PALACE, SHOWN, WHARF, Hotel, client, committing, name_in, served

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with served(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def ledger(server: NatsServer) -> AsyncIterator[Hotel]:
    async with committing(server) as hotel:
        yield hotel


class TestStateThenEvents:
    @pytest.fixture
    def shown(self, tmp_path: Path) -> ModuleType:
        return module(SUBSCRIBERS, "def state_then_events(", tmp_path)

    async def test_what_there_is_comes_first_and_then_what_happens(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType
    ) -> None:
        await ledger.change(PALACE, "Sample Palace")
        await ledger.change(WHARF, "Gone")
        await ledger.change(WHARF, None)
        async with client(server) as bus:
            told = shown.state_then_events(bus, SHOWN)
            assert await following(told) == ("record", PALACE, "Sample Palace")
            await ledger.change(PALACE, "Another Palace")
            assert await following(told) == ("event", PALACE, "Another Palace")
            await told.aclose()

    async def test_a_change_between_reading_the_state_and_following_is_told_once(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType
    ) -> None:
        await ledger.change(PALACE, "One")
        await ledger.change(WHARF, "Old")
        async with client(server) as bus:
            told = shown.state_then_events(bus, SHOWN)
            first = await following(told)
            await ledger.change(PALACE, "Two")  # the generator stands still in the midst of the snapshots
            await ledger.change("3", "Three")
            others = [await following(told) for _ in range(3)]
            await ledger.change(WHARF, None)
            others.append(await following(told))
            await told.aclose()
        assert first == ("record", PALACE, "One")
        assert others == [
            ("record", WHARF, "Old"),
            ("event", PALACE, "Two"),
            ("event", "3", "Three"),
            ("event", WHARF, "Old"),
        ]

    async def test_a_change_that_the_state_has_already_is_no_event(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType
    ) -> None:
        await ledger.change(PALACE, "One")
        read = shown.state

        async def late(bus: Client, scope: str) -> AsyncIterator[Any]:
            await ledger.change(PALACE, "Two")  # after the end was noted, before the snapshots are read
            async for each in read(bus, scope):
                yield each

        shown.state = late  # type: ignore[attr-defined]
        async with client(server) as bus:
            told = shown.state_then_events(bus, SHOWN)
            assert await following(told) == ("record", PALACE, "Two")
            await ledger.change(PALACE, "Three")
            assert await following(told) == ("event", PALACE, "Three")
            await told.aclose()

    async def test_after_a_restart_it_begins_anew_and_misses_nothing(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType
    ) -> None:
        await ledger.change(PALACE, "One")
        async with client(server) as bus:
            told = shown.state_then_events(bus, SHOWN)
            assert await following(told) == ("record", PALACE, "One")
            await told.aclose()
        await ledger.change(PALACE, "Two")
        await ledger.change(WHARF, "New")
        async with client(server) as bus:
            told = shown.state_then_events(bus, SHOWN)
            assert [await following(told) for _ in range(2)] == [("record", PALACE, "Two"), ("record", WHARF, "New")]
            await told.aclose()

    async def test_a_large_state_is_read_to_its_end(self, server: NatsServer, ledger: Hotel, shown: ModuleType) -> None:
        await ledger.fill(50, 200_000)  # more than the server sends ahead
        async with client(server) as bus:
            assert len([key async for key, _, _ in shown.state(bus, SHOWN)]) == 50

    async def test_a_resource_that_was_never_polled_is_an_error(
        self, server: NatsServer, ledger: Hotel, shown: ModuleType
    ) -> None:
        async with client(server) as bus:
            with pytest.raises(TimeoutError):
                await anext(shown.state_then_events(bus, "octorate.motel.property"))


async def following(told: AsyncIterator[tuple[str, str, Any]]) -> tuple[str, str, str]:
    kind, key, value = await asyncio.wait_for(anext(told), 10)
    return kind, key, value["name"] if kind == "record" else name_in(value)


@pytest.mark.parametrize(
    "asked",
    ["STREAM.DELETE.VENDORWIRE", "STREAM.PURGE.VENDORWIRE", "STREAM.UPDATE.VENDORWIRE", "STREAM.MSG.DELETE.VENDORWIRE"],
)
async def test_the_guides_user_can_change_nothing_of_ours(server: NatsServer, ledger: Hotel, asked: str) -> None:
    async with client(server) as bus:
        with pytest.raises((TimeoutError, APIError)):
            await bus.request(f"$JS.API.{asked}", b"{}", timeout=GOES_ON)
        with suppress(nats.errors.Error):
            await bus.publish(f"vendorwire.event.{SHOWN}.created", b"{}")
            await bus.flush()
        assert (await bus.jetstream().stream_info("VENDORWIRE")).state.messages == 0


def test_only_nats_py_and_msgspec_are_needed() -> None:
    text = SUBSCRIBERS.read_text(encoding="utf-8").partition("\n## The bus\n")[2]
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
    assert imported == {"asyncio", "collections", "urllib", "nats", "msgspec"}
