"""A real browser for the tests: Debian's Chromium, driven by Playwright, and a page in it that tolerates nothing."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, Request, ViewportSize, async_playwright, expect

CHROMIUM = shutil.which("chromium")
MISSING = "the tests of the page need the Debian package chromium"
PATIENCE = 20_000  # ms for what should take some hundred: the machine may be busy
expect.set_options(timeout=PATIENCE)
PHONE: ViewportSize = {"width": 360, "height": 740}
VIEWS = ("", "live", "dead", "deletes", "quarantine", "audit", "sign-in")


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """Skips the test where there is no Chromium; in continuous integration that is a failure."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def looking_at(
    browser: Browser, url: str, *, loses: bool = False, refused: bool = False, rejected: bool = False, **how: Any
) -> AsyncIterator[Page]:
    """The console at `url` in a window of its own. Fails at the end where the browser complained of anything, or was led to
    another host. `loses`: the line is cut on purpose, `refused`: a wrong token is tried, `rejected`: something is asked for that
    cannot be; a browser says all of it on its console."""
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **how})
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    complaints: list[str] = []
    expected = [
        *(("net::ERR", "503") if loses else ()),
        *(("401",) if refused else ()),
        *(("409",) if rejected else ()),
    ]

    def said(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(each in message.text for each in expected):
            complaints.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(page.url or url).netloc and not request.url.startswith(url):
            complaints.append(f"request to {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
    page.on("request", asked)
    try:
        await page.goto(url + "/")
        await page.locator("main h1").first.wait_for()
        yield page
        assert complaints == []
    finally:
        await context.close()


async def go(page: Page, place: str) -> None:
    """To a view, until it shows what it has to show."""
    await page.evaluate("place => { location.hash = `#/${place}` }", place)
    await page.wait_for_function("place => decodeURI(location.hash) === `#/${place}`", arg=place)
    await page.locator("main h1").first.wait_for()
    await page.wait_for_function("() => !document.querySelector('main').textContent.includes('Reading …')")


async def barriers(page: Page, *, only_colours: bool = False) -> list[str]:
    """What axe-core finds in the page as it stands."""
    only = {"runOnly": ["color-contrast"]} if only_colours else {}
    results = await Axe().run(page, options={"resultTypes": ["violations"], **only})
    return [
        f"{found['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for found in results.response["violations"]
        for node in found["nodes"]
    ]
