"""The fake Octorate calls its subscribers as the vendor does: a text of JSON inside the JSON, and again until it is taken."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from aiohttp import web

from connectors.sandbox import serve as serving
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from tests.agent.harness import until

pytestmark = pytest.mark.anyio


class Subscriber:
    """Notes what it is told; answers what it has in store, then 200."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []
        self.answers: list[int] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.told.append(await request.json())
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def hears(self, calls: int) -> list[dict[str, object]]:
        await until(lambda: len(self.told) >= calls)
        await anyio.sleep(0.1)  # one too many would come now
        assert len(self.told) == calls
        return self.told


@asynccontextmanager
async def subscribed(*events: str) -> AsyncIterator[tuple[OctorateSandbox, Subscriber]]:
    subscriber, fake = Subscriber(), OctorateSandbox(seed=1)
    runner = web.ServerRunner(web.Server(subscriber.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    subscriber.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    headers = {"Authorization": f"Bearer {fake.tokens.issue()}"}
    async with serve(fake) as url, httpx.AsyncClient(base_url=url, headers=headers) as client:
        for event in events:
            await client.post(f"/rest/v1/subscription/{event}", data={"url": subscriber.url})
        yield fake, subscriber
    await runner.cleanup()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "CALL_AGAIN", (0.02, 0.02))


async def test_each_change_is_told_by_its_own_event_where_that_is_subscribed() -> None:
    async with subscribed("RESERVATION_CREATED", "RESERVATION_CANCELLED") as (fake, subscriber):
        id_ = fake.add()["id"]
        fake.change(id_, {"totalGross": 1})  # nobody has subscribed to changes
        fake.cancel(id_)
        told = sorted(await subscriber.hears(2), key=lambda each: str(each["type"]), reverse=True)
        assert [each["type"] for each in told] == ["RESERVATION_CREATED", "RESERVATION_CANCELLED"]
        assert {each["reference"] for each in told} == {str(id_)}
        content = json.loads(str(told[0]["content"]))
        assert (content["id"], content["accommodation"]) == (id_, {"id": "112696"})


@pytest.mark.parametrize(("answers", "calls"), [([503, 500], 3), ([406], 1), ([503, 503, 503], 3)])
async def test_what_is_not_taken_is_told_again_unless_the_subscriber_wants_no_more(
    answers: list[int], calls: int
) -> None:
    async with subscribed("RESERVATION_CREATED") as (fake, subscriber):
        subscriber.answers = answers
        fake.add()
        await subscriber.hears(calls)
