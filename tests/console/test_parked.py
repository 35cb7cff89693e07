"""What an operator does about a parked transaction, in the console: retry it, settle it to another account, or give the money back."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.console.conftest import PATIENCE_MILLISECONDS, Screens
from tests.integration.api.bank import Bank
from tests.integration.api.saga import saga_bank_at
from tests.integration.defects import credits_are_refused
from tests.stack_fixtures import RunningStack

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="module")
async def bank(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    async with saga_bank_at(stack, tmp_path_factory.mktemp("saga")) as opened:
        yield opened


@pytest.fixture
async def screens(browser: Browser, bank: Bank) -> AsyncIterator[Screens]:
    opened = Screens(browser, str(bank.http.base_url).rstrip("/"))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("button", "outcome", "balances"),
    [
        ("Retry", "completed", ["87.50", "12.50", "0.00"]),
        ("Settle", "completed", ["87.50", "0.00", "12.50"]),
        ("Reverse", "reversed", ["100.00", "0.00", "0.00"]),
    ],
)
async def test_parked_transfer_ends_as_the_operator_says(
    screens: Screens, bank: Bank, stack: RunningStack, button: str, outcome: str, balances: list[str]
) -> None:
    debtor, creditor, other = await bank.open(funds="100.00"), await bank.open(), await bank.open()
    with credits_are_refused(stack, "account_id", creditor):
        transaction_id = str(uuid.uuid4())
        body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
        await bank.park(body)
        page = (await screens.open(bank.key)).page
        await page.get_by_role("link", name="Needs attention").click()
        row = page.locator(f'tr[data-key="{transaction_id}"]')
        await expect(row).to_contain_text("parked")
        if button != "Retry":
            await _carry_out(row, button, other)
            await expect(row).to_have_count(0)
    if button == "Retry":  # once the cause is mended
        await _carry_out(row, button, other)
        await expect(row).to_have_count(0)
    found = (await bank.http.get(f"/v1/transactions/{transaction_id}")).json()
    (action,) = found["operator_actions"]
    assert (found["status"], action["by"], action["reason"]) == (outcome, "teller", "As agreed")
    assert [await bank.ledger(account) for account in (debtor, creditor, other)] == balances


async def _carry_out(row: Locator, button: str, other: str) -> None:
    await row.get_by_role("button", name=button).click()
    dialog = row.page.get_by_role("dialog")
    if button == "Settle":
        await dialog.get_by_label("Account that gets the money").fill(other)
    await dialog.get_by_label("Reason").fill("As agreed")
    await dialog.get_by_role("button", name=button).click()
