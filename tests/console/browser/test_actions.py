"""Whatever can be done from the page: it asks first, says what will happen, does it at real agents, and is written down."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.agent.harness import fine, until
from tests.console.browser.page import browsing, go, looking_at
from tests.console.browser.stand_in import standing_in
from tests.console.looking import Looker, looking
from tests.console.scene import GONE, TOKEN, Scene, scene

pytestmark = pytest.mark.anyio


async def test_a_signed_in_operator_acts_on_real_agents_from_the_page(tmp_path: Path) -> None:
    async with (
        scene(tmp_path, agents=1, lively=False) as there,
        looking(there.urls[0]) as looker,
        browsing() as browser,
        looking_at(browser, there.urls[0], refused=True) as page,
    ):
        await until_all_is_wrong(looker)
        await check_sign_in(page, there)
        await check_reveal(page, looker)
        await check_dead_letters(page, looker, there)
        await check_deletes(page, looker)
        await check_accounts(page, looker)
        await check_audit(page)


async def until_all_is_wrong(looker: Looker) -> None:
    async def all_is_there() -> bool:
        counts = (await looker.get("/overview"))["counts"]
        return bool(counts["dead"] >= 3 and counts["held"])

    await until(all_is_there)


async def check_sign_in(page: Page, there: Scene) -> None:
    """Whoever wants to act is asked who he is, told when it was wrong, and comes back to where he was."""
    await go(page, "accounts/college")
    await page.get_by_role("button", name="Pause…").click()
    await page.get_by_label("Admin token").fill("not it")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert").filter(has_text="not the admin token")).to_be_visible()
    await page.get_by_label("Admin token").fill(there.token)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("college")
    assert TOKEN not in str(
        await page.evaluate("[document.cookie, localStorage, sessionStorage, document.body.innerHTML]")
    )


async def check_reveal(page: Page, looker: Looker) -> None:
    """Names are masked until they are asked for."""
    events = (await looker.get("/events?account=hotel-roma&limit=20"))["events"]
    event = next(each["event"] for each in events if each["event"]["data"]["record"].get("guest"))
    await go(page, f"events/{event['id']}")
    await page.evaluate("document.querySelectorAll('main details').forEach(each => { each.open = true })")
    masked = await page.locator("main .sides").all_inner_texts()
    await page.get_by_role("button", name="Show personal data").click()
    await expect(page.get_by_role("button", name="Mask personal data")).to_have_attribute("aria-pressed", "true")
    await until(lambda: _differ(page, masked))


async def _differ(page: Page, before: list[str]) -> bool:
    now = await page.locator("main .sides").all_inner_texts()
    return bool(now) and now != before


async def check_dead_letters(page: Page, looker: Looker, there: Scene) -> None:
    """One is dropped, the others go to a receiver that is well again."""
    await go(page, "dead")
    rows = page.get_by_role("table", name="Dead letters").locator("tbody tr")
    before = await rows.count()
    await rows.first.get_by_role("button", name="Drop").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("will never get these events from here. This cannot be undone.")
    await dialog.get_by_role("button", name="Cancel").click()
    assert (await looker.get("/dead"))["total"] == before
    await rows.first.get_by_role("button", name="Drop").click()
    await dialog.get_by_role("button", name="Drop for good").click()
    await expect(rows).to_have_count(before - 1)
    there.bad.answer = fine
    got = len(there.bad.got)
    await page.get_by_role("combobox", name="Route").select_option("billing")
    await page.get_by_role("button", name="Replay all of billing").click()
    await dialog.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("None: everything was delivered")).to_be_visible()
    await until(lambda: len(there.bad.got) >= got + before - 1)


async def check_deletes(page: Page, looker: Looker) -> None:
    await go(page, "deletes")
    await page.get_by_role("button", name="Approve the deletes of college student").click()
    dialog = page.get_by_role("dialog", name=f"Delete {GONE} records of college student?")
    await dialog.get_by_role("button", name="Delete them").click()
    await expect(page.get_by_role("status").filter(has_text="delete")).to_be_visible()

    async def told() -> bool:
        events = (await looker.get("/events?account=college&change=deleted"))["events"]
        return len(events) == GONE

    await until(told)


async def check_accounts(page: Page, looker: Looker) -> None:
    await go(page, "accounts/college")
    await page.get_by_role("button", name="Poll course of college now").click()
    await expect(page.locator(".said p.good")).to_be_visible()
    await page.get_by_role("button", name="Pause…").click()
    await page.get_by_role("combobox", name="For how long").select_option("2 hours")
    await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    await expect(page.locator(".facts")).to_contain_text("paused")
    await expect(page.locator(".facts")).to_contain_text("until")
    await page.get_by_role("button", name="Resume college").click()
    await expect(page.get_by_role("button", name="Pause…")).to_be_visible()
    await page.get_by_role("button", name="Change how often course of college is polled").click()
    await page.get_by_label("Every", exact=True).fill("7s")
    await page.get_by_role("dialog").get_by_role("button", name="Set").click()
    await expect(page.locator(".resources").get_by_text("every 7 s")).to_be_visible()
    assert (await looker.resource("college", "course"))["interval"] == 7


async def check_audit(page: Page) -> None:
    await go(page, "audit")
    acts = page.get_by_role("table", name="Actions")
    for did in ("interval", "pause", "resume", "poll", "approve", "replay", "drop", "reveal", "sign in"):
        await expect(acts.get_by_role("cell").filter(has_text=did).first).to_be_visible()
    await expect(acts.get_by_role("rowheader").first).to_contain_text("session ")


CHOICES: dict[str, list[tuple[str, dict[str, str] | None, str, dict[str, object]]]] = {
    "accounts/hotel-roma": [
        ("Pause…", {"For how long": "8h"}, "/api/accounts/hotel-roma/pause", {"for": "8h"}),
        (
            "Re-baseline booking of hotel-roma",
            {"What is different is": "yes"},
            "/api/accounts/hotel-roma/booking/rebaseline",
            {"events": True},
        ),
        ("Re-baseline property of hotel-roma", {}, "/api/accounts/hotel-roma/property/rebaseline", {"events": False}),
        (
            "Rewind booking of hotel-roma",
            {"Back to": "2026-05-20T08:00"},
            "/api/accounts/hotel-roma/booking/rewind",
            {"to": "2026-05-20T08:00:00.000Z"},
        ),
        (
            "Change how often booking of hotel-roma is polled",
            {},
            "/api/accounts/hotel-roma/booking/interval",
            {"every": None},
        ),
    ],
    "routes/crm": [
        ("Start route crm again", None, "/api/routes/crm/resume", {}),
        (
            "Deliver past events to crm again",
            {"Published since": "2026-05-20T08:00", "Only these": "booking.*, course.*"},
            "/api/routes/crm/replay",
            {"since": "2026-05-20T08:00:00.000Z", "events": ["booking.*", "course.*"]},
        ),
        ("Drop all of crm", {}, "/api/dead/drop", {"route": "crm"}),
    ],
    "events/50a07736": [("Replay 1 dead letter", {}, "/api/dead/replay", {"ids": ["17"]})],
}


async def test_each_question_sends_what_was_chosen_and_says_what_came_of_it() -> None:
    async with (
        standing_in() as console,
        browsing() as browser,
        looking_at(browser, console.url, rejected=True, timezone_id="UTC") as page,
    ):
        for place, questions in CHOICES.items():
            await go(page, place)
            for button, form, path, body in questions:
                console.asked.clear()
                await page.get_by_role("button", name=button).first.click()
                if form is not None:
                    await _answer(page, form)
                await expect(page.locator(".said p.good")).to_have_text(re.compile("It is done"))
                await page.get_by_role("button", name="Put this message away").click()
                assert console.asked == [(path, body)]
        console.done = (409, {"error": "hotel is paused: resume it first"})
        await page.get_by_role("button", name="Replay 1 dead letter").click()
        await page.get_by_role("dialog").locator("button[type=submit]").click()
        await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("hotel is paused: resume it first")
        await page.keyboard.press("Escape")
        console.done = (202, {"under_way": "It goes on."})
        await page.get_by_role("button", name="Replay 1 dead letter").click()
        await _answer(page, {})
        await expect(page.locator(".said p.warn")).to_have_text(re.compile("It goes on"))


async def _answer(page: Page, form: dict[str, str]) -> None:
    dialog = page.get_by_role("dialog")
    for label, value in form.items():
        field = dialog.get_by_label(label)
        if await field.evaluate("each => each.tagName") == "SELECT":
            await field.select_option(value)
        else:
            await field.fill(value)
    await dialog.locator("button[type=submit]").click()
    await expect(dialog).to_have_count(0)
