"""The line to the agent: cut, and back; the bus behind it; and a page that nobody may read without the token."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.agent.harness import agent, ready, until
from tests.console.browser.page import browsing, go, looking_at
from tests.console.browser.stand_in import standing_in
from tests.console.scene import Scene, scene

pytestmark = pytest.mark.anyio


async def test_a_lost_agent_and_a_lost_bus_are_said_and_the_page_goes_on_by_itself_when_they_are_back(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, agents=1, troubles=False) as there,
        browsing() as browser,
        looking_at(browser, there.urls[0], loses=True) as page,
    ):
        await go(page, "live")
        rows = page.locator(".changes tbody tr")
        await expect(rows.first).to_be_visible()
        there.agents[0].kill()
        line = page.get_by_role("alert")
        await expect(line).to_contain_text("No connection to the agent. What you see is from")
        await expect(line).to_contain_text(re.compile(r"Trying again (in \d+ s|now)"))
        await expect(rows.first).to_be_visible()  # what was there stays in sight
        newest = await rows.first.inner_text()
        async with agent(_at(there.config, there.urls[0]), "again.log") as back:
            await ready(back)
            await expect(line).to_be_empty()
            await expect(rows.first).not_to_have_text(newest)
            await check_bus(page, there)


async def check_bus(page: Page, there: Scene) -> None:
    """The agent itself tells of it; the line to the agent holds."""
    await go(page, "")
    badge = page.get_by_role("region", name="Bus").locator(".badge")
    await expect(badge).to_have_text(re.compile("connected"))
    there.nats.kill()
    await expect(badge).to_have_text(re.compile("lost"))
    await expect(page.locator(".troubles li").first).to_contain_text("bus")
    await expect(page.get_by_role("contentinfo")).to_contain_text("The bus is away, figures ")
    await expect(page.get_by_role("contentinfo")).to_contain_text(re.compile(r"figures 1\d s old"))
    there.nats.restart()
    await expect(badge).to_have_text(re.compile("connected"))


async def test_where_reading_needs_the_token_nothing_is_shown_before_it_was_given() -> None:
    async with standing_in() as console, browsing() as browser:
        console.lock("open sesame")
        async with looking_at(browser, console.url, refused=True, loses=True) as page:
            await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
            await expect(page.get_by_role("navigation")).to_have_count(0)
            await page.get_by_label("Admin token").fill("wrong")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("alert").filter(has_text="not the admin token")).to_be_visible()
            await page.get_by_label("Admin token").fill("open sesame")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
            await expect(page.get_by_text("4 troubles")).to_be_visible()
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
            await expect(page.get_by_text("cottages")).to_have_count(0)


async def test_figures_change_without_reloading_and_only_troubles_are_said_aloud() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        waiting = page.locator(".figures > div").filter(has_text="Waiting for delivery").locator("dd")
        await expect(waiting).to_have_text("1,840")
        console.world.pending = 7
        await console.tell("overview", console.world.overview(0, 100))
        await expect(waiting).to_have_text("7")
        assert await page.locator(".troubles").get_attribute("aria-live") == "polite"
        assert await page.locator("main [aria-live]").count() == 1


async def test_only_the_changes_that_are_looked_at_are_sent() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        assert console.followed == [{"only": "overview"}]
        await go(page, "live")
        await page.get_by_label("Account").fill("hotel-roma")
        await page.get_by_label("Change", exact=True).fill("cancelled")
        await console.tell("overview", console.world.overview(0, 100))  # the page is drawn anew while one types
        await page.keyboard.press("Enter")
        await until(lambda: console.followed[-1] == {"account": "hotel-roma", "change": "cancelled"})
        await page.get_by_role("button", name="Show all").click()
        await until(lambda: console.followed[-1] == {})
        await expect(page.get_by_label("Account")).to_have_value("")
        await page.get_by_label("Account").fill("hotel roma")  # the API would refuse it, and the stream would stop
        await page.get_by_label("Vendor").fill("octorate")
        await page.keyboard.press("Enter")
        await expect(page.locator("#account-hint")).to_have_text("Letters, digits, - and _ only: it is left out.")
        await until(lambda: console.followed[-1] == {"vendor": "octorate"})
        await go(page, "audit")
        await until(lambda: console.followed[-1] == {"only": "overview"})


@pytest.mark.parametrize("place", ["constructor", "toString", "%", "nothing/%zz"])
async def test_an_address_that_leads_nowhere_says_so(place: str) -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        await page.evaluate("place => { location.hash = `#/${place}` }", place)
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")


async def test_a_slow_browser_that_hears_the_agent_before_it_has_drawn_shows_the_page_all_the_same() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        await page.add_init_script("""
            const later = window.setTimeout.bind(window);
            window.setTimeout = (what, wait = 0, ...more) => later(what, wait + 500, ...more);
            window.requestAnimationFrame = (what) => later(what, 500);
        """)
        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


async def test_the_chosen_colours_stay_when_the_page_is_opened_again() -> None:
    async with (
        standing_in() as console,
        browsing() as browser,
        looking_at(browser, console.url, color_scheme="light") as page,
    ):
        ground = "getComputedStyle(document.body).backgroundColor"
        light = await page.evaluate(ground)
        await page.get_by_role("button", name="Colours: system").click()
        await page.get_by_role("button", name="Colours: light").click()
        await expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
        dark = await page.evaluate(ground)
        await page.reload()
        await expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
        assert await page.evaluate(ground) == dark != light


def _at(config: Path, url: str) -> Path:
    """The same configuration, served at the address that the killed agent had."""
    told = json.loads(config.read_text())
    told["http"]["listen"] = url.removeprefix("http://")
    file = config.with_name("again.yaml")
    file.write_text(json.dumps(told))
    return file
