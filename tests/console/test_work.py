"""An operator's work in the console: by keyboard alone, with a reason, and while transactions go on."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import PATIENCE_MILLISECONDS, Scene, Screens
from tests.integration.api.bank import bank_at
from tests.stack_fixtures import RunningStack

expect.set_options(timeout=PATIENCE_MILLISECONDS)

MOST_TABS = 80


async def tab_to(page: Page, name: str) -> None:
    """Go on with the Tab key until what has the focus has this name: a text, a label, or a part of the address it leads to."""
    told = """() => {
        const at = document.activeElement;
        if (at === document.body) return "";
        return [at.textContent, at.labels?.[0]?.textContent ?? "", at.getAttribute("href") ?? ""].join("|");
    }"""
    for _ in range(MOST_TABS):
        if name in await page.evaluate(told):
            return
        await page.keyboard.press("Tab")
    message = f"no Tab leads to {name}"
    raise AssertionError(message)


async def test_keyboard_alone_finds_an_account_opens_a_transaction_and_reverses_it(screens: Screens, scene: Scene) -> None:
    payee = await scene.bank.open()
    paid = await scene.bank.submit({"debtor": scene.anna, "creditor": payee, "amount": "7.50", "currency": "EUR"})
    transaction_id = paid.json()["transaction_id"]
    page = (await screens.open(scene.bank.key)).page
    await tab_to(page, "Find an account")
    await page.keyboard.type(payee)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(payee)
    await tab_to(page, f"#/transactions/{transaction_id}")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Transfer of 7.50\u00a0EUR")
    await tab_to(page, "Reverse")
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=re.compile("Reverse this transfer"))
    await expect(dialog).to_be_visible()
    # Escape gives it up, and the focus is where it was.
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    assert "Reverse" in await page.evaluate("document.activeElement.textContent")
    await page.keyboard.press("Enter")
    await tab_to(page, "Reason")
    await page.keyboard.type("Paid twice")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text(re.compile("The reversal [0-9a-f]{8} is completed"))).to_be_visible()
    assert (await scene.bank.http.get(f"/v1/transactions/{transaction_id}")).json()["reversed_amount"] == "7.50"
    assert await scene.bank.ledger(payee) == "0.00"
    # Nothing is left to be taken back, so the button is gone, and the focus with it is not lost.
    await expect(page.get_by_role("button", name="Reverse")).to_have_count(0)
    assert await page.evaluate("document.activeElement.tagName") == "H1"


async def test_refusal_is_shown_in_the_dialog_as_the_problem_says_it(screens: Screens, scene: Scene) -> None:
    page = (await screens.open(scene.bank.key)).page
    await page.evaluate("view => { location.hash = view }", f"#/transactions/{scene.waiting}")
    await page.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Approve").click()
    # Four eyes: the key that submitted it can't approve it.
    await expect(dialog.get_by_role("alert")).to_contain_text("submitted")
    await expect(dialog).to_be_visible()


async def test_second_person_approves_what_waits_and_it_is_gone_from_the_list(screens: Screens, scene: Scene, stack: RunningStack) -> None:
    asked = {"debtor": scene.anna, "creditor": scene.shop, "amount": "3.00", "currency": "EUR", "approval": {"required": True}}
    waiting = (await scene.bank.submit(asked)).json()["transaction_id"]
    async with bank_at(stack.api, stack.postgres_dsn, tenant=scene.bank.tenant, principal="second") as second:
        page = (await screens.open(second.key)).page
        await page.get_by_role("link", name="Needs attention").click()
        row = page.locator(f'tr[data-key="{waiting}"]')
        await expect(row).to_contain_text("waits for approval")
        await row.get_by_role("button", name="Approve").click()
        await page.get_by_role("dialog").get_by_label("Reason").fill("Checked")
        await page.get_by_role("dialog").get_by_role("button", name="Approve").click()
        await expect(row).to_have_count(0)
    found = (await scene.bank.http.get(f"/v1/transactions/{waiting}")).json()
    assert (found["status"], found["operator_actions"][0]["reason"]) == ("completed", "Checked")


async def test_transactions_appear_as_they_happen_and_are_held_back_while_paused(screens: Screens, scene: Scene) -> None:
    page = (await screens.open(scene.bank.key)).page
    await page.get_by_role("link", name="Transactions", exact=True).click()
    await expect(page.get_by_text("Live.")).to_be_visible()
    first = await scene.bank.submit({"creditor": scene.shop, "amount": "1.00", "currency": "EUR", "reference": "Seen at once"})
    row = page.locator(f'tr[data-key="{first.json()["transaction_id"]}"]')
    await expect(row).to_contain_text("completed")
    await expect(row).to_contain_text("Seen at once")
    await page.get_by_role("button", name="Pause").click()
    second = await scene.bank.submit({"creditor": scene.shop, "amount": "1.00", "currency": "EUR"})
    await expect(page.get_by_text("1 new, held back")).to_be_visible()
    held = page.locator(f'tr[data-key="{second.json()["transaction_id"]}"]')
    assert await held.count() == 0
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_role("heading", level=1).focus()
    await expect(held).to_be_visible()


async def test_account_follows_what_is_booked_on_it(screens: Screens, scene: Scene) -> None:
    account = await scene.bank.open(funds="5.00")
    page = (await screens.open(scene.bank.key)).page
    await page.evaluate("view => { location.hash = view }", f"#/accounts/{account}")
    figure = page.locator("figure.split")
    await expect(figure).to_contain_text("leave 5.00\u00a0EUR")
    await scene.bank.submit({"debtor": account, "amount": "1.25", "currency": "EUR"})
    await expect(figure).to_contain_text("less debits of 1.25\u00a0EUR")
    await expect(figure).to_contain_text("leave 3.75\u00a0EUR")
    await expect(page.get_by_role("table", name="Statement")).to_contain_text("\u2212\u20091.25")


async def test_filters_are_in_the_address_and_find_what_they_name(screens: Screens, scene: Scene) -> None:
    page = (await screens.open(scene.bank.key)).page
    await page.get_by_role("link", name="Transactions", exact=True).click()
    await page.get_by_text("Filters").click()
    await page.get_by_label("Status").select_option("rejected")
    await page.get_by_role("button", name="Filter").click()
    await page.wait_for_function("() => location.hash === '#/transactions?status=rejected'")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("9\u202f999.00\u00a0EUR")


@pytest.mark.slow
async def test_killed_worker_is_back_and_nothing_is_lost(screens: Screens, scene: Scene, stack: RunningStack) -> None:
    page = (await screens.open(scene.bank.key)).page
    await page.get_by_role("button", name="Kill a worker").click()
    await page.get_by_role("dialog").get_by_role("button", name="Kill it").click()
    story = page.locator(".story")
    await expect(story).to_contain_text(re.compile(r"Killed worker.*, process \d+"))
    killed = int((re.search(r"process (\d+)", await story.inner_text()) or ["", "0"])[1])
    assert killed in stack.pids["worker"]
    assert killed != stack.pids["api"]
    await expect(story).to_contain_text(re.compile(r"is back as process \d+ after"), timeout=2 * PATIENCE_MILLISECONDS)
    await expect(story).to_contain_text("Nothing is lost, and nothing was booked twice", timeout=2 * PATIENCE_MILLISECONDS)
    figures = dict(zip(await page.locator(".sum dt").all_inner_texts(), await page.locator(".sum dd").all_inner_texts(), strict=True))
    assert figures["Submitted"] == figures["= finished"] != "0"
    assert figures["+ under way"] == "0"
    assert await scene.bank.ledger("CONSOLE-DRILL") == f"{int(figures['Submitted']) / 100:.2f}"
