"""`helm/nats/users.conf` changed as `docs/nats.md` says: for another prefix, and with keys in the place of passwords."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import nkeys
import pytest

from connectors.sandbox.serve import serve
from tests.agent.harness import agent, octorate, receiving, synced, until, webhook, write_config
from tests.faults.changing import Changing
from tests.faults.test_bus_permissions import Key
from tests.helm import users

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

BLOCK = re.compile(r"\{user: agent, password: \$AGENT_PASSWORD,.*?\}\}", re.DOTALL)


class Hotel(Changing):
    """A vendor at an address."""

    url = ""


@pytest.fixture
async def vendor() -> AsyncIterator[Hotel]:
    hotel = Hotel()
    async with serve(hotel.sandbox) as hotel.url:
        yield hotel


async def test_with_another_prefix_it_serves_as_well(vendor: Hotel, tmp_path: Path) -> None:
    renamed = users.USERS.replace("vendorwire", "hotels").replace("VENDORWIRE", "HOTELS")
    with users.started(tmp_path / "nats", users=renamed) as nats:
        bus = users.bus_of(nats, "agent") | {"prefix": "hotels", "inbox_prefix": "_INBOX.hotels"}
        async with receiving() as receiver:
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", vendor.url)], routes=routes)
            async with agent(file) as process:
                await synced(process)
                vendor.change()
                await until(lambda: receiver.got != [])
        assert "may not" not in process.log
    assert "Violation" not in (tmp_path / "nats" / "nats.log").read_text()


async def test_a_key_is_exchanged_while_both_are_known_and_nobody_is_refused(vendor: Hotel, tmp_path: Path) -> None:
    old, new = Key(nkeys.PREFIX_BYTE_USER), Key(nkeys.PREFIX_BYTE_USER)
    (block,) = BLOCK.findall(users.USERS)

    def knowing(*keys: Key) -> str:
        known = [block.replace("user: agent, password: $AGENT_PASSWORD", f"nkey: {key.public}") for key in keys]
        return users.USERS.replace(block, "\n".join(known))

    seed, log = tmp_path / "seed", tmp_path / "nats" / "nats.log"
    seed.write_bytes(old.seed)
    with users.started(tmp_path / "nats", users=knowing(old)) as nats:
        bus = {"url": nats.url, "nkey": f"${{file:{seed}}}"}
        async with receiving() as receiver:
            routes = [webhook("crm", receiver.url)]
            file = write_config(tmp_path, bus=bus, accounts=[octorate("hotel", vendor.url)], routes=routes)
            async with agent(file) as process:
                await synced(process)
                nats.reload(knowing(old, new))
                await until(lambda: "Reloaded server configuration" in log.read_text())
                seed.write_bytes(new.seed)
                nats.reload(knowing(new))
                await until(lambda: "bus lost" in process.log)
                await until(process.is_ready)
                vendor.change()
                await until(lambda: receiver.got != [])
        assert "refused" not in process.log
    assert "authentication error" not in log.read_text()
