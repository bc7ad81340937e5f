"""A process with an account's token and fifty users: at each line it is sent they all ask, and it answers what they got."""

import random
import sys
import time

import anyio
import anyio.to_thread
import msgspec

from agent.tokens import TokenKeeper
from agent.vault import Vault
from connectors.http import Sender, open_http
from connectors.octorate import Octorate
from connectors.sandbox.octorate import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from events.jetstream.connection import connect
from events.jetstream.options import BusOptions
from events.jetstream.tokens import JetStreamTokenStore
from events.subjects import Names
from schemas.facts import TokenState
from schemas.settings import Secret

USERS = 50


class Got(msgspec.Struct):
    """The access tokens, each once, and how often this process renewed them so far."""

    accesses: list[str]
    renewals: int


async def main(vendor: str, bus_url: str, key: str, skew: float) -> None:
    connector = Octorate(
        name="hotel",
        base_url=vendor,
        client_id=CLIENT_ID,
        client_secret=Secret(CLIENT_SECRET),
        refresh_token=Secret(REFRESH_TOKEN),
    )
    told: list[TokenState] = []
    async with connect(BusOptions(urls=[bus_url]), lambda _: None) as bus, open_http() as http:
        await bus.ready()
        keeper = TokenKeeper(
            connector,
            Sender(http).send,
            told.append,
            rng=random.Random(),
            store=JetStreamTokenStore(bus, Names()),
            vault=Vault.of(key),
            wall=lambda: time.time() + skew,
        )
        print("ready", flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            accesses: set[str] = set()

            async def ask(into: set[str]) -> None:
                into.add((await keeper.token()).access)

            async with anyio.create_task_group() as users:
                for _ in range(USERS):
                    users.start_soon(ask, accesses)
            renewals = sum(state.renewal == "renewed" for state in told)
            print(msgspec.json.encode(Got(sorted(accesses), renewals)).decode(), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
