"""What a real agent delivers, read by others: `standardwebhooks` verifies it, `cloudevents` parses it, for every vendor."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from agent.scenes import acts
from connectors.sandbox.every import FAKES, Fake
from connectors.sandbox.octorate import REFRESH_TOKEN, OctorateSandbox
from connectors.sandbox.serve import serve
from events.jetstream.read import held
from events.signing import generate, generate_pair
from schemas.changes import CATALOGUE
from tests.agent.harness import NAMES, Wire, agent, octorate, reading, until, write_config
from tests.nats import start_nats

pytestmark = pytest.mark.anyio

OLD, NEW, PAIR = generate(), generate(), generate_pair()
RESOURCES = {(vendor, resource) for vendor, of in CATALOGUE.items() for resource in of} | {("octorate", "account")}


class Request(msgspec.Struct):
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def taking() -> AsyncIterator[tuple[str, list[Request]]]:
    """A receiver's address, and what it gets."""
    got: list[Request] = []

    async def take(request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        got.append(Request(request.path, headers, await request.read()))
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(take, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", got
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def account(vendor: str, fake: Fake, url: str) -> Wire:
    every = dict.fromkeys(CATALOGUE[vendor], "1s")
    own = {**fake.account, "base_url": url + fake.account["base_url"]}
    budget = {"requests": 1_000_000, "per": "1m"}
    return {"vendor": vendor, "name": f"of-{vendor}", **own, "every": every, "budget": budget}


def route(name: str, url: str, form: str) -> Wire:
    secrets = [OLD, PAIR.private, NEW]
    webhook = {"url": f"{url}/{name}", "secret": secrets, "format": form, "allow_private": True}
    return {"name": name, "events": ["*.*"], "webhook": webhook}


def told_of(event: Mapping[str, Any]) -> tuple[str, str]:
    return event["vendor"], event["type"].partition(".")[0]


async def delivered(folder: Path) -> tuple[list[Request], dict[str, bytes]]:
    """What two routes of one agent post about all vendors, and the bytes of each event on the bus, by id."""
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(start_nats(folder / "nats"))
        url, got = await stack.enter_async_context(taking())
        fakes = {vendor: make(5, lively=True) for vendor, make in FAKES.items()}
        accounts = [account(v, fake, await stack.enter_async_context(serve(fake.sandbox))) for v, fake in fakes.items()]
        refused = await stack.enter_async_context(serve(OctorateSandbox(seed=3)))
        accounts.append({**octorate("refused", refused), "refresh_token": f"not-{REFRESH_TOKEN}"})
        routes = [route("events", url, "cloudevents"), route("standard", url, "standard")]
        file = write_config(
            folder, bus={"url": nats.url}, accounts=accounts, routes=routes, defaults={"first_sync": "events"}
        )
        await stack.enter_async_context(agent(file))

        def whole(path: str) -> list[Request]:
            return [each for each in got if each.path == path]

        happening = acts(fakes, Random(1))

        def seen() -> bool:
            next(happening)
            told = [json.loads(each.body) for each in whole("/events")]
            return {told_of(each) for each in told} >= RESOURCES and sum(
                "changes" in each["data"] for each in told
            ) >= 5

        await until(seen)
        known = {each.headers["webhook-id"] for each in whole("/events")}
        await until(partial(lambda ids: ids <= {each.headers["webhook-id"] for each in whole("/standard")}, known))
        came = list(got)  # more comes while the stream is read
        bus = await stack.enter_async_context(reading(nats.url))
        kept = {
            json.loads(each.data)["id"]: bytes(each.data)
            async for each in held(bus, NAMES.ledger, [NAMES.events], every=True)
        }
    return came, kept


async def test_others_verify_and_read_what_is_delivered_of_every_vendor(tmp_path: Path) -> None:
    got, kept = await delivered(tmp_path)
    public = Ed25519PublicKey.from_public_bytes(b64decode(PAIR.public.removeprefix("whpk_")))
    read: set[tuple[str, str]] = set()
    for request in got:
        event_id, at = (request.headers[f"webhook-{name}"] for name in ("id", "timestamp"))
        assert Webhook(OLD).verify(request.body, request.headers) == json.loads(request.body)
        assert Webhook(NEW).verify(request.body, request.headers) == json.loads(request.body)
        first, second, third = request.headers["webhook-signature"].split(" ")
        assert [each.partition(",")[0] for each in (first, second, third)] == ["v1", "v1a", "v1"]
        signature = b64decode(second.removeprefix("v1a,"), validate=True)
        public.verify(signature, f"{event_id}.{at}.".encode() + request.body)
        if request.path == "/events":
            assert request.body == kept[event_id]
            read.add(as_cloudevent(request))
        else:
            assert_standard(request, json.loads(kept[event_id]))
    assert read >= RESOURCES


def as_cloudevent(request: Request) -> tuple[str, str]:
    """Parse a body by the rules of CloudEvents' HTTP binding; the vendor and resource it tells of."""
    event = from_structured_event(HTTPMessage(request.headers, request.body), JSONFormat())
    raw = json.loads(request.body)
    assert (event.get_specversion(), event.get_datacontenttype()) == ("1.0", "application/json")
    assert (event.get_id(), event.get_source()) == (request.headers["webhook-id"], raw["source"])
    assert (event.get_type(), event.get_subject(), event.get_data()) == (raw["type"], raw["subject"], raw["data"])
    assert event.get_extension("pollid") == raw["pollid"]
    return event.get_extension("vendor"), str(event.get_type()).partition(".")[0]


def assert_standard(request: Request, event: Mapping[str, Any]) -> None:
    assert request.headers["content-type"] == "application/json"
    expected = {"type": event["type"], "timestamp": event["time"], "data": event["data"]}
    assert json.loads(request.body) == expected
