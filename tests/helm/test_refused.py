"""What the users of `helm/nats/users.conf` may not do: each act is tried on a real server, which refuses it."""

import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.client import Client

from events.jetstream import streams
from events.jetstream.connection import Bus, connect
from events.jetstream.errors import BusRefused
from events.jetstream.options import BusOptions
from events.jetstream.outbox import RouteQueue
from events.routes import ALL as ALL_EVENTS
from schemas.settings import Secret
from tests.agent.harness import NAMES
from tests.agent.past import commit, house
from tests.helm import users
from tests.helm.test_permissions import BUCKETS, STREAMS
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

EVENT = "vendorwire.event.octorate.hotel.booking.created"
TOKEN = "$KV.vendorwire_tokens.hotel"
BORDER = "vendorwire-api.CONSUMER.CREATE.VENDORWIRE"  # where the server itself asks for the copy
ABROAD = (EVENT, TOKEN, "vendorwire.replay.crm", "vendorwire.poll.octorate.hotel.booking", BORDER)

OF_A_STREAM = [
    *("STREAM.DELETE.{}", "STREAM.PURGE.{}", "STREAM.MSG.DELETE.{}", "STREAM.SNAPSHOT.{}", "STREAM.RESTORE.{}"),
    *("STREAM.CREATE.{}", "STREAM.UPDATE.{}", "STREAM.MSG.GET.{}", "DIRECT.GET.{}", "DIRECT.GET.{}.vendorwire.event.x"),
    *(
        "STREAM.LEADER.STEPDOWN.{}",
        "STREAM.PEER.REMOVE.{}",
        "CONSUMER.NAMES.{}",
        "CONSUMER.LIST.{}",
        "CONSUMER.CREATE.{}",
    ),
    *(
        "CONSUMER.CREATE.{}.route-x",
        "CONSUMER.CREATE.{}.route-x.vendorwire.event.>",
        "CONSUMER.DURABLE.CREATE.{}.route-x",
    ),
    *(
        "CONSUMER.INFO.{}.route-x",
        "CONSUMER.DELETE.{}.route-x",
        "CONSUMER.MSG.NEXT.{}.route-x",
        "CONSUMER.PAUSE.{}.route-x",
    ),
    *("CONSUMER.UNPIN.{}.route-x", "CONSUMER.RESET.{}.route-x", "CONSUMER.LEADER.STEPDOWN.{}.route-x"),
]
ACTS = [
    *(
        f"$JS.API.{act.format(stream)}"
        for act, stream in itertools.product(OF_A_STREAM, (*STREAMS, *BUCKETS, "HOTELS"))
    ),
    *(f"$JS.ACK.{stream}.route-x.1.1.1.1.0" for stream in (*STREAMS, *BUCKETS, "HOTELS")),
    *("$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.ACCOUNT.PURGE.X", "$JS.API.META.LEADER.STEPDOWN"),
    *(
        "$JS.SNAPSHOT.RESTORE.VENDORWIRE.x",
        "$JS.SNAPSHOT.ACK.VENDORWIRE.x",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.USER.INFO",
    ),
    *(EVENT, "vendorwire.event.octorate.hotel.booking.deleted", "vendorwire.snapshot.octorate.hotel.booking.1"),
    *("vendorwire.schedule.octorate.hotel.booking", "vendorwire.poll.octorate.hotel.booking", "vendorwire.replay.crm"),
    *("vendorwire.dead.crm", "vendorwire.attempt.crm.000", "vendorwire.other", "vendorwire"),
    *("vendorwire.audit", "vendorwire.history.agent.x", "$KV.vendorwire_signals.hint.hotel"),
    *("$KV.vendorwire_signals.pause.hotel", "$KV.vendorwire_signals.interval.octorate.hotel.booking"),
    *("$KV.vendorwire_lanes.crm.x", "$KV.vendorwire_routes.crm", TOKEN, "$KV.vendorwire_tokens.claim.hotel"),
    *("hotels.event.octorate.hotel.booking.created", "$KV.hotels_tokens.hotel", "ops.alerts", "other.dead", BORDER),
    *("vendorwire-copy.x", "_INBOX.vendorwire.x", "_INBOX.operator.x", "_INBOX.backup.x", "_INBOX.crm.x"),
]
HEARD = [
    *(">", "*", "_INBOX.>", "_INBOX.*", "_INBOX.vendorwire.>", "_INBOX.operator.>", "_INBOX.backup.>", "_INBOX.crm.>"),
    *("vendorwire.>", "vendorwire.event.>", "vendorwire-copy.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$KV.>", "$SYS.>"),
    *("ops.alerts", "crm.dead", "hotels.>"),
]


