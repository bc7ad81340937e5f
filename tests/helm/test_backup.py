"""The bus is lost and comes back from a backup: what goes on, what is told again, and what a person must do."""

import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import httpx
import msgspec
import pytest
from nats.aio.client import Client

from connectors.sandbox.serve import serve
from events.jetstream.connection import connect
from events.jetstream.options import BusOptions
from schemas.envelope import CloudEvent
from schemas.settings import Secret
from tests import reader
from tests.agent.command import vendorwire
from tests.agent.harness import (
    Got,
    Process,
    Receiver,
    Wire,
    agent,
    events_on,
    octorate,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.faults.changing import Changing
from tests.helm import backup, users
from tests.helm.test_permissions import published, within
from tests.nats import NatsServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

UNTRUE = "the last events are not the truth"
HEALTHY = 'vendorwire_token_healthy{account="hotel",vendor="octorate"}'
RENEWED = 'vendorwire_token_renewals_total{account="hotel",outcome="renewed",vendor="octorate"}'


class Town:
    """A hotel that changes, an agent's configuration, a receiver and the bus."""

    def __init__(self, folder: Path, nats: NatsServer, vendor: Changing, receiver: Receiver, url: str) -> None:
        self._folder = folder
        self.nats = nats
        self.vendor = vendor
        self.receiver = receiver
        account = octorate(
            "hotel",
            f"{url}/connect",
            consent_url=f"{url}/octobook/identity/oauth.xhtml",
            redirect_uri="https://x.test/",
        )
        self.file = self._written("agent", account)
        self.operators = self._written("operator", account)

    def _written(self, user: str, account: Wire) -> Path:
        return write_config(
            self._folder,
            bus=users.bus_of(self.nats, user),
            accounts=[account],
            routes=[webhook("crm", self.receiver.url)],
            name=f"{user}.yaml",
        )

    async def back_up(self) -> list[backup.Backup]:
        async with users.signed_in(self.nats, "backup") as client:
            return await backup.taken(client)

    async def lose_and_restore(self, backups: list[backup.Backup]) -> None:
        """The server dies with its disk; a new one gets what was backed up."""
        self.nats.kill()
        shutil.rmtree(self._folder / "nats" / "jetstream")
        self.nats.start()
        async with users.signed_in(self.nats, "backup") as client:
            await backup.restored(client, backups)

    async def story(self) -> list[CloudEvent]:
        """All events of the ledger, once the last of each booking is the vendor's truth."""
        sign_in = BusOptions(urls=[self.nats.url], user="agent", password=Secret(users.password("agent")))
        async with connect(sign_in, lambda _: None) as bus:
            await bus.ready()

            async def is_told() -> bool:
                return UNTRUE not in self.vendor.faults(await events_on(bus))

            await until(is_told)
            return await events_on(bus)

    def change(self, guests: int) -> None:
        self.vendor.sandbox.change(self.vendor.keys[0], {"totalGuest": guests})

    async def told(self, guests: int) -> Got:
        """The delivery that tells this change, once it has come."""
        wanted = str(self.vendor.keys[0])

        def found() -> list[Got]:
            return [got for got in self.receiver.of(wanted) if got.event.data["record"]["guests"] == guests]

        await until(lambda: found() != [])
        return found()[0]


@pytest.fixture
async def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    monkeypatch.setenv("VENDORWIRE_KEY", base64.b64encode(os.urandom(32)).decode())
    vendor = Changing()
    async with serve(vendor.sandbox) as url, receiving() as receiver:
        with users.started(tmp_path / "nats", "\ntrace: true\n") as nats:
            yield Town(tmp_path, nats, vendor, receiver, url)


async def test_after_a_restore_the_agent_goes_on_and_the_ledger_tells_all_that_changed(
    town: Town, tmp_path: Path
) -> None:
    """Backed up while all is moving; what was told between the backup and the loss is found by the next poll, and told again."""
    async with agent(town.file) as process:
        await synced(process)
        async with town.vendor.meanwhile():
            await until(lambda: len(town.receiver.got) >= 10)
            backups = await town.back_up()
            got = len(town.receiver.got)
            await until(lambda: len(town.receiver.got) >= got + 10)
        await town.story()
        await process.end()
    lost = {got.id for got in town.receiver.got[got:]}
    await town.lose_and_restore(backups)
    async with agent(town.file, "again.log") as process:
        began = len(town.receiver.got)
        async with town.vendor.meanwhile():
            await until(lambda: len(town.receiver.got) > began)
        events = await town.story()
        await until(lambda: {event.id for event in events} <= {got.id for got in town.receiver.got})
        assert await process.is_ready()
        assert "made anew" not in process.log
    assert town.vendor.faults(events) == []
    assert lost & {got.id for got in town.receiver.got[began:]}, "the same ids name what is told anew"
    trace = (tmp_path / "nats" / "nats.log").read_text()
    assert "Permissions Violation" not in trace
    used = [subject for user, subject in published(trace) if user == "backup"]
    assert [
        grant for grant in users.granted("backup", "publish") if not any(within(grant, each) for each in used)
    ] == []


async def test_what_is_told_after_a_restore_may_have_the_id_of_what_was_told_before(town: Town) -> None:
    """Versions count on from the backup. A replay is what a receiver takes all the same."""
    async with agent(town.file) as process:
        await synced(process)
        backups = await town.back_up()
        town.change(5000)
        before = await town.told(5000)
        await process.end()
    town.change(6000)
    await town.lose_and_restore(backups)
    async with agent(town.file, "again.log"):
        after = await town.told(6000)
        assert (after.id, after.version) == (before.id, before.version)
        assert not after.event.replay
        words = ("--config", str(town.operators), "replay", "crm", "--since", "1h", "--yes")
        ran = await anyio.to_thread.run_sync(lambda: vendorwire(*words, cwd=town.file.parent))
        assert ran.status == 0, ran
        await until(lambda: [got for got in town.receiver.got if got.id == after.id and got.event.replay] != [])


@pytest.mark.parametrize("renewed_since", [False, True], ids=["before", "since"])
async def test_a_refresh_token_that_was_used_since_the_backup_is_lost_and_a_person_consents_anew(
    renewed_since: bool, town: Town
) -> None:
    town.vendor.sandbox.rotates = True
    town.vendor.sandbox.tokens.lifetime = timedelta(seconds=4)
    async with agent(town.file) as process:
        await synced(process)
        backups = await town.back_up()
        if renewed_since:
            await until(partial(has, process, RENEWED, 2))
        await process.end()
    await town.lose_and_restore(backups)
    async with agent(town.file, "again.log") as process:
        if not renewed_since:
            town.change(5000)
            await town.told(5000)
            assert await process.metric(HEALTHY) == 1
            return
        await until(lambda: "unauthorized" in process.log or "refused" in process.log)
        await until(partial(has, process, HEALTHY, 0))
        await authorize(town)
        town.change(5000)
        await town.told(5000)


async def has(process: Process, name: str, value: float) -> bool:
    return await process.metric(name) == value


async def authorize(town: Town) -> None:
    """A person consents in the browser."""
    page = json.loads(town.file.read_text())["accounts"][0]["consent_url"]
    async with httpx.AsyncClient(trust_env=False) as browser:
        reply = await browser.get(page, params={"client_id": "sandbox-client", "redirect_uri": "https://x.test/"})
    code = parse_qs(urlsplit(reply.headers["Location"]).query)["code"][0]
    words = ("--config", str(town.operators), "authorize", "hotel", "--code", code)
    ran = await anyio.to_thread.run_sync(lambda: vendorwire(*words, cwd=town.file.parent))
    assert ran.status == 0, ran


async def test_a_stream_that_is_there_cannot_be_overwritten_by_a_restore(town: Town) -> None:
    async with agent(town.file) as process:
        await synced(process)
        backups = await town.back_up()
        async with users.signed_in(town.nats, "backup") as client:
            for each in backups:
                body = msgspec.json.encode({"config": each.config, "state": each.state})
                refused = await users.asked(client, f"STREAM.RESTORE.{each.name}", body)
                assert "already in use" in refused["error"]["description"]
        town.change(5000)
        await town.told(5000)


async def test_a_copy_that_is_ahead_of_the_restored_ledger_misses_events_and_is_made_anew(tmp_path: Path) -> None:
    with users.started(tmp_path) as nats:
        async with reader.committing(nats) as hotel:
            await hotel.change(reader.PALACE, "One")
            async with users.signed_in(nats, "backup") as client:
                backups = await backup.taken(client)
            for name in ("Two", "Three"):
                await hotel.change(reader.PALACE, name)
        nats.kill()
        shutil.rmtree(tmp_path / "jetstream" / "jetstream" / "VENDORWIRE")  # the agents' account; the copy's is whole
        nats.start()
        async with users.signed_in(nats, "backup") as client:
            await backup.restored(client, backups)
        async with reader.committing(nats, copied=False) as hotel:
            await hotel.change(reader.WHARF, "New", seen=False)
        async with users.signed_in(nats, "keeper") as keeper:
            await anyio.sleep(reader.GOES_ON)
            assert await named(keeper) == ["One", "Two", "Three"]
            assert (await users.asked(keeper, "STREAM.DELETE.VENDORWIRE"))["success"]
            assert "error" not in await users.asked(keeper, "STREAM.CREATE.VENDORWIRE", users.COPY)
            await users.in_step(nats)
            assert await named(keeper) == ["One", "New"]


async def named(client: Client) -> list[str]:
    """The names that the events of a ledger, or of its copy, tell."""
    events = await client.jetstream().subscribe("vendorwire.event.>", stream="VENDORWIRE", ordered_consumer=True)
    end = (await client.jetstream().stream_info("VENDORWIRE", subjects_filter="vendorwire.event.>")).state
    count = sum((end.subjects or {}).values())
    return [reader.name_in(msgspec.json.decode((await events.next_msg(5)).data)) for _ in range(count)]
