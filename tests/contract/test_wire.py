"""The headers that the AsyncAPI document names are those that there are, on a real bus and in a real webhook."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from nats.aio.msg import Msg

from agent import schemata
from agent.configfile import VENDORS
from agent.receivers import SubjectReceiver
from events.jetstream import streams
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.read import held
from events.ledger import Head, Poll
from schemas.changes import Change, Scope
from schemas.records import Property
from tests.agent.harness import NAMES, reading, until
from tests.events.receiver import OK, answering, receiver, send, webhook
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
HTTP_ALONE = {"host", "accept", "content-length"}  # what every request has


def promised(message: str) -> Any:
    """What the document says of a message's headers."""
    return schemata.document(VENDORS)["components"]["messages"][message]["headers"]


async def test_events_and_snapshots_on_the_bus_have_the_headers_that_are_promised(nats: NatsServer) -> None:
    scope, place = Scope("octorate", "hotel", "property"), Property(id="a 1", name="House")
    made = Change(key="a 1", version=1, verb="created", before=None, after=place)
    gone = Change(key="a 1", version=2, verb="deleted", before=place, after=None)
    async with reading(nats.url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        ledger = JetStreamLedger(bus, NAMES, timedelta(days=30))
        state = await ledger.load(scope)
        seen = []
        for number, change in enumerate((made, gone)):
            await ledger.commit(state, [change], Head(poll_id=f"p{number}", at=NOW), Poll(f"p{number}", NOW))
            seen.append(
                [each async for each in held(bus, NAMES.ledger, [NAMES.snapshot(scope, "a 1")], every=True)][-1]
            )
        events = [each async for each in held(bus, NAMES.ledger, [NAMES.events], every=True)]
    for message in events:
        fits(promised(f"property.{message.subject.rpartition('.')[2]}"), message.headers)
        assert (message.headers["Vendorwire-Key"], message.headers["Nats-TTL"]) == ("a%201", "2592000")
    for version, message in enumerate(seen, 1):
        fits(promised("property.snapshot"), message.headers)
        assert (message.headers["Vendorwire-Version"], message.headers["Vendorwire-Schema"]) == (str(version), "1")
    assert {"Vendorwire-Digest", "Vendorwire-Deleted"} <= seen[0].headers.keys() | seen[1].headers.keys()


async def test_what_a_route_publishes_to_a_subject_has_the_headers_that_are_promised(nats: NatsServer) -> None:
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    async with reading(nats.url) as bus:
        await bus.subscribe("ops.bookings", hear)
        await SubjectReceiver("ops.bookings", bus).send(b"{}", event_id="e-1", attempt=2)
        await until(lambda: bool(heard))
    headers = dict(heard[0].headers or {})
    fits(promised("republished"), headers)
    assert headers == {
        "Nats-Msg-Id": "e-1",
        "Content-Type": "application/cloudevents+json",
        "Vendorwire-Attempt": "2",
    }


@pytest.mark.parametrize(("form", "message"), [("cloudevents", "webhook"), ("standard", "webhook.standard")])
async def test_a_webhook_has_the_headers_that_are_promised(form: str, message: str) -> None:
    body = json.dumps(schemata.examples()["booking.cancelled"]).encode()
    async with receiver(answering(OK)) as there:
        await send(webhook(there.port, format=form), body)
    fits(promised(message), {name: value for name, value in there.headers().items() if name not in HTTP_ALONE})


def fits(schema: Any, headers: dict[str, str]) -> None:
    """Each that is promised is there, and no other but those of the server and of the batch."""
    jsonschema.Draft202012Validator(schema).validate(headers)
    own = {name for name in headers if not name.startswith("Nats-") or name in schema["properties"]}
    assert own <= schema["properties"].keys()
