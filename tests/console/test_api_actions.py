"""What the console does on the bus, asked of one agent and seen at the other; and what was done by whom."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from agent.commands.failures import IN_DOUBT
from agent.console import acting, refusing
from agent.console.console import GOES_ON, SPARE
from agent.console.watching import FIRST_LOOK
from connectors.sandbox.octorate import OctorateSandbox
from connectors.sandbox.serve import serve
from events.jetstream.outbox import dead_count, dead_letters
from tests.agent.harness import (
    NAMES,
    Receiver,
    agent,
    events_on,
    fine,
    hotel,
    octorate,
    reading,
    ready,
    receiving,
    synced,
    until,
    webhook,
    write_config,
)
from tests.console.desk import configured, filled, serving
from tests.console.looking import Looker, looking
from tests.console.scene import GONE, TOKEN, scene
from tests.nats import NatsServer

pytestmark = pytest.mark.anyio


async def test_dead_letters_are_replayed_and_dropped_and_held_deletes_approved(tmp_path: Path) -> None:
    async with (
        scene(tmp_path, lively=False) as there,
        reading(there.nats.url) as bus,
        looking(there.urls[0], TOKEN) as a,
        looking(there.urls[1]) as b,
    ):

        async def two_are_dead() -> bool:
            return int((await a.get("/dead?route=billing"))["total"]) >= 2

        await until(two_are_dead)
        await dead_ones(there.bad, a, b)

        async def are_held() -> bool:
            return bool((await a.get("/deletes"))["held"])

        await until(are_held)
        done = await a.act("/deletes/college/student/approve")
        assert done == f"{GONE} deletes of powerpro/college/student published."
        told = [event.type for event in await events_on(bus)]
        assert told.count("student.deleted") == GONE

        async def are_gone_there() -> bool:
            return not (await b.get("/deletes"))["held"]

        await until(are_gone_there)
        status, answer = await a.ask("POST", "/api/deletes/college/student/approve")
        assert (status, "no deletes of powerpro/college/student are held") == (409, answer["error"].strip("."))
        acts = {(each["act"], each["target"]): each for each in (await a.get("/audit"))["acts"]}
        approved = acts["approve deletes", "college student"]
        assert approved["who"].startswith("session ")
        assert approved["from"] == "127.0.0.1"
        refused = [each for each in (await a.get("/audit"))["acts"] if each["outcome"] == "failed"]
        assert len(refused) == 2


async def dead_ones(bad: Receiver, a: Looker, b: Looker) -> None:
    first, second = (await a.get("/dead?route=billing&limit=2"))["dead"]
    bad.answer = lambda _: web.Response()
    sent = len(bad.got)
    assert await a.act("/dead/replay", {"ids": [first["id"]]}) == "1 dead letter to be delivered again."
    await until(lambda: any(got.id == first["event_id"] for got in bad.got[sent:]))
    assert await a.act("/dead/drop", {"ids": [second["id"]]}) == "1 dead letter dropped."
    (dropped, replayed, *_) = (await b.get("/audit"))["acts"]
    assert (dropped["act"], dropped["target"]) == ("drop dead letters", second["event_id"])
    assert (replayed["act"], replayed["target"]) == ("replay dead letters", first["event_id"])
    left = {each["id"] for each in (await b.get("/dead"))["dead"]}
    assert not {first["id"], second["id"]} & left
    assert (await b.ask("GET", f"/api/dead/{second['id']}"))[0] == 404
    status, answer = await a.ask("POST", "/api/dead/drop", {"ids": [second["id"]]})
    assert (status, "there is no dead letter" in answer["error"]) == (404, True)


async def test_a_poll_is_asked_for_a_route_resumed_and_the_past_delivered_again(
    tmp_path: Path, nats: NatsServer
) -> None:
    vendor = hotel()
    async with serve(vendor) as url, receiving() as receiver:
        hour = {"booking": "1h", "property": "1h"}
        config = write_config(
            tmp_path,
            bus={"url": nats.url},
            accounts=[octorate("hotel", url, every=hour)],
            routes=[webhook("crm", receiver.url)],
            http={"listen": "127.0.0.1:0", "admin_token": TOKEN},
        )
        async with agent(config) as process, reading(nats.url) as bus:
            await ready(process)
            await synced(process)
            async with looking(f"http://{await process.address()}", TOKEN) as me:
                await poll_now(me, vendor, receiver)
                await replay(me, receiver)
                await signal(me, vendor, receiver)
                await resume(me, vendor, receiver)
                await nonsense(me)
                assert [letter async for letter in dead_letters(bus, NAMES)] == []


async def poll_now(me: Looker, vendor: OctorateSandbox, receiver: Receiver) -> None:
    vendor.add()
    assert await me.act("/accounts/hotel/booking/poll") == "A poll of octorate/hotel/booking was asked for."
    await until(lambda: len(receiver.got) == 1)
    assert (await me.get("/audit"))["acts"][0]["detail"] == "A poll of octorate/hotel/booking was asked for."


async def replay(me: Looker, receiver: Receiver) -> None:
    since = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0).isoformat()
    told = f"since {since.replace('+00:00', 'Z')}"
    done = await me.act("/routes/crm/replay", {"since": since})
    assert done == f"1 event handed to crm to be delivered again, {told}."
    assert (await me.get("/audit"))["acts"][0]["detail"] == done
    await until(lambda: len(receiver.got) == 2)
    assert receiver.got[0].id == receiver.got[1].id
    none = await me.act("/routes/crm/replay", {"since": since, "events": ["booking.cancelled"]})
    assert none == f"0 events handed to crm to be delivered again, {told}, only booking.cancelled."
    wrong = {"since": since, "until": "2020-01-01T00:00:00Z"}
    assert (await me.ask("POST", "/api/routes/crm/replay", wrong))[0] == 409
    assert (await me.get("/audit"))["acts"][0]["detail"].endswith(f"; events {told} until 2020-01-01T00:00:00Z")
    assert (await me.ask("POST", "/api/routes/crm/replay", {"since": since, "events": ["device.*"]}))[0] == 409
    assert (await me.ask("POST", "/api/routes/crm/replay", {"since": since, "events": ["booking"]}))[0] == 400
    assert (await me.ask("POST", "/api/routes/crm/replay", {"since": "2020-01-01T00:00:00"}))[0] == 400


async def signal(me: Looker, vendor: OctorateSandbox, receiver: Receiver) -> None:
    """Pause, resume, another interval, from the beginning, and back to a time: each is seen, and done."""
    assert (await me.act("/accounts/hotel/pause", {"for": "2h"})).startswith("hotel is paused until 20")

    async def is_paused() -> bool:
        (account,) = (await me.get("/overview?state=any"))["accounts"]
        return bool(account["paused"])

    await until(is_paused)
    (account,) = (await me.get("/overview?state=paused"))["accounts"]
    assert account["paused"]["by"].startswith("session ")
    assert account["paused"]["until"] > account["paused"]["since"]
    status, answer = await me.ask("POST", "/api/accounts/hotel/booking/poll")
    assert (status, answer["error"]) == (409, "hotel is paused: resume it first")
    vendor.add()
    before = len(receiver.got)
    assert await me.act("/accounts/hotel/resume") == "hotel is polled again."
    await until(lambda: len(receiver.got) == before + 1)

    await me.act("/accounts/hotel/booking/interval", {"every": "1s"})

    async def is_quick() -> bool:
        return bool((await me.resource("hotel", "booking"))["interval"] == 1)

    await until(is_quick)
    vendor.add()
    await until(lambda: len(receiver.got) == before + 2)
    await me.act("/accounts/hotel/booking/interval", {"every": None})
    assert "read anew" in await me.act("/accounts/hotel/booking/rebaseline", {"events": False})
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    done = await me.ask("POST", "/api/accounts/hotel/booking/rewind", {"to": since})
    assert done[0] in {200, 409}, done  # it may be read whole at this moment, and has no cursor then
    for path, body in (("interval", {"every": "1000d"}), ("rewind", {"to": "1990-01-01T00:00:00Z"})):
        assert (await me.ask("POST", f"/api/accounts/hotel/booking/{path}", body))[0] == 409
    assert len(receiver.got) == before + 2


async def resume(me: Looker, vendor: OctorateSandbox, receiver: Receiver) -> None:
    assert await me.act("/routes/crm/resume") == "crm does not rest: there is nothing to resume."
    receiver.answer = lambda _: web.Response(status=410)
    vendor.add()
    await me.act("/accounts/hotel/booking/poll")

    async def is_stopped() -> bool:
        return bool((await me.route("crm"))["circuit"] == "stopped")

    await until(is_stopped)
    troubles = {each["where"]: each for each in (await me.get("/overview"))["troubles"]}
    assert troubles["route crm"]["what"].startswith("stopped: ")
    assert "resume the route" in troubles["route crm"]["do"]
    receiver.answer = fine
    assert (await me.act("/routes/crm/resume")).startswith("crm is tried again with one event")

    async def is_closed() -> bool:
        return bool((await me.route("crm"))["circuit"] == "closed")

    await until(is_closed)


async def nonsense(me: Looker) -> None:
    """What is not there, or not as it must be, is refused with a sentence."""
    for path, body, status in (
        ("/accounts/nobody/booking/poll", None, 404),
        ("/accounts/hotel/nothing/poll", None, 404),
        ("/accounts/hotel/booking/poll", {"more": 1}, 400),
        ("/routes/nothing/resume", None, 404),
        ("/routes/crm/replay", {"since": "0001-01-01T00:00:00+14:00"}, 400),
        ("/dead/drop", {}, 409),
        ("/dead/drop", {"ids": ["1"], "route": "crm"}, 409),
        ("/dead/drop", {"ids": ["one"]}, 400),
        ("/dead/drop", {"ids": ["99"]}, 404),
        ("/dead/replay", {"route": "*"}, 400),
        ("/deletes/hotel/booking/approve", None, 409),
    ):
        told, answer = await me.ask("POST", f"/api{path}", body)
        assert (told, bool(answer["error"])) == (status, True), path


async def test_what_was_begun_is_ended_though_the_reader_has_left(tmp_path: Path, nats: NatsServer) -> None:
    config = configured(tmp_path, routes=[webhook("crm", "http://127.0.0.1:1/x")])
    async with filled(nats.url) as bus, serving(config, bus) as url:
        for number in range(400):
            await bus.publish(NAMES.dead_letter("crm"), b"{}", {"Vendorwire-Event-Id": str(number)})
        headers = {"Authorization": f"Bearer {TOKEN}"}
        hasty = aiohttp.ClientTimeout(total=0.1)
        async with aiohttp.ClientSession(headers=headers, timeout=hasty) as session:
            with pytest.raises(TimeoutError):
                await session.post(f"{url}/api/dead/drop", json={"route": "crm"})

        async def all_are_gone() -> bool:
            return await dead_count(bus, NAMES) == {}

        assert not await all_are_gone()
        await until(all_are_gone)
        async with looking(url) as looker:

            async def is_audited() -> bool:
                acts = (await looker.get("/audit"))["acts"]
                return [each["detail"] for each in acts] == ["400 dead letters dropped."]

            await until(is_audited)


async def test_of_more_dead_letters_than_go_at_once_it_is_said_how_many_remain(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "MOST", 3)
    config = configured(tmp_path, routes=[webhook("crm", "http://127.0.0.1:1/x")])
    async with filled(nats.url) as bus, serving(config, bus) as url, looking(url, TOKEN) as me:
        await bus.publish_many([(NAMES.dead_letter("crm"), b"{}")] * 8)
        rest = "of crm remain: ask again, or use `vendorwire dead`."
        assert await me.act("/dead/drop", {"route": "crm"}) == f"3 dead letters dropped; 5 more {rest}"
        assert await me.act("/dead/replay", {"route": "crm"}) == f"3 dead letters to be delivered again; 2 more {rest}"
        assert await me.act("/dead/drop", {"route": "crm"}) == "2 dead letters dropped."


async def test_what_takes_longer_than_an_answer_is_said_to_go_on_and_the_audit_tells_its_end(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusing, "WITHIN", SPARE + 0.1)
    config = configured(tmp_path, routes=[webhook("crm", "http://127.0.0.1:1/x")])
    async with filled(nats.url) as bus, serving(config, bus) as url, looking(url) as looker:
        await bus.publish_many([(NAMES.dead_letter("crm"), b"{}")] * 400)
        told = await looker.ask("POST", "/api/dead/drop", {"route": "crm"}, Authorization=f"Bearer {TOKEN}")
        assert told == (202, {"under_way": GOES_ON})

        async def is_audited() -> bool:
            acts = (await looker.get("/audit"))["acts"]
            return [(each["detail"], each["outcome"]) for each in acts] == [("400 dead letters dropped.", "done")]

        await until(is_audited)


async def test_while_the_bus_is_away_the_last_picture_is_shown_with_its_time_and_nothing_hangs(
    tmp_path: Path, nats: NatsServer
) -> None:
    vendor = hotel()
    async with serve(vendor) as url:
        config = write_config(
            tmp_path,
            bus={"url": nats.url},
            accounts=[octorate("hotel", url)],
            http={"listen": "127.0.0.1:0", "admin_token": TOKEN},
        )
        async with agent(config) as process:
            await ready(process)
            await synced(process)
            async with looking(f"http://{await process.address()}", TOKEN) as me:
                with anyio.fail_after(FIRST_LOOK / 2):  # whoever opens the page does not wait for readers that have all
                    before = await me.get("/overview")
                stream = me.live("?only=changes")
                vendor.add()
                first = await change(stream)
                nats.kill()

                async def is_told() -> bool:
                    return not (await me.get("/overview"))["bus"]["connected"]

                await until(is_told)
                shown = await me.get("/overview")
                assert shown["accounts"][0]["resources"][0]["records"] > 0
                assert before["as_of"] <= shown["as_of"] <= shown["at"]
                assert shown["troubles"][0]["where"] == "the bus"
                for path in ("/events", "/dead", "/audit", "/history?of=polls", "/events/50a07736"):
                    status, answer = await me.ask("GET", f"/api{path}")
                    assert (status, bool(answer["error"])) == (503, True), path
                status, answer = await me.ask("POST", "/api/accounts/hotel/booking/poll")
                assert status == 503
                nats.restart()
                vendor.add()
                second = await change(stream)
                assert second > first  # the same stream goes on, and leaves nothing out
                await stream.aclose()


async def test_a_bus_that_hangs_makes_no_figure_look_new_and_of_what_it_was_asked_to_do_nobody_says_that_it_failed(
    tmp_path: Path, nats: NatsServer
) -> None:
    config = configured(tmp_path)
    async with filled(nats.url) as bus, serving(config, bus) as url, looking(url, TOKEN) as me:
        await me.get("/overview")
        told: list[tuple[int, Any]] = []

        async def pause() -> None:
            told.append(await me.ask("POST", "/api/accounts/hotel/pause"))

        nats.pause()
        async with anyio.create_task_group() as group:
            group.start_soon(pause)
            try:
                await anyio.sleep(7)  # longer than a reader waits before it looks up, and an action for an answer
                shown = await me.get("/overview")
            finally:
                nats.resume()
        ((status, answer),) = told
        assert status == 504
        assert answer["error"].startswith(f"{IN_DOUBT} (no answer on ")

        async def is_paused() -> bool:
            return bool((await me.get("/overview?state=paused"))["accounts"])

        await until(is_paused)  # it was done
        act = (await me.get("/audit"))["acts"][0]
        assert (act["act"], act["outcome"], act["detail"]) == ("pause", "unknown", answer["error"])
    age = datetime.fromisoformat(shown["at"]) - datetime.fromisoformat(shown["as_of"])
    assert age > timedelta(seconds=6)


async def change(stream: AsyncGenerator[tuple[str, str, Any], None]) -> int:
    async for kind, number, _ in stream:
        if kind == "change":
            return int(number)
    raise AssertionError("the stream has ended")
