"""Three real nats-servers that form a cluster, with ways to hurt it.

async with clustered(tmp_path) as cluster:
    ...  # cluster.urls; cluster.of("n1").kill(); await until(cluster.is_whole)
"""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from events.jetstream.connection import Bus
from events.jetstream.errors import BusError
from tests.agent.harness import Wire, reading
from tests.nats import NatsServer

SERVERS = ("n1", "n2", "n3")


@contextmanager
def reserved(count: int) -> Iterator[list[int]]:
    """Ports of our own: bound and not listened on, nobody else is given them, and a server that is told one may listen there."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]


class Cluster:
    """The servers by name; ports and data stay the same over a restart."""

    def __init__(self, servers: dict[str, NatsServer]) -> None:
        self._servers = servers

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self._servers.values()]

    def of(self, name: str) -> NatsServer:
        return self._servers[name]

    def others(self, *names: str) -> list[NatsServer]:
        """All but these."""
        return [server for name, server in self._servers.items() if name not in names]

    async def leader(self, stream: str) -> str:
        async with reading(self.urls[0]) as bus:
            return str((await bus.api(f"STREAM.INFO.{stream}"))["cluster"]["leader"])

    async def is_whole(self) -> bool:
        """Whether each stream and consumer has a leader whose replicas are all there and up to date."""
        try:
            async with reading(self.urls[0]) as bus:
                groups = [each["cluster"] for each in await replicated(bus)]
        except BusError:
            return False
        return all(
            group.get("leader") and all(each["current"] and not each.get("offline") for each in group["replicas"])
            for group in groups
        )

    def kill(self) -> None:
        for server in self._servers.values():
            server.kill()


async def replicated(bus: Bus) -> list[Wire]:
    """What the server says of each of our streams and of its durable consumers."""
    found = []
    for stream in (await bus.api("STREAM.LIST"))["streams"]:
        name = stream["config"]["name"]
        consumers = (await bus.api(f"CONSUMER.LIST.{name}"))["consumers"]
        found += [stream, *(each for each in consumers if "durable_name" in each["config"])]
    return found


def _config(folder: Path, name: str, port: int, routes: list[int]) -> str:
    """As operations.md has it for three replicas: `sync_interval` is the server's own."""
    listed = ", ".join(f'"nats://127.0.0.1:{each}"' for each in routes)
    return "\n".join(
        [
            f"server_name: {name}",
            f"jetstream {{ store_dir: {json.dumps(str(folder / name / 'jetstream'))} }}",
            f'cluster {{ name: faults, listen: "127.0.0.1:{port}", routes: [{listed}] }}',
        ]
    )


@asynccontextmanager
async def clustered(folder: Path) -> AsyncIterator[Cluster]:
    """A cluster that has chosen its leader."""
    with reserved(2 * len(SERVERS)) as ports:
        clients, routes = ports[: len(SERVERS)], ports[len(SERVERS) :]
        servers = {
            name: NatsServer(folder / name, client, _config(folder, name, route, routes), jetstream=False)
            for name, client, route in zip(SERVERS, clients, routes, strict=True)
        }
        cluster = Cluster(servers)
        try:
            for server in servers.values():
                server.start()
            async with reading(cluster.urls[0]):
                yield cluster
        finally:
            cluster.kill()
