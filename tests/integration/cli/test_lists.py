from __future__ import annotations

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine


async def test_lists_show_what_is_found_as_table_and_as_json(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open(funds="20.00")
    refused = (await bank.submit({"debtor": account, "amount": "30.00", "currency": "EUR", "reference": "R1"})).json()
    hold = {"account_id": account, "amount": "3.00", "currency": "EUR", "expires_at": "2999-01-01T00:00:00Z"}
    hold_id = (await bank.http.post("/v1/holds", json=hold)).json()["hold_id"]

    found = await cli.run("transaction", "list", "--account", account, "--amount-min", "20", "--currency", "EUR", "--json")
    assert [row["amount"] for row in found.json["transactions"]] == ["30.00", "20.00"]
    table = await cli.run("transaction", "list", "--account", account, "--status", "rejected")
    # However narrow the terminal is, the id is in one piece, to be copied; what else there is may go over several lines.
    assert (table.code, "insufficient" in table.out, refused["transaction_id"] in table.out) == (0, True, True), table.out

    first = await cli.run("transaction", "list", "--account", account, "--limit", "1", "--order", "oldest-first", "--json")
    again = ("--limit", "1", "--order", "oldest-first", "--cursor", first.json["next_cursor"], "--json")
    assert (await cli.run("transaction", "list", "--account", account, *again)).json["transactions"][0]["amount"] == "30.00"

    accounts = await cli.run("account", "list", "--prefix", account, "--json")
    assert [row["account_id"] for row in accounts.json["accounts"]] == [account]
    assert account in (await cli.run("account", "list", "--prefix", account)).out
    holds = await cli.run("hold", "list", "--account", account, "--status", "open", "--json")
    assert [row["hold_id"] for row in holds.json["holds"]] == [hold_id]
    assert "3.00" in (await cli.run("hold", "list", "--account", account)).out

    bad = await cli.run("transaction", "list", "--amount", "1.00")
    assert (bad.code, "currency" in bad.err) == (2, True)
