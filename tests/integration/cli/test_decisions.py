"""`casaflow transaction approve`, `decline` and `cancel`, and keys for who may use them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine


async def _waiting(bank: Bank, **fields: Any) -> str:
    """A transfer of the test's bank that asks for an approval, or for a later day."""
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    body = {"transaction_id": str(uuid.uuid4()), "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR", **fields}
    submitted = await bank.submit(body)
    assert submitted.status_code == 202, submitted.text
    return str(submitted.json()["transaction_id"])


@pytest.fixture
async def approver(cli: CommandLine, bank: Bank) -> CommandLine:
    """The command line of somebody else, whose key can approve and nothing else."""
    made = await cli.run("key", "create", "approver", "--tenant", bank.tenant, "--scope", "transactions:approve", "--json")
    return cli.having(CASAFLOW_API_KEY=made.json["key"])


@pytest.mark.parametrize(("action", "status"), [("approve", "completed"), ("decline", "rejected")])
async def test_somebody_else_approves_or_declines_with_a_key_of_his_own(
    cli: CommandLine, approver: CommandLine, bank: Bank, action: str, status: str
) -> None:
    identifier = await _waiting(bank, approval={"required": True})
    shown = await approver.run("transaction", "show", identifier, "--json")
    assert shown.json["waiting_for"]["what"] == "approval"
    own = await cli.run("transaction", action, identifier)
    assert own.code == 2
    assert "was submitted by the same principal" in own.err
    decided = await approver.run("transaction", action, identifier, "--reason", "seen the invoice", "--json")
    assert (decided.code, decided.json["status"]) == (0, status), decided.err
    again = await approver.run("transaction", action, identifier, "--json")
    assert (again.code, again.json) == (0, decided.json)


async def test_a_transaction_that_is_not_posted_yet_is_cancelled(cli: CommandLine, bank: Bank) -> None:
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=3)
    identifier = await _waiting(bank, requested_execution_date=day.isoformat())
    cancelled = await cli.run("transaction", "cancel", identifier, "--reason", "a mistake")
    assert cancelled.code == 0, cancelled.err
    assert "cancelled" in cancelled.out
    assert (await cli.run("transaction", "show", identifier, "--json")).json["status"] == "rejected"


async def test_a_scope_that_there_is_not_is_refused(cli: CommandLine) -> None:
    refused = await cli.run("key", "create", "somebody", "--scope", "everything")
    assert refused.code == 2
    assert "scope must be of all, standard, read" in refused.err
