"""Pictures of the console over an invented installation: `python -m tests.console.browser.pictures [FOLDER]`.

Without a folder the few that the documentation shows; with one every view, light and dark and on a phone, to be looked at.
"""

import sys
from pathlib import Path

import anyio
from playwright.async_api import Browser, Page

from tests.console.browser.page import PHONE, VIEWS, browsing, go, looking_at
from tests.console.browser.stand_in import standing_in

DOCS = Path(__file__).parents[3] / "docs/pictures"
DESK = {"width": 1180, "height": 1320}
PLACES = (*VIEWS, "accounts/cottages", "routes/crm", "events/50a07736", "letters/17")
SHOWN = {"overview-light": "", "live-dark": "live"}  # in the documentation


async def for_the_docs(browser: Browser, url: str) -> None:
    DOCS.mkdir(exist_ok=True)
    for name, place in SHOWN.items():
        async with looking_at(browser, url, color_scheme=name.rpartition("-")[2], viewport=DESK) as page:
            await _settled(page, place)
            await page.screenshot(path=DOCS / f"console-{name}.png")


async def of_everything(browser: Browser, url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, look, size in (("light", "light", DESK), ("dark", "dark", DESK), ("phone", "light", PHONE)):
        async with looking_at(browser, url, color_scheme=look, viewport=size) as page:
            for place in PLACES:
                await _settled(page, place)
                await page.screenshot(
                    path=folder / f"{place.partition('/')[0] or 'overview'}-{name}.png", full_page=True
                )


async def _settled(page: Page, place: str) -> None:
    """A view as it is once its charts are drawn; of the changes one is opened."""
    await go(page, place)
    if place == "live":
        await page.locator(".opener").nth(1).click()
    charts = await page.locator(".drawing").count()
    await page.wait_for_function("count => document.querySelectorAll('.drawing canvas').length >= count", arg=charts)


async def main() -> None:
    async with standing_in() as console, browsing() as browser:
        if len(sys.argv) > 1:
            await of_everything(browser, console.url, Path(sys.argv[1]))
        else:
            await for_the_docs(browser, console.url)


if __name__ == "__main__":
    anyio.run(main)
