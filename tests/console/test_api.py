"""The console's API over four living vendors and two agents: what any of them shows, and that it can be believed."""

from functools import partial
from pathlib import Path

import pytest

from agent.console.masking import MASK
from tests.agent.harness import until
from tests.console.looking import Looker, looking
from tests.console.scene import GONE, TOKEN, VENDORS, scene

pytestmark = pytest.mark.anyio


async def test_either_agent_shows_all_accounts_routes_and_agents_and_what_is_wrong_first(tmp_path: Path) -> None:
    async with scene(tmp_path) as there, looking(there.urls[0]) as a, looking(there.urls[1]) as b:

        async def all_is_there() -> bool:
            shown = await a.get("/overview")
            told = " ".join(f"{each['where']}: {each['what']}" for each in shown["troubles"])
            wanted = (f"college student: {GONE} deletes held", "college course", "route billing", "dead letter")
            return all(each in told for each in wanted) and len(shown["agents"]) == 2

        await until(all_is_there)
        for looker in (a, b):
            await check_overview(looker)
            await check_lists(looker)
        await check_events(a, b)
        await check_stories(a, b)
        await check_live(a)


async def check_overview(looker: Looker) -> None:
    shown = await looker.get("/overview")
    assert {account["account"] for account in shown["accounts"]} == set(VENDORS.values())
    assert shown["accounts"][0]["account"] == "college"  # the worst first
    assert shown["accounts_total"] == shown["counts"]["accounts"] == 4
    for account in shown["accounts"]:
        assert (account["status"], account["token"]["healthy"], account["paused"]) == ("ok", True, None)
        for resource in account["resources"]:
            assert resource["age"] < 60
            assert resource["polling"] or resource["next_poll"] > resource["last_success"]
            assert sum(resource["spark"]) >= 0
            assert len(resource["spark"]) == len(resource["spark_failed"]) == 30
    assert {agent["version"] for agent in shown["agents"]}
    assert len({agent["agent"] for agent in shown["agents"]}) == 2
    assert shown["bus"]["connected"]
    assert {each["stream"] for each in shown["bus"]["streams"]} >= {"VENDORWIRE", "VENDORWIRE_HISTORY"}
    routes = {each["route"]: each for each in shown["routes"]}
    assert (routes["crm"]["to"], routes["ops"]["to"]) == ("127.0.0.1", "subject ops.alerts")
    assert routes["billing"]["dead"] > 0
    assert routes["billing"]["last_error"] == "answered 500"
    page = await looker.get("/overview?accounts=1,2&q=O")
    assert (page["accounts_total"], len(page["accounts"])) == (4, 2)
    assert [each["account"] for each in (await looker.get("/overview?state=bad"))["accounts"]] == ["college"]


async def check_lists(looker: Looker) -> None:
    (held,) = (await looker.get("/deletes"))["held"]
    assert (held["account"], held["resource"], held["count"], len(held["keys"])) == ("college", "student", GONE, GONE)
    quarantined = (await looker.get("/quarantine"))["records"]
    assert {(each["account"], each["resource"]) for each in quarantined} == {("college", "course")}
    assert all(each["key"] and "at $." in each["path"] for each in quarantined)
    dead = (await looker.get("/dead?route=billing&limit=2"))["dead"]
    assert len(dead) == 2
    assert {(each["route"], each["reason"], each["attempts"]) for each in dead} == {("billing", "answered 500", 2)}
    assert (await looker.get("/dead?route=crm"))["total"] == 0
    await until(partial(shows_something, looker, "polls&account=college"))
    chart = await looker.get("/history?of=polls&hours=1&account=college")
    assert [each["name"] for each in chart["series"]] == ["succeeded", "failed"]
    assert all(len(each["values"]) == 60 for each in chart["series"])
    for of in ("changes", "deliveries", "lag", "requests"):
        await until(partial(shows_something, looker, of))


