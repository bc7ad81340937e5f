"""The headers that the AsyncAPI document names are those that there are, on a real bus and in a real webhook."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest

from agent import schemata
from agent.configfile import VENDORS
from events.jetstream import streams
from events.jetstream.ledger import JetStreamLedger
from events.jetstream.read import held
from events.ledger import Head, Poll
from schemas.changes import Change, Scope
from schemas.records import Property
from tests.agent.harness import NAMES, reading
from tests.events.receiver import OK, answering, receiver, send, webhook
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 20, 8, 0, tzinfo=UTC)
HTTP_ALONE = {"host", "accept", "content-length"}  # what every request has


def promised(message: str) -> Any:
    """What the document says of a message's headers."""
    return schemata.document(VENDORS)["components"]["messages"][message]["headers"]


async def test_events_and_snapshots_on_the_bus_have_the_headers_that_are_promised(nats: NatsServer) -> None:
    scope, place = Scope("octorate", "hotel", "property"), Property(id="1", name="House")
    made = Change(key="1", version=1, verb="created", before=None, after=place)
    gone = Change(key="1", version=2, verb="deleted", before=place, after=None)
    async with reading(nats.url) as bus:
        await streams.ensure(bus, NAMES, replicas=1, max_bytes=None)
        ledger = JetStreamLedger(bus, NAMES, timedelta(days=30))
        state = await ledger.load(scope)
        seen = []
        for number, change in enumerate((made, gone)):
            await ledger.commit(state, [change], Head(poll_id=f"p{number}", at=NOW), Poll(f"p{number}", NOW))
            seen.append([each async for each in held(bus, NAMES.ledger, [NAMES.snapshot(scope, "1")], every=True)][-1])
        events = [each async for each in held(bus, NAMES.ledger, [NAMES.events], every=True)]
    for message in events:
        fits(promised(f"property.{message.subject.rpartition('.')[2]}"), message.headers)
    for message in seen:
        fits(promised("property.snapshot"), message.headers)
    assert {"Vendorwire-Digest", "Vendorwire-Deleted"} <= seen[0].headers.keys() | seen[1].headers.keys()


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
