"""What an operator does about a parked transaction, in the console: retry it, settle it to another account, or give the money back."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from playwright.async_api import Browser, Locator, expect
from psycopg import sql

from tests.console.conftest import PATIENCE_MILLISECONDS, Screens
from tests.integration.api.bank import Bank, bank_at
from tests.integration.api.saga import api_process
from tests.stack_fixtures import RunningStack

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="module")
async def bank(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    """A tenant of an API that posts transfers leg by leg, so that money can stand between them."""
    async with (
        api_process(stack, tmp_path_factory.mktemp("saga") / "api.log", TRANSFERS="saga") as api,
        bank_at(api, stack.postgres_dsn) as opened,
    ):
        yield opened


@pytest.fixture
async def screens(browser: Browser, bank: Bank) -> AsyncIterator[Screens]:
    opened = Screens(browser, str(bank.http.base_url).rstrip("/"))
    yield opened
    await opened.close()


@contextmanager
def defect(stack: RunningStack, account_id: str) -> Iterator[None]:
    """The database refuses every credit of one account: what the rules allow, and no retry mends."""
    name = sql.Identifier(f"defect_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        refusal = sql.SQL("ALTER TABLE offline_entry ADD CONSTRAINT {} CHECK (account_id <> {}) NOT VALID")
        connection.execute(refusal.format(name, sql.Literal(account_id)))
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER TABLE offline_entry DROP CONSTRAINT {}").format(name))


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
    with defect(stack, creditor):
        parked = await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}, wait_seconds=10)
        assert parked.json()["status"] == "parked", parked.text
        transaction_id = parked.json()["transaction_id"]
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
