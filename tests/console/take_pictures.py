"""Takes the pictures of the console in ``docs/pictures``, with a tenant of its own on the running stack of ``$CASAFLOW_HOME``.

``./run up --detach``, then ``.venv/bin/python -m tests.console.take_pictures``.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import uuid
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image
from playwright.async_api import async_playwright

from infra.settings import Settings
from infra.stack.control import read_stack_info
from tests.console.conftest import INSTALL, Scheme, Screens
from tests.integration.api.bank import Bank, bank_at

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"
SIZES: Final = {"phone": (360, 780), "desk": (1280, 860)}
TRAFFIC_SECONDS: Final = 45
SETTLE_MILLISECONDS: Final = 1_500
NAMES: Final = ("anna", "ben", "claire", "shop-42")
REFERENCES: Final = ("Rent", "Invoice 2041", "Groceries", "Dinner", "Tickets")


async def _furnish(bank: Bank) -> None:
    for name in NAMES:
        rules = {"overdraft_limit": "500.00", "daily_limit": "5000.00", "transaction_limit": "2500.00"} if name == "anna" else {}
        await bank.http.post("/v1/accounts", json={"account_id": name, "currency": "EUR", **rules})
        await bank.submit({"creditor": name, "amount": "3200.00", "currency": "EUR", "reference": "Salary November"})
    hold = {"account_id": "anna", "amount": "420.00", "currency": "EUR", "expires_at": "2099-01-31T12:00:00Z", "reference": "Hotel"}
    await bank.http.post("/v1/holds", json=hold)
    for amount, reference in (("1750.00", "Car, first half"), ("1750.00", "Car, second half")):
        asked = {
            "debtor": "anna",
            "creditor": "ben",
            "amount": amount,
            "currency": "EUR",
            "reference": reference,
            "approval": {"required": True},
        }
        await bank.submit(asked, wait_seconds=2)


async def _trade(bank: Bank, numbers: random.Random) -> None:
    """Transfers, now and then one that is refused, one after the other."""
    while True:
        debtor, creditor = numbers.sample(NAMES, 2)
        amount = "99999.00" if numbers.random() < 0.04 else f"{numbers.randint(100, 9000) / 100:.2f}"
        await bank.submit(
            {"debtor": debtor, "creditor": creditor, "amount": amount, "currency": "EUR", "reference": numbers.choice(REFERENCES)}
        )
        await asyncio.sleep(numbers.random() / 4)


async def _take(screens: Screens, key: str, views: dict[str, str], size: str, scheme: Scheme, names: Sequence[str]) -> None:
    width, height = SIZES[size]
    screen = await screens.open(key, width=width, height=height, scheme=scheme)
    for name in names:
        await screen.go(views[name])
        await screen.page.wait_for_timeout(SETTLE_MILLISECONDS)
        picture = Image.open(BytesIO(await screen.page.screenshot())).convert("RGB").quantize(256)
        picture.save(FOLDER / f"console-{name}-{size}-{scheme}.png", optimize=True)


async def _main(chromium: str) -> None:
    info = read_stack_info(Settings().home)
    if info is None:
        sys.exit("no stack runs; start it with: ./run up --detach")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with bank_at(info.api, info.postgres_dsn, tenant=f"city-{uuid.uuid4().hex[:4]}") as bank, async_playwright() as playwright:
        await _furnish(bank)
        browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        screens = Screens(browser, info.api)
        traders = [asyncio.create_task(_trade(bank, random.Random(number))) for number in range(3)]  # noqa: S311  amounts, not secrets
        await asyncio.sleep(TRAFFIC_SECONDS)
        found = (await bank.http.get("/v1/transactions", params={"status": "completed", "account_id": "shop-42", "limit": 1})).json()
        transfer = found["transactions"][0]["transaction_id"]
        views = {
            "overview": "/",
            "transactions": "/transactions",
            "transaction": f"/transactions/{transfer}",
            "account": "/accounts/anna",
            "attention": "/attention",
        }
        await _take(screens, bank.key, views, "desk", "light", list(views))
        await _take(screens, bank.key, views, "desk", "dark", ["overview", "account"])
        await _take(screens, bank.key, views, "phone", "light", ["overview", "transactions", "account"])
        await _take(screens, bank.key, views, "phone", "dark", ["overview", "transaction", "attention"])
        for trader in traders:
            trader.cancel()
        await asyncio.gather(*traders, return_exceptions=True)
        await screens.close()
        await browser.close()


if __name__ == "__main__":
    path = shutil.which("chromium")
    if path is None:
        sys.exit(INSTALL)
    asyncio.run(_main(path))