async def shows_something(looker: Looker, of: str) -> bool:
    series = (await looker.get(f"/history?of={of}&hours=1"))["series"]
    return sum(value or 0 for each in series for value in each["values"]) > 0


async def check_events(a: Looker, b: Looker) -> None:
    newest = (await a.get("/events?limit=40"))["events"]
    numbers = [each["seq"] for each in newest]
    assert numbers == sorted(numbers, reverse=True)
    before = (await b.get(f"/events?limit=10&before={numbers[4]}"))["events"]
    assert before == newest[5:15]
    for which in ("vendor=powerpro", "account=college", "resource=course", "vendor=powerpro&change=modified"):
        found = (await a.get(f"/events?{which}&limit=5"))["events"]
        assert found
        assert all(each["event"]["vendor"] == "powerpro" for each in found)


async def check_stories(a: Looker, b: Looker) -> None:
    letter = (await a.get("/dead?route=billing&limit=1"))["dead"][0]
    whole = await b.get(f"/dead/{letter['id']}")
    assert whole["event_id"] == letter["event_id"] == whole["body"]["id"]

    async def is_told() -> bool:  # attempts are written a moment after the letter
        story = await a.get(f"/events/{letter['event_id'][:8]}")
        (billing,) = (each for each in story["routes"] if each["route"] == "billing")
        assert (story["id"], billing["state"], billing["dead"]["id"]) == (letter["event_id"], "dead", letter["id"])
        return len(billing["attempts"]) == 2

    await until(is_told)


async def check_live(looker: Looker) -> None:
    first = await looker.hear("change", 2, "?only=changes")
    again = await looker.hear("change", 1, "?only=changes", Last_Event_ID=first[0][0])
    assert again[0] == first[1]  # nothing is left out between two readings
    ((_, overview),) = await looker.hear("overview", 1, "?only=overview&accounts=0,1")
    assert (len(overview["accounts"]), overview["accounts_total"]) == (1, 4)
    ((number, told),) = await looker.hear("change", 1, "?vendor=powerpro")
    assert (told["event"]["vendor"], number) == ("powerpro", str(told["seq"]))


async def test_personal_data_is_masked_until_it_is_asked_for(tmp_path: Path) -> None:
    async with (
        scene(tmp_path, agents=1) as there,
        looking(there.urls[0]) as nobody,
        looking(there.urls[0], TOKEN) as me,
    ):

        async def has_booking() -> bool:
            return bool((await nobody.get("/events?resource=booking&vendor=octorate&change=created"))["events"])

        await until(has_booking)
        path = "/events?resource=booking&vendor=octorate&change=created&limit=1"
        seen = (await nobody.get(path))["events"][0]["event"]
        told = (await me.get(path + "&reveal=true"))["events"][0]["event"]
        assert set(seen["data"]["record"]["guest"].values()) == {MASK}
        assert set(told["data"]["record"]["guest"].values()) != {MASK}
        assert told["data"]["record"]["guest"].keys() == seen["data"]["record"]["guest"].keys()
        assert seen["data"]["record"]["arrival"] == told["data"]["record"]["arrival"]
        story = f"/events/{told['id']}"
        for looker, shown in ((nobody, seen), (me, seen)):
            assert (await looker.get(story))["event"]["data"] == shown["data"]
        assert (await me.get(f"{story}?reveal=true"))["event"]["data"] == told["data"]
        assert (await nobody.ask("GET", f"/api{story}?reveal=true"))[0] == 401
        assert (await nobody.ask("GET", f"/api{path}&reveal=true"))[0] == 401
        acts = (await me.get("/audit"))["acts"]
        assert [each["act"] for each in acts[:3]] == ["reveal", "reveal", "sign in"]
        assert acts[1]["detail"] == "resource booking, vendor octorate, change created, limit 1"
        assert acts[0]["who"].startswith("session ")
        assert acts[0]["from"] == "127.0.0.1"
