"""Each view of the page in a real browser, over four living vendors and two agents with something of each trouble.

Whatever the browser complains of, and each request to another host, fails the test: see `looking_at`.
"""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.agent.harness import until
from tests.console.browser.page import PHONE, VIEWS, browsing, go, looking_at
from tests.console.looking import looking
from tests.console.scene import GONE, VENDORS, Scene, scene

pytestmark = pytest.mark.anyio


async def test_each_view_shows_the_living_vendors_and_a_phone_has_room_for_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as there, browsing() as browser:
        places = await _places(there)
        async with looking_at(browser, there.urls[1]) as page:
            await check_overview(page)
            await check_account(page)
            await check_changes_come_by_themselves(page)
            await check_lists(page)
            await page.set_viewport_size(PHONE)
            for place in (*VIEWS, *places):
                await go(page, place)
                assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], place


async def check_overview(page: Page) -> None:
    troubles = page.locator(".troubles li")
    await expect(troubles.filter(has_text=f"{GONE} deletes held")).to_have_count(1)
    await expect(page.locator("main > *").nth(1)).to_have_class("troubles")  # what is wrong comes first
    table = page.get_by_role("table", name="Accounts and their resources")
    for account in VENDORS.values():
        await expect(table.get_by_role("link", name=account, exact=True)).to_have_count(1)
    course = table.get_by_role("row").filter(has=page.get_by_role("cell", name="course", exact=True))
    await expect(course.locator(".age")).to_have_text(re.compile(r"every 1 s"))
    await expect(course.get_by_role("img")).to_have_attribute("aria-label", re.compile(r"\d+ polls, none failed"))
    await expect(course).to_contain_text(re.compile(r"read \d+ records"))
    await expect(page.get_by_role("table", name="Routes").get_by_role("row")).to_have_count(4)
    await expect(page.get_by_role("table", name="Agents").get_by_role("row")).to_have_count(3)
    await expect(page.get_by_role("table", name="Streams")).to_contain_text("VENDORWIRE_HISTORY")


async def check_account(page: Page) -> None:
    await page.get_by_role("table", name="Accounts and their resources").get_by_role("link", name="college").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("college")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    drawn = page.get_by_role("img", name=re.compile(r"^Polls a minute: \d+ succeeded"))
    await expect(drawn.locator("canvas")).to_have_count(1)
    await page.locator(".chart").first.get_by_text("As a table").click()
    await expect(page.get_by_role("table", name="Polls a minute").get_by_role("row").nth(1)).to_be_visible()


async def check_changes_come_by_themselves(page: Page) -> None:
    await go(page, "live?account=hotel-roma")
    rows = page.locator(".changes tbody tr")
    await expect(rows.first).to_be_visible()
    first = await rows.first.inner_text()
    await expect(rows.first).not_to_have_text(first)  # the vendor goes on changing
    assert set(await page.locator(".changes td[data-name=Account]").all_inner_texts()) == {"hotel-roma"}
    await page.get_by_role("button", name="Pause").click()
    kept = await rows.all_inner_texts()
    await page.get_by_role("button", name=re.compile(r"Go on \(\d+ new\)")).wait_for()
    assert await rows.all_inner_texts() == kept
    modified = page.get_by_role("button", name=re.compile("modified|confirmed|cancelled")).first
    await modified.click()
    await expect(modified).to_have_attribute("aria-expanded", "true")
    sides = page.get_by_role("table", name="Before and after")
    await expect(sides.get_by_role("columnheader")).to_have_text(["Field", "Before", "After"])
    await page.get_by_role("link", name="Its whole story").click()
    await expect(page.get_by_role("heading", name="What became of it")).to_be_visible()
    await expect(page.locator(".route-story")).to_have_count(3)


async def check_lists(page: Page) -> None:
    await go(page, "dead")
    await expect(page.get_by_role("table", name="Dead letters")).to_contain_text("billing")
    await page.get_by_role("table", name="Dead letters").get_by_role("link").first.click()
    await expect(page.locator(".notice")).to_contain_text("answered 500")
    await page.get_by_text("The payload as it was to be delivered").click()
    await expect(page.locator("details.whole pre")).to_contain_text('"specversion": "1.0"')
    await go(page, "deletes")
    await expect(page.locator("section.card")).to_contain_text(f"{GONE} records missing")
    await go(page, "quarantine")
    await expect(page.get_by_role("table", name="Quarantined records")).to_contain_text("college")
    await go(page, "routes/billing")
    await expect(page.locator(".facts")).to_contain_text("answered 500")


async def _places(there: Scene) -> list[str]:
    """An account, a route, an event and a dead letter that there are, once there are all troubles."""
    async with looking(there.urls[1]) as looker:

        async def all_is_there() -> bool:
            counts = (await looker.get("/overview"))["counts"]
            return bool(counts["dead"] and counts["held"] and counts["quarantined"])

        await until(all_is_there)
        letter = (await looker.get("/dead"))["dead"][0]
    return ["accounts/college", "routes/billing", f"events/{letter['event_id']}", f"letters/{letter['id']}"]
