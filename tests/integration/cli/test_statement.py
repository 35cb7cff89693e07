from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine

AMOUNTS = {"10.00": "creditor", "2.50": "debtor", "7.49": "creditor"}


@pytest.fixture(scope="module")
async def account(bank: Bank) -> str:
    """Three lines, of which nothing that others write on this server stands before any."""
    account = await bank.open()
    for amount, side in AMOUNTS.items():
        body = {side: account, "amount": amount, "currency": "EUR", "reference": "[bold]7[/]", "value_date": "2026-03-31"}
        assert (await bank.submit(body)).json()["status"] == "completed"
    async with asyncio.timeout(60):
        while not all(line["settled"] for line in (await _statement(bank, account))["lines"]):  # noqa: ASYNC110  as in until
            await asyncio.sleep(0.05)
    return account


async def _statement(bank: Bank, account: str) -> dict[str, Any]:
    content: dict[str, Any] = (await bank.http.get(f"/v1/accounts/{account}/statement")).json()
    return content


async def test_statement_as_json_is_what_the_api_answers(cli: CommandLine, bank: Bank, account: str) -> None:
    ended = await cli.run("statement", account, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert {**ended.json, "settled_until": None} == {**await _statement(bank, account), "settled_until": None}
    lines = ended.json["lines"]
    ranged = await cli.run("statement", account, "--from", lines[1]["booked_at"], "--to", lines[2]["booked_at"], "--json")
    assert ranged.json["lines"] == lines[1:2]


async def test_statement_is_a_table_with_the_way_to_its_next_page(cli: CommandLine, bank: Bank, account: str) -> None:
    lines = (await _statement(bank, account))["lines"]
    first = await cli.run("statement", account, "--limit", "2", "--order", "newest-first")
    title, header, newest, before, totals, more = (line.rstrip() for line in first.out.splitlines())
    assert (first.code, title) == (0, f"Account {account}")
    assert "balance after" in header
    for shown, line, amount in ((newest, lines[2], "7.49"), (before, lines[1], "-2.50")):
        assert shown.startswith(line["booked_at"][:19].replace("T", " "))
        # What a customer wrote is shown as it was written.
        assert all(
            text in shown.split() for text in (amount, line["ledger_balance_after"], "2026-03-31", "[bold]7[/]", line["transaction_id"])
        )
    assert totals == "Opening balance 10.00, closing balance 14.99 EUR."
    rest = await cli.run("statement", account, "--cursor", more.removeprefix("More lines: --cursor "))
    assert (rest.code, rest.out.splitlines()[-1]) == (0, "Opening balance 0.00, closing balance 10.00 EUR.")


async def test_provisional_lines_are_told_apart(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open()
    with psycopg.connect(cli.environment["CASAFLOW_POSTGRES_URL"]) as open_posting:
        open_posting.execute("SELECT pg_current_xact_id()")
        await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})
        shown = await cli.run("statement", account)
    assert "1 provisional: a posting that is under way may still land before them." in shown.out
    assert shown.out.splitlines()[2].rstrip().endswith("provisional")


async def test_balance_as_of_an_instant_and_as_of_a_value_date(cli: CommandLine, bank: Bank, account: str) -> None:
    lines = (await _statement(bank, account))["lines"]
    then = await cli.run("balance", account, "--at", lines[1]["booked_at"], "--json")
    assert (then.code, then.json["ledger"], then.json["settled"]) == (0, "7.50", True)
    for day, ledger in (("2026-03-30", "0.00"), ("2026-03-31", "14.99")):
        on_day = await cli.run("balance", account, "--value-date", day, "--json")
        assert (on_day.code, on_day.json["ledger"], on_day.json["value_date"]) == (0, ledger, day)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("statement", "Nobody"), "no account 'Nobody'"),
        (("statement", "A1", "--from", "yesterday"), "from must be an instant by RFC 3339"),
        (("statement", "A1", "--to", ""), "to must be an instant by RFC 3339"),
        (("statement", "A1", "--limit", "501"), "limit: Input should be less than or equal to 500; it is '501'"),
        (("statement", "A1", "--cursor", "x"), "cursor must be next_cursor of a page of this account's statement"),
        (("statement", "A1", "--order", "sideways"), "'sideways' is not one of"),
        (("balance", "A1", "--at", "now"), "at must be an instant by RFC 3339"),
        (("balance", "A1", "--at", "2026-03-02T12:00:00Z", "--value-date", "2026-03-02"), "value_date must not be given together with at"),
    ],
)
async def test_bad_input_is_named_and_ends_with_2(cli: CommandLine, arguments: tuple[str, ...], complaint: str) -> None:
    ended = await cli.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert complaint in " ".join(ended.err.replace("\u2502", " ").split())
