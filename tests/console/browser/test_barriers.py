"""Nobody is kept out: what axe-core finds in each view, and how far one gets with keys alone."""

import pytest
from playwright.async_api import Page, expect

from tests.console.browser.page import PHONE, VIEWS, barriers, browsing, go, looking_at
from tests.console.browser.stand_in import standing_in

pytestmark = pytest.mark.anyio
FEW = 4  # accounts: one of each vendor, one of each state
PLACES = (*VIEWS, "accounts/cottages", "routes/crm", "events/50a07736", "letters/17")


async def test_axe_finds_no_barrier_in_any_view_light_or_dark_wide_or_narrow() -> None:
    async with standing_in(FEW) as console, browsing() as browser, looking_at(browser, console.url) as page:
        for place in PLACES:
            await go(page, place)
            await _open_all(page)
            for look in ("light", "dark"):
                await page.emulate_media(color_scheme=look)
                assert await barriers(page, only_colours=look == "dark") == [], (place, look)
        await page.set_viewport_size(PHONE)
        for place in ("", "live"):
            await go(page, place)
            assert await barriers(page) == [], (place, PHONE)


async def test_axe_finds_no_barrier_in_a_question_the_list_of_keys_and_a_lost_line() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url, loses=True) as page:
        await go(page, "routes/crm")
        await page.get_by_role("button", name="Deliver past events to crm again").click()
        assert await barriers(page) == []
        await page.keyboard.press("Escape")
        await page.keyboard.press("?")
        assert await barriers(page) == []
        await page.keyboard.press("Escape")
        await page.context.set_offline(True)
        await console.hang_up()
        await expect(page.get_by_role("alert")).to_contain_text("No connection to the agent")
        for look in ("light", "dark"):
            await page.emulate_media(color_scheme=look)
            assert await barriers(page) == [], look


async def test_all_that_a_mouse_can_do_on_the_overview_a_tab_key_reaches_and_leaves() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        wanted = await page.locator(":is(a[href], button, input, select, summary):visible").count()
        reached = []
        for _ in range(wanted + 1):
            await page.keyboard.press("Tab")
            reached.append(await page.evaluate(_FOCUSED))
        assert reached[0]["text"] == "Skip to the content"
        assert len({each["place"] for each in reached[:wanted]}) == wanted
        assert [each for each in reached[:wanted] if not each["outlined"]] == []
        assert reached[wanted]["place"] != reached[wanted - 1]["place"]  # no trap: it goes on, to the browser's own


async def test_the_skip_link_leads_past_the_navigation() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.closest('main') !== null")


async def test_single_keys_lead_to_the_views_until_they_are_switched_off() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        for key, title in {
            "l": "Live changes",
            "d": "Dead letters",
            "h": "Held deletes",
            "a": "Audit",
            "o": "Overview",
        }.items():
            await page.keyboard.press(key)
            await expect(page.get_by_role("heading", level=1)).to_have_text(title)
            await expect(page.get_by_role("heading", level=1)).to_be_focused()
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.type("lake")  # letters typed are no shortcuts
        assert await page.evaluate("location.hash") == "#/"
        await page.get_by_role("searchbox").blur()
        await page.keyboard.press("?")
        await page.get_by_role("checkbox", name="Single keys do something").uncheck()
        await page.keyboard.press("Escape")
        await page.keyboard.press("d")
        assert await page.evaluate("location.hash") == "#/"


async def test_a_question_keeps_the_keys_to_itself_and_gives_the_focus_back() -> None:
    async with standing_in() as console, browsing() as browser, looking_at(browser, console.url) as page:
        await go(page, "accounts/hotel-roma")
        button = page.get_by_role("button", name="Pause…")
        await button.press("Enter")
        dialog = page.get_by_role("dialog", name="Pause hotel-roma?")
        await expect(dialog).to_contain_text("Nothing of this account is polled")
        await page.keyboard.press("d")
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(button).to_be_focused()
        await button.press("Enter")
        await expect(dialog).to_be_visible()
        await page.evaluate("location.hash = '#/dead'")
        await expect(page.get_by_role("heading", name="Dead letters")).to_be_visible()
        await expect(dialog).to_have_count(0)
        assert console.asked == []


async def _open_all(page: Page) -> None:
    """Whatever can be opened in place: the tables of the charts, the records, a row of changes."""
    await page.evaluate(
        "document.querySelectorAll('main details').forEach((each, at) => { each.open = !at || !each.closest('.chart') })"
    )
    opener = page.locator(".opener").first
    if await opener.count():
        await opener.click()


_FOCUSED = """() => {
    const at = document.activeElement;
    const style = getComputedStyle(at);
    return {
        text: at.textContent.trim(),
        place: [...document.querySelectorAll("*")].indexOf(at),
        outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    };
}"""
