"""Debian's Chromium, driven by Playwright, which fetches no browser of its own; and a tenant with something to look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

from tests.integration.api.bank import Bank, bank_at
from tests.stack_fixtures import RunningStack

INSTALL = "these tests need Chromium; as root: apt-get install -y --no-install-recommends chromium"
Scheme = Literal["light", "dark"]
PATIENCE_MILLISECONDS = 60_000
"""How long a page is waited for on a machine that has other work. No test is about speed."""


def chromium() -> str:
    """Where Chromium is; without it tests fail in CI, and are skipped elsewhere."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    return found


@dataclass
class Screen:
    """One browser page of the console, with all that it asked for and complained of."""

    page: Page
    context: BrowserContext
    api: str
    requests: list[str]
    complaints: list[str]

    async def go(self, view: str) -> None:
        """Go to a view by its address, and wait until it is shown."""
        await self.page.evaluate("view => { location.hash = view }", f"#{view}")
        await self.shown(view)

    async def shown(self, view: str) -> None:
        """Wait until a view is filled."""
        await self.page.wait_for_function("view => document.querySelector('main:not([aria-busy])')?.dataset.view === view", arg=f"#{view}")

    def elsewhere(self) -> list[str]:
        """What was asked of any other host than the API."""
        own = urlsplit(self.api).netloc
        return [url for url in self.requests if urlsplit(url).netloc != own]


class Screens:
    """Opens screens, and closes them at the end."""

    def __init__(self, browser: Browser, api: str) -> None:
        self._browser = browser
        self._api = api
        self._open: list[Screen] = []

    async def open(self, key: str | None, *, width: int = 1280, height: int = 860, scheme: Scheme = "light", **options: Any) -> Screen:
        """A new browser context with the console in it, signed in with the key where there is one."""
        context = await self._browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = await context.new_page()
        screen = Screen(page, context, self._api, requests=[], complaints=[])
        self._open.append(screen)

        def asked(request: Request) -> None:
            screen.requests.append(request.url)

        page.on("request", asked)
        page.on("console", lambda message: screen.complaints.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: screen.complaints.append(str(error)))
        await page.goto(f"{self._api}/console" + (f"#key={key}" if key is not None else ""))
        if key is not None:
            await screen.shown("/")
        return screen

    async def close(self) -> None:
        """Close all."""
        for screen in self._open:
            await screen.context.close()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    # Chromium's sandbox can't be had by root, which CI is in its container.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        await opened.close()


@pytest.fixture
async def screens(browser: Browser, stack: RunningStack) -> AsyncIterator[Screens]:
    opened = Screens(browser, stack.api)
    yield opened
    await opened.close()


NASTY = "<img src=x onerror=window.hurt=1>"
"""Shorter than a reference may be, and would run in any page that takes it for markup."""


@dataclass(frozen=True)
class Scene:
    """A tenant with some of everything."""

    bank: Bank
    anna: str
    shop: str
    transfer: str
    """Completed; every text in it that a customer can write tries to be markup."""
    waiting: str
    """Waits for an approval."""


@pytest.fixture(scope="session")
async def scene(stack: RunningStack) -> AsyncIterator[Scene]:
    async with bank_at(stack.api, stack.postgres_dsn) as bank:
        anna, shop = await bank.open(funds="500.00", overdraft_limit="50.00"), await bank.open()
        texts = {
            "reference": NASTY,
            "remittance_information": f"{NASTY}<script>window.hurt=2</script>",
            "metadata": {"onload": NASTY, NASTY: "javascript:window.hurt=3"},
        }
        paid = await bank.submit({"debtor": anna, "creditor": shop, "amount": "120.00", "currency": "EUR", **texts})
        assert paid.json()["status"] == "completed", paid.text
        hold = {"account_id": anna, "amount": "30.00", "currency": "EUR", "expires_at": "2099-01-01T00:00:00Z", "reference": NASTY}
        assert (await bank.http.post("/v1/holds", json=hold)).status_code == 201
        await bank.submit({"debtor": shop, "amount": "9999.00", "currency": "EUR", "reference": "Too much"})
        asked = {"debtor": anna, "creditor": shop, "amount": "10.00", "currency": "EUR", "approval": {"required": True}, **texts}
        waits = await bank.submit(asked)
        assert waits.json()["waiting_for"]["what"] == "approval", waits.text
        yield Scene(bank, anna, shop, paid.json()["transaction_id"], waits.json()["transaction_id"])
