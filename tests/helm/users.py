"""A server with the users of `helm/nats/users.conf`, and connections as each of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.client import Client

from tests.nats import NatsServer, start_nats

FOLDER = Path(__file__).parents[2] / "helm" / "nats"
USERS = (FOLDER / "users.conf").read_text(encoding="utf-8")
EXTRA = re.sub(r'^( *)# (?=")', r"\1", USERS, flags=re.MULTILINE)  # with all that its comments offer
COPY = (FOLDER / "copy.json").read_bytes()
DEAD = b'{"name": "CRM_DEAD", "subjects": ["crm.dead"]}'
INBOXES = {"agent": "vendorwire", "operator": "operator", "backup": "backup", "keeper": "keeper", "crm": "crm"}


def password(user: str) -> str:
    """What the server's environment says."""
    return f"canary_{user}"


def started(folder: Path, config_extra: str = "", users: str = USERS) -> NatsServer:
    """A server with those users, whose passwords are in its environment."""
    environment = [f"{user.upper()}_PASSWORD={password(user)}" for user in INBOXES]
    return start_nats(folder, config_extra=users + config_extra, within=["env", *environment])


def bus_of(server: NatsServer, user: str) -> dict[str, Any]:
    """The configuration's `bus` for a user."""
    sign_in = {"url": server.url, "user": user, "password": password(user)}
    return sign_in if user == "agent" else {**sign_in, "inbox_prefix": f"_INBOX.{INBOXES[user]}"}


@asynccontextmanager
async def signed_in(server: NatsServer, user: str, refused: list[str] | None = None) -> AsyncIterator[Client]:
    """A plain client; what the server forbids it is added to `refused`."""

    async def note(error: Exception) -> None:
        if refused is not None and (found := re.search(r'for (\w+) to "(.*)"', str(error))):
            refused.append(" ".join(found.groups()))

    client = await nats.connect(
        server.url,
        user=user,
        password=password(user),
        inbox_prefix=f"_INBOX.{INBOXES[user]}",
        error_cb=note,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,
    )
    try:
        yield client
    finally:
        await client.close()


async def asked(client: Client, api: str, body: Mapping[str, Any] | bytes = b"") -> dict[str, Any]:
    """JetStream's answer, also where it is a refusal."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    answer: dict[str, Any] = msgspec.json.decode((await client.request(f"$JS.API.{api}", data, timeout=5)).data)
    return answer


async def make_copy(server: NatsServer) -> None:
    """What the keeper does once: the copy that subscribers read, and a subscriber's stream of dead letters."""
    async with signed_in(server, "keeper") as keeper:
        for name, config in {"VENDORWIRE": COPY, "CRM_DEAD": DEAD}.items():
            made = await asked(keeper, f"STREAM.CREATE.{name}", config)
            assert "error" not in made, made


async def in_step(server: NatsServer, within: float = 20) -> None:
    """Wait until the copy holds what the ledger holds."""
    async with signed_in(server, "agent") as agent, signed_in(server, "keeper") as keeper, asyncio.timeout(within):
        while True:
            ends = [(await asked(each, "STREAM.INFO.VENDORWIRE"))["state"]["last_seq"] for each in (agent, keeper)]
            if ends[0] == ends[1]:
                return
            await asyncio.sleep(0.02)


def granted(user: str, verb: str, text: str = USERS) -> Sequence[str]:
    """The subjects that the file grants."""
    block = text.partition(f"{{user: {user},")[2].partition("}}")[0]
    lines = "\n".join(line.partition("#")[0] for line in block.splitlines())
    found = re.search(rf"\b{verb}: \[(.*?)\]", lines, re.DOTALL)
    assert found is not None, f"{user} has no {verb}"
    return re.findall(r'"([^"]+)"', found[1])
