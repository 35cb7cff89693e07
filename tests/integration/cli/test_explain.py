"""`casaflow explain` as a user runs it."""

from __future__ import annotations

import uuid

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine


async def test_a_transaction_is_explained_as_a_table_and_as_json(cli: CommandLine, bank: Bank) -> None:
    account = await bank.open(funds="5.00")
    submitted = (await bank.submit({"debtor": account, "amount": "7.00", "currency": "EUR"})).json()
    told = await cli.run("explain", submitted["transaction_id"])
    assert told.code == 0, told.err
    first, second = told.out.splitlines()[:2]
    assert first.startswith(f"transaction {submitted['transaction_id']}: rejected, account {account} has 5.00 EUR available")
    assert second.startswith("workflow transaction-")
    assert "the workflow starts (Withdrawal of 7.00 EUR" in told.out
    as_json = await cli.run("explain", submitted["transaction_id"], "--json")
    assert (as_json.json["status"], as_json.json["transaction_id"]) == ("rejected", submitted["transaction_id"])


async def test_an_unknown_transaction_and_no_id_at_all_end_with_2(cli: CommandLine, bank: Bank) -> None:
    unknown = await cli.run("explain", str(uuid.uuid4()))
    assert (unknown.code, "no transaction" in unknown.err) == (2, True)
    assert (await cli.run("explain", "nonsense")).code == 2