ALL = (*STREAMS, *BUCKETS)
READ = (*(each for each in STREAMS if each != "VENDORWIRE_POLLS"), *BUCKETS[::2], "KV_vendorwire_signals")
MAY: dict[str, list[tuple[str, Sequence[str]]]] = {
    "agent": [
        ("$JS.API.STREAM.CREATE.{}", ALL),
        ("$JS.API.STREAM.UPDATE.{}", ALL),
        ("$JS.API.STREAM.PURGE.{}", ["VENDORWIRE_POLLS"]),
        ("$JS.API.STREAM.MSG.DELETE.{}", ["KV_vendorwire_tokens"]),
        ("$JS.API.DIRECT.GET.{}", STREAMS[:2]),
        ("$JS.API.STREAM.MSG.GET.{}", [*STREAMS[:3], "VENDORWIRE_HISTORY", *BUCKETS[1:]]),
        *((f"$JS.API.CONSUMER.{verb}.{{}}.route-x", READ) for verb in ("CREATE", "MSG.NEXT")),
        ("$JS.API.CONSUMER.INFO.{}.route-x", ["VENDORWIRE", "VENDORWIRE_REPLAYS"]),
        ("$JS.ACK.{}.route-x.1.1.1.1.0", ["VENDORWIRE", "VENDORWIRE_REPLAYS"]),
        ("vendorwire.event.octorate.hotel.booking.{}", ["created", "deleted"]),
        ("vendorwire.{}", ["snapshot.octorate.hotel.booking.1", "schedule.octorate.hotel.booking"]),
        ("vendorwire.{}", ["dead.crm", "attempt.crm.000", "audit", "history.agent.x"]),
        ("$KV.vendorwire_{}", ["lanes.crm.x", "routes.crm", "tokens.hotel", "tokens.claim.hotel"]),
        ("$KV.vendorwire_signals.{}", ["hint.hotel", "pause.hotel", "interval.octorate.hotel.booking"]),
    ],
    "operator": [
        ("$JS.API.STREAM.CREATE.{}", [each for each in ALL if each != "VENDORWIRE_HISTORY"]),
        ("$JS.API.STREAM.MSG.DELETE.{}", ["VENDORWIRE_DEAD", "KV_vendorwire_tokens"]),
        ("$JS.API.DIRECT.GET.{}", ["VENDORWIRE"]),
        ("$JS.API.STREAM.MSG.GET.{}", [*STREAMS[:3], *BUCKETS[1:3]]),
        *(
            (f"$JS.API.CONSUMER.{verb}.{{}}.route-x", [*STREAMS[:3:2], *STREAMS[4:6], *BUCKETS[::3]])
            for verb in ("CREATE", "MSG.NEXT")
        ),
        *((f"$JS.API.CONSUMER.{verb}.{{}}.route-x", STREAMS[:4:3]) for verb in ("INFO", "DELETE")),
        ("$JS.API.CONSUMER.PAUSE.{}.route-x", ["VENDORWIRE"]),
        ("vendorwire.{}", ["event.octorate.hotel.booking.deleted", "snapshot.octorate.hotel.booking.1", "replay.crm"]),
        ("vendorwire.{}", ["poll.octorate.hotel.booking", "audit"]),
        ("$KV.vendorwire_signals.{}", ["pause.hotel", "interval.octorate.hotel.booking"]),
        ("$KV.vendorwire_{}", ["routes.crm", "tokens.hotel", "tokens.claim.hotel"]),
    ],
    "backup": [
        ("$JS.API.STREAM.SNAPSHOT.{}", [*ALL, "HOTELS"]),
        ("$JS.API.STREAM.RESTORE.{}", [*ALL, "HOTELS"]),
        ("$JS.API.STREAM.{}", ["NAMES", "LIST"]),
        ("$JS.SNAPSHOT.{}.VENDORWIRE.x", ["RESTORE", "ACK"]),
    ],
    "crm": [("$JS.API.CONSUMER.CREATE.{}", ["VENDORWIRE"])],
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with users.started(tmp_path / "nats") as running:
        yield running


@pytest.mark.parametrize("user", MAY)
async def test_whatever_is_not_needed_is_refused(user: str, server: NatsServer) -> None:
    allowed = {act.format(each) for act, some in MAY[user] for each in some}
    assert allowed <= set(ACTS)
    forbidden = {f"publish {act}" for act in set(ACTS) - allowed}
    forbidden |= {f"subscription {subject}" for subject in set(HEARD) - {f"_INBOX.{users.INBOXES[user]}.>"}}
    refused: list[str] = []
    async with users.signed_in(server, user, refused) as client:
        for act in ACTS:
            await client.publish(act, b"{}", reply=client.new_inbox())
        for subject in HEARD:
            await client.subscribe(subject)
        await users.asked(client, "STREAM.INFO.VENDORWIRE")  # answered after all of that
    assert sorted(refused) == sorted(each.lower() for each in forbidden)


@pytest.mark.parametrize("user", ["agent", "admin", None])
async def test_a_wrong_password_and_an_unknown_user_are_refused(user: str | None, server: NatsServer) -> None:
    options = BusOptions(urls=[server.url], user=user, password=Secret("wrong") if user else None)
    async with connect(options, lambda _: None) as bus:
        with pytest.raises(BusRefused, match="refused the credentials"):
            await bus.ready()


class TestSubscriber:
    """A subscriber who means ill has the server send what he reads to wherever he may not publish himself."""

    @pytest.fixture
    async def ledger(self, server: NatsServer) -> AsyncIterator[Bus]:
        """The agent's connection; two events are there, and the copy that subscribers read."""
        sign_in = BusOptions(urls=[server.url], user="agent", password=Secret(users.password("agent")))
        async with connect(sign_in, lambda _: None) as bus:
            await bus.ready()
            await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
            await commit(bus, house("a"), house("b"))
            await users.make_copy(server)
            await users.in_step(server)
            yield bus

    @pytest.mark.parametrize("subject", ABROAD)
    async def test_he_cannot_have_an_answer_stored_with_us(self, subject: str, server: NatsServer, ledger: Bus) -> None:
        before = await told(ledger)
        async with users.signed_in(server, "crm") as crm:
            await crm.publish("$JS.API.STREAM.INFO.VENDORWIRE", reply=subject)
            await crm.publish("$JS.API.CONSUMER.MSG.NEXT.VENDORWIRE.crm", b"2", reply=subject)
            await crm.flush()
            await settled(crm)
        assert await told(ledger) == before

    @pytest.mark.parametrize("subject", ABROAD)
    async def test_he_cannot_have_the_ledger_written_to_our_streams(
        self, subject: str, server: NatsServer, ledger: Bus
    ) -> None:
        before = await told(ledger)
        async with users.signed_in(server, "crm") as crm:
            how = {"deliver_subject": subject, "deliver_policy": "all", "ack_policy": "none"}
            await users.asked(crm, "CONSUMER.CREATE.VENDORWIRE", {"stream_name": "VENDORWIRE", "config": how})
            await settled(crm)
        assert await told(ledger) == before

    async def test_he_cannot_touch_a_routes_consumer_by_naming_his_own_like_it(
        self, server: NatsServer, ledger: Bus
    ) -> None:
        queue = RouteQueue(ledger, NAMES, "crm", ["vendorwire.event.>"], 30, ALL_EVENTS)
        await queue.ensure()
        before = await ledger.api("CONSUMER.INFO.VENDORWIRE.route-crm")
        async with users.signed_in(server, "crm") as crm:
            how = {"name": "route-crm", "deliver_policy": "all", "ack_policy": "explicit"}
            await users.asked(crm, "CONSUMER.CREATE.VENDORWIRE", {"stream_name": "VENDORWIRE", "config": how})
            await settled(crm)
        after = await ledger.api("CONSUMER.INFO.VENDORWIRE.route-crm")
        assert (after["config"], after["created"]) == (before["config"], before["created"])

    async def test_whoever_keeps_the_copy_sees_nothing_else_of_ours(self, server: NatsServer, ledger: Bus) -> None:
        async with users.signed_in(server, "keeper") as keeper:
            assert (await users.asked(keeper, "STREAM.NAMES"))["streams"] == ["CRM_DEAD", "VENDORWIRE"]
            stolen = {
                "name": "STOLEN",
                "sources": [{"name": "KV_vendorwire_tokens", "external": {"api": "vendorwire-api"}}],
            }
            await users.asked(keeper, "STREAM.CREATE.STOLEN", stolen)
            await ledger.publish(TOKEN, b"{}")
            await settled(keeper)
            assert (await users.asked(keeper, "STREAM.INFO.STOLEN"))["state"]["messages"] == 0

    async def test_in_our_own_account_the_server_would_do_it(self, server: NatsServer, ledger: Bus) -> None:
        """Why subscribers have an account of their own. Should this fail one day, the server has learned to look."""
        before = await told(ledger)
        async with users.signed_in(server, "operator") as reader:
            await reader.publish("$JS.API.STREAM.INFO.VENDORWIRE", reply=EVENT)
            await settled(reader)
        assert await told(ledger) != before


async def told(bus: Bus) -> dict[str, Any]:
    """What our streams hold."""
    infos = {name: await bus.api(f"STREAM.INFO.{name}") for name in ALL if name != NAMES.history}
    return {name: (info["state"]["last_seq"], info["state"]["consumer_count"]) for name, info in infos.items()}


async def settled(client: Client) -> None:
    """Whatever was asked before has been carried out."""
    for _ in range(3):
        await users.asked(client, "STREAM.INFO.VENDORWIRE")
        await anyio.sleep(0.1)
